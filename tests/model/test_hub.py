"""Models and weights at hf:OWNER/REPO, from a server on this machine in place of the Hugging Face Hub."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import fill_photos, needs
from hubs import MAIN, hub
from safetensors.numpy import save

import neoclassic as nc
from neoclassic.base.errors import NeoclassicError, UsageError
from neoclassic.data.preprocessing import Preprocessing
from neoclassic.engines.weights import initial, shapes
from neoclassic.model import timm
from neoclassic.model.artefact import Model
from neoclassic.model.opening import open_model
from neoclassic.model.torchvision import adopt
from neoclassic.networks import entry, network

ARCHITECTURE, NAME = "mobilenetv3_small_100", "mobilenet-v3-small"
FACTS = Path(__file__).parents[1] / "facts" / "timm_names.txt"


def facts():
    """(timm's architecture, our network): the shapes by timm's names, in timm's order."""
    found = {}
    for line in FACTS.read_text("utf-8").splitlines()[1:]:
        first, second = line.split()
        if line[0] != " ":
            arrays = found[first, second] = {}
        else:
            arrays[first] = tuple(map(int, second.split("×")))
    return found


def random(wanted, classes=None):
    """Arrays of these shapes; the last layer with other classes."""
    rng, state = np.random.default_rng(0), {}
    last = list(wanted)[-2:]
    for key, shape in wanted.items():
        shape = (classes, *shape[1:]) if classes and key in last else shape
        fan = np.prod(shape[1:]) if len(shape) > 1 else 1
        state[key] = (rng.random(shape) + 0.5 if len(shape) == 1 else rng.normal(0, fan**-0.5, shape)).astype(
            np.float32
        )
    return state


def test_two_classes_of_one_name_are_told_apart(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG | {"label_names": ["crane", "bee", "crane"]}))
    assert timm.config(tmp_path / "config.json").classes == ("crane", "bee", "crane (2)")


CONFIG = {
    "architecture": ARCHITECTURE,
    "num_classes": 3,
    "label_names": ["ant", "bee", "cat"],
    "pretrained_cfg": {
        "input_size": [3, 64, 64],
        "interpolation": "bicubic",
        "crop_pct": 0.9,
        "crop_mode": "center",
        "mean": [0.5, 0.4, 0.3],
        "std": [0.2, 0.3, 0.4],
        "num_classes": 3,
    },
}


@pytest.fixture(scope="module")
def theirs():
    return random(facts()[ARCHITECTURE, NAME], 3)


@pytest.fixture(scope="module")
def ours():
    tree = network("lenet", 3)
    p = Preprocessing((28, 28), 1)
    return Model("lenet", tree, (1, 28, 28), ("a", "b", "c"), p, initial(tree, (1, 28, 28), seed=5))


@pytest.fixture(scope="module")
def repositories(theirs, ours, tmp_path_factory):
    file = tmp_path_factory.mktemp("ours") / "model.safetensors"
    ours.save(file)
    return {
        "me/lenet": {"model.safetensors": file.read_bytes(), "README.md": b"# LeNet"},
        "them/timm": {"model.safetensors": save(theirs), "config.json": json.dumps(CONFIG).encode()},
        "them/weights": {"weights.safetensors": save(theirs), "README.md": b""},
        "them/pickle": {"pytorch_model.bin": b"PK", "config.json": b"{}"},
        "them/nothing": {"README.md": b""},
        "them/parts": {"a.safetensors": b"", "b.safetensors": b""},
        "them/vit": {
            "model.safetensors": save({"cls_token": np.ones((1, 1, 4), np.float32)}),
            "config.json": json.dumps({**CONFIG, "architecture": "vit_tiny_patch16_224"}).encode(),
        },
        "them/broken": {"model.safetensors": save(theirs), "config.json": b'{"architecture": "resnet18"}'},
    }


@pytest.fixture
def served(repositories, tmp_path, monkeypatch):
    """The Hub, and a cache that is empty at first."""
    needs("huggingface_hub")
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    with hub(repositories) as (address, asked):
        monkeypatch.setenv("HF_ENDPOINT", address)
        yield asked


