"""Weights as people keep them, through the doors that users open: `nc.torch.create`, `neoclassic train --weights`."""

import argparse
import os
import warnings
from collections import OrderedDict, defaultdict
from pathlib import Path

import numpy as np
import pytest
from helpers import torchvision_module
from kinds import each
from PIL import Image

import neoclassic as nc
from neoclassic.base.errors import NeoclassicError
from neoclassic.data.preprocessing import to_input, to_pixels
from neoclassic.engines.weights import initial
from neoclassic.model import weight_files
from neoclassic.model.artefact import Model
from neoclassic.model.evaluate import softmax
from neoclassic.model.torchvision import NETWORKS, to_torchvision
from neoclassic.networks import network

torch = pytest.importorskip("torch")
pytest.importorskip("torchvision")
from safetensors.torch import save_file  # noqa: E402

NAME = "mobilenet-v3-small"
LARGE = ("alexnet", "vgg", "resnet34", "resnet50", "resnet101", "resnet152", "densenet16", "densenet201")


def side(name):
    """Of an image: as published for networks whose first Linear layer is made for it, else small."""
    return 224 if name.startswith(("vgg", "alexnet")) else 64 if name.startswith("googlenet") else 32


def theirs(name, **options):
    """torchvision's network with random weights and statistics, the largest matrices the same in each row."""
    module = torchvision_module(name, **options)
    rng, state = torch.Generator().manual_seed(1), {}
    for key, tensor in module.state_dict().items():
        if key.endswith("num_batches_tracked"):
            state[key] = torch.zeros((), dtype=torch.int64)
        elif tensor.numel() > 1 << 24:  # a file of megabytes instead of hundreds
            row = torch.randn(1, tensor.shape[1], generator=rng) / tensor.shape[1] ** 0.5
            state[key] = row.expand(tensor.shape)
        elif tensor.dim() > 1:
            state[key] = torch.randn(tensor.shape, generator=rng) / tensor[0].numel() ** 0.5
        else:
            state[key] = torch.rand(tensor.shape, generator=rng) + 0.5
    module.load_state_dict(state, assign=True)
    return module.eval(), state


@pytest.fixture(scope="module")
def small():
    return theirs(NAME)


def created(name, path, **options):
    """The network, and what was warned of."""

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        module = nc.torch.create(name, weights=path, **options)
    return module.eval(), [str(each.message).removeprefix(f"{name}: ") for each in caught]


def same(ours, module, size=64):
    images = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        a, b = ours(images), module(images)
    assert a.shape == b.shape
    assert float((a - b).abs().max()) <= 1e-4 * float(b.abs().max())
    assert float(b.std()) > 0


# ── every network that torchvision has ───────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", each(NETWORKS, heavy=lambda name: name == "vgg11:bn"))
def test_create_answers_as_torchvision_does(name, tmp_path):
    module, state = theirs(name)
    torch.save(state, tmp_path / "weights.pth")
    ours, notes = created(name, tmp_path / "weights.pth")
    assert all("pixels from -1 to 1" in note for note in notes)
    same(ours, module, side(name))


SMALLER = each(NETWORKS, heavy=lambda name: name.startswith(LARGE))
SAVERS = {".pth": torch.save, ".safetensors": save_file}


def saved(state, path):
    SAVERS[path.suffix]({key: tensor.contiguous() for key, tensor in state.items()}, path)
    return path


@pytest.mark.parametrize("name", SMALLER)
def test_so_it_does_from_safetensors_with_other_classes(name, tmp_path):
    module, state = theirs(name, num_classes=7)
    same(created(name, saved(state, tmp_path / "weights.safetensors"), classes=7)[0], module, side(name))


