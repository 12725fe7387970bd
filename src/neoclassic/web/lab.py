"""Start the lab: one page, on this machine only, whose address holds a token."""

from __future__ import annotations

import secrets
import sys
import webbrowser

from neoclassic.networks import Entry
from neoclassic.web.application import lab_application
from neoclassic.web.intake import Intake, Limits
from neoclassic.web.models import Models, Opened, present
from neoclassic.web.server import run
from neoclassic.web.teach import Teach
from neoclassic.web.zoo import Zoo

HOST = "127.0.0.1"


def lab(given: Opened | Entry | None = None, port: int = 0, open_page: bool = False) -> None:
    """Serve the page until SIGTERM or Ctrl-C.

    given      a model to look into, or a network to show; the page begins with it
    port       0 takes any free port; the line on stderr names it
    open_page  whether to open the page in the user's browser

    NeoclassicError if the server cannot listen on the port.
    """
    intake, token, start = Intake(), secrets.token_urlsafe(18), "zoo"
    models, zoo = Models(named=present()), Zoo(intake)
    teach = Teach(intake, models)
    if isinstance(given, Opened):
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

    try:
        run(lab_application(intake, models, zoo, teach, token, start), Limits(), HOST, port, tell)
    finally:
        teach.end()
