"""Markdown of the pages about networks: drawings, tables and results, made by neoclassic and from results/."""

from __future__ import annotations

import inspect
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import neoclassic as nc
from docs.site.reference import code, fenced, table
from neoclassic.measure import by
from neoclassic.networks import Entry, entry, list_networks
from neoclassic.views.table import at_depth

ROOT = Path(__file__).parents[2]
FACTS = ROOT / "src" / "neoclassic" / "web" / "page" / "texts" / "facts_zh.js"
TITLES = {  # what tables are headed with, in Chinese
    "network": "网络",
    "input": "输入",
    "parameters": "参数",
    "MACs": "MAC（乘加次数）",
    "sees": "感受野",
    "about": "说明",
    "layer": "层",
    "output": "输出",
    "recipe": "配方",
    "epochs": "轮数",
    "test accuracy": "测试准确率",
    "runs": "运行次数",
    "time a run": "每次用时",
    "on": "设备",
    "in results/": "results/ 中的文件",
}


def titles(names: tuple[str, ...], language: str) -> tuple[str, ...]:
    return tuple(TITLES[name] if language == "zh" else name for name in names)


@cache
def _chinese() -> dict[str, str]:
    """What neoclassic says about networks, in Chinese, by the English."""
    lines = re.findall(r"""^  (?:'(.*?)'|"(.*?)"): '(.*?)',$""", FACTS.read_text("utf-8"), re.M)
    return {plain or quoted: chinese for plain, quoted, chinese in lines}


def family(pattern: str) -> list[Entry]:
    return [entry(name) for name in list_networks(pattern)]


# ── pictures and tables of networks ──────────────────────────────────────────────────────────────────


def drawing(name: str, made: Path, language: str, blocks: bool = False) -> str:
    """The drawing of a network, written to `made`."""
    file = made / f"{name.replace(':', '-')}{'-blocks' if blocks else ''}.svg"
    nc.draw(name, blocks=blocks).save(file)
    alt = f"{name} 的结构图" if language == "zh" else f"Drawing of {name}"
    return f"![{alt}](/{made.name}/{file.name})"


def layers(name: str, language: str, depth: int | None = None) -> str:
    """The layers of a network: shape, cost and receptive field. depth: 1 for the children of the root."""
    row = entry(name)
    m = nc.measure(row.tree(), row.input)
    rows = [
        (
            code(r.path),
            code(repr(r.node)) if r.is_layer else r.type,
            by(r.output),
            *counts(r),
            f"{r.fields[0].size:g}" if r.fields else "",
        )
        for r in at_depth(m, depth)
    ]
    return table(titles(("layer", "about", "output", "parameters", "MACs", "sees"), language), rows)


def counts(row: Any) -> tuple[str, str]:
    return f"{row.parameters:,}", f"{row.macs:,}"


def variants(patterns: tuple[str, ...], language: str) -> str:
    """What the networks of a family cost."""
    rows = []
    for each in (e for pattern in patterns for e in family(pattern)):
        m = nc.measure(each.tree(), each.input)
        about = _chinese()[each.about] if language == "zh" else each.about
        rows.append((code(each.name), by(each.input), *counts(m), about))
    return table(titles(("network", "input", "parameters", "MACs", "about"), language), rows)


def source(name: str) -> str:
    """The code that makes a network's tree."""
    build = entry(name).build
    return fenced("python", inspect.getsource(getattr(build, "func", build)).rstrip())


# ── results ──────────────────────────────────────────────────────────────────────────────────────────


@cache
def measured() -> list[tuple[str, dict[str, Any]]]:
    """(file, content) of all trainings under results/."""
    found = [(file.name, json.loads(file.read_text("utf-8"))) for file in sorted((ROOT / "results").glob("*.json"))]
    return [(name, content) for name, content in found if "test_accuracy" in content]


def reached(patterns: tuple[str, ...], language: str) -> str:
    """The accuracies that were measured with the networks of a family, and where they stand."""
    names = {e.name for pattern in patterns for e in family(pattern)}
    rows = [_result(file, run, language) for file, run in measured() if run["recipe"]["network"] in names]
    if not rows:
        return "还没有测过。" if language == "zh" else "Nothing has been measured yet."
    heads = ("recipe", "epochs", "test accuracy", "runs", "time a run", "on", "in results/")
    return table(titles(heads, language), sorted(rows))


def _result(file: str, run: dict[str, Any], language: str) -> tuple[str, ...]:
    recipe, accuracy, runs = run["recipe"], run["test_accuracy"], str(run["n"])
    name = code(recipe["name"])
    if not recipe["name"].endswith(recipe["network"]):
        name += f" ({code(recipe['network'])})"
    printed = run.get("printed_epochs") or recipe["epochs"]
    epochs = f"{recipe['epochs']}" + (f" / {printed}" if printed != recipe["epochs"] else "")
    spread = f" ± {accuracy['sd']:.4f}" if accuracy.get("sd") is not None else ""
    if diverged := len(run.get("diverged", ())):
        runs += f"，另有 {diverged} 次发散" if language == "zh" else f", and {diverged} diverged"
    cores, accelerator = (run.get("machine", {}).get(key) for key in ("cores", "accelerator"))
    where = f"{run['engine']}, {accelerator.split()[1] if accelerator else f'CPU × {cores}'}"  # "NVIDIA H100 80GB HBM3"
    linked = f"[{code(file)}](/results/{file})"
    return name, epochs, f"{accuracy['mean']:.4f}{spread}", runs, _time(run, language), where, linked


def _time(run: dict[str, Any], language: str) -> str:
    """The seconds of a run, from those that shared the machine with the fewest others."""
    seconds = run["seconds"]["runs"]
    shared = run.get("at_a_time", [1] * len(seconds))
    alone = [each for each, others in zip(seconds, shared, strict=True) if others == min(shared)]
    together = f"（同时 {min(shared)} 个）" if language == "zh" else f" ({min(shared)} at a time)"
    return f"{sum(alone) / len(alone):,.0f} s" + (together if min(shared) > 1 else "")
