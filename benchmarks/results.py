"""Write RESULTS.md from results/*.json: python benchmarks/results.py [--check]

It has a table of the recipes that benchmarks/seeds.py ran, with their published accuracies, and a table for each other
benchmark. --check fails if RESULTS.md is out of date.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from statistics import mean, median
from typing import Any

from neoclassic.recipes import list_recipes
from neoclassic.train.recipe import Recipe

ROOT = Path(__file__).parents[1]
OUTCOMES = ("answered", "refused", "failed")  # of a campaign's trial
HEAD = """# Results

Generated from `results/*.json` by `python benchmarks/results.py`: do not edit.

## Recipes

Made by `python benchmarks/seeds.py RECIPE --seeds N` or `python -m benchmarks.trainings`. Test accuracy: mean ±
standard deviation and minimum over seeds. "An earlier form" is that of a recipe which was changed after these runs.

| recipe | network | epochs | mean ± sd | min | n | seconds per run | engine, device | versions | published |
|---|---|---|---|---|---|---|---|---|---|
"""


def recipe_row(run: dict[str, Any]) -> str:
    """A row of the table of recipes."""
    accuracy, seconds = run["test_accuracy"], run["seconds"]["runs"]
    spread = f" ± {accuracy['sd']:.4f}" if accuracy.get("sd") is not None else ""
    flipped = run.get("test_accuracy_with_flip")
    spread += f", with --flip {sum(flipped) / len(flipped):.4f}" if flipped else ""
    together = run.get("test_accuracy_together")
    spread += f", all together {together:.4f}" if together else ""
    cores, accelerator = (run.get("machine", {}).get(key) for key in ("cores", "accelerator"))
    where = f"{run['engine']}{' in bf16' * (run.get('precision') == 'bf16')}, {accelerator or run['device']}"
    if cores and run["device"] == "cpu":
        where += f", {cores} core{'s' * (cores > 1)}"
    if loads := [each for each in run.get("load", {}).get("runs", ()) if each is not None]:
        where += f", load {mean(loads):.1f}"
    diverged, shared = run.get("diverged", ()), run.get("at_a_time", [1] * len(seconds))
    least = min(shared)
    seconds = [each for each, runs in zip(seconds, shared, strict=True) if runs == least]
    epochs, printed = run["recipe"]["epochs"], run.get("printed_epochs")
    cells = (
        f"`{run['recipe']['name']}`" + ", an earlier form" * earlier(run),
        f"`{run['recipe']['network']}`",
        f"{epochs} of {printed}" if printed not in (None, epochs) else str(epochs),
        f"{accuracy['mean']:.4f}{spread}",
        f"{accuracy['worst']:.4f}",
        str(run["n"]) + f", and {len(diverged)} diverged" * bool(diverged),
        f"{sum(seconds) / len(seconds):,.0f}" + f" ({least} at a time)" * (least > 1),
        where,
        versions(run),
        published(run),
    )
    return f"| {' | '.join(cells)} |\n"


def earlier(run: dict[str, Any]) -> bool:
    """Whether a recipe has changed since it was run in other ways than in the number of epochs that this run has."""
    was = Recipe.from_dict(run["recipe"])
    for now in list_recipes(was.network):
        if now.name == was.name:
            epochs = run.get("printed_epochs") or was.epochs
            said = {"source": now.source, "about": now.about, "reaches": now.reaches}
            return was.but(epochs=epochs, seed=now.seed, **said) != now
    return False


def published(run: dict[str, Any]) -> str:
    """What a published recipe reaches; for our own, what published recipes for the same network and data reach."""
    ours = run["recipe"]
    if ours["source"] != "neoclassic":
        return run.get("published") or ""
    printed = [r for r in list_recipes(ours["network"]) if r.data == ours["data"] and r.source != "neoclassic"]
    return "; ".join(f"`{r.name}`: {r.reaches}" for r in printed if r.reaches)


def versions(found: dict[str, Any]) -> str:
    """The versions of the libraries."""
    return ", ".join(f"{name} {version}" for name, version in found["versions"].items() if name != "python")


def training_table(found: dict[str, Any], gpu: bool = False) -> str:
    """Images per second, against the course's loop."""
    lines = ""
    for name, row in found["networks"].items():
        rates, ratios = row["images_per_second"], row["ratio"]
        ours = [f"{rates[e]:,} ({ratios[e]:.2f})" if e in ratios else "" for e in ("plain", "torch", "numpy")]
        steps = f"{row['steps']}{', in whole epochs' * row.get('whole_epochs', False)}"
        cells = (name, f"{rates['course']:,}", *ours, steps, f"{row['device']}, {row['cores']} cores")
        lines += f"| {' | '.join((*cells, versions(row)))} |\n"
    head = "| network | course | plain loop | ours on torch | ours on NumPy | steps | device | versions |\n"
    head += f"{'|---' * 8}|\n"
    about = "Made by `python benchmarks/training.py`: median images per second, and the ratio to the course's loop."
    about += " Measured before neoclassic had its own GPU kernels; the table above has the rates with them." * gpu
    where = " on a GPU" * gpu
    return f"\n## Training, against the course's loop{where}\n\n{about}\n\n{head}{lines}"