# ── timm's names ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("architecture", "name"), [f for f in facts() if f[1] in timm.NETWORKS])
def test_timms_names_are_ours_in_the_same_order_with_the_same_shapes(architecture, name):
    theirs = facts()[architecture, name]
    names = timm.names(name)
    assert list(names.values()) == list(theirs)
    for key, shape in shapes(network(name), entry(name).input).items():
        assert np.prod(shape) == np.prod(theirs[names[key]]), key
    assert timm.ARCHITECTURES[architecture] == name


@pytest.mark.parametrize(("architecture", "name"), [f for f in facts() if not f[1].startswith("vgg")])
def test_every_array_of_timms_is_taken_once(architecture, name):
    state = random(facts()[architecture, name])
    wanted = shapes(network(name), entry(name).input)
    adopted = adopt(name, state, wanted, dict)
    assert not adopted.ours
    assert not adopted.afresh
    assert {key: array.shape for key, array in adopted.weights.items()} == wanted
    scales = {key for key in wanted if key.endswith("bn.weight")} if "v3" in name else set()
    left = sorted(float(np.float64(a).sum()) for k, a in adopted.weights.items() if k not in scales)
    for total in left:
        assert any(np.isclose(total, float(np.float64(a).sum())) for a in state.values())


def test_batch_norms_answer_as_timms_do_though_their_eps_is_another():
    wanted = shapes(network(NAME), entry(NAME).input)
    state = random(facts()[ARCHITECTURE, NAME])
    state["bn1.running_var"][:] = np.geomspace(1e-6, 1, 16)
    weights = adopt(NAME, state, wanted, dict).weights
    ours = weights["stem.bn.weight"] / np.sqrt(weights["stem.bn.running_var"] + 1e-3)
    np.testing.assert_allclose(ours, state["bn1.weight"] / np.sqrt(state["bn1.running_var"] + 1e-5), rtol=1e-5)


def test_linear_layers_that_timm_writes_as_convolutions_keep_their_order():
    theirs = facts()["vgg11_bn", "vgg11:bn"]
    names = timm.names("vgg11:bn")
    array = np.arange(2 * 3 * 7 * 7.0).reshape(2, 3, 7, 7)
    flat = timm.flat({"pre_logits.fc1.weight": array}, {"pre_logits.fc1.weight": (2, 147)})
    assert np.array_equal(flat["pre_logits.fc1.weight"], array.reshape(2, 147))
    assert theirs[names["fc1.weight"]] == (4096, 512, 7, 7)


def test_timms_weights_of_another_network_are_named(theirs):
    wanted = shapes(network("mobilenet-v2"), entry("mobilenet-v2").input)
    with pytest.raises(
        UsageError, match="these are timm's weights of mobilenet-v3-small: they do not fit mobilenet-v2"
    ):
        adopt("mobilenet-v2", random(facts()[ARCHITECTURE, NAME]), wanted, dict)


# ── from the Hub ─────────────────────────────────────────────────────────────────────────────────────


def test_a_model_of_ours_is_opened_by_its_address_and_answers_the_same(served, ours, run_json, tmp_path):
    loaded = nc.load("hf:me/lenet", "numpy")
    images = np.random.default_rng(0).integers(0, 256, (4, 28, 28), np.uint8)
    ours.save(tmp_path / "m.safetensors")
    assert np.array_equal(
        loaded.predict_proba(images), nc.load(tmp_path / "m.safetensors", "numpy").predict_proba(images)
    )
    photo = fill_photos(tmp_path / "photos", ["a"], 1) / "a" / "0.jpg"
    (answer,) = run_json("predict", f"hf:me/lenet@{MAIN}", photo, "--engine", "numpy")
    assert answer["label"] in "abc"
    assert {Path(path).name for path in served if "resolve" in path} == {"model.safetensors", "config.json"}


def test_what_was_fetched_once_needs_no_network(served, monkeypatch):
    nc.load("hf:me/lenet", "numpy")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("time.sleep", lambda _seconds: None)  # between the library's own attempts
    assert nc.load("hf:me/lenet", "numpy").model_.network == "lenet"
    with pytest.raises(NeoclassicError, match=r"hf:them/timm: 127.0.0.1:9 does not answer, and no copy is on this"):
        nc.load("hf:them/timm")


