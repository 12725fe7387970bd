"""Training: a recipe determines a run; one loop runs it on either engine; a run folder holds what came of it."""

from neoclassic.base import called
from neoclassic.train.recipe import Recipe

__all__ = ["Recipe"]

called.make_callable(__name__)  # nc.train