def one_command_table(found: dict[str, Any]) -> str:
    """The output of `neoclassic bench --recipes`, and the rates of the course's loop."""
    lines = ""
    for row in found["rows"]:
        most = row["images_per_second_of_the_median_epoch"]
        course = f"{row['course']:,.0f} ({most / row['course']:.1f})"
        rates = (f"{row['images_per_second']:,.0f}", f"{most:,.0f}", course)
        numbers = (*rates, f"{row['seconds']:.1f}", f"{row['test_accuracy']:.4f}")
        lines += f"| `{row['recipe']}` | {row['epochs']} | {' | '.join(numbers)} | {row['reaches']} |\n"
    where = f"{found['device']}, {found['cores']} cores, {versions(found)}, {found['date']}"
    about = f"`{found['command']}` took {found['seconds_together']} s on {where}. The first epoch compiles kernels, "
    about += "so the median epoch is faster than the average. The course's loop, with the ratio to it: "
    about += f"{found['course']}."
    head = "| recipe | epochs | images per second | in the median epoch | course's loop | seconds | accuracy "
    head += f"| published |\n{'|---' * 8}|\n"
    return f"\n## The taught recipes in one command, on a GPU\n\n{about}\n\n{head}{lines}"


def engine_table(found: dict[str, Any]) -> str:
    """The NumPy engine's speed relative to PyTorch's."""
    lines = ""
    for networks in (found["networks"], found["one_thread_each"]):
        for name, row in networks.items():
            cells = [f"{row[mode]['ratio']['wall']:.2f} ({ms(row[mode])})" for mode in ("training", "inference")]
            lines += f"| {name} | {row['batch']} | {row['threads']} | {' | '.join(cells)} |\n"
    about = (
        f"Made by `python benchmarks/numpy_engine.py`, {found['machine']}, {versions(found)}, {found['date']}; medians."
    )
    head = "| network | batch | threads | training | inference |\n|---|---|---|---|---|\n"
    plain = found["plain"]
    compared = f"DeepConvNet against a plain float64 im2col engine: {plain['ratio']['wall']}× ({ms(plain)})"
    compared += f"; against the whole training step in its book: {plain['ratio_to_the_printed_step']['wall']}×."
    title = "## The NumPy engine's speed, relative to PyTorch's (milliseconds per step: ours, theirs)"
    return f"\n{title}\n\n{about}\n\n{head}{lines}\n{compared}\n"


def ms(row: dict[str, Any]) -> str:
    """The medians of ours and theirs."""
    times = (row[key]["wall"] for key in ("neoclassic_ms", "torch_ms", "plain_ms") if key in row)
    return ", ".join(f"{median(values):.1f}" for values in times)


def campaign_tables(found: dict[str, Any]) -> str:
    """What the campaigns tried, over all sessions, and what the worst files took in the last one."""
    totals: dict[str, dict[str, int]] = {}
    seeds: dict[str, list[str]] = {}
    for session in found["sessions"]:
        name = session["campaign"]
        seeds.setdefault(name, []).append(f"{session['seed']} ({session['seconds'] / 60:,.0f} min)")
        for kind, counts in session["counts"].items():
            kind = "each format, valid" if kind.endswith(", valid") else kind
            row = totals.setdefault(f"{name} | {kind}", dict.fromkeys(OUTCOMES, 0))
            for outcome in OUTCOMES:
                row[outcome] += counts[outcome]
    lines = "".join(
        f"| {kind} | {' | '.join(f'{n:,}' for n in (sum(row.values()), *row.values()))} |\n"
        for kind, row in sorted(totals.items())
        if not kind.startswith("worst ")
    )
    about = "Made by `make campaign OUT=results/campaign.json`; `docs/security.md` says what is promised. A trial is "
    about += "answered (the right answer, the same bytes), refused in one line, or failed. Seeds: "
    about += "; ".join(f"{name} {', '.join(each)}" for name, each in seeds.items())
    last = found["sessions"][-1]
    about += f". {versions(last)}, {last['date'][:10]}."
    head = f"| campaign | kind | tried | {' | '.join(OUTCOMES)} |\n{'|---' * 6}|\n"
    text = f"\n## Campaigns\n\n{about}\n\n{head}{lines}"
    for session in [s for s in found["sessions"] if s["campaign"] == "worst"][-1:]:
        text += (
            "\nThe worst files that we could think of, each opened in a new process: what it took above the process "
        )
        text += "itself.\n\n| file | bytes | outcome | seconds | MB |\n|---|---|---|---|---|\n"
        for kind, row in session["counts"].items():
            outcome = next(each for each in reversed(OUTCOMES) if row[each])
            text += f"| {kind} | {row['bytes']:,} | {outcome} | {row['seconds']} | {row['megabytes']} |\n"
    return text