def test_a_model_of_timms_answers_with_its_own_preprocessing_and_labels(served, theirs):
    model, engine = open_model("hf:them/timm", "numpy")
    assert (model.network, model.classes) == (NAME, ("ant", "bee", "cat"))
    p = model.preprocessing
    assert (p.size, p.channels, p.fit, p.filter, p.mean, p.std) == (
        *((64, 64), 3, "crop", "bicubic", (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)),
    )
    assert round(64 / p.keep) == 71  # ⌊64 / 0.9⌋
    assert engine.logits(np.zeros((1, 3, 64, 64), np.float32)).shape == (1, 3)
    assert np.array_equal(model.weights["stem.conv.weight"], theirs["conv_stem.weight"])


def test_training_starts_from_the_hub_and_remembers_the_commit(served, run, tmp_path, monkeypatch):
    monkeypatch.setenv("NEOCLASSIC_CACHE", str(tmp_path / "cache"))
    photos = fill_photos(tmp_path / "photos", ["a", "b"])
    where = ("--data", photos, "--engine", "numpy", "--out", tmp_path / "run", "--max-steps", 1, "--image-size", 32)
    code, _, err = run("train", NAME, "--weights", "hf:them/timm", *where, "--lr", 1e-30, "--freeze", "*bn*")
    assert code == 0, err
    assert "the last layer starts afresh: the file has 3 classes, the network 2" in err
    model = Model.load(tmp_path / "run")
    assert (model.preprocessing.mean, model.preprocessing.std) == ((0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
    assert model.recipe["weights"] == f"hf:them/timm@{MAIN}"


def test_a_module_is_made_from_the_hub(served, theirs):
    torch = pytest.importorskip("torch")
    module = nc.torch.create(NAME, classes=3, weights="hf:them/weights")
    assert torch.equal(module.stem.conv.weight, torch.from_numpy(theirs["conv_stem.weight"]))


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("hf:no/where", r"hf:no/where: no such repository on 127.0.0.1:\d+, or it is private: check the name, or set"),
        ("hf:me/lenet@v9", "hf:me/lenet@v9: me/lenet has no revision 'v9'"),
        ("hf:some/gated", "hf:some/gated: access must be requested on its page; then set HF_TOKEN"),
        ("hf:them/pickle", r"has no .safetensors file: download pytorch_model.bin, and give its path"),
        ("hf:them/nothing", "hf:them/nothing has no .safetensors file$"),
        ("hf:them/parts", r"has 2 files of weights \(a.safetensors, b.safetensors\): download one"),
        ("hf:them/weights", "holds weights only: use it for training, with --weights"),
        ("hf:them/vit", "no network here is timm's 'vit_tiny_patch16_224'"),
        ("hf:them/broken", "config.json: damaged"),
        ("hf:lenet", "'hf:lenet': write hf:OWNER/REPO or hf:OWNER/REPO@REVISION"),
        ("hf:me/lenet@", "write hf:OWNER/REPO or hf:OWNER/REPO@REVISION"),
        ("hf:../../etc/passwd", "write hf:OWNER/REPO"),
        ("hf:me/-lenet-..", "hf:me/-lenet-.. cannot be fetched from"),
    ],
)
def test_what_cannot_be_opened_is_one_line_that_says_why(address, message, served):
    with pytest.raises(NeoclassicError, match=message) as error:
        nc.load(address)
    assert "\n" not in str(error.value)


def test_a_dead_hub_is_said_in_one_line(served, run, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("time.sleep", lambda _seconds: None)  # between the library's own attempts
    code, _, err = run("predict", "hf:me/lenet", fill_photos(tmp_path, ["a"], 1) / "a")
    assert code == 1
    assert err.splitlines()[-1].startswith(
        "neoclassic: hf:me/lenet: 127.0.0.1:9 does not answer, and no copy is on this"
    )


def test_without_the_extra_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UsageError, match=r"hf:me/lenet needs huggingface_hub: .*install huggingface_hub"):
        nc.load("hf:me/lenet")
