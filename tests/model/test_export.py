"""ONNX: every node and every network gives what the torch engine gives; the file carries what a prediction needs."""

import ast
import importlib.util
import io
import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from helpers import write_idx
from kinds import each
from PIL import Image

import neoclassic as nc
from neoclassic import data, engines, networks
from neoclassic import tree as nodes
from neoclassic.base.errors import NeoclassicError, install
from neoclassic.cli import cli
from neoclassic.data.pixels import ORIENTATION, UPRIGHT
from neoclassic.data.preprocessing import Preprocessing, to_input
from neoclassic.engines import onnx as onnx_engine
from neoclassic.engines import weights as arrays
from neoclassic.measure import measure, smallest_input
from neoclassic.model import calibration, export, seal
from neoclassic.model.artefact import Model
from neoclassic.model.evaluate import logits_of, softmax
from neoclassic.model.opening import open_model
from neoclassic.model.predict import predict, probabilities
from neoclassic.tree import Auxiliary, Concat, Flatten, Identity, Linear, Product, Sequential, Sum
from neoclassic.web.intake import Limits
from neoclassic.web.service import Service

RNG = np.random.default_rng(0)


def random_weights(tree, shape, seed=0):
    """Initial weights with running statistics, scales and shifts that are not 0 and 1."""
    rng, found = np.random.default_rng(seed), arrays.initial(tree, shape)
    for key, array in found.items():
        if array.ndim == 1:
            found[key] = rng.uniform(0.5, 1.5, array.shape).astype(np.float32)
    return found


def assert_same_logits(tree, shape, weights=None, n=3, tolerance=1e-4):
    """The graph and the torch engine, on the same weights and images."""
    weights = weights or random_weights(tree, shape)
    images = np.random.default_rng(1).standard_normal((n, *shape), np.float32)
    ours = engines.create("onnx", tree, shape, weights).logits(images)
    theirs = engines.create("torch", tree, shape, weights, "cpu").logits(images)
    assert ours.shape == theirs.shape
    assert ours.dtype == np.float32
    worst = np.abs(ours - theirs).max() / max(1.0, np.abs(theirs).max())
    assert worst < tolerance, f"largest relative difference {worst:.2g}"
    assert np.abs(softmax(ours) - softmax(theirs)).max() < 1e-4
    assert (ours.argmax(1) == theirs.argmax(1)).all()


LAYERS = [
    nodes.Conv2d(8, 3, stride=2, padding=1),
    nodes.Conv2d(12, 3, padding=1, groups=6, bias=False),
    nodes.BatchNorm2d(eps=1e-3),
    Sequential(Flatten(), nodes.BatchNorm1d()),
    nodes.MaxPool2d(3, 2),
    nodes.MaxPool2d(3, 2, padding=1),
    nodes.MaxPool2d(3, 2, ceil_mode=True),
    nodes.MaxPool2d(2, 2, padding=1, ceil_mode=True),
    nodes.AvgPool2d(2),
    nodes.AvgPool2d(3, 1, padding=1),
    nodes.AvgPool2d(3, 1, padding=1, count_include_pad=False),
    nodes.AvgPool2d(3, 2, padding=1, ceil_mode=True),
    nodes.AvgPool2d(3, 2, ceil_mode=True),
    nodes.AvgPool2d(2, 3, ceil_mode=True),
    nodes.AvgPool2d(3, 2, padding=1, ceil_mode=True, count_include_pad=False),
    nodes.AdaptiveAvgPool2d(1),
    nodes.AdaptiveAvgPool2d(2),
    nodes.AdaptiveAvgPool2d(4),
    nodes.AdaptiveAvgPool2d(13),
    nodes.LocalResponseNorm(5, alpha=0.3, beta=0.75, k=2),
    nodes.LocalResponseNorm(4, alpha=0.3),
    nodes.Dropout(),
    nodes.ReLU(),
    nodes.Sigmoid(),
    nodes.Tanh(),
    nodes.Tanh(1.7159, 2 / 3),
    nodes.ReLU6(),
    nodes.Hardsigmoid(),
    nodes.Hardswish(),
    nodes.Select((4, 0, 0, 2)),
    nodes.PadChannels(9),
    Sum(Identity(), nodes.Conv2d(6, 3, padding=1), nodes.ReLU()),
    Concat(Identity(), nodes.Conv2d(2, 1), Identity()),
    Product(Identity(), Sequential(nodes.AdaptiveAvgPool2d(1), nodes.Conv2d(6, 1), nodes.Hardsigmoid())),
    Sequential(side=Auxiliary(Flatten(), Linear(3)), conv=nodes.Conv2d(4, 1)),
]