@pytest.mark.parametrize(("suffix", "classes"), [(".pth", 7), (".safetensors", 1000)])
@pytest.mark.parametrize("name", SMALLER)
def test_an_imported_file_answers_as_torchvision_does(name, suffix, classes, run, tmp_path):
    module, state = theirs(name, num_classes=classes)
    file = saved(state, tmp_path / f"weights{suffix}")
    (tmp_path / "names.txt").write_text("".join(f"class {i}\n" for i in range(classes)))
    named = ("--classes", tmp_path / "names.txt") if classes == 7 else ()
    out = tmp_path / "model.safetensors"
    code, said, err = run("import", file, "--network", name, *named, "--image-size", side(name), "--out", out)
    assert code == 0, err
    assert f"{name}, {classes} classes" in said
    loaded = nc.load(out, engine="torch")
    pixels = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    p = loaded.model_.preprocessing
    x = to_input(to_pixels(Image.fromarray(pixels), p)[None], p)
    with torch.inference_mode():
        expected = module(torch.from_numpy(x)).numpy()
    logits = loaded.model_.engine("torch").logits(x)
    assert np.abs(logits - expected).max() <= 1e-4 * np.abs(expected).max()
    assert np.abs(loaded.predict_proba(pixels[None]) - softmax(expected)).max() <= 1e-4
    assert loaded.model_.classes[:2] == (("class 0", "class 1") if named else ("tench", "goldfish"))
    half = name.startswith("googlenet")
    assert (p.mean, p.keep, p.fit) == ((0.5,) * 3 if half else (0.485, 0.456, 0.406), 0.875, "crop")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("photos") / "seven", np.random.default_rng(0)
    for kind in "abcdefg":
        (folder / kind).mkdir(parents=True)
        for i in range(6):
            Image.fromarray(rng.integers(0, 255, (64, 64, 3), np.uint8)).save(folder / kind / f"{i}.png")
    return folder


COMMANDED = ("resnet18", "googlenet:torchvision", "mobilenet-v2")


@pytest.mark.parametrize("suffix", SAVERS)
@pytest.mark.parametrize("name", each(NETWORKS, heavy=lambda name: name not in COMMANDED))
def test_the_command_starts_from_torchvisions_numbers(name, suffix, run, photos, tmp_path, monkeypatch):
    """Trained with a rate that moves nothing, all arrays are torchvision's still."""
    monkeypatch.setenv("NEOCLASSIC_CACHE", str(tmp_path / "cache"))
    _, state = theirs(name, num_classes=7)
    file = saved(state, tmp_path / f"w{suffix}")
    size = ("--image-size", side(name), "--fit", "crop", "--batch-size", 8)
    still = ("--lr", 1e-30, *(("--freeze", "*bn*") if "BatchNorm" in str(network(name)) else ()))
    code, _, err = run(
        *("train", name, "--data", photos, "--weights", file, "--engine", "torch"),
        *("--precision", "32", "--out", tmp_path / "run", "--max-steps", 1, *size, *still),
    )
    assert code == 0, err
    model = Model.load(tmp_path / "run")
    back = to_torchvision(name, model.weights)
    assert all(np.abs(back[key] - tensor.numpy()).max() < 1e-25 for key, tensor in state.items())  # 0 itself moves
    assert model.preprocessing.mean == ((0.5,) * 3 if "googlenet" in name else (0.485, 0.456, 0.406))


# ── as people keep them ──────────────────────────────────────────────────────────────────────────────


def prefixed(prefix, state):
    return {prefix + key: value for key, value in state.items()}


def to(dtype):
    return lambda s: {key: v.to(dtype) if v.is_floating_point() else v for key, v in s.items()}


def other(state):
    return {key: value + 1 for key, value in state.items()}


class Settings:
    """Of somebody's training script."""

    def __init__(self):
        self.rate = 0.1