def doctor_tables(found: dict[str, Any]) -> str:
    """The diseases with the place at which the doctor names them, and what it finds in healthy runs."""
    about = "Made by `python benchmarks/doctor.py`. Each disease is planted in a small training on Fashion-MNIST; the "
    about += f"place is that of its name in the list of findings. {versions(found)}, {found['date']}."
    head = f"| disease | finding | place | all findings |\n{'|---' * 4}|\n"
    text = f"\n## The doctor\n\n{about}\n\n{head}"
    for name, row in found["sick"].items():
        text += f"| {name} | `{row['finding']}` | {row['place'] or 'not found'} | {', '.join(row['found'])} |\n"
    wrong = sum("wrong" in row["found"].values() for row in found["healthy"].values())
    text += (
        f"\nHealthy runs, shortened: {len(found['healthy'])}, of which {wrong} have a finding of the grade `wrong`.\n"
    )
    text += f"\n| run | training images | test accuracy | findings |\n{'|---' * 4}|\n"
    for name, row in found["healthy"].items():
        graded = ", ".join(f"{finding} ({grade})" for finding, grade in row["found"].items())
        text += f"| {name} | {row['images']:,} | {row['accuracy']:.4f} | {graded} |\n"
    return text


def transfer_table(found: dict[str, Any]) -> str:
    """The ways from pretrained weights and a few hundred photos to a classifier."""
    about = f"Made by `python benchmarks/transfer.py`: {found['network']} from {found['weights']} on the photos of "
    about += f"{found['folder']}, {found['machine']['cores']} cores, load {found['machine']['load']}, "
    about += f"{versions(found)}, {found['date']}."
    lines = ""
    for way, runs in found["ways"].items():
        accuracy, seconds = (mean(run[key] for run in runs) for key in ("accuracy", "seconds"))
        lines += f"| {way} | {accuracy:.4f} | {seconds:.0f} | {len(runs)} |\n"
    head = f"| way | test accuracy | seconds | runs |\n{'|---' * 4}|\n"
    return f"\n## From pretrained weights\n\n{about}\n\n{head}{lines}"


def other_table(name: str, found: dict[str, Any]) -> str:
    """Any other benchmark: its values, with nested ones named by their path."""
    lines = "".join(f"| {key} | {value} |\n" for key, value in flat(found) if key != "benchmark")
    return f"\n## `benchmarks/{name}.py`\n\n| item | value |\n|---|---|\n{lines}"


def flat(found: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """The keys and values that fit into one cell."""
    for key, value in found.items():
        if isinstance(value, dict):
            yield from flat(value, f"{path}{key}, ")
        elif isinstance(value, str | int | float):
            yield path + key, value
        elif value and all(isinstance(each, int | float) for each in value):
            yield f"{path}{key}", " ".join(map(str, value))


def text(folder: Path) -> str:
    """The text of RESULTS.md."""
    read = {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}
    runs = [found for found in read.values() if isinstance(found.get("recipe"), dict)]
    runs.sort(key=lambda run: (run["recipe"]["name"], run["engine"], run["device"]))
    others = {name: found for name, found in read.items() if found not in runs}
    parts = [HEAD, *map(recipe_row, runs)]
    tables = {
        "bench-recipes-gpu": one_command_table,
        "training": training_table,
        "training-gpu": partial(training_table, gpu=True),
        "numpy_engine": engine_table,
        "campaign": campaign_tables,
        "doctor": doctor_tables,
        "transfer": transfer_table,
    }
    parts += [tables[n](f) if n in tables else other_table(n, f) for n, f in others.items()]
    return "".join(parts)


def main() -> None:
    file = ROOT / "RESULTS.md"
    wanted = text(ROOT / "results")
    if "--check" in sys.argv[1:]:
        if not file.exists() or file.read_text() != wanted:
            sys.exit("RESULTS.md is out of date: run python benchmarks/results.py")
        return
    file.write_text(wanted)


if __name__ == "__main__":
    main()
