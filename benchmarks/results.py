"""Write RESULTS.md from results/*.json: python benchmarks/results.py [--check]

It has a table of the recipes that benchmarks/seeds.py ran, with their published accuracies, and a table for each other
benchmark. --check fails if RESULTS.md is out of date.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import mean, median
from typing import Any

import neoclassic as nc
from neoclassic.data import SOURCES
from neoclassic.networks import entry

ROOT = Path(__file__).parents[1]
OUTCOMES = ("answered", "refused", "failed")  # of a campaign's trial
MODES = ("training", "inference")  # of a network beside its peers
HEAD = """# Results

Generated from `results/*.json` by `python benchmarks/results.py`: do not edit.

## Recipes

Made by `python benchmarks/seeds.py RECIPE --seeds N` or `python -m benchmarks.trainings`. Test accuracy: mean ±
standard deviation and worst of the seeds. Each recipe has one row, its longest measurement with the most seeds;
`results/` has the others, and the versions.

| recipe | network | parameters | epochs | mean ± sd | worst | seeds | seconds per run | engine, device | published |
|---|---|---|---|---|---|---|---|---|---|
"""
PLAIN = ("versions", "machine", "date", "python", "neoclassic")  # what a table of rows leaves to the file


def best_measured(runs: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Of each recipe's measurements the longest, and of those the one with the most seeds, by names of files."""

    def worth(run: dict[str, Any]) -> tuple[int, int, float]:
        return run["recipe"]["epochs"], run["n"], run["test_accuracy"]["mean"]

    best: dict[str, str] = {}
    for stem, run in runs.items():
        name = run["recipe"]["name"]
        if name not in best or worth(run) > worth(runs[best[name]]):
            best[name] = stem
    return {best[name]: runs[best[name]] for name in sorted(best)}


def recipe_row(stem: str, run: dict[str, Any]) -> str:
    """A row of the table of recipes. stem: of the name of its file."""
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
    diverged, shared = run.get("diverged", ()), run.get("at_a_time", [1] * len(seconds))
    least = min(shared)
    seconds = [each for each, runs in zip(seconds, shared, strict=True) if runs == least]
    epochs, printed = run["recipe"]["epochs"], run.get("printed_epochs")
    cells = (
        f"[`{run['recipe']['name']}`](results/{stem}.json)",
        f"`{run['recipe']['network']}`",
        parameters(run["recipe"]),
        f"{epochs} of {printed}" if printed not in (None, epochs) else str(epochs),
        f"{accuracy['mean']:.4f}{spread}",
        f"{accuracy['worst']:.4f}",
        str(run["n"]) + f", and {len(diverged)} diverged" * bool(diverged),
        f"{sum(seconds) / len(seconds):,.0f}" + f" ({least} at a time)" * (least > 1),
        where,
        published(run),
    )
    return f"| {' | '.join(cells)} |\n"


def parameters(recipe: dict[str, Any]) -> str:
    """How many parameters the network of a recipe has, on the images of its data set."""
    source, network = SOURCES[recipe["data"]], entry(recipe["network"])
    _, height, width = network.input
    shape = source.shape[0], recipe["image_size"] or height, recipe["image_size"] or width
    return f"{nc.measure(network.tree(len(source.classes)), shape).parameters:,}"


def published(run: dict[str, Any]) -> str:
    """What a published recipe reaches; for our own, what published recipes for the same network and data reach."""
    ours = run["recipe"]
    if ours["source"] != "neoclassic":
        return run.get("published") or ""
    printed = [r for r in nc.list_recipes(ours["network"]) if r.data == ours["data"] and r.source != "neoclassic"]
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


def inference_table(found: dict[str, Any]) -> str:
    """The NumPy engine's speed in inference alone."""
    lines = ""
    for networks in (found["networks"], found["one_thread_each"]):
        for name, row in networks.items():
            ours, theirs = (f"{median(row[key]):.1f}" for key in ("neoclassic_ms", "torch_ms"))
            cells = [f"{row['ratio']['wall']:.2f} ({ours}, {theirs})", f"{row['ratio']['processors']:.2f}"]
            cells += [f"{row['ratio_of_the_readable_form']:.2f}", str(row["wanted"])]
            lines += f"| {name} | {row['batch']} | {row['threads']} | {' | '.join(cells)} |\n"
    about = f"Made by `python benchmarks/numpy_inference.py`, {found['machine']}, {versions(found)}, {found['date']}; "
    about += "medians. The readable form does not fuse a convolution with what follows it."
    head = f"| network | batch | threads | ratio | in CPU time | readable form | wanted |\n{'|---' * 7}|\n"
    title = "## The NumPy engine's speed in inference, relative to PyTorch's (milliseconds per batch: ours, theirs)"
    return f"\n{title}\n\n{about}\n\n{head}{lines}"


def ms(row: dict[str, Any]) -> str:
    """The medians of ours and theirs."""
    times = (row[key]["wall"] for key in ("neoclassic_ms", "torch_ms", "plain_ms") if key in row)
    return ", ".join(f"{median(values):.1f}" for values in times)


