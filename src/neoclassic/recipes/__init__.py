"""Published recipes and our own: one module per source, one function per recipe."""

from __future__ import annotations

import json
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path

from neoclassic import networks
from neoclassic.base import display
from neoclassic.base.errors import NeoclassicError, UsageError, unknown
from neoclassic.data.folders import Folder, scan
from neoclassic.data.sources import SOURCES, is_photos, load
from neoclassic.networks import Entry
from neoclassic.recipes import d2l_en, d2l_zh, densenet_2016, dlfs, neoclassic, notes, practice, resnet_2015
from neoclassic.train.recipe import Recipe
from neoclassic.tree import Node
from neoclassic.views.table import RIGHT, WRAP, Column, Table

COLUMNS = (
    Column("recipe"),
    Column("network", rank=2),
    Column("data", rank=1),
    Column("epochs", RIGHT, rank=3),
    Column("batch", RIGHT, rank=5),
    Column("rate", RIGHT, rank=4),
    Column("test accuracy reached", narrow=WRAP, least=30),
)
_SOURCES = (d2l_zh, d2l_en, notes, practice, dlfs, resnet_2015, densenet_2016, neoclassic)
_ROWS: tuple[Callable[[], Recipe], ...] = tuple(row for source in _SOURCES for row in source.RECIPES)
_RECIPES = {recipe.name: recipe for recipe in (row() for row in _ROWS)}


class Recipes(list[Recipe], display.Displayed):
    """A list of recipes. The repr is a table of them."""

    def __repr__(self) -> str:
        return str(self.table)

    @property
    def table(self) -> Table:
        """A row for each recipe."""
        rows = (
            (r.name, r.network, r.data, str(r.epochs), str(r.batch_size), f"{r.learning_rate:g}", r.reaches)
            for r in self
        )
        return Table(COLUMNS, tuple(rows))


def list_recipes(pattern: str = "*") -> Recipes:
    """Return the recipes whose name or network matches a shell pattern.

    >>> [recipe.name for recipe in nc.list_recipes("dlfs:*")]
    ['dlfs:deepconvnet']
    """
    return Recipes(r for r in _RECIPES.values() if fnmatchcase(r.name, pattern) or fnmatchcase(r.network, pattern))


def recipe(name: str) -> Recipe:
    """Return a recipe by its name, or from a file such as the `recipe.json` of a run.

    >>> r = nc.recipe("neoclassic:lenet")
    >>> r.epochs, r.batch_size, r.learning_rate
    (45, 128, 0.008)

    UsageError if the name is unknown; NeoclassicError for a file that cannot be read.
    """
    if is_file(name):
        return _read(name)
    if name not in _RECIPES:
        if rows := [row for row in _RECIPES if row.startswith(f"{name}:")]:
            raise UsageError(f"{name!r} is a source of several recipes: choose one of {', '.join(rows)}")
        raise unknown("recipe", name, _RECIPES, see="'neoclassic recipes' shows them all")
    return _RECIPES[name]


def is_file(name: str) -> bool:
    """Whether `recipe` takes this for a file."""
    return name.endswith(".json")


def _read(name: str) -> Recipe:
    """The recipe in a file. Data that are not found at a relative path are those that the run was trained on."""
    try:
        found = json.loads(Path(name).read_text("utf-8"))
        run = found.pop("run", None)
        chosen = Recipe.from_dict(found)
    except FileNotFoundError:
        raise UsageError(f"{name} does not exist: name the recipe.json of a run") from None
    except (OSError, ValueError, AttributeError, TypeError, RecursionError, NeoclassicError) as error:
        raise NeoclassicError(f"{name}: not a recipe ({error})") from None
    place = run.get("place") if isinstance(run, dict) else None
    return chosen.but(data=place) if isinstance(place, str) and not Path(chosen.data).exists() else chosen


def choose(
    network: str | Entry | Node | None,
    name: str | None,
    data: str | None = None,
    weights: str | None = None,
    layers: str = "auto",
) -> Recipe:
    """Return the recipe `name`, or the default recipe of `network`.

    The default, also called `default`, is `neoclassic:<network>`; if `data` is a folder of photos, it is the recipe for
    that number of photos, from `weights` or from scratch. layers: which of them are trained; see `neoclassic.LAYERS`.
    network: of the zoo by its name, or one's own; a function that makes it is called with the number of classes of the
    data. UsageError if the recipe is for another network, or if neither a recipe nor a network is given.
    """
    by_default, own = name in (None, "default"), not (network is None or isinstance(network, str))
    photos = scan(data) if data is not None and (by_default or own) and is_photos(data) else None
    if network is None or isinstance(network, str):
        chosen = _chosen(network, name, photos, bool(weights), layers)
    else:
        row = networks.entry(network)
        chosen = _chosen(row, name, photos, bool(weights), layers)
        classes = photos.classes if photos else _classes(data or chosen.data)
        chosen = chosen.but(network=row.name, tree=row.tree(len(classes)))
    return chosen.but(data=data) if by_default and photos else chosen


def _classes(data: str) -> tuple[str, ...]:
    """The classes of a data set or a folder of arrays. Errors as from `data.load`."""
    return SOURCES[data].classes if data in SOURCES else load(data).classes


def _chosen(network: str | Entry | None, name: str | None, photos: Folder | None, weights: bool, layers: str) -> Recipe:
    """The recipe as `choose` describes it; one's own network is not in it yet."""
    if name in (None, "default"):
        if network is None:
            raise UsageError("name a network or a recipe: 'neoclassic list' and 'neoclassic recipes' show them")
        if photos:
            return neoclassic.photos(network, len(photos.splits.get("train", ())), weights, layers)
        chosen = _RECIPES.get(f"neoclassic:{network}") or neoclassic.default(network)
        return neoclassic.with_layers(chosen, layers)
    assert name is not None
    chosen = recipe(name)
    if isinstance(network, Entry):
        return neoclassic.with_layers(chosen.but(network=network.name, tree=network.own, reaches=""), layers)
    if network not in (None, chosen.network):
        raise UsageError(f"recipe {name!r} trains {chosen.network!r}, not {network!r}: leave one of the two out")
    return neoclassic.with_layers(chosen, layers)