FORMS = {
    "DataParallel": lambda s: prefixed("module.", s),
    "a tutorial's": lambda s: {"epoch": 5, "model_state_dict": s, "optimizer_state_dict": {}, "loss": 0.3},
    "the ImageNet example's": lambda s: {
        "epoch": 90,
        "state_dict": prefixed("module.", s),
        "best_acc1": torch.ones(()),
    },
    "Lightning's": lambda s: {"epoch": 5, "state_dict": prefixed("model.", s), "hparams_name": "kwargs"},
    "Lightning's, called net, with a loss": lambda s: {
        "state_dict": {**prefixed("net.", s), "loss.weight": torch.ones(1000), "metric.count": torch.ones(())}
    },
    "timm's": lambda s: {"arch": NAME, "state_dict": other(s), "state_dict_ema": s},
    "torchvision's": lambda s: {
        "model": other(s),
        "model_ema": {"n_averaged": torch.tensor(7), **prefixed("module.", s)},
        "optimizer": {"state": {0: {"momentum_buffer": torch.ones(3)}}, "param_groups": [{"lr": 0.1}]},
        "args": argparse.Namespace(model=NAME),
    },
    "compiled": lambda s: prefixed("_orig_mod.", s),
    "compiled and parallel": lambda s: prefixed("module._orig_mod.", s),
    "compiled by layers": lambda s: {key.replace("features.", "features._orig_mod."): v for key, v in s.items()},
    "deep in a dictionary": lambda s: {"checkpoint": {"networks": {"classifier": s}}},
    "averaged": lambda s: {"n_averaged": torch.tensor(3), **prefixed("module.", s)},
    "averaged beside the others": lambda s: {
        "state_dict": {**prefixed("net.", other(s)), **prefixed("ema.module.", s)}
    },
    "the same twice": lambda s: {"state_dict": {**prefixed("net.", s), **prefixed("loss.net.", s)}},
    "without counts of batches": lambda s: {key: v for key, v in s.items() if "num_batches" not in key},
    "with counts of operations": lambda s: {
        **s,
        "total_ops": torch.ones(()),
        "features.0.total_params": torch.ones(()),
    },
    "ordered": OrderedDict,
    "parameters": lambda s: {k: torch.nn.Parameter(v) if v.is_floating_point() else v for k, v in s.items()},
    "float64": to(torch.float64),
    "with numbers of NumPy": lambda s: {"state_dict": s, "best": np.float64(0.9), "rng": np.arange(3)},
    "with somebody's class": lambda s: {"state_dict": s, "config": Settings(), "out": Path("runs")},
    "with a default dictionary": lambda s: {"state_dict": s, "log": defaultdict(list, loss=[1.0])},
}


@pytest.mark.parametrize("form", FORMS)
def test_the_weights_are_found_in(form, small, tmp_path):
    module, state = small
    torch.save(FORMS[form](state), tmp_path / "w.pth")
    ours, _ = created(NAME, tmp_path / "w.pth")
    back = to_torchvision(NAME, {k: v.numpy() for k, v in ours.state_dict().items() if "num_batches" not in k})
    assert all(np.array_equal(back[key], tensor.numpy()) for key, tensor in state.items())
    same(ours, module)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_half_precision_is_widened(dtype, suffix, small, tmp_path):
    state = to(dtype)(small[1])
    (torch.save if suffix == ".pth" else save_file)(state, tmp_path / f"w{suffix}")
    ours, _ = created(NAME, tmp_path / f"w{suffix}")
    assert torch.equal(ours.stem.conv.weight, state["features.0.0.weight"].float())
    assert ours.stem.conv.weight.dtype == torch.float32


def test_the_content_counts_not_the_ending(small, tmp_path):
    torch.save(small[1], tmp_path / "w.safetensors")
    save_file(small[1], tmp_path / "pytorch_model.bin")
    torch.save(small[1], tmp_path / "old.tar", _use_new_zipfile_serialization=False)
    for name in ("w.safetensors", "pytorch_model.bin", "old.tar"):
        same(created(NAME, tmp_path / name)[0], small[0])


@pytest.mark.parametrize("beginning", [b"PK", b"\x80", b"<", b"\x93", b" <"])
def test_the_length_of_a_header_may_begin_like_another_file(beginning, tmp_path):
    header = b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    length = int.from_bytes(beginning, "little")
    while length < len(header):
        length += 256 ** len(beginning)
    content = length.to_bytes(8, "little") + header.ljust(length) + np.float32(2.5).tobytes()
    assert content.startswith(beginning)
    (tmp_path / "w.safetensors").write_bytes(content)
    assert weight_files.read(tmp_path / "w.safetensors").arrays["w"].tolist() == [2.5]


def test_which_of_several_weights_is_taken_is_told(small, tmp_path):
    torch.save(FORMS["torchvision's"](small[1]), tmp_path / "w.pth")
    _, notes = created(NAME, tmp_path / "w.pth")
    assert notes[0] == "the weights under 'model_ema' are used, not those under 'model'"
    torch.save(FORMS["Lightning's, called net, with a loss"](small[1]), tmp_path / "w.pth")
    _, notes = created(NAME, tmp_path / "w.pth")
    assert notes == ["only the weights under 'net' are used, not loss.weight"]