@pytest.mark.parametrize("side", [9, 10], ids=["odd", "even"])
@pytest.mark.parametrize("layer", LAYERS, ids=repr)
def test_every_node_gives_what_torch_gives(layer, side):
    tree = Sequential(layer=layer, flatten=Flatten(), fc=Linear(5, bias=False))
    assert_same_logits(tree, (6, side, side + 2), tolerance=2e-5)


def test_every_kind_of_node_stands_in_a_test_above():
    tested = {type(node) for layer in LAYERS for _, node in nodes.walk(layer)} | {Sequential, Linear, nodes.RBF}
    kinds = set(nodes.node_types())
    assert kinds == tested


def test_distances_to_prototypes():
    table = tuple(tuple(row) for row in RNG.choice([-1, 1], (4, 12)).tolist())
    assert_same_logits(Sequential(Flatten(), nodes.RBF(table)), (3, 2, 2))


def test_names_that_the_graph_uses_itself_may_be_paths():
    names = {name: nodes.Conv2d(3, 1) for name in ("images", "logits", "probabilities", "cooled", "temperature")}
    assert_same_logits(Sequential(**names, flatten=Flatten()), (3, 2, 2))


def small(name):
    """A network of the zoo for seven classes and the smallest image that it takes, 32 pixels or more."""
    row = networks.entry(name)
    tree = networks.network(name, 7)
    return tree, (row.input[0],) + (max(32, smallest_input(tree, row.input[0])),) * 2


def heavy(name):
    """More than the suite has seconds for: every family stays represented."""
    m = measure(*small(name))
    return m.parameters > 6_000_000 or len(m.layers) > 300


def settled(tree, shape, images=None):
    """Initial weights whose running statistics are those of a batch, so that values neither vanish nor explode.

    A little is added to the variances: few pixels are left of so small images, and some channels hardly vary."""
    module = nc.torch.build(tree, shape)
    nc.torch.load(module, arrays.initial(tree, shape))
    for layer in module.modules():
        if isinstance(layer, torch.nn.modules.batchnorm._BatchNorm):
            layer.momentum = 1.0
    with torch.no_grad():
        noise = np.random.default_rng(0).standard_normal((16, *shape), np.float32)
        module.train()(torch.from_numpy(noise if images is None else images))
    state = {name: array.numpy() for name, array in module.state_dict().items()}
    for name, array in state.items():
        if name.endswith("running_var"):
            array += array.mean() / 10
    return {name: state[name] for name in arrays.shapes(tree, shape)}


@pytest.mark.parametrize("name", each(heavy=heavy))
def test_every_network_gives_what_torch_gives(name):
    """The large ones on 64 pixels: of 32 they leave single ones, where float32 itself is off by 1e-4, torch's too."""
    tree, shape = small(name)
    if heavy(name):
        shape = (shape[0], *(max(side, 64) for side in shape[1:]))
    assert_same_logits(tree, shape, settled(tree, shape), tolerance=5e-4)


