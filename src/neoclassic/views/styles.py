"""Style sheets: of confusion matrices, and of everything that a notebook's cell shows, light or dark."""

from __future__ import annotations

from neoclassic.views import svg

# The names stay in sight while the counts scroll. Dark and light text can be read on every shade.
MATRIX = """
.matrix table{display:table;overflow:visible;border-collapse:separate;border-spacing:0;width:auto;margin:0;
font-size:12px}
.matrix th,.matrix td{border:solid rgba(128,128,128,.25);border-width:0 1px 1px 0;padding:3px 5px;text-align:right;
white-space:nowrap;min-width:2.2em;vertical-align:middle}
.matrix th{max-width:9em;overflow:hidden;text-overflow:ellipsis;background:var(--matrix,var(--page))}
.matrix thead th{vertical-align:bottom;text-align:left}.matrix thead th:first-child{white-space:normal}
.matrix thead span{writing-mode:vertical-rl;transform:rotate(180deg);max-height:9em;overflow:hidden}
@media screen{.matrix{overflow:auto;max-height:36em;max-width:100%;width:fit-content}
.matrix th{position:sticky;left:0;z-index:1}.matrix thead th{top:0;left:auto}
.matrix thead th:first-child{left:0;z-index:2}}
""" + "".join(f".matrix .s{step}{{background:rgba(37,99,168,{0.06 * step:.2f})}}" for step in range(1, 11))

# how JupyterLab, VS Code, Colab and sites made from notebooks mark their theme
LIGHT = ":is(body[data-jp-theme-light=true],body.vscode-light,html[theme=light],html[data-theme=light])"
DARK = ":is(body[data-jp-theme-light=false],body.vscode-dark,html[theme=dark],html[data-theme=dark])"


def _theme(page: str, dark: bool) -> str:
    """The colours that do not follow from the text's: charts are drawn on white, and turned dark."""
    back, chart = ("#111", "invert(1) hue-rotate(180deg)") if dark else ("#fff", "none")
    cell = f"{page} .nc-cell"
    return f"{cell}{{--matrix:var(--jp-layout-color0,{back})}}{cell} img.chart{{filter:{chart}}}"


CELL = (
    """
.nc-cell{max-width:100%;color:inherit;line-height:1.4}
.nc-cell p{max-width:70ch;margin:.6em 0;opacity:.8}
.nc-cell p.title{font-weight:700;margin:.6em 0 .2em;opacity:1}
.nc-cell table{border-collapse:collapse;border:0;margin:.4em 0;font-size:.92em;font-variant-numeric:tabular-nums;
color:inherit;table-layout:auto;display:block;overflow-x:auto;width:fit-content;max-width:100%}
.nc-cell tr,.nc-cell tr:hover,.nc-cell tr:nth-child(odd){background:none}
.nc-cell th,.nc-cell td{text-align:left;padding:2px 14px 2px 0;border:solid rgba(128,128,128,.3);border-width:0 0 1px;
color:inherit;vertical-align:top;overflow-wrap:break-word;white-space:normal;max-width:60ch}
.nc-cell th{font-weight:600;white-space:nowrap}
.nc-cell td.n,.nc-cell th.n{text-align:right;white-space:nowrap;padding:2px 0 2px 14px}
.nc-cell summary{cursor:pointer;margin:.6em 0}
.nc-cell .wide{overflow-x:auto;max-width:100%}
.nc-cell svg{display:block;max-width:100%;height:auto}
.nc-cell img.chart{display:block;max-width:min(100%,860px);max-height:440px;
width:auto;height:auto;margin:.4em 0}
.nc-cell .gallery{display:flex;flex-wrap:wrap;gap:14px}
.nc-cell figure{margin:0;width:150px}
.nc-cell figcaption{font-size:.85em}
.nc-cell .gallery img{display:block;width:100%;margin:0}
.nc-cell .small img{image-rendering:pixelated}
"""
    + MATRIX.replace(".matrix ", ".nc-cell .matrix ")
    + _theme("", dark=False)
    + f"@media (prefers-color-scheme:dark){{{_theme('', dark=True)}}}"
    + _theme(LIGHT, dark=False)
    + _theme(DARK, dark=True)
)

# drawings follow the system by themselves, and a notebook's theme by these
DRAWING = svg.rules(False, f"{LIGHT} svg.nc") + svg.rules(True, f"{DARK} svg.nc")
