"""Tables of photos: the path and the label of each, and perhaps the part, as spreadsheets and data sets write them."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator
from pathlib import Path

from neoclassic.base.errors import NeoclassicError, unknown
from neoclassic.base.files import on_disk
from neoclassic.data.given import read_text, same
from neoclassic.data.layouts import Reading, roles

ENDINGS = (".csv", ".tsv", ".tab")
DELIMITERS = ",;\t|"
COLUMNS = {  # the names of each, the one that is preferred first
    "path": (
        *("path", "file", "filename", "filepath", "image", "imagepath", "imagefile", "imagename", "img", "imgpath"),
        *("photo", "picture", "imageid", "id"),
    ),
    "label": ("label", "labels", "class", "classname", "category", "target", "tag", "species", "breed"),
    "split": ("split", "part", "set", "subset", "partition"),
}
KNOWN = ("train", "validation", "test")


def read(table: Path) -> Reading:
    """The photos of a table. NeoclassicError, naming the line: a column or cell that is missing, an unknown split."""
    lines, header, columns = _rows(table)
    reading, disk, n, missing = Reading(), _Disk(table.parent), 0, 0
    rows: dict[tuple[str, str, Path], int] = {}  # and the line of each
    for line, cells in lines:
        row = {column: cells[at].strip() if at < len(cells) else "" for column, at in columns.items()}
        if any(cell.strip() for cell in cells[len(header) :]):
            wanted = f"{len(cells)} cells, {len(header)} are wanted"
            raise NeoclassicError(f"{table}, line {line}: {wanted}: put a cell that holds the delimiter in quotes")
        if absent := next((column for column, cell in row.items() if not cell), None):
            raise NeoclassicError(f"{table}, line {line}: the {absent} is missing")
        if "://" in row["path"]:
            raise NeoclassicError(f"{table}, line {line}: {row['path']} is no file: download it, and name the file")
        if "\\" in row["path"] and os.sep == "/" and not os.path.lexists(table.parent / row["path"]):
            right = row["path"].replace("\\", "/")
            raise NeoclassicError(f"{table}, line {line}: {row['path']} has Windows separators: write {right}")
        photo, label, split = disk.find(on_disk(row["path"])), same(row["label"]), row.get("split", "")
        n, missing = n + 1, missing + (photo is None)
        rows.setdefault((split, label, photo or table.parent / row["path"]), line)
    told = roles(sorted({split for split, _, _ in rows}))
    labels = sorted({label for _, label, _ in rows})
    for (split, label, photo), line in rows.items():
        part = told.get(split, "unlabelled") if split else "all"
        if part == "unlabelled":
            raise NeoclassicError(f"{table}, line {line}: {unknown('split', split, KNOWN)}")
        reading.parts.setdefault(part, {name: [] for name in labels})[label].append(photo)
    names = {column: header[at].strip() for column, at in columns.items()}
    if any(name.lower() != column for column, name in names.items()):
        reading.layout.append(", ".join(f"the {column} is in the column {name!r}" for column, name in names.items()))
    if len(rows) < n:
        reading.layout.append(f"{n - len(rows):,} rows that repeat another one are left out")
    if missing > n / 2:
        reading.doubts.append(f"{missing:,} of {n:,} files are not there: paths begin at the table's folder")
    return reading


Lines = Iterator[tuple[int, list[str]]]


def _rows(table: Path) -> tuple[Lines, list[str], dict[str, int]]:
    """The lines with their numbers, without blank ones, the header, and where each column is in it."""
    text = read_text(table)
    told = text[:5].lower()  # Excel's own line that tells the delimiter
    first = told[4] if told.startswith("sep=") and len(told) == 5 else None
    tried = first or DELIMITERS
    headers = [next(_parsed(text, delimiter, table, bool(first), False), (1, []))[1] for delimiter in tried]
    columns = [_columns(header) for header in headers]
    best = max(range(len(tried)), key=lambda i: len(columns[i]))  # the first of equals
    for column in ("path", "label"):
        if column not in columns[best]:
            have = ", ".join(name.strip() for name in headers[best][:10]) or "nothing"
            wanted = "the first line names path, label and perhaps split"
            raise NeoclassicError(f"{table}: no column {column!r}: {wanted}, here it has {have}")
    lines = _parsed(text, tried[best], table, bool(first))
    next(lines)
    return lines, headers[best], columns[best]


def _parsed(text: str, delimiter: str, table: Path, skip: bool, strict: bool = True) -> Lines:
    spaced = delimiter != "\t"
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, strict=strict, skipinitialspace=spaced)
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells) and not (skip and reader.line_num == 1):
                yield reader.line_num, cells
    except csv.Error as error:
        raise NeoclassicError(f"{table}, line {reader.line_num}: {error}") from None


def _columns(header: list[str]) -> dict[str, int]:
    plain = ["".join(c for c in name.casefold() if c.isalnum()) for name in header]
    found = {}
    for column, names in COLUMNS.items():
        if there := [name for name in names if name in plain]:
            found[column] = plain.index(there[0])
    return found


class _Disk:
    """Finds the files that paths mean, in whichever Unicode form."""

    def __init__(self, base: Path) -> None:
        self.base, self._listed = base, dict[Path, dict[str, str]]()

    def find(self, text: str) -> Path | None:
        """The path of what is there, from the base; None for nothing."""
        path = self.base / text
        return path if os.path.lexists(path) else self._by_name(path)

    def _by_name(self, path: Path) -> Path | None:
        at = Path(path.anchor)
        for part in path.relative_to(at).parts:
            if not os.path.lexists(at / part):
                name = self._names(at).get(same(part))
                if name is None:
                    return None
                part = name
            at = at / part
        return at

    def _names(self, folder: Path) -> dict[str, str]:
        if folder not in self._listed:
            try:
                self._listed[folder] = {same(path.name): path.name for path in folder.iterdir()}
            except OSError:
                self._listed[folder] = {}
        return self._listed[folder]
