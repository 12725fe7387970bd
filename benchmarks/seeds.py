"""Train a recipe with several seeds: python benchmarks/seeds.py d2l-zh:lenet --engine numpy --seeds 5

Prints a line for each seed and writes results/<recipe>-<engine>.json with all accuracies, their mean, standard
deviation and minimum, seconds, device, versions and the recipe. With --runs FOLDER, runs are kept in the folder; runs
that it has already are used, or resumed if unfinished, so that the work can be divided among processes or evenings:

    taskset -c 0 python benchmarks/seeds.py d2l-zh:lenet --runs runs --seeds 5 &
    taskset -c 1 python benchmarks/seeds.py d2l-zh:lenet --runs runs --seeds 5 --first 5
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from neoclassic import engines
from neoclassic.base import files
from neoclassic.insight import review
from neoclassic.model.ensemble import MultiView, open_models
from neoclassic.recipes import recipe
from neoclassic.train.loop import Diverged, Interrupted, resume, train
from neoclassic.train.recipe import Recipe
from neoclassic.train.run import Run, Settings

RESULTS = Path(__file__).parents[1] / "results"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--epochs", type=int, help="fewer epochs than the recipe has, for a slow machine")
    parser.add_argument("--precision", default="auto", help="torch's precision: auto, 32 or bf16")
    parser.add_argument("--data-dir")
    parser.add_argument("--runs", help="folder for the runs")
    parser.add_argument("--at-a-time", type=int, help="runs that share the machine, for the report")
    parser.add_argument("--flip", action="store_true", help="also test with the mirror images")
    parser.add_argument("--ensemble", action="store_true", help="also test the ensemble of all runs")
    arguments = parser.parse_args()

    printed, engine = recipe(arguments.recipe), engines.choose(arguments.engine)
    chosen = printed.but(epochs=arguments.epochs or printed.epochs)
    name = file_name(chosen, printed.epochs, engine)
    if arguments.precision != "auto":
        name += f"-{arguments.precision}"
    where = Settings(engine, speed=engines.Speed(arguments.precision, "auto"), data_dir=arguments.data_dir)
    with tempfile.TemporaryDirectory() as scratch:
        runs, diverged = Path(arguments.runs or scratch), []
        for seed in range(arguments.first, arguments.first + arguments.seeds):
            folder = runs / f"{name}-{seed}"
            if folder.exists() and Run.open(folder)[1].but(reaches=chosen.reaches) != chosen.but(seed=seed):
                sys.exit(f"{folder} has a run of a different {chosen.name}: give another --runs")
            try:
                result = resume(folder) if folder.exists() else train(chosen.but(seed=seed), where, folder)
            except Diverged as error:
                print(f"seed {seed}  {error}", flush=True)
                diverged.append(seed)
                continue
            except Interrupted:
                rest = "the same command continues" if arguments.runs else "its runs are lost; --runs FOLDER keeps them"
                sys.exit(f"stopped in seed {seed}: {rest}")
            assert result is not None  # this process is the only one
            print(f"seed {seed}  test accuracy {result.test_accuracy:.4f}  {result.seconds:.1f} s", flush=True)
        seeds = {p.parent.name.removeprefix(f"{name}-"): p for p in runs.glob(f"{name}-*/result.json")}
        finished = [seeds[seed] for seed in sorted(filter(str.isdigit, seeds), key=int)]
        results = [json.loads(path.read_text()) for path in finished]
        if not results:
            sys.exit(f"{chosen.name}: every run diverged")

        def tested(paths: list[Path], flip: bool) -> float:
            model, looking = open_models([str(path.parent) for path in paths], engine, views=MultiView(flip=flip))
            found, _ = review.of_model(model, looking, data_dir=arguments.data_dir)
            return found.evaluation.accuracy

        more: dict[str, Any] = {"diverged": diverged} if diverged else {}
        if arguments.at_a_time:
            more["at_a_time"] = [arguments.at_a_time] * len(results)
        if arguments.flip:
            more["test_accuracy_with_flip"] = [tested([path], True) for path in finished]
        if arguments.ensemble:
            more["test_accuracy_together"] = tested(finished, arguments.flip)
    summarise(chosen, printed.epochs, name, results, more)


def file_name(chosen: Recipe, epochs: int, engine: str) -> str:
    """The name of a results file, without its ending. epochs: of the recipe as it is printed."""
    name = f"{chosen.name.replace(':', '-')}-{engine}"
    if engine == "torch" and _device() != "cpu":
        name += "-gpu"
    return name if chosen.epochs == epochs else f"{name}-{chosen.epochs}-epochs"


def _device() -> str:
    """The device that torch trains on."""
    from neoclassic.engines.torch import device_name

    return device_name("auto")


def summarise(
    chosen: Recipe,
    epochs: int,
    name: str,
    runs: list[dict[str, Any]],
    more: dict[str, Any],
    folder: Path = RESULTS,
) -> None:
    """Write and print the results of all runs."""
    accuracies = [run["test_accuracy"] for run in runs]
    last = runs[-1]
    summary = {
        "recipe": chosen.to_dict(),
        "engine": last["engine"],
        "precision": last["precision"],
        "device": last["device"],
        "n": len(runs),
        "printed_epochs": epochs,
        "seeds": [run["seed"] for run in runs],
        "test_accuracy": {
            "runs": accuracies,
            "mean": round(statistics.mean(accuracies), 6),
            "sd": round(statistics.stdev(accuracies), 6) if len(runs) > 1 else None,
            "median": statistics.median(accuracies),
            "worst": min(accuracies),
        },
        "test_loss": {"runs": [run["test_loss"] for run in runs]},
        "seconds": {"runs": [run["seconds"] for run in runs]},
        "published": chosen.reaches,
        "finished": last["finished"],
        "versions": last["versions"],
        "machine": last["machine"],
    }
    summary |= more
    folder.mkdir(exist_ok=True)
    files.write(folder / f"{name}.json", json.dumps(summary, indent=1, ensure_ascii=False) + "\n")
    found = summary["test_accuracy"]
    print(f"{chosen.name} on {last['engine']}: median {found['median']:.4f}, worst {found['worst']:.4f}, n {len(runs)}")
    print("".join(f"{what.replace('_', ' ')}: {value}\n" for what, value in more.items()), end="")


if __name__ == "__main__":
    main()
