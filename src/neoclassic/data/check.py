"""`neoclassic check`: what is wrong with a folder of photos, found before training on it."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from neoclassic.base.errors import NeoclassicError
from neoclassic.base.text import csv_table
from neoclassic.data import copies, crops
from neoclassic.data import findings as find
from neoclassic.data.duplicates import duplicates, near_duplicates
from neoclassic.data.findings import Counts, Finding
from neoclassic.data.fit import choose_fit
from neoclassic.data.folders import Folder
from neoclassic.data.preprocessing import Array, Preprocessing, read_pixels

BRIEF = 3  # findings in the summary before training
LARGE = 1 << 23  # pixels from which images are decoded one at a time, to save memory
PART = 4096  # images that wait for a thread at once
SEVERITIES = ("error", "warning", "note")


@dataclass(frozen=True, repr=False)
class Report:
    """What `check` found in a folder. The repr is the report for people.

    counts    images of each class in each split
    findings  the most severe first
    fit, why  how images best become a size, and the reason
    notes     how the splits were chosen
    """

    folder: str
    counts: Counts
    findings: tuple[Finding, ...]
    fit: str
    why: str
    notes: tuple[str, ...] = ()

    @property
    def worst(self) -> str | None:
        """The highest severity that was found; None if nothing was."""
        return next((s for s in SEVERITIES if any(f.severity == s for f in self.findings)), None)

    def __repr__(self) -> str:
        return self.text()

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        findings = [
            {"severity": f.severity, "kind": f.kind, "text": f.text, "paths": list(f.paths)} for f in self.findings
        ]
        return {
            "folder": self.folder,
            "counts": self.counts,
            "notes": list(self.notes),
            "fit": {"fit": self.fit, "why": self.why},
            "findings": findings,
        }

    def table(self) -> str:
        """Return every finding with all of its files as CSV: a row for each file, or for each group of duplicates."""
        rows = ((f.severity, f.kind, f.text, path) for f in self.findings for path in f.paths or ("",))
        return csv_table(["severity", "kind", "text", "path"], rows)

    def text(self, most: int = 5) -> str:
        """Return the report for people: counts, findings with at most `most` files each, and the next command."""
        lines = [f"{self.folder}: {sum(sum(by_class.values()) for by_class in self.counts.values()):,} images"]
        for split, by_class in self.counts.items():
            lines.append(f"  {split}: " + ", ".join(f"{name} {n:,}" for name, n in by_class.items()))
        lines += [f"  {note}" for note in self.notes]
        for finding in self.findings:
            lines += ["", f"{finding.severity}: {finding.text}"]
            lines += [f"    {path}" for path in finding.shown[:most]]
            if len(finding.paths) > most:
                lines.append(f"    … and {len(finding.paths) - most:,} more")
        if not self.findings:
            lines += ["", "no problems were found"]
        if any(len(finding.paths) > most or finding.shown != finding.paths for finding in self.findings):
            lines += ["", f"all paths: neoclassic check {self.folder} --out findings.csv"]
        lines += ["", f"recommended fit: {self.fit}, because {self.why}"]
        lines += [f"next: neoclassic train mobilenet-v2 --data {self.folder} --weights imagenet --head"]
        return "\n".join(lines)


def check(folder: Folder, size: tuple[int, int] = (224, 224)) -> Report:
    """Read and decode every photo of a folder, and report what is wrong for training at a height and width."""
    thumbnails, errors = _thumbnails(folder)
    readable = [photo for photo in folder.photos if photo.path not in errors]
    fit, why = choose_fit([folder.infos[photo.path] for photo in readable], size)
    findings = [
        *find.layout(folder),
        *find.unreadable(folder, errors),
        *find.classes(folder, errors),
        *duplicates(folder),
        *near_duplicates(folder, thumbnails),
        *find.turned(folder, readable),
        *find.odd(folder, readable),
        *find.depths(folder, readable),
        *find.shapes(folder, readable, size, fit),
        *find.unused(folder),
    ]
    findings.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    return Report(str(folder.root), find.count(folder), tuple(findings), fit, why, folder.notes)


def layout_findings(folder: Folder) -> list[Finding]:
    """What `check` finds without decoding a photo: layout, classes, files that occur twice."""
    errors = {path: info.error for path, info in folder.infos.items() if info.error}
    return [*find.layout(folder), *find.classes(folder, errors), *duplicates(folder)]


def summary(folder: Folder, p: Preprocessing) -> list[str]:
    """Return a few lines to print before training: the counts, the choices made and why, and what the headers show.

    Nothing is decoded, so only `check` finds near duplicates and damaged pixels.
    """
    errors = {path: info.error for path, info in folder.infos.items() if info.error}
    readable = [photo for photo in folder.photos if photo.path not in errors]
    sizes = ", ".join(f"{split} {len(photos):,}" for split, photos in folder.splits.items())
    fit, why = choose_fit([folder.infos[photo.path] for photo in readable], p.size)
    lines = [f"{find.images(len(folder.photos))} in {len(folder.classes)} classes: {sizes}", *folder.notes]
    crop = f" that keeps {p.keep:.1%} of the shorter side" if p.keep < 1 else ""
    lines.append(f"each becomes {p.size[0]}×{p.size[1]}, fit {p.fit}{crop}" + (f": {why}" if fit == p.fit else ""))
    lines += [f"{f.kind if f.severity == 'note' else f.severity}: {f.text}" for f in find.layout(folder)]
    findings = [*find.classes(folder, errors), *duplicates(folder), *find.odd(folder, readable)]
    worst = {f.paths or f.text: f for f in reversed(findings) if f.severity != "note"}  # the worst about each file
    serious = list(reversed(worst.values()))
    lines += [f"{f.severity}: {f.text}" + (f" ({f.shown[0]})" if f.paths else "") for f in serious[:BRIEF]]
    more = f"{len(serious) - BRIEF} more; " if len(serious) > BRIEF else ""
    return lines + [f"{more}'neoclassic check {folder.root}' shows all"] * bool(serious or folder.warnings)


def _thumbnails(folder: Folder) -> tuple[dict[Path, Array], dict[Path, str]]:
    """Grey thumbnails of the photos that training can read, decoded as training does; and the errors of the others.

    They are as large as `near_duplicates` needs them.
    """
    size = crops.THUMBNAIL if len(folder.photos) <= crops.MOST else copies.THUMBNAIL
    p = folder.preprocessing(size, fit="stretch")

    def thumbnail(path: Path) -> Array | str:
        if error := folder.infos[path].error:
            return error
        try:
            pixels = read_pixels(path, p)
        except NeoclassicError as error:
            return str(error).removeprefix(f"{path}: ")
        return np.asarray(Image.fromarray(pixels.squeeze()).convert("L"))

    pixels = {photo.path: folder.infos[photo.path].width * folder.infos[photo.path].height for photo in folder.photos}
    small = [path for path, n in pixels.items() if n <= LARGE]
    results: dict[Path, Array | str] = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(small), PART):
            part = small[start : start + PART]
            results |= zip(part, pool.map(thumbnail, part), strict=True)
    results = {path: results[path] if path in results else thumbnail(path) for path in pixels}
    errors = {path: value for path, value in results.items() if isinstance(value, str)}
    return {path: value for path, value in results.items() if not isinstance(value, str)}, errors
