"""Names of classes and files in a picture: literal text, never mathtext, in a font that has its characters.

matplotlib's default font has no Chinese and no emoji. Missing characters come from the system's fonts. A character that
no font has is written as its code point, so that two different names never look the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING

from neoclassic.base.text import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PREFERRED = ("noto sans cjk", "noto sans", "source han sans", "sans", "hei", "gothic")  # parts of font family names


def name(text: str, most: int | None = None) -> str:
    """A user's text, escaped for matplotlib. Only the last `most` characters are kept, as names differ at their end.

    >>> name("IMG_20240517_183012.jpg", 14)
    '…517_183012.jpg'
    """
    shown = "".join(c if _font_of(c) is not None else f"U+{ord(c):04X}" for c in printable(text, keep="\n"))
    if most and len(shown) > most:
        shown = "…" + shown[-most:]
    return shown.replace("$", r"\$")  # matplotlib parses text between two dollars as mathtext


def advice(names: Iterable[str]) -> str:
    """What to say beside pictures with these names if no font has some of their characters; otherwise ""."""
    missing = {c: None for text in names for c in printable(text, keep="\n") if _font_of(c) is None}
    if not missing:
        return ""
    shown, them = " ".join(list(missing)[:5]), "them" if len(missing) > 1 else "it"
    why = f"because no installed font has {them}"
    install = "install one that does, such as Noto Sans CJK for Chinese, Japanese and Korean"
    return f"Pictures show {shown} as code points, {why}: {install}."


def set_fonts(figure: Figure) -> None:
    """Give each text of a figure the fonts that its characters need."""
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        others = {font: None for c in text.get_text() if (font := _font_of(c))}
        if others:
            text.set_fontfamily([*text.get_fontfamily(), *others])


@cache
def _font_of(character: str) -> str | None:
    """The font family that has a character: "" for matplotlib's default font, None if no font has it."""
    from neoclassic.views.picture import import_matplotlib  # not at the top: it imports this module

    import_matplotlib()
    from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font

    code = ord(character)
    if character == "\n" or code in get_font(findfont(FontProperties())).get_charmap():
        return ""

    def rank(family: str) -> tuple[int, str]:
        return next((i for i, word in enumerate(PREFERRED) if word in family.lower()), len(PREFERRED)), family

    regular = {e.name: e.fname for e in fontManager.ttflist if e.style == "normal" and "last" not in e.name.lower()}
    for family in sorted(regular, key=rank):
        if code in _characters_of(regular[family]):
            return family
    return None


@cache
def _characters_of(file: str) -> frozenset[int]:
    """The code points of a font file; empty if it cannot be read or is a bitmap font."""
    from matplotlib.ft2font import FT2Font

    try:
        font = FT2Font(file)
        return frozenset(font.get_charmap()) if font.scalable else frozenset()
    except (OSError, RuntimeError, ValueError):
        return frozenset()
