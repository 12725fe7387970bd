"""nc.Classifier: scikit-learn's habits, over arrays and folders, and one file to keep it in."""

import copy
import gc
import os
import pickle
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import neoclassic as nc
from neoclassic.model.artefact import Model

# a few epochs on a few images are no more than a try
pytestmark = pytest.mark.filterwarnings("ignore:the model is no better than chance", "ignore:the calibration stopped")


def photos(n, seed=0, size=28):
    """Grey images of two kinds, dark above or dark below, with noise; and which they are."""
    rng = np.random.default_rng(seed)
    kinds = np.arange(n) % 2
    ramp = np.linspace(30, 220, size)[:, None] + rng.normal(0, 20, (n, size, size))
    images = np.where(kinds[:, None, None], ramp, ramp[:, ::-1])
    return images.clip(0, 255).astype(np.uint8), kinds


def small(**parameters):
    """A Classifier that learns the two kinds in seconds."""
    given = {"epochs": 6, "batch_size": 16, "learning_rate": 0.01, "engine": "numpy"}
    return nc.Classifier(**{"network": "lenet:bn"} | given | parameters)


@pytest.fixture(scope="module")
def fitted():
    X, y = photos(160)
    return small().fit(X, np.array(["up", "down"])[y])


# ── arrays ───────────────────────────────────────────────────────────────────────────────────────────


def test_it_learns_and_answers_with_the_labels_it_was_given(fitted):
    X, y = photos(60, seed=1)
    labels = np.array(["up", "down"])[y]
    assert fitted.classes_.tolist() == ["down", "up"]
    assert fitted.score(X, labels) > 0.95
    assert np.mean(fitted.predict(X) == labels) == fitted.score(X, labels)
    rows = fitted.predict_proba(X)
    assert rows.shape == (60, 2)
    np.testing.assert_allclose(rows.sum(1), 1)
    assert (fitted.classes_[rows.argmax(1)] == fitted.predict(X)).all()


def test_integers_stay_integers_even_through_a_file(tmp_path):
    X, y = photos(80)
    numbers = np.array([7, -3])[y]
    clf = small(epochs=2).fit(X, numbers)
    clf.save(tmp_path / "m.safetensors")
    for one in (clf, nc.load(tmp_path / "m.safetensors", engine="numpy")):
        assert one.classes_.tolist() == [-3, 7]
        assert one.predict(X[:5]).dtype.kind == "i"
        assert one.score(X, numbers) == clf.score(X, numbers)


def test_the_artefact_claims_no_test_set_that_there_was_not(fitted):
    assert set(fitted.model_.metrics) == {"epoch", "validation"}
    assert fitted.model_.metrics["validation"]["n"] == 16
    assert fitted.model_.calibration["n"] == 16


def test_images_may_come_in_every_usual_form(fitted, tmp_path):
    X, _ = photos(3, seed=2)
    for i, pixels in enumerate(X):
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    expected = fitted.predict_proba(X)
    forms = [
        X[..., None],
        np.repeat(X[..., None], 3, 3),
        list(X),
        paths,
        list(map(str, paths)),
        tmp_path,
        str(tmp_path),
    ]
    for form in [*forms, [Image.fromarray(pixels) for pixels in X]]:
        np.testing.assert_allclose(fitted.predict_proba(form), expected, atol=1e-6)
    np.testing.assert_allclose(fitted.predict_proba(paths[1]), expected[1:2], atol=1e-6)


