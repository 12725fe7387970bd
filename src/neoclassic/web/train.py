"""The interface behind the view Train: one training at a time, what happens in it, and what can be done to it.

GET  /lab/train/options  networks, data sets and recipes to choose from
GET  /lab/train/recipe   ?network=&data=&recipe=   the knobs as the recipe has them
POST /lab/train/start    the same, with the knobs that differ; the query names them
POST /lab/train/resume   continue the run that is shown, if it was stopped
POST /lab/train/do       ?act=go|pause|step|epoch|stop, ?rate=, ?delay=, ?image=
GET  /lab/train/events   server-sent events: what is new of the training
GET  /lab/train/glance   ?path=  kernels, the maps of one layer, the image and the mistakes, as bytes; see `look.packed`
"""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from neoclassic import networks, recipes
from neoclassic.base.errors import UsageError, unknown
from neoclassic.base.files import expanded
from neoclassic.base.text import json_text
from neoclassic.data import sources
from neoclassic.engines import Optimizer
from neoclassic.engines.contract import OPTIMIZERS
from neoclassic.insight.probe import to_dict
from neoclassic.insight.sheets import sheet
from neoclassic.networks import Entry
from neoclassic.recipes import choose
from neoclassic.train.recipe import SCHEDULES, Recipe
from neoclassic.train.run import Run, Settings
from neoclassic.web import story
from neoclassic.web.intake import Intake
from neoclassic.web.look import packed
from neoclassic.web.parameters import whole_number
from neoclassic.web.responses import JsonResponse, error_response
from neoclassic.web.session import Session
from neoclassic.web.story import Story
from neoclassic.web.view import PATH, Asked, Turn, View, Work
from neoclassic.web.watched import Watched

ENGINE = "numpy"
STREAMS = 16  # pages that follow the training at one time
TICK = 0.2  # seconds between two messages, at least
ALIVE = 10.0  # seconds after which a message is sent even if nothing is new
SLOWEST = 10.0  # seconds of rest after a step
KNOBS: dict[str, Callable[[str], Any]] = {
    "epochs": int,
    "batch_size": int,
    "learning_rate": float,
    "momentum": float,
    "weight_decay": float,
    "seed": int,
    "schedule": str,
}


