"""Doors to the files of a run folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from campaigns.common import mutated
from campaigns.doors import Door, changed
from campaigns.doors.models import changed_header, changed_table, changed_tensors, sample
from neoclassic.engines import Optimizer, create
from neoclassic.model.artefact import Model
from neoclassic.model.evaluate import Evaluation
from neoclassic.train.recipe import Recipe
from neoclassic.train.run import Epoch, Result, Run, Settings, State


def runs(work: Path) -> Iterator[Door]:
    """Each file of a run folder; the others stay as they are."""
    model, recipe = sample(), Recipe("trial", "lenet", "fashion-mnist")
    run = Run.create(work / "run", "trial", recipe, Settings(engine="numpy"))
    engine = create("numpy", model.tree, model.input, model.weights)
    engine.optimize(Optimizer(momentum=0.9))
    images = np.random.default_rng(0).random((4, *model.input), np.float32)
    engine.step(images, np.arange(4) % 3, 0.1)
    row = Epoch(1, 0.1, 1.5, 0.5, 1.4, 0.6, None, None, 2.0, 100.0)
    about = {"data": "ab", "engine": "numpy"}
    run.save_checkpoint(engine.weights(), engine.optimizer_state(), State(step=1, n=4, log=[row], best=1), about)
    run.save_log([row])
    run.save_model(model)
    run.save_result(_result(model))

    def resumed(_path: Path) -> Any:
        saved = run.load_checkpoint()
        assert saved is not None
        weights, optimizer, state, header = saved
        engine.load(weights)
        engine.load_optimizer_state(optimizer)
        return weights, optimizer, asdict(state), header

    def recipe_of(path: Path) -> Any:
        _, recipe, settings = Run.open(path.parent)
        return recipe, settings

    def result_of(_path: Path) -> Any:
        result = run.finished()
        assert result is not None
        return result

    def log_of(path: Path) -> Any:
        return Run(path.parent).log()

    checkpoint = run.checkpoint.read_bytes()
    yield Door(
        "checkpoint",
        run.checkpoint,
        checkpoint,
        resumed,
        (mutated, changed_table),
        True,
        (changed_header, changed_tensors),
    )
    for name, opened in (("recipe.json", recipe_of), ("result.json", result_of)):
        yield Door(name, run.folder / name, (run.folder / name).read_bytes(), opened, edits=(changed_json,))
    yield Door("log.csv", run.folder / "log.csv", (run.folder / "log.csv").read_bytes(), log_of, edits=(_cell,))
    yield Door("model of a run", run.model, run.model.read_bytes(), result_of, proves=True)


def _result(model: Model) -> Result:
    return Result(
        run="run",
        model="model.safetensors",
        network="lenet",
        recipe="trial",
        data="fashion-mnist",
        engine="numpy",
        device="cpu",
        precision="32",
        compile="off",
        seed=0,
        epochs=1,
        best_epoch=1,
        train_accuracy=0.5,
        validation_accuracy=0.6,
        test_accuracy=0.6,
        test_loss=1.0,
        seconds=2.0,
        images_per_second=100.0,
        steps=1,
        skipped=0,
        finished="2026-01-01T00:00:00",
        versions={"numpy": "2"},
        machine={"cores": 2},
        evaluation=Evaluation.of(np.eye(3, dtype=np.float32)[[0, 1, 2, 2]], np.arange(4) % 3, model.classes).to_dict(),
        checksum=model.checksum,
    )


def changed_json(content: bytes, rng: np.random.Generator) -> bytes:
    """JSON values changed."""
    return json.dumps(changed(json.loads(content), rng)).encode()


def _cell(content: bytes, rng: np.random.Generator) -> bytes:
    """One cell of a CSV file replaced by an odd one."""
    rows = [line.split(b",") for line in content.splitlines()]
    row = rows[rng.integers(len(rows))]
    odd = (b"", b"nan", b"inf", b"1e999", b"abc", b"-1", b"\0", b'"', b"1,2", b"9" * 400, "٣".encode(), b"\xff")
    row[rng.integers(len(row))] = odd[rng.integers(len(odd))]
    return b"\n".join(map(b",".join, rows))