def test_equal_seeds_learn_equal_networks():
    X, y = photos(64)
    one, same, other = (small(epochs=1, seed=seed).fit(X, y).predict_proba(X) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 1e-3


# ── folders ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_folder_is_learnt_and_scored_by_its_classes_names(tmp_path, monkeypatch):
    monkeypatch.setenv("NEOCLASSIC_CACHE", str(tmp_path / "cache"))
    for part, n in (("train", 80), ("test", 30)):
        for i, (pixels, kind) in enumerate(zip(*photos(n, seed=n), strict=True)):
            path = tmp_path / "photos" / part / ("up", "down")[kind] / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    clf = small().fit(tmp_path / "photos")
    assert clf.classes_.tolist() == ["down", "up"]
    assert clf.score(tmp_path / "photos") == clf.model_.metrics["test"]["accuracy"] > 0.9
    assert clf.model_.metrics["test"]["n"] == 30
    assert set(clf.predict(tmp_path / "photos" / "test" / "up")) == {"up"}


def test_fit_says_what_a_folder_was_taken_for_and_names_no_folder_that_is_gone(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("NEOCLASSIC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for i, (pixels, kind) in enumerate(zip(*photos(40), strict=True)):
        path = tmp_path / "photos" / ("up", "down")[kind] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    path.write_bytes(path.read_bytes()[:200])
    clf = small(epochs=1).fit(tmp_path / "photos")
    told = capsys.readouterr().err
    assert "40 images in 2 classes" in told
    assert "20% of each class, 8 images, are the test set" in told
    assert f"1 image that cannot be read is left out: {path}" in told
    assert "neoclassic-" not in told
    assert "epoch 1/1" not in told
    clf.set_params(verbose=True).fit(tmp_path / "photos")
    assert "epoch 1/1" in capsys.readouterr().err
    clf.set_params(verbose=False).fit(tmp_path / "photos")
    assert capsys.readouterr() == ("", "")


def test_the_history_is_a_table_of_the_epochs(fitted):
    assert [row["epoch"] for row in fitted.history_] == [1, 2, 3, 4, 5, 6]
    assert {tuple(row) for row in fitted.history_} == {tuple(fitted.history_[0])}
    assert list(fitted.history_[0])[2:6] == ["train_loss", "train_accuracy", "validation_loss", "validation_accuracy"]
    assert all(isinstance(value, int | float) for row in fitted.history_ for value in row.values())
    best = fitted.model_.metrics["validation"]["accuracy"]
    assert max(row["validation_accuracy"] for row in fitted.history_) == pytest.approx(best, abs=1e-6)


# ── files ────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_saved_answers_the_same_when_loaded(fitted, tmp_path):
    X, _ = photos(20, seed=3)
    fitted.save(tmp_path / "kinds.safetensors")
    for engine in ("numpy", "torch", "onnx"):
        loaded = nc.load(tmp_path / "kinds.safetensors", engine=engine)
        np.testing.assert_allclose(loaded.predict_proba(X), fitted.predict_proba(X), atol=1e-5)
        assert loaded.predict(X).tolist() == fitted.predict(X).tolist()
    assert loaded.network == "lenet:bn"
    assert Model.load(tmp_path / "kinds.safetensors").checksum == fitted.model_.checksum


def test_an_exported_file_loads_too(fitted, tmp_path):
    from neoclassic.model.export import export

    X, _ = photos(20, seed=3)
    export(fitted.model_, tmp_path / "kinds.onnx")
    np.testing.assert_allclose(nc.load(tmp_path / "kinds.onnx").predict_proba(X), fitted.predict_proba(X), atol=1e-5)


def test_a_run_is_kept_where_out_says_so(tmp_path):
    X, y = photos(64)
    clf = small(epochs=1, out=str(tmp_path / "run")).fit(X, y)
    assert (tmp_path / "run" / "log.csv").is_file()
    np.testing.assert_allclose(nc.load(tmp_path / "run").predict_proba(X), clf.predict_proba(X), atol=1e-5)


def test_a_fitted_one_is_not_pickled(fitted):
    with pytest.raises(TypeError, match=r"save\(\) and neoclassic.load\(\)"):
        pickle.dumps(fitted)
    assert pickle.loads(pickle.dumps(small())).get_params() == small().get_params()


# ── scikit-learn's habits ────────────────────────────────────────────────────────────────────────────


def test_parameters_are_what_the_constructor_takes():
    clf = nc.Classifier("resnet18", epochs=20)
    assert clf.get_params()["epochs"] == 20
    assert nc.Classifier(**clf.get_params()).get_params() == clf.get_params()
    assert clf.set_params(epochs=3, seed=1) is clf
    assert repr(clf) == "Classifier('resnet18', epochs=3, seed=1)"
    assert copy.deepcopy(clf).get_params() == clf.get_params()
    with pytest.raises(nc.UsageError, match="did you mean 'epochs'"):
        clf.set_params(epoch=3)


def test_scikit_learn_takes_it_as_one_of_its_own():
    from sklearn.base import clone, is_classifier
    from sklearn.model_selection import cross_val_score

    X, y = photos(120)
    clf = small(epochs=4)
    assert is_classifier(clf)
    copied = clone(clf)
    assert copied is not clf
    assert copied.get_params() == clf.get_params()
    scores = cross_val_score(clf, X, y, cv=2)
    assert scores.shape == (2,)
    assert scores.min() > 0.8
    assert not hasattr(clf, "model_")


def test_it_needs_neither_scikit_learn_nor_torch(tmp_path):
    X, y = photos(40)
    np.savez(tmp_path / "kinds.npz", X=X, y=y)
    code = (
        "import sys; sys.modules['sklearn'] = sys.modules['torch'] = None\n"
        "import numpy as np, neoclassic as nc\n"
        f"data = np.load({str(tmp_path / 'kinds.npz')!r})\n"
        "clf = nc.Classifier('lenet:bn', epochs=1).fit(data['X'], data['y'])\n"
        "print(clf.predict(data['X']).shape, clf.model_.versions.get('torch'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "(40,) None\n", done.stderr


# ── ended early ──────────────────────────────────────────────────────────────────────────────────────


def interrupted(monkeypatch, after):
    """Let Ctrl-C be pressed in a step."""
    from neoclassic.engines.numpy import NumpyEngine

    steps, step = [], NumpyEngine.step

    def counted(self, *arguments, **named):
        steps.append(1)
        step(self, *arguments, **named)
        if len(steps) == after:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(NumpyEngine, "step", counted)
    return steps


@pytest.fixture
def default_ctrl_c():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_in_fit_is_a_keyboard_interrupt_and_keeps_the_best_model(monkeypatch, default_ctrl_c):
    X, y = photos(160)
    interrupted(monkeypatch, 22)  # of 9 an epoch
    clf = small()
    with pytest.raises(KeyboardInterrupt) as error:
        clf.fit(X, np.array(["up", "down"])[y])
    assert not isinstance(error.value, Exception)
    stopped = "stopped in epoch 3, after step 22 of 54; the best model so far is in model_"
    assert str(error.value) == f"{stopped}; continue with: fit(X, y, resume=True)"
    assert [row["epoch"] for row in clf.history_] == [1, 2]
    assert clf.predict(X).shape == (160,)
    assert clf.classes_.tolist() == ["down", "up"]
    assert set(clf.model_.metrics) == {"epoch", "validation"}


def test_a_fit_that_was_stopped_is_continued_to_the_same_bytes(monkeypatch, default_ctrl_c, tmp_path):
    X, y = photos(160)
    whole = small(epochs=3).fit(X, y)
    for clf in (small(epochs=3), small(epochs=3, out=str(tmp_path / "run"))):
        interrupted(monkeypatch, 12)
        with pytest.raises(KeyboardInterrupt, match=r"continue with: fit\(X, y, resume=True\)$"):
            clf.fit(X, y)
        with pytest.raises(nc.UsageError, match="different parameters"):
            clf.set_params(learning_rate=0.5).fit(X, y, resume=True)
        clf.set_params(learning_rate=0.01).fit(X, y, resume=True)
        np.testing.assert_array_equal(clf.predict_proba(X), whole.predict_proba(X))
        assert [row["epoch"] for row in clf.history_] == [1, 2, 3]
    with pytest.raises(nc.UsageError, match=r"holds a run already: fit\(…, resume=True\) continues it"):
        clf.fit(X, y)
    with pytest.raises(nc.UsageError, match="there is no training to continue"):
        small().fit(X, y, resume=True)


def test_what_was_stopped_leaves_no_folder_behind(monkeypatch, default_ctrl_c, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    interrupted(monkeypatch, 22)
    clf = small()
    with pytest.raises(KeyboardInterrupt) as error:
        clf.fit(*photos(160))
    assert len(list(tmp_path.iterdir())) == 1  # what resume=True continues
    del error, clf
    gc.collect()
    assert not list(tmp_path.iterdir())


def test_a_second_ctrl_c_keeps_the_best_model_too(monkeypatch, default_ctrl_c):
    from neoclassic.engines.numpy import NumpyEngine

    steps, step = [], NumpyEngine.step

    def slow(self, *arguments, **named):
        steps.append(1)
        step(self, *arguments, **named)
        for _ in range(2 if len(steps) == 22 else 0):
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(NumpyEngine, "step", slow)
    clf = small()
    with pytest.raises(KeyboardInterrupt, match=r"^stopped; the best model so far is in model_"):
        clf.fit(*photos(160))
    assert [row["epoch"] for row in clf.history_] == [1, 2]


def test_ctrl_c_before_the_first_epoch_ends_keeps_nothing_and_says_so(monkeypatch, default_ctrl_c):
    interrupted(monkeypatch, 3)
    clf = small()
    with pytest.raises(KeyboardInterrupt, match=r"stopped in epoch 1, .*; there is no model yet, as no epoch was fin"):
        clf.fit(*photos(160))
    assert not hasattr(clf, "model_")


def test_ctrl_c_with_a_folder_says_what_goes_on_from_there(monkeypatch, default_ctrl_c, idx_folder, tmp_path, run):
    interrupted(monkeypatch, 3)
    clf = nc.Classifier("lenet", epochs=1, engine="numpy", out=str(tmp_path / "run"))
    with pytest.raises(KeyboardInterrupt, match=f"or neoclassic train --resume {tmp_path / 'run'}$"):
        clf.fit(idx_folder)
    assert run("train", "--resume", tmp_path / "run")[0] == 0


def test_ctrl_c_ends_a_search(monkeypatch, default_ctrl_c):
    from sklearn.model_selection import GridSearchCV

    steps = interrupted(monkeypatch, 2)
    search = GridSearchCV(small(), {"learning_rate": [0.1, 0.01]}, cv=2, refit=False)
    with pytest.raises(KeyboardInterrupt):
        search.fit(*photos(80))
    assert len(steps) == 2


def test_a_diverged_fit_names_no_folder_that_is_gone():
    X, y = photos(160)
    with pytest.raises(nc.NeoclassicError, match=r"the loss became .*: try learning_rate=1e\+37; .* model") as error:
        small(network="lenet", learning_rate=1e38).fit(X, y)
    assert "/" not in str(error.value)
    assert "--" not in str(error.value)


def test_ctrl_c_on_the_command_line_is_one_line_that_says_how_to_go_on(
    monkeypatch, default_ctrl_c, idx_folder, tmp_path, run
):
    interrupted(monkeypatch, 3)
    code, out, err = run("train", "lenet", "--data", idx_folder, "--engine", "numpy", "--out", tmp_path / "run")
    assert (code, out) == (1, "")
    assert err.splitlines()[1:] == [
        f"neoclassic: stopped in epoch 1, after step 3 of {err.split(' of ')[-1].split(';')[0]}; "
        f"resume with: neoclassic train --resume {tmp_path / 'run'}"
    ]


# ── errors ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda X, y: nc.Classifier("lenett").fit(X, y), "did you mean 'lenet'"),
        (lambda X, y: small().fit(X), "needs a label for each image"),
        (lambda X, y: small().fit(X, y[:-1]), "40 images but 39 labels"),
        (lambda X, y: small().fit(X / 255, y), "give uint8"),
        (lambda X, y: small().fit(X[:4], y[:4]), "too few"),
        (lambda X, y: small().fit("photos", y), "call fit\\(\\) with the folder alone"),
        (lambda X, y: small().fit("no/such/folder"), "no data folder"),
        (lambda X, y: small(epochs=0).fit(X, y), "epochs must be at least 1"),
        (lambda X, y: small(engine="onnx").fit(X, y), "only predicts"),
        (lambda X, y: small().predict(X), "not fitted"),
        (lambda X, y: small().save("m.safetensors"), "not fitted"),
    ],
)
def test_wrong_calls_are_usage_errors_of_one_line(call, reason):
    with pytest.raises(nc.UsageError, match=reason) as error:
        call(*photos(40))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("images", "reason"),
    [
        (np.zeros((2, 28, 28), np.float32), "images are float32 2×28×28: give uint8"),
        (np.zeros((28, 28), np.uint8), "images are uint8 28×28"),
        (np.zeros((0, 28, 28), np.uint8), "0×28×28"),
        ([], "no images|0"),
        ([np.zeros((28, 28))], "image 0 is float64 28×28: give uint8"),
        ([np.zeros((28, 28, 2), np.uint8)], "image 0 has 2 channels"),
        (["none.png"], "none.png: no such image"),
        ("none.png", "no file or folder 'none.png'"),
    ],
)
def test_images_that_cannot_be_are_told_in_one_line(fitted, images, reason):
    with pytest.raises(nc.NeoclassicError, match=reason) as error:
        fitted.predict(images)
    assert "\n" not in str(error.value)


def test_labels_that_cannot_be_scored_are_told(fitted):
    X, _ = photos(4)
    for y, reason in (
        (None, "no labels"),
        (["up", "left"] * 2, "'left' is not among"),
        (["up"] * 3, "4 images, but 3"),
    ):
        with pytest.raises(nc.UsageError, match=reason):
            fitted.score(X, y)


def test_a_file_that_is_none_of_ours_is_an_error_of_one_line(tmp_path):
    (tmp_path / "m.safetensors").write_bytes(b"hello")
    with pytest.raises(nc.NeoclassicError, match="not a neoclassic model"):
        nc.load(tmp_path / "m.safetensors")
