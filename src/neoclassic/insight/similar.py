"""The page of `neoclassic similar`: a photo and those nearest to it, as one self-contained HTML file."""

from __future__ import annotations

from pathlib import Path

from neoclassic.base.text import escape
from neoclassic.insight import page
from neoclassic.model.artefact import Model
from neoclassic.model.embedding import Embeddings, Similar


def html(found: Similar, among: Embeddings, model: Model, folder: str) -> str:
    """The page. among: the embeddings that `found` was searched in, with their pixels."""
    assert among.pixels is not None
    small = max(model.preprocessing.size) <= 64
    query = page.gallery([(page.photo(found.pixels, found.photo), Path(found.photo).name, found.photo)], small, True)
    figures = [
        (
            page.photo(among.pixels[near.index], near.path),
            f"{rank}. {near.label or Path(near.path).name}",
            f"cosine {near.cosine:.3f}, {_inside(near.path, folder)}",
        )
        for rank, near in enumerate(found.neighbours, 1)
    ]
    about = (
        f"The photos of {folder} whose features are nearest to those of the photo, by the cosine of the angle between "
        f"them: 1 is the same. The features are the {among.features.shape[1]:,} inputs of the last layer of "
        f"{model.network}. The photos are shown as the network sees them."
    )
    return page.page(
        f"Similar to {Path(found.photo).name}",
        [
            f"<header><h1>{escape(f'Similar to {Path(found.photo).name}')}</h1>{page.paragraph(about)}</header>",
            page.section("The photo", query),
            page.section(f"The nearest {len(figures)} of {len(among):,}", page.gallery(figures, small, True)),
            page.section(
                "The model",
                page.facts(
                    [
                        ("network", model.network),
                        ("trained on", str(model.data.get("name", "unknown"))),
                        ("checksum", among.model),
                    ]
                ),
            ),
        ],
    )


def _inside(path: str, folder: str) -> str:
    """A path as seen from the folder, if it is inside."""
    whole = Path(path)
    return str(whole.relative_to(folder)) if whole.is_relative_to(folder) else path
