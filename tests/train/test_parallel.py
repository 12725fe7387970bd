"""Several processes under torchrun train as one does, and go on after one of them was lost."""

import csv
import os
import subprocess
import sys

import numpy as np
import pytest

from neoclassic.model.artefact import Model

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.skipif(not torch.distributed.is_available(), reason="this PyTorch has no torch.distributed")

TRAIN = ["--epochs", "2", "--batch-size", "90", "--seed", "3", "--engine", "torch", "--device", "cpu"]
TRAIN += ["--optimizer", "sgd", "--momentum", "0.9", "--lr", "0.02"]


def train(network, idx_folder, out, processes, *more, script=None, options=()):
    what = [str(script)] if script else ["-m", "neoclassic"]
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", *more]
    command = [sys.executable, *(launcher if processes > 1 else []), *what, "train", network]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(
        [*command, "--data", str(idx_folder), "--out", str(out), *TRAIN, *options],
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-9000:]
    log = list(csv.DictReader((out / "log.csv").read_text().splitlines()))
    return log, Model.load(out).weights, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("network", "near"), [("lenet", 1e-4), ("lenet:bn", 5e-3)])
def test_two_processes_have_the_losses_of_one(network, near, idx_folder, tmp_path):
    one, weights, _ = train(network, idx_folder, tmp_path / "one", 1)
    two, others, _ = train(network, idx_folder, tmp_path / "two", 2)
    assert [float(row["train_loss"]) for row in two] == pytest.approx([float(r["train_loss"]) for r in one], abs=near)
    for key, w in weights.items():
        np.testing.assert_allclose(others[key], w, atol=10 * near, err_msg=key)


@pytest.mark.slow
def test_two_processes_fit_the_last_layer_first_as_one_does(idx_folder, tmp_path):
    train("lenet", idx_folder, tmp_path / "given", 1)
    options = ("--weights", str(tmp_path / "given" / "model.safetensors"), "--head-first", "--lr", "1e-30")
    one, weights, said = train("lenet", idx_folder, tmp_path / "one", 1, options=options)
    two, others, also_said = train("lenet", idx_folder, tmp_path / "two", 2, options=options)
    fitted = "the last layer by logistic regression"
    assert (said.count(fitted), also_said.count(fitted)) == (1, 1)
    assert [float(row["train_loss"]) for row in two] == pytest.approx([float(r["train_loss"]) for r in one], rel=1e-6)
    for key, w in weights.items():
        np.testing.assert_allclose(others[key], w, atol=1e-20, err_msg=key)


@pytest.mark.slow
def test_a_run_that_lost_a_process_begins_again_where_it_was_saved(idx_folder, tmp_path):
    script = tmp_path / "dies.py"
    script.write_text(
        "import os, sys\n"
        "from neoclassic.cli import main\n"
        "from neoclassic.train.loop import Training\n"
        "end = Training.end_epoch\n"
        "def end_and_die(training, *rest):\n"
        "    end(training, *rest)\n"
        "    if os.environ['TORCHELASTIC_RESTART_COUNT'] == '0' and os.environ['RANK'] == '1': os._exit(9)\n"
        "Training.end_epoch = end_and_die\n"
        "sys.exit(main())\n"
    )
    whole, weights, _ = train("lenet", idx_folder, tmp_path / "whole", 2)
    cut, others, said = train("lenet", idx_folder, tmp_path / "cut", 2, "--max-restarts=1", script=script)
    assert "epoch 2/2" in said
    assert [row["train_loss"] for row in cut] == [row["train_loss"] for row in whole]
    assert all(np.array_equal(others[key], w) for key, w in weights.items())