# ── the file ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def model(idx_folder):
    """A network with weights at random, that says it was trained on a small data set."""
    tree, shape = networks.network("lenet:bn", 10), (1, 28, 28)
    classes = data.load(str(idx_folder)).classes
    p = Preprocessing((28, 28), 1, mean=(0.3,), std=(0.35,))
    about = {"recipe": {"data": str(idx_folder), "validation": 0.0}, "data": {"name": "tiny"}}
    calibration = {"temperature": 0.25, "threshold": 0.5, "n": 100}
    weights = settled(tree, shape)
    return Model("lenet:bn", tree, shape, classes, p, weights, **about, calibration=calibration)


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory):
    """The artefact, and its export."""
    folder = tmp_path_factory.mktemp("export")
    model.save(folder / "model.safetensors")
    export.export(model, folder / "model.onnx")
    return folder / "model.safetensors", folder / "model.onnx"


def test_the_file_is_valid_onnx_and_says_what_a_predictor_needs(saved, model):
    found = onnx.load(saved[1])
    onnx.checker.check_model(found, full_check=True)
    facts = {prop.key: json.loads(prop.value) for prop in found.metadata_props}
    assert facts["classes"] == list(model.classes)
    assert Preprocessing.from_dict(facts["preprocessing"]) == model.preprocessing
    assert facts["checksum"] == model.checksum == artefact_checksum(saved[0])
    assert [end.name for end in (*found.graph.input, *found.graph.output)] == ["images", "logits", "probabilities"]
    assert found.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "N"


def artefact_checksum(path):
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    return json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["neoclassic"])["checksum"]


def test_equal_models_make_equal_files(saved, model, tmp_path):
    export.export(Model.load(saved[0]), tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == saved[1].read_bytes()


def test_the_probabilities_of_the_file_have_the_temperature_in_them(saved, model):
    running = onnx_engine.session(saved[1])
    images = RNG.standard_normal((5, 1, 28, 28)).astype(np.float32)
    logits, rows = running.run(["logits", "probabilities"], {"images": images})
    np.testing.assert_allclose(rows, softmax(logits, 0.25), atol=1e-6)
    assert np.abs(rows - softmax(logits)).max() > 0.01


def test_an_exported_file_predicts_like_its_model(saved, idx_folder, tmp_path, run_json):
    for i, pixels in enumerate(data.load(str(idx_folder)).test.images[:4]):
        Image.fromarray(pixels[..., 0]).save(tmp_path / f"{i}.png")
    ours, theirs, third = (
        run_json("predict", *arguments, tmp_path)
        for arguments in ((saved[0], "--engine", "numpy"), (saved[1],), (saved[0], "--engine", "onnx"))
    )
    assert len(ours) == 4
    for one, two, three in zip(ours, theirs, third, strict=True):
        assert one["label"] == two["label"] == three["label"]
        assert one["probability"] == pytest.approx(two["probability"], abs=1e-5)
        assert one["probability"] == pytest.approx(three["probability"], abs=1e-5)


def test_an_exported_file_evaluates_like_its_model(saved, idx_folder, run_json):
    ours, theirs = (run_json("evaluate", path, "--data", idx_folder) for path in saved)
    assert ours["confusion"] == theirs["confusion"]
    assert ours["loss"] == pytest.approx(theirs["loss"], abs=1e-5)


def edited(path, out, **changes):
    """A copy of an exported file with other metadata and a checksum that fits; None takes an entry away."""
    found = onnx.load(path)
    facts = {prop.key: prop.value for prop in found.metadata_props} | changes
    del found.metadata_props[:]
    onnx.helper.set_model_props(
        found, {k: v for k, v in facts.items() if v is not None} | {seal.KEY: json.dumps(seal.BLANK)}
    )
    out.write_bytes(seal.sealed(found.SerializeToString()))
    return out


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"preprocessing": None}, "not one of neoclassic's"),
        ({"classes": "["}, "damaged metadata"),
        ({"classes": "[" * 10_000}, "damaged metadata"),
        ({"classes": '["a", "b"]'}, "2 class names for outputs"),
        ({"input": "[1, 32, 32]"}, "damaged header"),
        ({"tree": '{"type": "os.system"}'}, "unknown node"),
        ({"calibration": '{"temperature": -1}'}, "a temperature of -1"),
        ({"calibration": "[1]"}, "damaged header"),
        ({"format": "99"}, "newer neoclassic"),
        ({"preprocessing": '{"size": [100000, 1], "channels": 1}'}, "not a preprocessing record"),
    ],
)
def test_metadata_that_lie_are_refused_in_one_line(saved, tmp_path, changes, reason):
    path = edited(saved[1], tmp_path / "lie.onnx", **changes)
    with pytest.raises(NeoclassicError, match=reason) as error:
        open_model(path)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


