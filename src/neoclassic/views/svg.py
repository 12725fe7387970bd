"""A minimal SVG writer: shapes, text whose width is known, and a style sheet for light and dark mode.

The files are self-contained: no scripts, no fonts and no external references.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field

from neoclassic.base.text import escape

FONT = "system-ui,-apple-system,'Segoe UI',Roboto,'Noto Sans','DejaVu Sans',sans-serif"
LABEL, SMALL = 12.0, 10.5  # font sizes, pixels

# widths in ems, at least those of DejaVu Sans Bold, the widest of the fonts above
_WIDTHS = {
    **dict.fromkeys("ijl", 0.38),
    **dict.fromkeys(" .,·:;'|", 0.4),
    **dict.fromkeys("frt()[]/-", 0.5),
    **dict.fromkeys("csxvzk", 0.68),
    **dict.fromkeys("wmMW%⌊⌋", 1.11),
    **dict.fromkeys("×→−+…⊕⊗", 1.01),
    **dict.fromkeys("CDEFILJPRSTV", 0.84),
    **dict.fromkeys("ABGHKNOQUXYZ&", 0.88),
}
_WIDTHS["I"] = 0.38
_DEFAULT_WIDTH = 0.72  # other lower-case letters and digits

# class: fill and stroke in light mode, then in dark mode
_THEME = {
    "page": ("#ffffff", "none", "#0f131a", "none"),
    "frame": ("#f5f6f9", "#cdd2de", "#171c26", "#39424f"),
    "aside": ("none", "#9aa3b5", "none", "#66718a"),
    "conv": ("#dceafb", "#2563a8", "#17304d", "#6aa9ee"),
    "depthwise": ("#d6f1ee", "#14776e", "#10362f", "#4fc3b4"),
    "fc": ("#f2e4fa", "#7c3aa6", "#33203f", "#c391e8"),
    "pool": ("#fdebd7", "#b45f06", "#3d2a14", "#f0a955"),
    "other": ("#ebedf2", "#7b8497", "#252c38", "#8a94a8"),
    "end": ("#1f2430", "#1f2430", "#e8eaf0", "#e8eaf0"),
    "merge": ("#ffffff", "#1f2430", "#0f131a", "#e8eaf0"),
    "roof": ("#00000012", "none", "#ffffff14", "none"),
    "wall": ("#00000024", "none", "#ffffff26", "none"),
}
_INKS = {"ink": ("#1f2430", "#e8eaf0"), "soft": ("#596073", "#a6afc0"), "paper": ("#ffffff", "#0f131a")}
_LINE = ("#667085", "#8b96aa")


def rules(dark: bool, root: str = "svg.nc") -> str:
    """The CSS of the colours, for drawings that the selector `root` finds."""
    i = 2 if dark else 0
    colours = [f"{root} .{name}{{fill:{c[i]};stroke:{c[i + 1]}}}" for name, c in _THEME.items()]
    colours += [f"{root} .{name}{{fill:{inks[dark]}}}" for name, inks in _INKS.items()]
    colours.append(f"{root} .line{{fill:none;stroke:{_LINE[dark]}}}{root} .tip{{fill:{_LINE[dark]}}}")
    return "".join(colours)


STYLE = (
    f"svg.nc text{{font-family:{FONT};font-size:{LABEL:g}px}}svg.nc .small{{font-size:{SMALL:g}px}}"
    "svg.nc .bold{font-weight:700}svg.nc .title{font-size:18px;font-weight:700}svg.nc .aside{stroke-dasharray:4 3}"
    f"{rules(dark=False)}@media (prefers-color-scheme:dark){{{rules(dark=True)}}}"
)


def width(text: str, size: float = LABEL) -> float:
    """The largest width of a text in pixels, in any of the fonts, bold or not."""
    return size * sum(_WIDTHS.get(c) or _width_of_other(c) for c in text)


def _width_of_other(c: str) -> float:
    if unicodedata.east_asian_width(c) in "WF":  # Chinese, Japanese and Korean
        return 1.1
    return 0.88 if c.isupper() else _DEFAULT_WIDTH


@dataclass
class Canvas:
    """Elements in painting order. Coordinates are pixels; the y of a text is its vertical middle."""

    elements: list[str] = field(default_factory=list)

    def text(self, x: float, y: float, text: str, style: str = "ink", anchor: str = "start") -> None:
        self.spans(x, y, [(text, style)], anchor)

    def spans(self, x: float, y: float, parts: Iterable[tuple[str, str]], anchor: str = "start") -> None:
        """One line of text from (text, style) parts."""
        inner = "".join(f'<tspan class="{style}">{escape(text)}</tspan>' for text, style in parts)
        self.elements.append(
            f'<text xml:space="preserve" x="{x:.1f}" y="{y + 4:.1f}" text-anchor="{anchor}">{inner}</text>'
        )

    def box(self, x: float, y: float, w: float, h: float, style: str, about: str = "", radius: float = 5) -> None:
        shape = f'<rect class="{style}" x="{x:.1f}" y="{y:.1f}" width="{w:.1f}" height="{h:.1f}" rx="{radius:g}"'
        self.elements.append(f"{shape}><title>{escape(about)}</title></rect>" if about else f"{shape}/>")

    def circle(self, x: float, y: float, r: float, style: str) -> None:
        self.elements.append(f'<circle class="{style}" cx="{x:.1f}" cy="{y:.1f}" r="{r:g}"/>')

    def polygon(self, points: Iterable[tuple[float, float]], style: str, about: str = "") -> None:
        coordinates = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        shape = f'<polygon class="{style}" points="{coordinates}" stroke-linejoin="round">'
        self.elements.append(f"{shape}<title>{escape(about)}</title></polygon>")

    def line(self, points: Iterable[tuple[float, float]], tip: bool = False) -> None:
        """A line through the points. `tip` adds an arrowhead that points down at its end."""
        points = list(points)
        coordinates = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.elements.append(f'<polyline class="line" points="{coordinates}" stroke-linejoin="round"/>')
        if tip:
            x, y = points[-1]
            corners = f"{x - 3.5:.1f},{y - 6:.1f} {x + 3.5:.1f},{y - 6:.1f} {x:.1f},{y:.1f}"
            self.elements.append(f'<polygon class="tip" points="{corners}"/>')

    def page(self, w: float, h: float, title: str, about: str) -> str:
        """The whole file; `title` and `about` are for screen readers."""
        head = f'<svg xmlns="http://www.w3.org/2000/svg" class="nc" role="img" viewBox="0 0 {w:.0f} {h:.0f}"'
        size = f'width="{w:.0f}" height="{h:.0f}"'
        meta = f"<title>{escape(title)}</title><desc>{escape(about)}</desc><style>{STYLE}</style>"
        background = f'<rect class="page" width="{w:.0f}" height="{h:.0f}"/>'
        return f"{head} {size}>\n{meta}\n{background}\n" + "\n".join(self.elements) + "\n</svg>\n"
