"""The elements of a self-contained HTML page: its style and pictures are inline, and it has no scripts."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterable

import numpy as np
from PIL import Image

from neoclassic.base.text import escape
from neoclassic.views import styles
from neoclassic.views.html import cards, code, details, facts, matrix, paragraph, table

__all__ = [
    "cards",
    "chart",
    "code",
    "details",
    "facts",
    "gallery",
    "matrix",
    "page",
    "paragraph",
    "photo",
    "scrollable",
    "section",
    "table",
]

STYLE = """
:root{color-scheme:light dark;--ink:#1f2430;--soft:#596073;--page:#fff;--card:#f5f6f9;--rim:#dde1ea;--accent:#2563a8}
@media (prefers-color-scheme:dark){:root{--ink:#e8eaf0;--soft:#a6afc0;--page:#0f131a;--card:#171c26;--rim:#333c4a;
--accent:#6aa9ee}img.chart{filter:invert(1) hue-rotate(180deg);mix-blend-mode:screen}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,
"Noto Sans","DejaVu Sans",sans-serif}
main{max-width:1080px;margin:0 auto;padding:24px 16px 64px}
h1{font-size:1.8rem;margin:.2em 0}h2{font-size:1.25rem;margin:2.2em 0 .6em;border-bottom:1px solid var(--rim);
padding-bottom:.25em}
p,figcaption,small{color:var(--soft)}p{max-width:70ch}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(140px,1fr));gap:10px;margin:16px 0}
.cards div{background:var(--card);border:1px solid var(--rim);border-radius:10px;padding:10px 14px}
.cards b{display:block;font-size:1.25rem;overflow-wrap:anywhere}.cards span{color:var(--soft);font-size:.85rem}
table{border-collapse:collapse;width:100%;font-size:.92rem;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:4px 8px 4px 0;border-bottom:1px solid var(--rim);vertical-align:top;
overflow-wrap:anywhere}
th{color:var(--soft);font-weight:600;overflow-wrap:normal}
td.n,th.n{text-align:right;padding:4px 0 4px 8px;overflow-wrap:normal}
.facts th{width:11em}
.two{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,380px),1fr));gap:24px;align-items:start}
img{max-width:100%;height:auto}img.chart{display:block;margin:0 auto;max-width:min(100%,860px)}
.wide{overflow-x:auto;border:1px solid var(--rim);border-radius:10px}.wide svg{display:block;margin:0 auto;
max-width:100%;height:auto}
.gallery{display:grid;grid-template-columns:repeat(auto-fill,minmax(104px,1fr));gap:12px}
.gallery.large{grid-template-columns:repeat(auto-fill,minmax(150px,1fr))}
figure{margin:0}.gallery img{width:100%;border-radius:6px;background:#000;display:block}.small img{
image-rendering:pixelated}
figcaption{font-size:.78rem;line-height:1.3;margin-top:4px;overflow-wrap:anywhere}figcaption b{color:var(--ink)}
pre{background:var(--card);border:1px solid var(--rim);border-radius:10px;padding:10px 14px;overflow-x:auto;
font-size:.82rem;line-height:1.45}pre.wrap{white-space:pre-wrap;overflow-wrap:anywhere}
summary{cursor:pointer;color:var(--accent);margin:.8em 0}
@media (max-width:600px){.broad svg{min-width:520px}.facts th{width:7.5em}h1{font-size:1.45rem}}
@media print{:root{--ink:#000;--soft:#444;--page:#fff;--card:#fff;--rim:#bbb}
img.chart{filter:none;mix-blend-mode:normal}body{font-size:11pt}
main{padding:0;max-width:none}h2{break-after:avoid}figure,.cards div,tr,img{break-inside:avoid}.wide{border:0;
overflow:visible}.broad svg{min-width:0}.wide svg{max-height:24cm}
details:not([open]){display:none}pre{white-space:pre-wrap}}
"""


def page(title: str, sections: Iterable[str]) -> str:
    """The whole page."""
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">'
    icon = '<link rel="icon" href="data:,">'
    body = "\n".join(sections)
    return (
        f'<!doctype html>\n<html lang="en"><head>{head}{icon}<title>{escape(title)}</title>'
        f"<style>{STYLE}{styles.MATRIX}</style></head>\n<body><main>\n{body}\n</main></body></html>\n"
    )


def section(title: str, *parts: str) -> str:
    """A heading and the elements below it."""
    return f"<section><h2>{escape(title)}</h2>\n" + "\n".join(parts) + "\n</section>"


def scrollable(svg: str) -> str:
    """A drawing in a frame, which scrolls on a phone if the drawing is wider than 520 pixels."""
    broad = int(re.search(r'width="(\d+)"', svg)[1]) > 520  # type: ignore[index]
    return f'<div class="wide{" broad" * broad}">{svg}</div>'


def chart(png: bytes, about: str) -> str:
    """A chart on a white background, which the style sheet inverts in dark mode."""
    return f'<img class="chart" alt="{escape(about)}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'


def photo(pixels: np.ndarray, about: str, most: int = 160) -> str:
    """An image, uint8 H×W×C: PNG up to 64 pixels, larger ones as JPEG scaled down to at most `most` pixels."""
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    kind = "PNG"
    if max(image.size) > 64:
        image.thumbnail((most, most))
        kind = "JPEG"
    content = io.BytesIO()
    image.save(content, kind, quality=82)
    data = base64.b64encode(content.getvalue()).decode()
    return f'<img alt="{escape(about)}" src="data:image/{kind.lower()};base64,{data}">'


def gallery(figures: Iterable[tuple[str, str, str]], small: bool, large: bool = False) -> str:
    """Images with captions: (img, bold line, plain line). `small` magnifies pixels sharply; `large` has wide cells."""
    inner = "".join(
        f"<figure>{img}<figcaption><b>{escape(bold)}</b><br>{escape(plain)}</figcaption></figure>"
        for img, bold, plain in figures
    )
    return f'<div class="gallery{" small" * small}{" large" * large}">{inner}</div>'
