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
        """Try it with your own copy of a book, in the folder of the sources; nothing of the book is kept:

```
python tests/readers PATH-TO-THE-BOOK --own
```

It cuts the trainings to two epochs and few images, needs no network, and also runs the package that is in the book's
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
    "no failures": ("None.", "没有。"),
    "failure row": ("| edition | section, line | error | what to do |", "| 版本 | 节，行 | 错误 | 怎么办 |"),
    "sections": ("## Sections of {}", "## {} 的各节"),
    "section row": ("| section | cells | names |", "| 节 | 单元格 | 名字 |"),
    "tensors": (
        "Functions of tensors, such as `reshape` and `ones`, are left out of the names.",
        "“名字”一栏不包括 `reshape`、`ones` 等张量函数。",
    ),
}
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
    "NameError": ("it follows from the cell that failed before", "由前面失败的单元格引起"),
}


def _cells_of(edition: dict) -> tuple[int, int, int]:
    rows = edition["sections"]
    return sum(r["cells"] for r in rows), sum(len(r["failed"]) for r in rows), sum(r["own"] for r in rows)


def _advice(error: str, language: int) -> str:
    return next((advice[language] for part, advice in ADVICE.items() if part in error), "")


def _code(text: str) -> str:
    return "`" + re.sub(r"\s+", " ", text).replace("`", "'").replace("|", "\\|").strip()[:90] + "`"


def _failures(results: dict, language: int) -> list[str]:
    lines = []
    for name, edition in results.items():
        for row in edition["sections"]:
            for cell in row["failed"]:
                place = f"{row['section']}, {cell['line']}"
                lines.append(f"| {name} | {place} | {_code(cell['error'])} | {_advice(cell['error'], language)} |")
    if not lines:
        return [TEXT["no failures"][language]]
    return [TEXT["failure row"][language], "|---|---|---|---|", *lines]


def _sections(edition: dict, language: int) -> list[str]:
    lines = [TEXT["section row"][language], "|---|---|---|"]
    for row in edition["sections"]:
        cells = f"{row['cells']}" + f" (−{len(row['failed'])})" * bool(row["failed"])
        lines.append(f"| {row['section']} | {cells} | {', '.join(f'`{name}`' for name in row['names'])} |")
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
    for name, edition in results.items():
        parts += [TEXT["sections"][language].format(name), "\n".join(_sections(edition, language))]
    return "\n\n".join([*parts, TEXT["tensors"][language]]) + "\n"


def main() -> None:
    results = json.loads(RESULTS.read_text("utf-8"))
    for language, name in enumerate(PAGES):
        (ROOT / "docs" / name).write_text(page(results, language), "utf-8")


if __name__ == "__main__":
    main()
