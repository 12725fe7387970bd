"""Confusions, reliability and worst mistakes, compared with numbers computed by hand; the files of evaluate --out."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from neoclassic import networks
from neoclassic.cli import main
from neoclassic.data.preprocessing import Preprocessing
from neoclassic.engines import weights as arrays
from neoclassic.insight.review import Review
from neoclassic.model.artefact import Model
from neoclassic.model.evaluate import Evaluation

CLASSES = ("cat", "dog", "owl")
PROBABILITIES = np.array(
    [
        [0.95, 0.03, 0.02],  # right
        [0.10, 0.85, 0.05],  # a cat called dog
        [0.30, 0.60, 0.10],  # a cat called dog
        [0.02, 0.97, 0.01],  # right
        [0.01, 0.98, 0.01],  # an owl called dog: the worst
        [0.30, 0.30, 0.40],  # right
    ]
)
LABELS = np.array([0, 0, 0, 1, 2, 2])


def reviewed():
    names = tuple(f"photos/{i}.jpg" for i in range(6))
    return Review(Evaluation.of(np.log(PROBABILITIES), LABELS, CLASSES), PROBABILITIES, LABELS, names)


def test_the_most_confused_pairs_come_first():
    assert reviewed().pairs == [("cat", "dog", 2, pytest.approx(2 / 3)), ("owl", "dog", 1, pytest.approx(1 / 2))]


def test_the_worst_mistake_has_the_lowest_probability_of_the_true_class():
    assert reviewed().worst.tolist() == [4, 1, 2]


def test_reliability_by_hand():
    bins = {b.low: b for b in reviewed().reliability}
    assert set(bins) == {0.4, 0.6, 0.8, 0.9}
    assert (bins[0.9].n, bins[0.9].accuracy) == (3, pytest.approx(2 / 3))
    assert bins[0.9].confidence == pytest.approx((0.95 + 0.97 + 0.98) / 3)
    by_hand = (3 * abs(2 / 3 - 2.90 / 3) + abs(0 - 0.85) + abs(0 - 0.60) + abs(1 - 0.40)) / 6
    assert reviewed().calibration_error == pytest.approx(by_hand)


@pytest.fixture
def photos(tmp_path):
    """A model of three classes, and a folder of pictures of them."""
    rng = np.random.default_rng(0)
    for name in CLASSES:
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(12):
            Image.fromarray(rng.integers(0, 255, (30, 30, 3), np.uint8)).save(tmp_path / "photos" / name / f"{i}.png")
    tree, shape = networks.network("lenet", 3), (3, 28, 28)
    weights = arrays.initial(tree, shape, "xavier")
    Model("lenet", tree, shape, CLASSES, Preprocessing((28, 28), 3), weights).save(tmp_path / "m.safetensors")
    return tmp_path


def test_evaluate_writes_pictures_and_tables_with_file_names(photos, capsys):
    out = photos / "looked"
    call = ["evaluate", str(photos / "m.safetensors"), "--data", str(photos / "photos"), "--out", str(out), "--json"]
    assert main(call) == 0
    found = json.loads(capsys.readouterr().out)
    for name, path in found["files"].items():
        if path.endswith(".png"):
            with Image.open(path) as picture:
                assert picture.width > 300, name
    with (out / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == found["n"]
    assert all(row["image"].endswith(".png") for row in rows)
    right = sum(row["class"] == row["said"] for row in rows)
    assert right / len(rows) == found["accuracy"]
    with (out / "confusion.csv").open() as file:
        counts = [[int(n) for n in row[1:]] for row in list(csv.reader(file))[1:]]
    assert counts == found["confusion"]
    assert found["worst"][0]["probability"] > 0.3
    assert sum(pair["n"] for pair in found["most_confused"]) == len(rows) - right


def test_a_folder_that_cannot_be_written_is_an_error_of_one_line(photos, capsys):
    (photos / "file").write_text("")
    call = [
        "evaluate",
        str(photos / "m.safetensors"),
        "--data",
        str(photos / "photos"),
        "--out",
        str(photos / "file/x"),
    ]
    assert main(call) == 1
    assert "cannot make" in capsys.readouterr().err
