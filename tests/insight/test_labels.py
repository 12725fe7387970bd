"""Wrong labels are found by models that have not seen the image; copies stay in one fold."""

import csv
from dataclasses import replace

import numpy as np
import pytest
from helpers import fill_photos, write_idx
from PIL import Image

import neoclassic as nc
from benchmarks.labels import flipped, measured
from neoclassic.data.folds import divided, groups
from neoclassic.insight.labels import examine, suggested, suspicious
from neoclassic.train.run import Settings

# ── folds ────────────────────────────────────────────────────────────────────────────────────────────


def test_folds_are_stratified_and_keep_groups_together():
    rng = np.random.default_rng(0)
    labels, group = rng.integers(0, 3, 200), np.arange(200)
    group[100:130] = group[:30]  # copies
    fold = divided(labels, group, 5, seed=0)
    assert (fold[100:130] == fold[:30]).all()
    for label in range(3):
        counts = np.bincount(fold[labels == label], minlength=5)
        assert np.ptp(counts) <= 4
    assert (fold == divided(labels, group, 5, seed=0)).all()
    assert (fold != divided(labels, group, 5, seed=1)).any()


def test_copies_and_almost_equal_images_are_one_group(fashion):
    part = fashion.train.subset(np.r_[0:40, 3, 4])
    images = part.images.copy()
    images[41] = (images[41] * 0.9).astype(np.uint8)  # darker
    group = groups(replace(part, images=images, origin=""))
    assert group[40] == group[3]
    assert group[41] == group[4]
    assert groups(replace(part, images=images, origin=""), near=False)[40:].tolist() == [3, 41]


# ── confident learning ───────────────────────────────────────────────────────────────────────────────


def test_what_is_confidently_another_class_is_suspicious():
    p = np.array([[0.9, 0.1], [0.8, 0.2], [0.45, 0.55], [0.2, 0.8], [0.3, 0.7], [0.95, 0.05]])
    labels = np.array([0, 0, 0, 1, 1, 1])  # the last one is wrong, the third one only difficult
    assert suggested(p, labels).tolist() == [0, 0, 1, 1, 1, 0]
    assert suspicious(p, labels).tolist() == [5, 2]
    assert suspicious(p[:2], labels[:2]).tolist() == []  # a class without images is no suspicion


@pytest.fixture(scope="module")
def judged(fashion):
    """Trousers, sandals and bags, a thirtieth of them under another label, and what is found."""
    keep = np.flatnonzero(np.isin(fashion.train.labels[:4000], [1, 5, 8]))
    part = fashion.train.subset(keep)
    part = replace(
        part, labels=np.searchsorted([1, 5, 8], part.labels), classes=("trouser", "sandal", "bag"), origin=""
    )
    changed, wrong = flipped(part, 0.03, similar=False)
    return changed, wrong, examine(changed, epochs=10, folds=3, settings=Settings("numpy"))


def test_flipped_labels_are_found_and_hardly_any_other(judged):
    changed, wrong, found = judged
    row = measured(found, wrong)
    assert row["flipped"] >= 30
    assert row["precision"] > 0.7
    assert row["recall"] > 0.8
    first = found.order[0]
    assert found.rows()[0]["label"] == changed.classes[changed.labels[first]]
    assert found.pixels.shape[1:] == (28, 28, 1)


def test_the_report_the_table_and_the_gallery_name_them(judged, tmp_path):
    _, _, found = judged
    picture = found.write(tmp_path / "suspects.csv")
    rows = list(csv.DictReader((tmp_path / "suspects.csv").read_text("utf-8").splitlines()))
    assert len(rows) == len(found.order)
    assert float(rows[0]["probability_of_likely"]) >= float(rows[-1]["probability_of_likely"])
    with Image.open(picture) as image:
        assert min(image.size) > 200
    assert f"about {len(rows)} of {len(found.labels):,} labels are probably wrong" in repr(found)
    assert found._repr_html_().count("<figure>") == min(len(rows), 100)


# ── the command ──────────────────────────────────────────────────────────────────────────────────────


def test_check_labels_reads_a_folder_of_arrays_and_writes_table_and_gallery(fashion, tmp_path, run_json, run):
    keep = np.flatnonzero(np.isin(fashion.train.labels[:900], [1, 8]))
    labels = (fashion.train.labels[keep] == 8).astype(np.int64)
    labels[7] = 1 - labels[7]
    (tmp_path / "data").mkdir()
    for role, n in (("train", 120), ("t10k", 30)):
        write_idx(tmp_path / "data" / f"{role}-images-idx3-ubyte.gz", fashion.train.images[keep][:n, :, :, 0])
        write_idx(tmp_path / "data" / f"{role}-labels-idx1-ubyte.gz", labels[:n])
    out = tmp_path / "suspects.csv"
    check = ("check", tmp_path / "data", "--labels", "--engine", "numpy", "--out", out)
    found = run_json(*check, "--folds", "3", "--epochs", "6")
    assert "train image 7" in {row["image"] for row in found["suspects"][:2]}
    assert out.exists()
    assert (tmp_path / "suspects.png").exists()
    assert run(*check, "--folds", "1") == (2, "", "neoclassic: folds must be at least 2, not 1\n")
    code, _, err = run("check", tmp_path / "data", "--epochs", "3")
    assert (code, err) == (2, "neoclassic: --epochs works only with --labels: add --labels, or leave it out\n")


def test_photos_are_judged_by_the_features_of_given_weights(tmp_path, monkeypatch):
    monkeypatch.setenv("NEOCLASSIC_CACHE", str(tmp_path / "cache"))
    photos = fill_photos(tmp_path / "photos", ["red", "green"], 30)
    (photos / "red" / "5.jpg").rename(photos / "green" / "misplaced.jpg")
    trained = nc.train("lenet:bn", photos, out=tmp_path / "run", image_size=28, **QUIET)  # any features will do
    found = nc.check_labels(photos, network="lenet:bn", weights=trained.model, image_size=28, engine="numpy")
    first = found.rows()[0]
    assert first["image"].endswith("misplaced.jpg")
    assert (first["label"], first["likely"]) == ("green", "red")


QUIET = {"engine": "numpy", "verbose": False, "epochs": 2, "batch_size": 8, "learning_rate": 0.01}