@dataclass
class Train(View):
    """The interface to one training.

    own    networks that the command line named, beside those of the zoo
    offer  called with the folder of a finished run, so that the other views may open its model
    """

    intake: Intake
    turn: Turn
    own: dict[str, Entry] = field(default_factory=dict)
    offer: Callable[[str], None] = lambda name: None
    story: Story = field(default_factory=Story)
    session: Session | None = None
    watched: Watched | None = None
    streams: int = 0

    def routes(self) -> list[Route]:
        works: list[tuple[str, str, Work]] = [
            ("GET", "options", self._options),
            ("GET", "recipe", lambda asked: JsonResponse(_knobs(self._recipe(asked.query)))),
            ("POST", "start", self._start),
            ("POST", "resume", self._resume),
            ("POST", "do", self._do),
            ("GET", "glance", self._glance),
        ]
        routes = [self.route(method, f"train/{name}", work) for method, name, work in works]
        return [*routes, Route(f"{PATH}/train/events", self._events, methods=["GET"])]

    def watch(self, folder: Path) -> None:
        """Show a run that another process trains. UsageError if there is no run in the folder."""
        self.watched = Watched(folder, self.story)

    def end(self) -> None:
        """Save the training that is in progress, if any."""
        if self.watched:
            self.watched.end()
        if self.session and self.session.thread:
            in_progress = self.session.running
            self.session.end()
            self.session.thread.join()
            if in_progress and "message" in self.story.facts:
                print(f"neoclassic: {self.story.facts['message']}", file=sys.stderr)

    # ── choosing ─────────────────────────────────────────────────────────────────────────────────────

    def _options(self, _asked: Asked) -> Response:
        names = [*self.own, *networks.list_networks()]
        known = [{"name": one.name, "network": one.network, "data": one.data} for one in recipes.list_recipes()]
        present = [name for name in sources.SOURCES if sources.present(name)]
        choices = {"networks": names, "recipes": known, "data": present, "optimizers": OPTIMIZERS}
        return JsonResponse({**choices, "schedules": [name for name in SCHEDULES if name != "step"]})

    def _recipe(self, query: QueryParams) -> Recipe:
        """The recipe with the knobs of the query. UsageError for an impossible one."""
        name, data = query.get("network", ""), query.get("data") or None
        if data in sources.SOURCES and not sources.present(data):
            raise UsageError(f"{data} is not on this machine: 'neoclassic train {name} --data {data}' downloads it")
        if data and data not in sources.SOURCES and not expanded(data).exists():
            raise UsageError(f"no data set and no folder {data[:100]!r}")
        chosen = choose(self.own.get(name) or networks.entry(name).name, query.get("recipe") or None, data)
        chosen = chosen.but(data=data or chosen.data)
        optimizer = query.get("optimizer") or chosen.optimizer.name
        if optimizer != chosen.optimizer.name:
            before = chosen.optimizer
            chosen = chosen.but(optimizer=Optimizer(optimizer, clip=before.clip, average=before.average))
        changes = {knob: _value(knob, kind, query[knob]) for knob, kind in KNOBS.items() if query.get(knob)}
        if chosen.optimizer.name not in ("sgd", "rmsprop"):
            changes.pop("momentum", None)
        if (epochs := changes.get("epochs")) and chosen.warmup_epochs > epochs:
            chosen = replace(chosen, warmup_epochs=epochs / 5)
        return chosen.but(**changes).checked()

    # ── training ─────────────────────────────────────────────────────────────────────────────────────

    def _start(self, asked: Asked) -> Response:
        recipe = self._recipe(asked.query)
        self._fresh().train(recipe, Settings(ENGINE))
        return JsonResponse({"started": recipe.network})

    def _resume(self, _asked: Asked) -> Response:
        if self.story.phase != story.STOPPED:
            raise UsageError("no training was stopped: start one")
        folder = Path(self.story.facts["run"])
        _, recipe, _ = Run.open(folder)
        self._fresh().resume(folder, recipe)
        return JsonResponse({"resumed": str(folder)})

    def _fresh(self) -> Session:
        """A session, in place of what was there. UsageError while a training is in progress."""
        if self.session and self.session.thread and not self.session.running:
            self.session.thread.join()  # it has nothing left to do but to give back its turn
        self.turn.take()
        if self.watched:
            self.watched.end()
            self.watched = None
        self.session = Session(self.story, self.turn, self.offer)
        return self.session

    def _do(self, asked: Asked) -> Response:
        query = asked.query
        if image := query.get("image"):
            shown = self.session or self.watched
            if shown is None:
                raise UsageError("there is no training: start one")
            shown.show_image(whole_number("image", image))
            return JsonResponse({})
        if not (self.session and self.session.running):
            raise UsageError("no training is in progress: start one")
        one = self.session
        acts = {"go": one.go, "pause": one.pause, "step": lambda: one.go(1), "epoch": one.go_one_epoch, "stop": one.end}
        if act := query.get("act"):
            if act not in acts:
                raise unknown("act", act, acts)
            acts[act]()
        if rate := query.get("rate"):
            one.set_rate(_positive("the learning rate", rate, math.inf))
        if delay := query.get("delay"):
            one.slow(min(_positive("the delay", delay, math.inf, least=0.0), SLOWEST))
        return JsonResponse({})

    # ── watching ─────────────────────────────────────────────────────────────────────────────────────

    async def _events(self, request: Request) -> Response:
        if self.streams >= STREAMS:
            return error_response(503, "too many pages follow the training: close one")

        async def messages() -> AsyncIterator[str]:
            self.streams += 1
            version, era, points, silent = -1, -1, 0, 0.0
            try:
                while not request.app.state.leaving():
                    if version != self.story.version or silent > ALIVE:
                        version, silent = self.story.version, 0.0
                        news = self.story.since(era, points)
                        era, points = news["era"], news["from"] + len(news["points"])
                        yield f"data: {json_text(news)}\n\n"
                    await asyncio.sleep(TICK)
                    silent += TICK
            finally:
                self.streams -= 1

        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(messages(), headers=headers, media_type="text/event-stream")

    def _glance(self, asked: Asked) -> Response:
        glance = self.story.glance
        if glance is None:
            raise UsageError("nothing has been looked at yet")
        path = asked.query.get("path", "")
        if path not in glance.values:
            raise UsageError(f"no layer {path[:100]!r}")
        maps = sheet(path, glance.values[path])
        kernels = glance.kernels
        height, width, channels = glance.pixels.shape
        header = {
            **to_dict(glance),
            "input": [channels, height, width],
            "maps": maps.to_dict(),
            "kernels": kernels and kernels.to_dict(),
        }
        shown = [kernels.maps] if kernels else []
        return packed(header, glance.pixels, maps.maps, glance.mistaken, *shown)


def _knobs(recipe: Recipe) -> dict[str, Any]:
    """The recipe as the view shows it."""
    return {
        "recipe": recipe.name,
        "about": recipe.about,
        "data": recipe.data,
        "optimizer": recipe.optimizer.name,
        **{knob: getattr(recipe, knob, getattr(recipe.optimizer, knob, None)) for knob in KNOBS},
    }


def _value(knob: str, kind: Callable[[str], Any], text: str) -> Any:
    try:
        return kind(text)
    except ValueError:
        wanted = "a whole number" if kind is int else "a number"
        raise UsageError(f"{knob.replace('_', ' ')} must be {wanted}, not {text[:20]!r}") from None


def _positive(what: str, text: str, most: float, least: float = 1e-12) -> float:
    value: float = _value(what, float, text)
    if not least <= value < most or np.isnan(value):
        raise UsageError(f"{what} must be a number {'above 0' if least else 'of at least 0'}, not {text[:20]!r}")
    return value
