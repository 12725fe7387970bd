"""What the newer edition's classes are built with."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

Named = TypeVar("Named", bound=Callable[..., Any] | type)


def add_to_class(Class: type) -> Callable[[Named], Named]:
    """A decorator that adds a function to an existing class as a method. It returns the function unchanged."""

    def add(function: Named) -> Named:
        setattr(Class, function.__name__, function)
        return function

    return add


class HyperParameters:
    """A base class whose constructors can keep their arguments as attributes."""

    hparams: dict[str, Any]

    def save_hyperparameters(self, ignore: Iterable[str] = ()) -> None:
        """Called from a constructor: keep its arguments and local variables as attributes and in `hparams`.

        `self`, the names in `ignore`, and names that begin with an underscore are left out.
        """
        frame = inspect.currentframe()
        assert frame is not None
        assert frame.f_back is not None
        given = frame.f_back.f_locals
        hidden = {"self", *ignore}
        self.hparams = {k: v for k, v in given.items() if k not in hidden and not k.startswith("_")}
        for name, value in self.hparams.items():
            setattr(self, name, value)
