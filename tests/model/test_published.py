"""Weights by name: the table against torchvision's, and every way in which a file arrives or does not."""

import hashlib
import json
import os
import shutil
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers import fill_photos, torchvision_module
from mirrors import dead, mirror
from PIL import Image

import neoclassic as nc
from neoclassic.base.errors import NeoclassicError, UsageError
from neoclassic.data import cache
from neoclassic.data.preprocessing import read_pixels, to_input
from neoclassic.model import published
from neoclassic.model.artefact import Model
from neoclassic.model.published import PUBLISHED
from neoclassic.model.torchvision import NETWORKS

torch = pytest.importorskip("torch")
pytest.importorskip("torchvision")
from torchvision import models  # noqa: E402

NAME = "mobilenet-v3-small"
ROWS = [pytest.param(row, id=f"{row.network} v{row.version}") for row in PUBLISHED]


def of_torchvision(row):
    """torchvision's own record of the same weights."""
    name = row.network.removesuffix(":torchvision").replace(":", "_").replace("-", "_")
    return models.get_model_weights(name)[f"IMAGENET1K_V{row.version}"]


# ── the table ────────────────────────────────────────────────────────────────────────────────────────


def test_it_has_all_that_torchvision_publishes_for_its_networks():
    assert {row.network for row in PUBLISHED} == set(NETWORKS)
    for name in NETWORKS:
        module = name.removesuffix(":torchvision").replace(":", "_").replace("-", "_")
        theirs = [w.name for w in models.get_model_weights(module) if w.name.startswith("IMAGENET1K_V")]
        assert theirs == [f"IMAGENET1K_V{row.version}" for row in PUBLISHED if row.network == name]


@pytest.mark.parametrize("row", ROWS)
def test_a_row_says_what_torchvision_says(row):
    theirs = of_torchvision(row)
    preset, p = theirs.transforms(), row.preprocessing
    assert row.address == theirs.url
    assert row.file.endswith(f"-{row.sha256}.pth")
    assert int(row.sha256, 16) >= 0
    assert row.top1 == theirs.meta["_metrics"]["ImageNet-1K"]["acc@1"]
    assert row.size == pytest.approx(theirs.meta["_file_size"], abs=0.06)
    assert (preset.resize_size, preset.crop_size) == ([row.resize], [row.crop])
    assert preset.interpolation.value == row.filter == p.filter
    assert [round(side / p.keep) for side in p.size] == [row.resize] * 2
    assert published.classes() == tuple(theirs.meta["categories"])


PRESETS = [row for row in PUBLISHED if (row.network, row.version) in [("resnet50", 1), ("resnet50", 2)]]
PRESETS += [row for row in PUBLISHED if row.network.startswith("googlenet")]


