"""A recipe over several seeds: python benchmarks/seeds.py d2l-zh:lenet --engine numpy --seeds 5

Prints a row a seed and writes results/<recipe>-<engine>.json: every accuracy, mean, standard deviation, worst, seconds,
device, versions, and the recipe.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

from neoclassic.recipes import recipe
from neoclassic.train.loop import train
from neoclassic.train.run import Settings

RESULTS = Path(__file__).parents[1] / "results"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--data-dir")
    arguments = parser.parse_args()

    chosen = recipe(arguments.recipe)
    runs = []
    for seed in range(arguments.seeds):
        with tempfile.TemporaryDirectory() as folder:
            where = Settings(arguments.engine, data_dir=arguments.data_dir)
            result = train(chosen.but(seed=seed), where, f"{folder}/run")
        runs.append(result)
        print(f"seed {seed}  test accuracy {result['test_accuracy']:.4f}  {result['seconds']:.1f} s", file=sys.stderr)

    accuracies = [run["test_accuracy"] for run in runs]
    last = runs[-1]
    summary = {
        "recipe": chosen.to_dict(),
        "engine": last["engine"],
        "device": last["device"],
        "n": len(runs),
        "test_accuracy": {
            "runs": accuracies,
            "mean": round(statistics.mean(accuracies), 6),
            "sd": round(statistics.stdev(accuracies), 6) if len(runs) > 1 else None,
            "median": statistics.median(accuracies),
            "worst": min(accuracies),
        },
        "seconds": {"runs": [run["seconds"] for run in runs]},
        "published": chosen.reaches,
        "finished": last["finished"],
        "versions": last["versions"],
        "machine": last["machine"],
    }
    name = f"{chosen.name.replace(':', '-')}-{last['engine']}.json"
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / name).write_text(json.dumps(summary, indent=1, ensure_ascii=False) + "\n")
    found = summary["test_accuracy"]
    print(f"{chosen.name} on {last['engine']}: median {found['median']:.4f}, worst {found['worst']:.4f}, n {len(runs)}")


if __name__ == "__main__":
    main()
