"""Tables of photos: the path, the label and perhaps the split of each, as spreadsheets and data sets write them."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator
from pathlib import Path

from neoclassic.base.errors import NeoclassicError, unknown
from neoclassic.base.files import on_disk
from neoclassic.data.layouts import Layout
from neoclassic.data.listing import is_of_system
from neoclassic.data.split_names import split_roles
from neoclassic.data.user_text import nfc, read_text

EXTENSIONS = (".csv", ".tsv", ".tab")
DELIMITERS = ",;\t|"
COLUMNS = {  # the names that each column may have, the preferred one first
    "path": (
        *("path", "file", "filename", "filepath", "image", "imagepath", "imagefile", "imagename", "img", "imgpath"),
        *("photo", "picture", "imageid", "id"),
    ),
    "label": ("label", "labels", "class", "classname", "category", "target", "tag", "species", "breed"),
    "split": ("split", "part", "set", "subset", "partition"),
}
SPLITS = ("train", "validation", "test")

Lines = Iterator[tuple[int, list[str]]]  # line number, cells


def read(table: Path) -> Layout:
    """Read the photos of a table.

    NeoclassicError, naming the line, for a column or cell that is missing and for an unknown split.
    """
    lines, header, columns = _open(table)
    layout, finder = Layout(), _Finder(table.parent)
    n, missing, systems = 0, 0, 0
    rows: dict[tuple[str, str, Path], int] = {}  # split, label and photo: the line number
    for line, cells in lines:
        row = {column: cells[at].strip() if at < len(cells) else "" for column, at in columns.items()}
        if error := _wrong(row, cells, len(header), table.parent):
            raise NeoclassicError(f"{table}, line {line}: {error}")
        if any(map(is_of_system, Path(row["path"]).parts)):
            systems += 1
            continue
        photo, label, split = finder.find(on_disk(row["path"])), nfc(row["label"]), row.get("split", "")
        n, missing = n + 1, missing + (photo is None)
        rows.setdefault((split, label, photo or table.parent / row["path"]), line)
    roles = split_roles(sorted({split for split, _, _ in rows}))
    labels = sorted({label for _, label, _ in rows})
    for (split, label, photo), line in rows.items():
        role = roles.get(split, "unlabelled") if split else "all"
        if role == "unlabelled":
            raise NeoclassicError(f"{table}, line {line}: {unknown('split', split, SPLITS)}")
        layout.splits.setdefault(role, {name: [] for name in labels})[label].append(photo)
    names = {column: header[at].strip() for column, at in columns.items()}
    if any(name.lower() != column for column, name in names.items()):
        layout.notes.append(", ".join(f"the {column} is in the column {name!r}" for column, name in names.items()))
    if len(rows) < n:
        layout.notes.append(f"{n - len(rows):,} rows that repeat another one are left out")
    if systems:
        layout.notes.append(f"{systems:,} rows that name a system's own files, as in __MACOSX, are left out")
    if missing > n / 2:
        layout.warnings.append(f"{missing:,} of {n:,} files do not exist: paths are relative to the table's folder")
    return layout


def _wrong(row: dict[str, str], cells: list[str], columns: int, folder: Path) -> str | None:
    """What is wrong with a row, and what to do; None if nothing is."""
    if any(cell.strip() for cell in cells[columns:]):
        return f"{len(cells)} cells for {columns} columns: put a cell that contains the delimiter in quotes"
    if absent := next((column for column, cell in row.items() if not cell), None):
        return f"the {absent} is missing"
    path = row["path"]
    if "://" in path:
        return f"{path} is not a file: download it, and name the file"
    if "\\" in path and os.sep == "/" and not os.path.lexists(folder / path):
        right = path.replace("\\", "/")
        return f"{path} has Windows separators: write {right}"
    return None


def _open(table: Path) -> tuple[Lines, list[str], dict[str, int]]:
    """Return the lines that are not blank, with their numbers; the header; and the index of each column in it."""
    text = read_text(table)
    start = text[:5].lower()  # Excel's "sep=;" line names the delimiter
    excel = start[4] if start.startswith("sep=") and len(start) == 5 else None
    delimiters = excel or DELIMITERS
    headers = [next(_parse(text, delimiter, table, bool(excel), False), (1, []))[1] for delimiter in delimiters]
    columns = [_columns(header) for header in headers]
    best = max(range(len(delimiters)), key=lambda i: len(columns[i]))  # the first, if several are equal
    for column in ("path", "label"):
        if column not in columns[best]:
            have = ", ".join(name.strip()[:40] for name in headers[best][:10]) or "nothing"
            needs = f"the first line must name path, label and optionally split, but it has {have}"
            raise NeoclassicError(f"{table}: no column {column!r}: {needs}")
    lines = _parse(text, delimiters[best], table, bool(excel))
    next(lines)
    return lines, headers[best], columns[best]


def _parse(text: str, delimiter: str, table: Path, skip_first: bool, strict: bool = True) -> Lines:
    spaced = delimiter != "\t"
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, strict=strict, skipinitialspace=spaced)
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells) and not (skip_first and reader.line_num == 1):
                yield reader.line_num, cells
    except csv.Error as error:
        raise NeoclassicError(f"{table}, line {reader.line_num}: {error}") from None


def _columns(header: list[str]) -> dict[str, int]:
    """The index of each column that the header names."""
    plain = ["".join(c for c in name.casefold() if c.isalnum()) for name in header]
    indices = {}
    for column, names in COLUMNS.items():
        if present := [name for name in names if name in plain]:
            indices[column] = plain.index(present[0])
    return indices


class _Finder:
    """Finds the files of a table, in either Unicode form."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._names_in = folder, dict[Path, dict[str, str]]()

    def find(self, text: str) -> Path | None:
        """Return the path of an existing file, relative to the folder; None if there is none."""
        path = self.folder / text
        return path if os.path.lexists(path) else self._by_name(path)

    def _by_name(self, path: Path) -> Path | None:
        at = Path(path.anchor)
        for part in path.relative_to(at).parts:
            if os.path.lexists(at / part):
                at = at / part
            elif name := self._names(at).get(nfc(part)):
                at = at / name
            else:
                return None
        return at

    def _names(self, folder: Path) -> dict[str, str]:
        if folder not in self._names_in:
            try:
                self._names_in[folder] = {nfc(path.name): path.name for path in folder.iterdir()}
            except OSError:
                self._names_in[folder] = {}
        return self._names_in[folder]
