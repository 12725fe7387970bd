"""Make docs/editions.md and its Chinese twin from results/readers.json: python docs/make_editions.py

`python tests/readers BOOK --own --keep results/readers.json --edition NAME` runs a book's chapters and adds them there.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results" / "readers.json"
PAGES = ("editions.md", "editions.zh-CN.md")
ENGLISH, CHINESE = 0, 1

TEXT = {
    "title": ("# Which edition, which chapter, which names", "# 哪个版本、哪一章、哪些名字"),
    "about": (
        """For teachers who plan a course with one of the books: the sections whose code was run, cell by cell, with
neoclassic's names. The page is made from the results of these runs. [中文](editions.zh-CN.md)""",
        "为用这两本书备课的老师准备：下列各节的代码都用 neoclassic 逐个单元格运行过。本页由运行结果生成。"
        "[English](editions.md)",
    ),
    "how": (
        """Try it with your own copy of a book, in the source folder; nothing of the book is kept:

```
python tests/readers PATH-TO-THE-BOOK --own
```

It limits training to two epochs and few images, needs no network, and also runs the package that is in the book's
repository. The results here are of {date}, with NumPy {numpy}, PyTorch {torch}, torchvision {torchvision} and pandas
{pandas}. [Running the code of two textbooks](books.md) says how neoclassic's names differ.""",
        """可以在源代码目录下用自己手里的书验证；书的内容不会被保存：

```
python tests/readers 书的路径 --own
```

训练被缩短为两轮和少量图像，不需要网络，并且会同时运行书的仓库里自带的包。"""
        "本页的结果得自 {date}，使用 NumPy {numpy}、PyTorch {torch}、torchvision {torchvision} 和 pandas {pandas}。"
        "[直接运行两本教材的代码](books.zh-CN.md)说明 neoclassic 的名字与书中有何不同。",
    ),
    "editions": ("## Editions", "## 版本"),
    "edition row": (
        "| edition | sections | cells | fail with neoclassic | fail with the book's own package |",
        "| 版本 | 节 | 单元格 | 用 neoclassic 失败 | 用书自带的包失败 |",
    ),
    "failures": ("## Cells that fail", "## 运行失败的单元格"),
    "consequences": (
        "A cell that uses what a failed cell would have made fails in consequence; such cells are counted, not listed.",
        "用到失败单元格结果的单元格也会失败；它们计入数目，但不列出。",
    ),
    "no failures": ("None.", "没有。"),
    "failure row": (
        "| section | error | what to do | editions, with the line of the cell |",
        "| 节 | 错误 | 怎么办 | 版本（单元格所在的行） |",
    ),
    "sections": ("## Sections of {}", "## {} 的各节"),
    "section row": ("| section | names | cells: {} |", "| 节 | 名字 | 单元格：{} |"),
    "tensors": (
        "Functions of tensors, such as `reshape` and `ones`, are left out of the names.",
        "“名字”一栏不包括 `reshape`、`ones` 等张量函数。",
    ),
}
FOLLOWS = ("NameError", "AttributeError: 'NoneType'")  # of a cell that uses what a failed cell would have made
# part of an error → what a reader can do
ADVICE = {
    "with string dtype": (
        "pandas 3 does not average columns of text: `inputs.mean(numeric_only=True)`; for the house prices, select the "
        "numeric columns with `select_dtypes('number').columns`",
        "pandas 3 不对文本列求均值：写成 `inputs.mean(numeric_only=True)`；"
        "房价一节用 `select_dtypes('number').columns` 选出数值列",
    ),
    "numpy.object_": (
        "since pandas 2, `get_dummies` gives booleans: `get_dummies(…, dtype=float)`",
        "从 pandas 2 起 `get_dummies` 返回布尔值：写成 `get_dummies(…, dtype=float)`",
    ),
    "NVIDIA": ("it needs NVIDIA GPUs: two, as in the book", "需要 NVIDIA GPU：与书中一样，两块"),
}


def _cells_of(edition: dict) -> tuple[int, int, int]:
    rows = edition["sections"]
    return sum(r["cells"] for r in rows), sum(len(r["failed"]) for r in rows), sum(r["own"] for r in rows)


def _advice(error: str, language: int) -> str:
    return next((advice[language] for part, advice in ADVICE.items() if part in error), "")


def _code(text: str) -> str:
    return "`" + re.sub(r"\s+", " ", text).replace("`", "'").replace("|", "\\|").strip()[:90] + "`"


def _failures(results: dict, language: int) -> list[str]:
    """A row for each section and error, with the editions that have it. Cells that fail in consequence are left out."""
    found: dict[tuple[str, str], list[str]] = {}
    for name, edition in results.items():
        for row in edition["sections"]:
            for cell in row["failed"]:
                if not cell["error"].startswith(FOLLOWS):
                    found.setdefault((row["section"], cell["error"]), []).append(f"{name} ({cell['line']})")
    if not found:
        return [TEXT["no failures"][language]]
    lines = [
        f"| {section} | {_code(error)} | {_advice(error, language)} | {', '.join(places)} |"
        for (section, error), places in found.items()
    ]
    return [TEXT["consequences"][language], "", TEXT["failure row"][language], "|---|---|---|---|", *lines]


def _groups(results: dict) -> list[list[str]]:
    """The editions whose chapters have the same names, together."""
    groups: dict[str, list[str]] = {}
    for name, edition in results.items():
        chapters = {row["section"].partition("/")[0] for row in edition["sections"]}
        kind = next((c for c in ("linear-networks", "linear-regression") if c in chapters), "other")
        groups.setdefault(kind, []).append(name)
    return list(groups.values())


def _sections(results: dict, names: list[str], language: int) -> list[str]:
    """A row per section: its names in these editions, and its cells in each, with those that fail."""
    rows = {name: {row["section"]: row for row in results[name]["sections"]} for name in names}
    lines = [TEXT["section row"][language].format(" | ".join(names)), "|---" * (2 + len(names)) + "|"]
    for section in dict.fromkeys(section for name in names for section in rows[name]):
        here = [rows[name].get(section) for name in names]
        used = sorted({name for row in here if row for name in row["names"]})
        cells = [f"{row['cells']}" + f" (−{len(row['failed'])})" * bool(row["failed"]) if row else "" for row in here]
        lines.append(f"| {section} | {', '.join(f'`{name}`' for name in used)} | {' | '.join(cells)} |")
    return lines


def page(results: dict, language: int) -> str:
    """The whole page in a language: 0 is English, 1 Chinese."""
    newest = max(results.values(), key=lambda edition: edition["date"])
    parts = [TEXT["title"][language], TEXT["about"][language]]
    parts += [TEXT["how"][language].format(date=newest["date"], **newest["versions"]), TEXT["editions"][language]]
    rows = [TEXT["edition row"][language], "|---|---|---|---|---|"]
    for name, edition in results.items():
        cells, failed, own = _cells_of(edition)
        own_shown = own if edition["compared"] else ""
        rows.append(f"| {name} | {len(edition['sections'])} | {cells} | {failed} | {own_shown} |")
    parts += ["\n".join(rows), TEXT["failures"][language], "\n".join(_failures(results, language))]
    for names in _groups(results):
        parts += [TEXT["sections"][language].format(", ".join(names)), "\n".join(_sections(results, names, language))]
    return "\n\n".join([*parts, TEXT["tensors"][language]]) + "\n"


def main() -> None:
    results = json.loads(RESULTS.read_text("utf-8"))
    for language, name in enumerate(PAGES):
        (ROOT / "docs" / name).write_text(page(results, language), "utf-8")


if __name__ == "__main__":
    main()