def damages(content):
    """Copies with one bit flipped, spread over the whole file, and everywhere in the checksum and the format."""
    keys = [content.rindex(key) + i for key in (seal.KEY.encode(), b"format") for i in range(80)]
    for place in [*np.linspace(0, len(content) - 1, 120).astype(int).tolist(), *keys]:
        for bit in (0, 1, 6) if place in keys else (3,):
            flipped = bytearray(content)
            flipped[min(place, len(content) - 1)] ^= 1 << bit
            yield bytes(flipped)


def test_one_flipped_bit_anywhere_is_refused(saved, tmp_path):
    content, path = saved[1].read_bytes(), tmp_path / "flipped.onnx"
    open_model(saved[1])
    for damaged in damages(content):
        path.write_bytes(damaged)
        with pytest.raises(NeoclassicError) as error:
            open_model(path)
        assert "\n" not in str(error.value)


def test_a_file_that_was_exported_before_there_were_checksums_opens(saved, tmp_path):
    old = edited(saved[1], tmp_path / "old.onnx", format="1")
    found = onnx.load(old)
    kept = {prop.key: prop.value for prop in found.metadata_props if prop.key != seal.KEY}
    del found.metadata_props[:]
    onnx.helper.set_model_props(found, kept)
    onnx.save(found, old)
    assert open_model(old)[0].classes == open_model(saved[1])[0].classes


def test_a_graph_that_is_not_what_its_header_says_is_refused(saved, tmp_path):
    found = onnx.load(saved[1])
    found.graph.input[0].type.tensor_type.shape.dim[3].dim_value = 32
    found.graph.node[0].name = "other"
    path = tmp_path / "other.onnx"
    onnx.save(found, path)
    path = edited(path, path)
    with pytest.raises(NeoclassicError, match=r"the graph takes and gives|not an ONNX file that runs here"):
        open_model(path)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x08\x08" * 1000])
def test_a_file_that_is_no_onnx_is_refused_in_one_line(tmp_path, content, run):
    path = tmp_path / "no.onnx"
    path.write_bytes(content)
    code, out, err = run("predict", path, __file__)
    assert (code, out) == (1, "")
    assert err.startswith(f"neoclassic: {path}")
    assert err.count("\n") == 1


def test_wrong_calls_are_told_in_one_line(saved, run, tmp_path, monkeypatch):
    image = tmp_path / "a.png"
    Image.new("L", (28, 28)).save(image)
    for arguments, code, reason in (
        (("predict", tmp_path / "none.onnx", image), 1, "cannot read"),
        (("predict", saved[1], image, "--engine", "torch"), 2, "give the .safetensors file"),
        (("predict", saved[1], image, "--device", "cuda"), 2, "runs on the processor only"),
        (("predict", saved[0], image, "--engine", "onxn"), 2, "did you mean 'onnx'"),
        (("predict", saved[0], image, "--threshold", "1.5"), 2, "a probability from 0 to 1"),
        (("predict", saved[0], tmp_path / "*.jpg"), 2, "no file or folder"),
        (("export", saved[0], tmp_path / "model.pt"), 2, "must end in .onnx"),
        (("export", saved[0], tmp_path / "no" / "model.onnx"), 1, "cannot write"),
        (("export", saved[0], tmp_path / "m.onnx", "--verify", "4", "--data", "fashion-mnist"), 1, "classes"),
        (("train", "lenet", "--data", "fashion-mnist", "--engine", "onnx"), 2, "only predicts"),
    ):
        found, out, err = run(*arguments)
        assert found == code, err
        assert reason in err.splitlines()[-1]
        assert out == ""
    found = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "onnx" else found(name))
    code, _, err = run("export", saved[0], tmp_path / "m.onnx")
    assert (code, err) == (2, f"neoclassic: writing ONNX needs onnx: {install('onnx')}\n")