def campaign_tables(found: dict[str, Any]) -> str:
    """What the campaigns tried, over all sessions, and what the worst files took in the last one."""
    kinds: dict[str, dict[str, Counter[str]]] = {}
    seeds: dict[str, list[str]] = {}
    for session in found["sessions"]:
        name = session["campaign"]
        seeds.setdefault(name, []).append(f"{session['seed']} ({session['seconds'] / 60:,.0f} min)")
        for kind, counts in session["counts"].items():
            row = kinds.setdefault(name, {}).setdefault(kind, Counter())
            row.update({outcome: counts[outcome] for outcome in OUTCOMES})
    lines = ""
    for name, rows in sorted(kinds.items()):
        together = sum(rows.values(), Counter[str]())
        numbers = (len(rows), together.total(), min(row.total() for row in rows.values()))
        lines += f"| {name} | {' | '.join(f'{n:,}' for n in (*numbers, *(together[each] for each in OUTCOMES)))} |\n"
    about = "Made by `make campaign OUT=results/campaign.json`; `docs/security.md` says what is promised. A trial is "
    about += "answered (the right answer, the same bytes), refused in one line, or failed. Seeds: "
    about += "; ".join(f"{name} {', '.join(each)}" for name, each in seeds.items())
    last = found["sessions"][-1]
    about += f". {versions(last)}, {last['date'][:10]}."
    about += " `results/campaign.json` has the counts of each kind."
    head = f"| campaign | kinds | tried | of the rarest kind | {' | '.join(OUTCOMES)} |\n{'|---' * 7}|\n"
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


def peers_table(found: dict[str, Any]) -> str:
    """Images per second beside Keras, and the ratios to the fastest peer."""
    ways = list(dict.fromkeys(way for row in found["networks"].values() for m in MODES for way in row[m]))
    lines = ""
    for name, row in found["networks"].items():
        for mode in MODES:
            rates = (row[mode].get(way) for way in ways)
            cells = (f"{each['images_per_second']:,.1f} ({each['ratio']:.2f})" if each else "" for each in rates)
            lines += f"| {name} | {mode} | {' | '.join(cells)} |\n"
    before, after = found["machine"]["load, before and after"]
    about = (
        f"Made by `python benchmarks/peers.py`: images per second, and the ratio to the fastest peer; {found['how']}, "
    )
    about += f"load {before} before and {after} after. {versions(found)}, {found['date']}."
    head = f"| network | | {' | '.join(ways)} |\n{'|---' * (len(ways) + 2)}|\n"
    return f"\n## Beside Keras\n\n{about}\n\n{head}{lines}"


def other_table(name: str, found: dict[str, Any]) -> str:
    """Any other benchmark: its values, and a table for each group of entries that have the same values."""
    found = {key: value for key, value in found.items() if key != "benchmark"}
    single = "".join(f"| {key} | {value} |\n" for key, value in flat(found))
    text = f"\n## `benchmarks/{name}.py`\n"
    text += f"\n| item | value |\n|---|---|\n{single}" if single else ""
    return text + "".join(grouped(rows) for rows in groups(found))


def alike(value: Any) -> bool:
    """Whether a value is a group: several entries that have most keys in common."""
    entries = list(value.values()) if isinstance(value, dict) else []
    if len(entries) < 2 or not all(isinstance(each, dict) for each in entries):
        return False
    keys = [set(each) - set(PLAIN) for each in entries]
    return 2 * len(set.intersection(*keys)) > len(set.union(*keys))


def groups(found: dict[str, Any]) -> Iterator[dict[str, dict[str, Any]]]:
    """The groups in a file."""
    if alike(found):
        yield found
        return
    for value in found.values():
        if isinstance(value, dict):
            yield from groups(value)


def grouped(rows: dict[str, dict[str, Any]]) -> str:
    """The table of a group."""
    cells = {name: dict(flat({key: row[key] for key in row if key not in PLAIN})) for name, row in rows.items()}
    columns = list(dict.fromkeys(column for row in cells.values() for column in row))
    text = f"\n| | {' | '.join(columns)} |\n{'|---' * (1 + len(columns))}|\n"
    for name, row in cells.items():
        text += f"| {name} | {' | '.join(row.get(column, '') for column in columns)} |\n"
    return text


def flat(found: dict[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    """The keys and values that fit into one cell and are in no group."""
    if alike(found):
        return
    for key, value in found.items():
        if isinstance(value, dict):
            yield from flat(value, f"{path}{key}, ")
        elif isinstance(value, str | int | float):
            yield path + key, short(value)
        elif value and all(isinstance(each, int | float) for each in value):
            yield f"{path}{key}", " ".join(map(short, value))


def short(value: str | float) -> str:
    """A value, a number with at most four decimals."""
    return f"{round(value, 4)}" if isinstance(value, float) else str(value)


def text(folder: Path) -> str:
    """The text of RESULTS.md."""
    read = {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}
    runs = {stem: found for stem, found in read.items() if isinstance(found.get("recipe"), dict)}
    others = {stem: found for stem, found in read.items() if stem not in runs}
    parts = [HEAD, *(recipe_row(stem, run) for stem, run in best_measured(runs).items())]
    tables: dict[str, Callable[[dict[str, Any]], str]] = {
        "bench-recipes-gpu": one_command_table,
        "training": training_table,
        "training-gpu": partial(training_table, gpu=True),
        "numpy_engine": engine_table,
        "numpy_inference": inference_table,
        "campaign": campaign_tables,
        "doctor": doctor_tables,
        "transfer": transfer_table,
        "peers": peers_table,
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
