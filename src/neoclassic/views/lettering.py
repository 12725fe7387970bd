"""Names of classes and files in a picture: text as it is, never mathematics, in a font that has its letters.

matplotlib's own font has no Chinese and no emoji. Letters that it lacks are taken from the fonts of the system; a
letter that none of them has is written as its code point, so that two names never look the same.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from neoclassic.base.text import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LIKED = ("noto sans cjk", "noto sans", "source han sans", "sans", "hei", "gothic")  # of several, the first of these


def name(text: str, most: int | None = None) -> str:
    """A user's text as matplotlib takes it; of more than `most` characters, the end: what tells names apart.

    >>> name("IMG_20240517_183012.jpg", 14)
    '…517_183012.jpg'
    """
    shown = "".join(c if _font_of(c) is not None else f"U+{ord(c):04X}" for c in printable(text, keep="\n"))
    if most and len(shown) > most:
        shown = "…" + shown[-most:]
    return shown.replace("$", r"\$")  # between two dollars would be mathematics


def find_letters(figure: Figure) -> None:
    """Give each text of a figure the fonts that its letters need."""
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        others = {font: None for c in text.get_text() if (font := _font_of(c))}
        if others:
            text.set_fontfamily([*text.get_fontfamily(), *others])


@cache
def _font_of(character: str) -> str | None:
    """The family that has a letter: "" is matplotlib's own; None where there is none."""
    from neoclassic.views.picture import import_matplotlib  # which imports this module

    import_matplotlib()
    from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font

    code = ord(character)
    if character == "\n" or code in get_font(findfont(FontProperties())).get_charmap():
        return ""

    def rank(family: str) -> tuple[int, str]:
        return next((i for i, part in enumerate(LIKED) if part in family.lower()), len(LIKED)), family

    plain = {e.name: e.fname for e in fontManager.ttflist if e.style == "normal" and "last" not in e.name.lower()}
    for family in sorted(plain, key=rank):
        if code in _letters_of(plain[family]):
            return family
    return None


@cache
def _letters_of(file: str) -> frozenset[int]:
    """The code points that a font file has; none of one that cannot be read, or that holds pictures of letters only."""
    from matplotlib.ft2font import FT2Font

    try:
        font = FT2Font(file)
        return frozenset(font.get_charmap()) if font.scalable else frozenset()
    except (OSError, RuntimeError, ValueError):
        return frozenset()
