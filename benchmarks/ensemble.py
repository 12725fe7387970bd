"""An ensemble of trained runs, chosen on held-out images and tested once:

    python -m benchmarks.ensemble runs/trainings/neoclassic-mnist-* --out ensemble.safetensors [--data-dir FOLDER]

The runs must have held out the same images: train them with the same --split-seed and --validation. The members are
chosen greedily, from two to --most of them: each time the run that lowers the loss on the held-out images most, until
none does; R. Caruana et al., "Ensemble selection from libraries of models", ICML 2004. The temperature of the ensemble
is fitted to these images, too. It is written as one artefact and then tested; results/ensemble-<data>.json says how.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

import neoclassic as nc
from neoclassic.base import files
from neoclassic.base.errors import NeoclassicError, UsageError
from neoclassic.data.dataset import Dataset
from neoclassic.engines.contract import Array
from neoclassic.model.calibration import calibrate
from neoclassic.model.evaluate import Evaluation, logits_of
from neoclassic.model.joining import joined
from neoclassic.model.opening import load_model
from neoclassic.train.job import prepare
from neoclassic.train.parallel import World
from neoclassic.train.recipe import Recipe
from neoclassic.train.run import Run, Settings, versions

RESULTS = Path(__file__).parents[1] / "results"


def held_out(recipe: Recipe, data_dir: str | None) -> Dataset:
    """The images that a run of the recipe has held out."""
    return prepare(recipe, Settings("numpy", data_dir=data_dir), None, World.here(), resumed=True).monitored


def split_of(recipe: Recipe) -> tuple[Any, ...]:
    """What decides which images a run holds out."""
    return recipe.data, recipe.validation, recipe.seed if recipe.split_seed is None else recipe.split_seed


def selected(logits: Mapping[str, Array], labels: Array, classes: Sequence[str], most: int) -> list[str]:
    """The members of the ensemble, in the order in which they were chosen. logits: N×classes, calibrated, by run."""

    def loss(names: Sequence[str]) -> float:
        return Evaluation.of(np.mean([logits[name] for name in names], 0), labels, classes).loss

    chosen: list[str] = []
    while len(chosen) < most and (others := [name for name in logits if name not in chosen]):
        best = min(others, key=lambda name: loss([*chosen, name]))
        if len(chosen) > 1 and loss([*chosen, best]) >= loss(chosen):
            break
        chosen.append(best)
    return chosen


def build(runs: Sequence[str], out: Path, most: int, engine: str, data_dir: str | None) -> dict[str, Any]:
    """Choose the members, write the ensemble, and test it once. UsageError for runs that cannot be compared."""
    recipes = {run: Run.open(run)[1] for run in runs}
    first = recipes[runs[0]]
    if other := [run for run in runs if split_of(recipes[run]) != split_of(first)]:
        raise UsageError(f"{other[0]} held out different images from {runs[0]}: train them with the same --split-seed")
    if not first.validation:
        raise UsageError(f"{runs[0]} held out no images: train with --validation 0.05")
    models = {run: load_model(run) for run in runs}
    images = held_out(first, data_dir)

    def answers(model: Any) -> Array:
        return logits_of(model.engine(engine), images.images, model.preprocessing) / np.float32(model.temperature)

    logits = {run: answers(model) for run, model in models.items()}
    alone = {run: Evaluation.of(found, images.labels, images.classes) for run, found in logits.items()}
    names = selected(logits, images.labels, images.classes, most)
    whole = joined([models[name] for name in names], names)
    whole = replace(whole, calibration={})
    found = answers(whole)
    whole = replace(whole, calibration={"temperature": calibrate(found, images.labels)})
    whole.save(out)
    together = Evaluation.of(found / np.float32(whole.temperature), images.labels, images.classes)
    tested = nc.evaluate(out, first.data, engine=engine, data_dir=data_dir).evaluation
    return {
        "data": first.data,
        "members": {
            Path(name).name: {"recipe": recipes[name].name, "held_out_accuracy": alone[name].accuracy} for name in names
        },
        "candidates": len(runs),
        "held_out": {"images": len(images), "accuracy": together.accuracy, "loss": round(together.loss, 6)},
        "test": {"accuracy": tested.accuracy, "loss": round(tested.loss, 6), "images": tested.n},
        "temperature": whole.temperature,
        "versions": versions(engine),
        "date": f"{date.today()}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", help="run folders")
    parser.add_argument("--out", type=Path, default=Path("ensemble.safetensors"))
    parser.add_argument("--most", type=int, default=5, help="members (%(default)s)")
    parser.add_argument("--engine", default="torch", help="%(default)s or numpy")
    parser.add_argument("--data-dir", help="the folder in which data sets are looked for first")
    parser.add_argument("--results", type=Path, default=RESULTS)
    given = parser.parse_args()
    try:
        found = build(given.runs, given.out, given.most, given.engine, given.data_dir)
    except NeoclassicError as error:
        sys.exit(str(error))
    text = json.dumps(found, indent=1, ensure_ascii=False) + "\n"
    files.write(given.results / f"ensemble-{found['data']}.json", text)
    print(text, end="")


if __name__ == "__main__":
    main()
