"""Each form in which people keep weights, through each door that opens files of weights: taken, or refused in a line.

Torchvision's own files have their tests in `test_weights_of_others.py`; here the names are ours, and the network small.
"""

import collections
import copy
import warnings

import numpy as np
import pytest

import neoclassic as nc
from neoclassic.base.errors import NeoclassicError
from neoclassic.engines.weights import initial
from neoclassic.model.artefact import Model
from neoclassic.networks import network

torch = pytest.importorskip("torch")
from safetensors.torch import save_file  # noqa: E402

NAME, HEAD = "lenet:bn", "fc3"


# ── the doors ────────────────────────────────────────────────────────────────────────────────────────


class Doors:
    """Each takes a file of weights and gives back the arrays by our keys, and what was said."""

    def __init__(self, run, idx_folder, tmp_path):
        self.run, self.data, self.folder = run, idx_folder, tmp_path

    def create(self, file):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            module = nc.torch.create(NAME, classes=10, weights=file)
        arrays = {key: value.numpy() for key, value in module.state_dict().items() if "num_batches" not in key}
        return arrays, " ".join(str(each.message) for each in caught)

    def train(self, file):
        """Trained with a rate that moves nothing."""
        out = self.folder / "run"
        code, _, err = self.run(
            *("train", NAME, "--data", self.data, "--weights", file, "--engine", "numpy", "--out", out),
            *("--max-steps", 1, "--optimizer", "sgd", "--lr", 1e-30, "--freeze", "bn*"),
        )
        if code:
            assert not out.exists()
            raise NeoclassicError(err.splitlines()[-1])
        return Model.load(out).weights, err

    def import_(self, file):
        names, out = self.folder / "names.txt", self.folder / "imported.safetensors"
        names.write_text("\n".join("abcdefghij"))
        code, _, err = self.run("import", file, "--network", NAME, "--classes", names, "--out", out)
        assert code == 0, err
        return Model.load(out).weights, err


DOORS = ["create", "train"]


@pytest.fixture
def doors(run, idx_folder, tmp_path):
    return Doors(run, idx_folder, tmp_path)


@pytest.fixture(scope="module")
def state():
    """A state_dict with counters, whose numbers every precision can hold."""
    rng, tensors = np.random.default_rng(0), {}
    for key, array in initial(network(NAME, 10), (1, 28, 28)).items():
        tensors[key] = torch.from_numpy((rng.integers(1, 64, array.shape) / 64).astype(np.float32))
        if key.endswith("running_var"):
            tensors[key.replace("running_var", "num_batches_tracked")] = torch.tensor(5)
    return tensors


def prefixed(prefix, state):
    return {prefix + key: value for key, value in state.items()}


def other(state):
    return {key: value + 1 for key, value in state.items()}


def to(dtype):
    return lambda s: {key: value.to(dtype) if value.is_floating_point() else value for key, value in s.items()}


# ── what is taken ────────────────────────────────────────────────────────────────────────────────────

FORMS = {
    "plain": dict,
    "half": to(torch.float16),
    "bfloat16": to(torch.bfloat16),
    "double": to(torch.float64),
    "module.": lambda s: prefixed("module.", s),
    "model.": lambda s: prefixed("model.", s),
    "model_state_dict": lambda s: {"epoch": 3, "model_state_dict": s, "optimizer_state_dict": {"state": {}}},
    "state_dict": lambda s: {"state_dict": s, "best": 0.9},
    "DeepSpeed's": lambda s: {"module": s, "global_steps": 10},
    "Lightning's": lambda s: {"state_dict": prefixed("model.", s), "pytorch-lightning_version": "2.5.0"},
    "Lightning's with DDP": lambda s: {"state_dict": prefixed("model.module.", s)},
    "Lightning's with metrics": lambda s: {
        "state_dict": {**prefixed("net.", s), "criterion.weight": torch.ones(10), "accuracy.total": torch.tensor(3)}
    },
    "compiled with DDP": lambda s: prefixed("module._orig_mod.", s),
    "FSDP's": lambda s: prefixed("_fsdp_wrapped_module.", s),
    "EMA beside": lambda s: {"model": other(s), "ema_state_dict": s},
    "EMA of timm": lambda s: {"state_dict": other(s), "state_dict_ema": s},
    "EMA of torch": lambda s: {"n_averaged": torch.tensor(3), **prefixed("module.", s)},
    "EMA as a prefix": lambda s: {**prefixed("model.", other(s)), **prefixed("ema_model.", s)},
    "ordered": collections.OrderedDict,
}


@pytest.mark.parametrize("door", [*DOORS, "import_"])
@pytest.mark.parametrize("form", FORMS)
def test_each_form_is_taken(form, door, state, doors, tmp_path):
    torch.save(FORMS[form](state), tmp_path / "w.pth")
    arrays, _ = getattr(doors, door)(tmp_path / "w.pth")
    for key, array in arrays.items():
        assert array.dtype == np.float32
        np.testing.assert_allclose(array, state[key].numpy(), atol=1e-25, err_msg=key)


FLAT = ("plain", "half", "bfloat16", "double", "module.", "model.", "compiled with DDP", "EMA of torch")