@pytest.mark.parametrize("precision", ["32", "bf16"])
def test_double_precision_trains(precision, run, photos, tmp_path, monkeypatch):
    monkeypatch.setenv("NEOCLASSIC_CACHE", str(tmp_path / "cache"))
    torch.save(to(torch.float64)(theirs(NAME)[1]), tmp_path / "double.pth")
    code, _, err = run(
        *("train", NAME, "--data", photos, "--image-size", 32, "--fit", "crop", "--batch-size", 8, "--max-steps", 1),
        *("--weights", tmp_path / "double.pth", "--engine", "torch", "--precision", precision, "--out", tmp_path / "r"),
    )
    assert code == 0, err
    assert all(w.dtype == np.float32 for w in Model.load(tmp_path / "r").weights.values())


@pytest.mark.parametrize("option", ["--standardise", "--no-standardise"])
def test_the_weights_decide_what_pixels_they_see(option, small, run, photos, tmp_path):
    torch.save(small[1], tmp_path / "w.pth")
    code, _, err = run(
        "train", NAME, "--data", photos, "--weights", tmp_path / "w.pth", option, "--out", tmp_path / "r"
    )
    assert code == 2
    assert err.splitlines()[-1].startswith(f"neoclassic: {option} cannot be used with --weights")
    assert not (tmp_path / "r").exists()


def test_grey_pixels_are_brought_to_the_mean_of_the_colours(small, run, photos, tmp_path, monkeypatch):
    monkeypatch.setenv("NEOCLASSIC_CACHE", str(tmp_path / "cache"))
    torch.save(small[1], tmp_path / "w.pth")
    code, _, err = run(
        *("train", NAME, "--data", photos, "--weights", tmp_path / "w.pth", "--channels", 1, "--image-size", 32),
        *("--fit", "crop", "--batch-size", 8, "--max-steps", 1, "--out", tmp_path / "r"),
    )
    assert code == 0, err
    assert "the first kernels are summed over their 3 channels" in err
    p = Model.load(tmp_path / "r").preprocessing
    assert (p.mean, p.std) == ((0.449,), (0.226,))


# ── heads ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("form", "note"),
    [
        (lambda s: s, "the last layer starts afresh: the file has 1000 classes, the network 5"),
        (lambda s: {k: v for k, v in s.items() if not k.startswith("fc.")}, "the file has no fc: it starts afresh"),
        (
            lambda s: (
                {k: v for k, v in s.items() if not k.startswith("fc.")}
                | {"fc.1.weight": torch.ones(5, 512), "fc.1.bias": torch.ones(5)}
            ),
            "the file has a different fc: it starts afresh",
        ),
    ],
)
def test_a_head_that_cannot_be_taken_over_starts_afresh_and_says_so(form, note, tmp_path):
    _, state = theirs("resnet18")
    torch.save(form(state), tmp_path / "w.pth")
    ours, notes = created("resnet18", tmp_path / "w.pth", classes=5, seed=3)
    assert notes == [note]
    assert torch.equal(ours.stem.conv.weight, state["conv1.weight"])
    fresh = initial(network("resnet18", 5), (3, 224, 224), seed=3)
    assert np.array_equal(ours.fc.weight.detach().numpy(), fresh["fc.weight"])


@pytest.mark.parametrize("name", ["alexnet:torchvision", NAME])
def test_a_file_of_features_alone_gives_those(name, tmp_path):
    _, state = theirs(name)
    torch.save({k: v for k, v in state.items() if not k.startswith("classifier")}, tmp_path / "w.pth")
    ours, notes = created(name, tmp_path / "w.pth", classes=5)
    assert notes == ["the file has no classifier: it starts afresh"]
    first = next(p for p in ours.parameters() if p.dim() == 4)
    assert torch.equal(first, state.get("features.0.weight", state.get("features.0.0.weight")))


# ── ours ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["resnet18:taught", "nin:taught", "lenet:bn", NAME])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_state_dict_of_our_own_module_comes_back(name, prefix, tmp_path):
    module = nc.torch.create(name, classes=10, seed=1)
    torch.save(prefixed(prefix, module.state_dict()), tmp_path / "w.pth")
    ours, notes = created(name, tmp_path / "w.pth", classes=10, seed=2)
    assert notes == []
    assert all(torch.equal(ours.state_dict()[key], value) for key, value in module.state_dict().items())
    other, notes = created(name, tmp_path / "w.pth", classes=4, seed=2)
    assert notes == ["the last layer starts afresh: the file has 10 classes, the network 4"]
    assert torch.equal(next(other.parameters()), next(module.parameters()))