# ── the proof ────────────────────────────────────────────────────────────────────────────────────────

STANDALONE = Path(__file__).parents[2] / "docs" / "standalone_predict.py"


def test_the_stand_alone_predictor_is_short_and_needs_three_packages():
    text = STANDALONE.read_text()
    imported = {
        name.partition(".")[0]
        for node in ast.walk(ast.parse(text))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported - set(sys.stdlib_module_names) == {"numpy", "PIL", "onnxruntime"}
    assert len(text.splitlines()) <= 107


def test_verify_finds_agreement(saved, run_json):
    found = run_json("export", saved[0], saved[1].with_name("v.onnx"), "--verify", 64)["verification"]
    assert (found["n"], found["agreement"], found["strangers"]) == (64, 1.0, [])
    assert 0 < found["difference"] < 1e-5
    assert found["ways"] == ["trainer's loader with torch", "predict with numpy", "stand-alone with onnxruntime"]


def test_verify_fails_where_one_way_differs(saved, model, run, monkeypatch, tmp_path):
    wrong = replace(model, preprocessing=replace(model.preprocessing, invert=True))
    right = export.export
    monkeypatch.setattr(export, "export", lambda _, path: right(wrong, path))
    code, out, err = run("export", saved[0], tmp_path / "wrong.onnx", "--verify", 64)
    assert code == 1
    assert "labels differ, first" in err
    assert "label agreement" in out


QUICK = ("lenet:1998", "mobilenet-v2:0.35", "resnet20")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name not in QUICK)) for name in networks.list_networks()]
)
def test_every_network_is_verified(name, tmp_path):
    tree, shape = small(name)
    p = Preprocessing(shape[1:], shape[0], mean=(0.3,), std=(0.35,))
    source = data.load("fashion-mnist")
    folder = tmp_path / "images"
    folder.mkdir()
    for role, part in (("train", source.train), ("t10k", source.test)):
        keep = np.flatnonzero(part.labels < 7)[:100]
        write_idx(folder / f"{role}-images-idx3-ubyte.gz", part.images[keep, :, :, 0])
        write_idx(folder / f"{role}-labels-idx1-ubyte.gz", part.labels[keep])
    classes = data.load(str(folder)).classes
    tiny = data.load(str(folder)).prepare(p)
    weights = settled(tree, shape, to_input(tiny.train.images[:16], p))
    model = Model(name, tree, shape, classes, p, weights, recipe={"data": str(folder)})
    logits = logits_of(model.engine("torch", "cpu"), tiny.train.images, p)
    model = replace(model, calibration=calibration.fit(logits, tiny.train.labels))
    export.export(model, tmp_path / "model.onnx")
    found = export.verify(model, tmp_path / "model.onnx", 32)
    print(f"{name} at {shape[1]}: agreement {found.agreement:.0%}, largest difference {found.difference:.1e}")
    assert (found.n, found.agreement) == (32, 1.0)
    assert found.difference < 1e-4


def test_a_verification_compares_every_way_with_the_first():
    rows = np.array([[0.6, 0.4], [0.2, 0.8], [0.5, 0.5]])
    off = rows.copy()
    off[1] = [0.51, 0.49]
    found = export.Verification.of({"a": rows, "b": rows, "c": off}, ["x", "y", "z"])
    assert found.agreement == pytest.approx(2 / 3)
    assert found.difference == pytest.approx(0.31)
    assert found.strangers == ("y",)