@pytest.mark.parametrize("row", PRESETS, ids=lambda row: f"{row.network} v{row.version}")
@pytest.mark.parametrize("size", [(640, 427), (333, 500), (224, 224), (90, 1200), (257, 256)], ids=str)
def test_the_input_is_that_of_torchvisions_preset(row, size, tmp_path):
    rng = np.random.default_rng(size)
    small = rng.integers(0, 256, (size[1] // 9 + 1, size[0] // 9 + 1, 3), np.uint8)
    image = Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)
    image.save(tmp_path / "photo.png")
    theirs = of_torchvision(row).transforms()(image)[None]
    if row.network.startswith("googlenet"):  # the rest of the preset is in torchvision's network
        module = torchvision_module(row.network, transform_input=True)
        theirs = module._transform_input(theirs)
    ours = to_input(read_pixels(tmp_path / "photo.png", row.preprocessing)[None], row.preprocessing)
    assert np.abs(ours - theirs.numpy()).max() <= 1e-6


def test_names_choose_a_version():
    def version(network, weights):
        return published.published(network, weights).name

    assert version("resnet50", "imagenet") == version("resnet50", "imagenet:v2") == "imagenet:v2"
    assert version("resnet50", "imagenet:v1") == version("resnet18", "imagenet") == "imagenet:v1"
    with pytest.raises(UsageError, match=r"'imagenet:v2' of resnet18 are published; known: imagenet, imagenet:v1$"):
        version("resnet18", "imagenet:v2")
    none = "^no ImageNet weights are published for"
    with pytest.raises(UsageError, match=rf"{none} alexnet; they are for alexnet:torchvision$"):
        version("alexnet", "imagenet")
    with pytest.raises(UsageError, match=rf"{none} lenet; they are for alexnet:torchvision, vgg11, .*-small$"):
        version("lenet", "imagenet")


# ── the file ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """A file of torch.save with random weights of NAME, as bytes."""
    rng, state = torch.Generator().manual_seed(1), {}
    for key, tensor in torchvision_module(NAME).state_dict().items():
        spread = tensor[0].numel() ** -0.5 if tensor.dim() > 1 else 1
        state[key] = torch.rand(tensor.shape, generator=rng) * spread if tensor.dim() else torch.zeros((), dtype=int)
    file = tmp_path_factory.mktemp("published") / "file.pth"
    torch.save(state, file)
    return file.read_bytes()


@pytest.fixture
def row(content, monkeypatch, tmp_path):
    """The row of NAME with the checksum of that file; no network, an empty cache and an empty folder of torchvision."""
    name = f"mobilenet_v3_small-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    mine = next(replace(row, file=name) for row in PUBLISHED if row.network == NAME)
    monkeypatch.setattr(published, "PUBLISHED", tuple(mine if row.network == NAME else row for row in PUBLISHED))
    monkeypatch.setattr("neoclassic.model.pretrained.PUBLISHED", published.PUBLISHED)
    monkeypatch.setattr(published, "HOST", dead())
    monkeypatch.setenv("NEOCLASSIC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return mine


@pytest.fixture
def served(row, content, monkeypatch):
    """The same with a server that has the file; its requests."""
    with mirror(content) as (address, requests):
        monkeypatch.setattr(published, "HOST", address)
        yield requests


def put(folder, row, content):
    folder.mkdir(parents=True)
    (folder / row.file).write_bytes(content)
    return folder / row.file


def test_it_is_downloaded_once_listed_and_cleared(row, content, served, tmp_path, run):
    path = published.located(row)
    assert path == tmp_path / "cache" / "weights" / row.file
    assert path.read_bytes() == content
    assert published.located(row) == path
    assert len(served) == 1
    _, out, _ = run("cache")
    assert "downloaded: weights" in out
    assert run("cache", "--clear", "weights")[0] == 0
    assert not path.parent.exists()


def test_a_cut_download_goes_on(row, content, monkeypatch):
    with mirror(content, cut=(1 << 20,)) as (address, requests):
        monkeypatch.setattr(published, "HOST", address)
        assert published.located(row).read_bytes() == content
    assert requests[1][1] == f"bytes={1 << 20}-"


@pytest.mark.parametrize("home", ["TORCH_HOME", "XDG_CACHE_HOME", "HOME"])
def test_what_torchvision_has_downloaded_is_used(home, row, content, monkeypatch, tmp_path):
    for name in ("TORCH_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(home, str(tmp_path / "there"))
    inside = {"TORCH_HOME": "", "XDG_CACHE_HOME": "torch", "HOME": ".cache/torch"}[home]
    file = put(tmp_path / "there" / inside / "hub" / "checkpoints", row, content)
    assert published.located(row) == file
    assert not (tmp_path / "cache").exists()


def test_a_damaged_file_is_not_used(row, content, served, tmp_path):
    put(tmp_path / "torch" / "hub" / "checkpoints", row, content[:-1])
    put(tmp_path / "cache" / "weights", row, content[::-1])
    assert published.located(row).read_bytes() == content
    assert len(served) == 1


@pytest.mark.parametrize(
    ("host", "reason"),
    [
        (lambda content: mirror(status=404), "answered 404"),
        (lambda content: mirror(content[::-1]), "wrong checksum"),
        (lambda content: mirror(content, cut=(9, 9, 9)), "interrupted 3 times"),
        (None, "refused"),
    ],
)
def test_what_cannot_be_downloaded_is_one_line_that_says_what_to_do(host, reason, row, content, monkeypatch, run):
    with host(content) if host else mirror() as (address, _):
        monkeypatch.setattr(published, "HOST", address if host else dead())
        code, out, err = run("predict", f"{NAME}@imagenet", __file__)
    folder = cache.folder() / "weights"
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    for part in (reason, row.address, row.sha256, f"put it into {folder}"):
        assert part in err
    assert not (folder / row.file).exists()
    (folder / row.file).write_bytes(content)  # which the user does then
    assert published.located(row) == folder / row.file


def test_a_full_disk_is_one_line(row, served, tmp_path, run):
    (tmp_path / "cache" / "weights").mkdir(parents=True)
    (tmp_path / "cache" / "weights" / f"{row.file}.part").symlink_to("/dev/full")
    code, _, err = run("predict", f"{NAME}@imagenet", __file__)
    assert code == 1
    assert err.endswith(".part: No space left on device; set NEOCLASSIC_CACHE\n")


def test_a_cache_that_cannot_be_written_is_one_line_unless_torchvision_has_the_file(
    row, content, served, tmp_path, run
):
    (tmp_path / "cache").write_text("a file")
    code, _, err = run("predict", f"{NAME}@imagenet", __file__)
    assert code == 1
    assert "cannot write" in err
    assert err.endswith("; set NEOCLASSIC_CACHE\n")
    file = put(tmp_path / "torch" / "hub" / "checkpoints", row, content)
    assert published.located(row) == file


# ── the doors ────────────────────────────────────────────────────────────────────────────────────────


def test_create_takes_the_name(row, served):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        module = nc.torch.create(NAME, weights="imagenet")
    assert not caught
    theirs = torch.load(cache.folder() / "weights" / row.file)
    assert torch.equal(module.stem.conv.weight, theirs["features.0.0.weight"])
    assert torch.equal(module.classifier.fc2.bias, theirs["classifier.3.bias"])
    with pytest.raises(UsageError, match="they are for mobilenet-v2, mobilenet-v3-large, mobilenet-v3-small"):
        nc.torch.create("mobilenet-v1", weights="imagenet")


TRAIN = ("--image-size", 32, "--fit", "crop", "--batch-size", 4, "--epochs", 1, "--engine", "torch", "--precision", 32)


def train(run, photos, out, *options):
    return run("train", NAME, "--data", photos, *TRAIN, "--out", out, *options)


def test_training_records_the_version_and_its_bytes_do_not_depend_on_where_the_file_was(
    row, content, served, tmp_path, run
):
    photos = fill_photos(tmp_path / "photos", ("a", "b"), 6)
    assert train(run, photos, tmp_path / "one", "--weights", "imagenet", "--max-steps", 1)[0] == 0
    assert json.loads((tmp_path / "one" / "recipe.json").read_text())["weights"] == "imagenet:v1"
    shutil.rmtree(tmp_path / "cache")
    put(tmp_path / "torch" / "hub" / "checkpoints", row, content)
    assert train(run, photos, tmp_path / "two", "--weights", "imagenet:v1", "--max-steps", 1)[0] == 0
    one, two = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "two"))
    assert one == two
    p = Model.load(tmp_path / "one").preprocessing
    assert (p.mean, p.std) == published.IMAGENET
    assert len(served) == 1


def test_a_run_that_is_resumed_does_not_need_the_file_again(row, content, tmp_path, run, monkeypatch):
    photos = fill_photos(tmp_path / "photos", ("a", "b"), 6)
    file = put(tmp_path / "cache" / "weights", row, content)
    out, weights = tmp_path / "run", ("--weights", "imagenet")
    assert train(run, photos, tmp_path / "whole", *weights)[0] == 0
    with monkeypatch.context() as killed:
        killed.setattr("neoclassic.train.loop.finish", lambda *_: sys.exit(9))
        with pytest.raises(SystemExit):
            train(run, photos, out, *weights)
    file.unlink()
    code, _, err = run("train", "--resume", out)
    assert code == 0, err
    whole, resumed = (Path(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "run"))
    assert whole == resumed


def test_the_default_size_is_the_one_that_the_weights_were_trained_at(row, content, tmp_path, run):
    put(tmp_path / "cache" / "weights", row, content)
    photos = fill_photos(tmp_path / "photos", ("a", "b"), 6)
    options = ("--data", photos, "--batch-size", 4, "--max-steps", 1, "--engine", "torch", "--precision", 32)
    code, _, err = run("train", NAME, "--weights", "imagenet", *options, "--out", tmp_path / "large")
    assert code == 0, err
    assert Model.load(tmp_path / "large").input == (3, 224, 224)
    code, _, err = train(run, photos, tmp_path / "small", "--max-steps", 1)
    assert code == 0, err
    code, _, err = run("train", NAME, "--weights", tmp_path / "small", *options, "--out", tmp_path / "after")
    assert code == 0, err
    assert Model.load(tmp_path / "after").input == (3, 32, 32)


def test_mean_and_deviation_can_be_others(row, content, tmp_path, run):
    put(tmp_path / "cache" / "weights", row, content)
    photos = fill_photos(tmp_path / "photos", ("a", "b"), 6)
    given = ("--weights", "imagenet", "--max-steps", 1)
    assert train(run, photos, tmp_path / "r", *given, "--mean", "0.5", "--std", "0.5,0.25,0.5")[0] == 0
    p = Model.load(tmp_path / "r").preprocessing
    assert (p.mean, p.std) == ((0.5,), (0.5, 0.25, 0.5))
    for options, reason in (
        (("--mean", "0.5,0.5"), "mean must be 1 number, or 1 for each of the 3 channels, not (0.5, 0.5)"),
        (("--std", "0"), "std must be above 0, not (0.0,)"),
        (("--mean", "x"), "'x': write numbers separated by commas"),
    ):
        code, _, err = train(run, photos, tmp_path / "s", *given, *options)
        assert code == 2
        assert reason in err.splitlines()[-1]
    assert not (tmp_path / "s").exists()


def test_an_unknown_name_fails_before_anything_is_written(row, tmp_path, run):
    code, _, err = run("train", "lenet", "--weights", "imagenet", "--out", tmp_path / "r")
    assert code == 2
    assert "no ImageNet weights are published for lenet; they are for" in err
    assert not (tmp_path / "r").exists()


def test_without_a_home_folder_torchvisions_is_not_looked_for(row, monkeypatch):
    for name in ("NEOCLASSIC_CACHE", "XDG_CACHE_HOME", "TORCH_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError))
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    with pytest.raises(NeoclassicError, match="no home folder to keep a cache in: set NEOCLASSIC_CACHE"):
        published.located(row)