def test_load_takes_all_or_nothing():
    module = nc.torch.create("lenet:bn", classes=10)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    whole = {key: value.numpy() + 1 for key, value in before.items()}
    for weights, reason in (
        ({k: v for k, v in whole.items() if k != "fc1.bias"}, r"fc1.bias is missing in them and \(120,\) here"),
        (whole | {"fc9.weight": np.ones(3)}, r"fc9.weight is \(3,\) in them and missing here"),
        (whole | {"fc1.bias": np.ones(1, np.float32)}, r"fc1.bias is \(1,\) in them and \(120,\) here"),
    ):
        with pytest.raises(nc.NeoclassicError, match=reason):
            nc.torch.load(module, weights)
        assert all(torch.equal(module.state_dict()[key], value) for key, value in before.items())
    nc.torch.load(module, whole)
    assert torch.equal(module.conv1.weight, before["conv1.weight"] + 1)


# ── what cannot be read ──────────────────────────────────────────────────────────────────────────────


class Surprise:
    def __reduce__(self):
        return (os.system, ("echo executed",))


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(2, 2)


def write_text(text):
    return lambda path: path.write_text(text)


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (
            lambda p: torch.save(Net(), p),
            "a whole module was saved .*Net.* torch.save\\(model.state_dict\\(\\), FILE\\)",
        ),
        (lambda p: torch.save({"epoch": 3, "model": Net()}, p), "a whole module was saved"),
        (lambda p: torch.jit.script(torch.nn.Linear(2, 2)).save(str(p)), "orchScript"),
        (lambda p: torch.save([torch.ones(3)], p), "no tensors by name"),
        (lambda p: torch.save({"epoch": 3}, p), "no tensors by name"),
        (write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0"), "a Git LFS pointer"),
        (write_text("\n<!DOCTYPE html><html>"), "a web page"),
        (lambda p: p.write_bytes(b"PK" + bytes(99)), "cannot be read as weights"),
        (lambda p: p.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(90)), "HDF5"),
        (lambda p: p.write_bytes(b""), "neither a torch.save file nor"),
        (lambda p: torch.save({"state_dict": {}, "x": Surprise()}, p), "cannot be read as weights"),
    ],
)
@pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning", "ignore:.torch.jit:DeprecationWarning")
def test_what_is_no_weights_is_one_line_that_helps_and_nothing_is_executed(write, reason, tmp_path, capfd):
    write(tmp_path / "w.pth")
    with pytest.raises(nc.NeoclassicError, match=reason) as error:
        nc.torch.create("resnet18", weights=tmp_path / "w.pth")
    assert "\n" not in str(error.value)
    assert "executed" not in capfd.readouterr().out


def test_weights_of_another_network_are_named(small, tmp_path):
    torch.save({"state_dict": prefixed("module.", small[1])}, tmp_path / "w.pth")
    for name in ("mobilenet-v3-large", "mobilenet-v2", "resnet18:taught", "lenet"):
        with pytest.raises(nc.UsageError, match=f"torchvision's weights of {NAME}: they do not fit {name}"):
            nc.torch.create(name, weights=tmp_path / "w.pth")


def test_two_networks_in_one_file_are_not_guessed_at(small, tmp_path):
    torch.save({**prefixed("student.", small[1]), **prefixed("teacher.", other(small[1]))}, tmp_path / "w.pth")
    with pytest.raises(nc.NeoclassicError, match="several such networks, 'student' and 'teacher' among them"):
        nc.torch.create(NAME, weights=tmp_path / "w.pth")


def test_a_damaged_number_in_a_file_of_torch_is_refused(tmp_path):
    torch.save({"w": torch.arange(1000.0)}, tmp_path / "w.pth")
    content = bytearray((tmp_path / "w.pth").read_bytes())
    content[content.index(np.float32(500).tobytes())] ^= 1
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(NeoclassicError, match=r"damaged \(Bad CRC-32 for file 'w/data/0'\): copy it again"):
        weight_files.read(tmp_path / "w.pth")
