"""Start the lab: one page, on this machine only, whose address holds a token."""

from __future__ import annotations

import secrets
import sys
import webbrowser
from pathlib import Path

from neoclassic.networks import Entry
from neoclassic.train.run import Run
from neoclassic.web.application import lab_application
from neoclassic.web.convolution import Convolution
from neoclassic.web.intake import Intake, Limits
from neoclassic.web.look import Look
from neoclassic.web.models import Models, Opened, from_argument, present
from neoclassic.web.server import run
from neoclassic.web.teach import Teach
from neoclassic.web.train import Train
from neoclassic.web.view import Turn, View
from neoclassic.web.zoo import Zoo

HOST = "127.0.0.1"


def lab(given: Opened | Entry | Path | None = None, port: int = 0, open_page: bool = False) -> None:
    """Serve the page until SIGTERM or Ctrl-C.

    given      a model to look into, a network to show, or the folder of a run; the page begins with it
    port       0 takes any free port; the line on stderr names it
    open_page  whether to open the page in the user's browser

    NeoclassicError if the server cannot listen on the port. UsageError for a folder without a run.
    """
    intake, token, start = Intake(), secrets.token_urlsafe(18), "zoo"
    models, zoo = Models(named=present()), Zoo(intake)
    turn = Turn()
    train = Train(intake, turn, zoo.own, models.offer)
    views: dict[str, View] = {
        "zoo": zoo,
        "look": Look(intake, models, samples=True),
        "train": train,
        "teach": Teach(intake, turn, models),
        "convolution": Convolution(intake),
    }
    if isinstance(given, Path):
        train.watch(given)
        start, run_folder = "train", Run(given)
        if run_folder.model.exists():
            given = from_argument(str(given))
            start = "look" if run_folder.result_file.exists() else "train"
            models.given[given.name] = given
    elif isinstance(given, Opened):
        models.given[given.name] = given
        start = "look"
    elif given is not None:
        if given.own is not None:
            zoo.own[given.name] = given
        start = f"zoo/{given.name}"

    def tell(address: str) -> None:
        page = f"{address}/?token={token}"
        print(f"{page} is the lab; Ctrl-C ends it", file=sys.stderr)
        if open_page:
            webbrowser.open(page)

    run(lab_application(intake, models, views, token, start), Limits(), HOST, port, tell)