@pytest.mark.parametrize("door", [*DOORS, "import_"])
@pytest.mark.parametrize("form", FLAT)
def test_each_flat_form_is_taken_from_safetensors(form, door, state, doors, tmp_path):
    save_file(FORMS[form](state), tmp_path / "w.safetensors")
    arrays, _ = getattr(doors, door)(tmp_path / "w.safetensors")
    for key, array in arrays.items():
        np.testing.assert_allclose(array, state[key].numpy(), atol=1e-25, err_msg=key)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    ("form", "said"),
    [
        (lambda s: {k: v for k, v in s.items() if HEAD not in k}, f"the file has no {HEAD}: it starts afresh"),
        (
            lambda s: s | {f"{HEAD}.weight": torch.ones(3, 84), f"{HEAD}.bias": torch.ones(3)},
            "the last layer starts afresh: the file has 3 classes, the network 10",
        ),
    ],
    ids=["without a head", "with other classes"],
)
def test_a_head_that_does_not_fit_starts_afresh_and_that_is_said(form, said, door, state, doors, tmp_path):
    torch.save(prefixed("module.", form(state)), tmp_path / "w.pth")
    arrays, told = getattr(doors, door)(tmp_path / "w.pth")
    assert said in told
    assert all(np.allclose(arrays[key], state[key].numpy(), atol=1e-25) for key in arrays if HEAD not in key)
    assert not np.allclose(arrays[f"{HEAD}.weight"], state[f"{HEAD}.weight"].numpy())


@pytest.mark.parametrize("door", DOORS)
def test_colour_becomes_grey(door, state, doors, tmp_path):
    thirds = (state["conv1.weight"] / 3).repeat(1, 3, 1, 1)
    torch.save(state | {"conv1.weight": thirds}, tmp_path / "w.pth")
    arrays, told = getattr(doors, door)(tmp_path / "w.pth")
    assert "the first kernels are summed over their 3 channels" in told
    np.testing.assert_allclose(arrays["conv1.weight"], state["conv1.weight"].numpy(), rtol=1e-6)


def test_grey_becomes_colour_and_a_grey_image_has_the_same_answer(state, tmp_path):
    torch.save(state, tmp_path / "w.pth")
    grey = nc.torch.create(NAME, weights=tmp_path / "w.pth").eval()
    with pytest.warns(UserWarning, match="the first kernels, which are for grey images, are spread over 3 channels"):
        colour = nc.torch.create(NAME, weights=tmp_path / "w.pth", in_channels=3).eval()
    images = torch.rand(2, 1, 28, 28)
    with torch.inference_mode():
        torch.testing.assert_close(colour(images.repeat(1, 3, 1, 1)), grey(images), rtol=1e-4, atol=1e-4)


# ── what is refused ──────────────────────────────────────────────────────────────────────────────────


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(2, 2)

    def __setstate__(self, state):
        raise AssertionError("executed")


REFUSED = {
    "a whole module": (
        lambda s: Net(),
        r"a whole module was saved \(.*Net\), .* torch.save\(model.state_dict\(\), FILE",
    ),
    "a module and its EMA": (lambda s: {"model": Net(), "ema": None}, "a whole module was saved"),
    "a list": (lambda s: list(s.values()), "no tensors by name in it"),
    "two networks": (
        lambda s: {**prefixed("student.", s), **prefixed("teacher.", other(s))},
        "holds several such networks, 'student' and 'teacher' among them: save only one of them",
    ),
    "a misspelt name": (
        lambda s: {("conv2.wieght" if k == "conv2.weight" else k): v for k, v in s.items()},
        "25 of 26 arrays fit; missing conv2.weight; surplus conv2.wieght$",
    ),
    "another width": (
        lambda s: s | {"fc1.weight": torch.ones(64, 256), "fc1.bias": torch.ones(64)},
        "24 of 26 arrays fit; fc1.weight is 64×256, not 120×256, fc1.bias is 64, not 120$",
    ),
    "half of a network": (
        lambda s: {k: v for k, v in s.items() if not k.startswith(("fc1", "fc2", "bn"))},
        r"of 26 arrays fit; missing bn1.weight, bn1.bias, bn1.running_mean, bn1.running_var and 16 more",
    ),
    "something else": (
        lambda s: {"a": torch.ones(2), "b": torch.ones(3)},
        "0 of 26 arrays fit; missing .*; surplus a, b",
    ),
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("form", REFUSED)
def test_what_does_not_fit_is_refused_in_one_line(form, door, state, doors, tmp_path):
    make, message = REFUSED[form]
    torch.save(make(copy.copy(state)), tmp_path / "w.pth")
    with pytest.raises(NeoclassicError, match=message) as error:
        getattr(doors, door)(tmp_path / "w.pth")
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500


def test_a_safetensors_file_is_known_whatever_its_size_begins_with(state, tmp_path):
    """The first bytes are the length of its header, which can read PK, as in a zip file, or be those of a pickle."""
    save_file(state, tmp_path / "w.safetensors")
    content = (tmp_path / "w.safetensors").read_bytes()
    length = int.from_bytes(content[:8], "little")
    header, tensors = content[8 : 8 + length], content[8 + length :]
    for start in (b"PK", b"\x80", b"\n<"):
        longer = int.from_bytes(start, "little")
        while longer < length:
            longer += 1 << 8 * len(start)
        (tmp_path / "w.safetensors").write_bytes(longer.to_bytes(8, "little") + header.ljust(longer) + tensors)
        module = nc.torch.create(NAME, weights=tmp_path / "w.safetensors")
        assert torch.equal(module.conv1.weight, state["conv1.weight"])