def variants(folder):
    """One photo in many files: turned and told so, and in other colours and formats."""
    y, x = np.mgrid[:48, :64] / 64
    pixels = np.stack([x, y, (x * y) ** 0.5], 2) * 255
    photo = Image.fromarray(pixels.astype(np.uint8))
    files = {}
    for value in range(1, 9):
        undo = {6: 8, 8: 6}.get(value, value)
        turned = photo if value == 1 else photo.transpose(UPRIGHT[undo])
        exif = Image.Exif()
        exif[ORIENTATION] = value
        files[f"exif{value}.png"] = (turned, {"exif": exif})
    files["photo.webp"] = (photo, {"lossless": True})
    files["photo.jpg"] = (photo, {"quality": 95})
    files["grey.png"] = (photo.convert("L"), {})
    files["cmyk.jpg"] = (photo.convert("CMYK"), {"quality": 95})
    files["palette.png"] = (photo.quantize(256), {})
    files["alpha.png"] = (photo.convert("RGBA"), {})
    files["see-through.webp"] = (Image.merge("RGBA", (*photo.split(), photo.split()[0])), {"lossless": True})
    files["deep.png"] = (Image.fromarray((pixels[..., 0] * 257).astype(np.uint16)), {})
    files["strip.png"] = (photo.resize((3000, 5)), {})
    for name, (image, options) in files.items():
        image.save(folder / name, **options)
    return sorted(files)


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("channels", [1, 3])
def test_one_photo_in_every_form_is_the_same_by_every_way(tmp_path, monkeypatch, fit, channels):
    monkeypatch.setenv("NEOCLASSIC_CACHE", str(tmp_path / "cache"))
    for name in ("a", "b"):
        (tmp_path / "photos" / name).mkdir(parents=True)
    names = variants(tmp_path / "photos" / "a")
    variants(tmp_path / "photos" / "b")
    tree, shape = networks.network("lenet:bn", 2), (channels, 32, 40)
    p = Preprocessing((32, 40), channels, fit, "bicubic", (0.4,) * channels, (0.2,), invert=fit == "pad", keep=0.9)
    model = Model("lenet:bn", tree, shape, ("a", "b"), p, settled(tree, shape), calibration={"temperature": 0.5})
    export.export(model, tmp_path / "model.onnx")

    part = data.open_dataset(str(tmp_path / "photos")).split("all", p)
    index = {Path(path).name: i for i, path in enumerate(part.paths) if Path(path).parent.name == "a"}
    assert sorted(index) == names
    paths = [part.paths[index[name]] for name in names]
    engine = model.engine("numpy")
    trainer = probabilities(model, model.engine("torch", "cpu"), part.images[[index[name] for name in names]])
    said = [found.top for found in predict(model, engine, map(Path, paths))]
    service = Service(model, engine)
    http = probabilities(model, engine, np.stack([service._pixels("x", Path(q).read_bytes()) for q in paths]))
    alone = export.standalone(tmp_path / "model.onnx", paths)
    np.testing.assert_allclose([[dict(row)[c] for c in "ab"] for row in said], trainer, atol=1e-5)
    np.testing.assert_array_equal(http.argmax(1), trainer.argmax(1))
    np.testing.assert_allclose(http, trainer, atol=1e-5)
    np.testing.assert_allclose(alone, trainer, atol=1e-5)

    row = dict(zip(names, trainer, strict=True))
    for same in (*(f"exif{n}.png" for n in range(2, 9)), "photo.webp", "alpha.png"):
        np.testing.assert_array_equal(row[same], row["exif1.png"], err_msg=same)
    for near in ("photo.jpg", "cmyk.jpg", "palette.png") + (("grey.png",) if channels == 1 else ()):
        np.testing.assert_allclose(row[near], row["exif1.png"], atol=0.05, err_msg=near)  # colours were rounded
    assert np.abs(row["see-through.webp"] - row["exif1.png"]).max() > 1e-4, "what is transparent counts"


# ── predict ──────────────────────────────────────────────────────────────────────────────────────────


def test_predict_takes_patterns_and_standard_input(saved, tmp_path, run_json, monkeypatch):
    for name in ("b1.png", "b2.png", "c.png"):
        Image.fromarray(RNG.integers(0, 256, (28, 28), dtype=np.uint8)).save(tmp_path / name)
    found = run_json("predict", saved[0], tmp_path / "b?.png")
    assert [Path(row["path"]).name for row in found] == ["b1.png", "b2.png"]
    stream = io.TextIOWrapper(io.BytesIO((tmp_path / "b2.png").read_bytes()))
    monkeypatch.setattr(sys, "stdin", stream)
    (piped,) = run_json("predict", saved[0], "-")
    assert piped["path"] == "-"
    assert piped["label"] == found[1]["label"]
    assert piped["probability"] == pytest.approx(found[1]["probability"], abs=1e-6)


def test_what_is_no_image_on_standard_input_is_told(saved, run, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    code, _, err = run("predict", saved[0], "-")
    assert code == 1
    assert err.startswith("neoclassic: standard input: is empty\n")


def test_below_the_threshold_the_answer_is_unknown(saved, tmp_path, run_json, run):
    Image.fromarray(RNG.integers(0, 256, (28, 28), dtype=np.uint8)).save(tmp_path / "a.png")
    (plain,), (sure,), (unsure,) = (
        run_json("predict", saved[0], tmp_path / "a.png", *wish)
        for wish in ((), ("--threshold", "0.001"), ("--threshold", "1"))
    )
    assert plain == sure
    assert (unsure["label"], unsure["index"]) == ("unknown", None)
    assert unsure["top"] == plain["top"]
    (stored,) = run_json("predict", saved[0], tmp_path / "a.png", "--threshold", "stored")
    assert (stored["label"] == "unknown") == (plain["probability"] < 0.5)
    _, out, _ = run("predict", saved[0], tmp_path / "a.png", "--threshold", "1", "--csv", tmp_path / "a.csv")
    assert ": unknown (" in out
    assert "a.png,unknown,0." in (tmp_path / "a.csv").read_text()


def test_a_model_without_a_stored_threshold_says_so(saved, model, tmp_path, run):
    replace(model, calibration={}).save(tmp_path / "plain.safetensors")
    Image.new("L", (28, 28)).save(tmp_path / "a.png")
    code, _, err = run("predict", tmp_path / "plain.safetensors", tmp_path / "a.png", "--threshold", "stored")
    assert code == 2
    assert "no stored threshold" in err


# ── calibration ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("true", [0.3, 1.0, 4.0])
def test_the_temperature_that_made_the_labels_is_found(true):
    rng = np.random.default_rng(0)
    logits = 4 * rng.standard_normal((20_000, 5))
    labels = (softmax(logits, true).cumsum(1) < rng.random((20_000, 1))).sum(1).clip(max=4)
    assert calibration.calibrate(logits, labels) == pytest.approx(true, rel=0.05)


def test_a_temperature_minimises_the_loss():
    rng = np.random.default_rng(1)
    logits = 9 * rng.standard_normal((500, 4)).astype(np.float32)
    labels = np.where(rng.random(500) < 0.7, logits.argmax(1), rng.integers(0, 4, 500))

    def loss(temperature):
        return -np.log(softmax(logits, temperature)[np.arange(500), labels]).mean()

    best = calibration.calibrate(logits, labels)
    assert best > 2
    assert loss(best) < min(loss(best * 1.1), loss(best / 1.1), loss(1.0))


def test_few_images_without_a_mistake_do_not_make_certain():
    logits = np.float32(np.eye(4)[np.arange(20) % 4])
    temperature = calibration.calibrate(logits, np.arange(20) % 4)
    assert 0.9 < softmax(logits, temperature).max() < 0.99


@pytest.mark.parametrize(
    "logits", [np.zeros((0, 3)), np.zeros((4, 3)), np.full((4, 3), np.nan), np.full((4, 3), np.inf)]
)
def test_where_there_is_nothing_to_fit_the_temperature_is_1(logits):
    assert calibration.calibrate(logits, np.zeros(len(logits), int)) == 1.0


def test_from_the_stored_threshold_on_95_of_100_are_right():
    rng = np.random.default_rng(2)
    rows = softmax(3 * rng.standard_normal((4000, 3)))
    labels = (rows.cumsum(1) < rng.random((4000, 1))).sum(1).clip(max=2)
    limit = calibration.threshold(rows, labels)
    sure = rows.max(1) >= limit
    assert 0.5 < limit < 1
    assert np.mean(rows.argmax(1)[sure] == labels[sure]) == pytest.approx(0.95, abs=0.01)
    assert calibration.threshold(rows, rows.argmax(1)) == 0.0


@pytest.mark.parametrize("right", [[], [0], range(0, 100, 3), range(60)])
def test_no_threshold_is_stored_that_makes_all_but_a_few_answers_unknown(right):
    rng = np.random.default_rng(4)
    rows = np.sort(softmax(3 * rng.standard_normal((100, 3))))[:, ::-1]
    rows = rows[np.argsort(-rows[:, 0])]  # the most certain first, and all answers are class 0
    labels = np.ones(100, int)
    labels[list(right)] = 0
    stored = calibration.fit(np.log(rows), labels)
    assert calibration.threshold(rows, labels) is None
    assert stored.keys() == {"temperature", "n"}


# ── headers that lie ─────────────────────────────────────────────────────────────────────────────────

LIES = [None, 0, -1, 3, 10**12, 1.5, 1e308, "x", [], [1], {}, {"a": 1}, True, [[1]], [-1, -1], ["a", "b"]]


def places(value, path=()):
    """Where a header can lie: the path of every value in it."""
    yield path
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(inner, (*path, key))


def lying(header, path, lie):
    changed = json.loads(json.dumps(header))
    inside = changed
    for key in path[:-1]:
        inside = inside[key]
    inside[path[-1]] = lie
    return changed


def test_a_header_that_lies_is_refused_in_one_line_or_harmless(monkeypatch):
    """Whoever writes a header can write its checksum too: every value of it is replaced by every lie."""
    monkeypatch.setattr(sys.modules["neoclassic.measure"], "smallest_input", lambda *_: None)  # takes its time
    tree = Sequential(
        nodes.Conv2d(4, 3, padding=1),
        nodes.LocalResponseNorm(3),
        nodes.Tanh(),
        nodes.MaxPool2d(2),
        nodes.AdaptiveAvgPool2d(2),
        Flatten(),
        Linear(3),
    )
    weights, p = arrays.initial(tree, (1, 6, 6)), Preprocessing((6, 6), 1)
    header = Model("n", tree, (1, 6, 6), ("a", "b", "c"), p, weights, calibration={"temperature": 2.0}).header()
    header = json.loads(json.dumps(header))
    refused, image = [], np.zeros((1, 1, 6, 6), np.float32)
    for path in places(header):
        for lie in LIES if path else ():
            try:
                model = Model.of(lying(header, path, lie), weights)
                model.engine("numpy").logits(image)
            except NeoclassicError as error:
                refused.append(str(error))
    assert len(refused) > 300
    assert not any("\n" in line for line in refused)


# ── the document ─────────────────────────────────────────────────────────────────────────────────────


def test_the_commands_of_the_document_exist():
    text = (STANDALONE.parent / "deploy.md").read_text("utf-8")
    lines = re.findall(r"^    neoclassic (\S+)(.*)$", text, re.MULTILINE)
    assert {verb for verb, _ in lines} == {"predict", "serve", "export", "import", "list"}
    for verb, rest in lines:
        options = {option for parameter in cli.commands[verb].params for option in parameter.opts}
        assert set(re.findall(r"--[a-z][a-z0-9-]*", rest)) <= options
    serve = {parameter.opts[0]: parameter.default for parameter in cli.commands["serve"].params if parameter.opts}
    for option, default in (("--max-body", 32), ("--queue", 256), ("--timeout", 30)):
        assert re.search(rf"`{option}`.*\| {default}\b", text)
        assert serve[option] == default
    assert re.search(r"`--max-pixels`.*\| 67 million\b", text)
    assert Limits() == Limits(32 << 20, pixels=67_000_000, queue=256, seconds=30, images=64)
