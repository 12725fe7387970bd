"""The interface behind the view Teach: photos of a user's own classes, and a model that is trained on them.

GET  /lab/teach          the photos by class, small, what can be trained, and what has been
POST /lab/teach/photo    ?class=NAME, the body is an image file; answers the photo, small
POST /lab/teach/remove   ?photos=3,4
POST /lab/teach/rename   ?from=NAME&to=NAME
POST /lab/teach/train    ?way=head&name=lenet@fashion-mnist, or ?way=scratch&name=lenet:bn; answers at once
POST /lab/teach/stop     the best model until then is kept
GET  /lab/teach/state    how far the training is
GET  /lab/teach/zip      the photos, a folder for each class
GET  /lab/teach/model    the trained model, as a .safetensors file

A trained model is offered to the other views, too: under its name it is asked through `look`.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Any

from starlette.responses import Response
from starlette.routing import Route

from neoclassic.base.errors import NeoclassicError, UsageError
from neoclassic.web import teaching
from neoclassic.web.intake import Intake
from neoclassic.web.look import packed
from neoclassic.web.models import ENGINE, Models, opened, present
from neoclassic.web.parameters import whole_numbers
from neoclassic.web.photos import Photo, Photos, smalls
from neoclassic.web.responses import JsonResponse
from neoclassic.web.view import Asked, Turn, View, Work

DATA = ("imagenet", "fashion-mnist", "mnist")  # what the models on this machine were trained on
SECONDS = 2.0  # to wait for a training that is stopped when the server ends


@dataclass
class Teach(View):
    """The interface to the photos and the training."""

    intake: Intake
    turn: Turn
    models: Models
    photos: Photos = field(default_factory=Photos)
    _progress: teaching.Progress | None = None  # of the training that runs, or of the last one
    _thread: Thread | None = None
    _said: tuple[str, ...] = ()
    _error: str = ""
    _taught: list[str] = field(default_factory=list)  # names of trained models

    def routes(self) -> list[Route]:
        works: list[tuple[str, str, Work]] = [
            ("GET", "", self._all),
            ("POST", "/photo", self._add),
            ("POST", "/remove", self._remove),
            ("POST", "/rename", self._rename),
            ("POST", "/train", self._train),
            ("POST", "/stop", self._stop),
            ("GET", "/state", self._tell),
            ("GET", "/zip", self._zip),
            ("GET", "/model", self._model),
        ]
        return [self.route(method, f"teach{path}", work) for method, path, work in works]

    # ── photos ───────────────────────────────────────────────────────────────────────────────────────

    def _all(self, _asked: Asked) -> Response:
        photos = list(self.photos)
        header = {
            **self._state(),
            "photos": list(map(_about, photos)),
            "heads": list(_heads()),
            "networks": list(teaching.SMALL),
            "least": teaching.LEAST,
        }
        return packed(header, smalls(photos))

    def _add(self, asked: Asked) -> Response:
        photo = self.photos.add(asked.query.get("class", ""), asked.body)
        return packed(_about(photo), photo.small)

    def _remove(self, asked: Asked) -> Response:
        self.photos.remove(list(whole_numbers("photos", asked.query.get("photos", ""))))
        return JsonResponse({})

    def _rename(self, asked: Asked) -> Response:
        self.photos.rename(asked.query.get("from", ""), asked.query.get("to", ""))
        return JsonResponse({})

    def _zip(self, _asked: Asked) -> Response:
        if not len(self.photos):
            raise UsageError("there are no photos yet: add some to a class first")
        return Response(self.photos.zipped(), media_type="application/zip")

    # ── training ─────────────────────────────────────────────────────────────────────────────────────

    def _train(self, asked: Asked) -> Response:
        way = teaching.Way.of(asked.query.get("way", ""), asked.query.get("name", ""), _heads())
        photos = [(p.label, p.pixels) for p in self.photos]
        teaching.check([label for label, _ in photos])
        self.turn.take()
        self._progress = progress = teaching.Progress()
        self._thread = Thread(target=self._teach, args=(way, photos, progress), name="teach", daemon=True)
        self._thread.start()
        return JsonResponse(self._state())

    def _teach(self, way: teaching.Way, photos: list[tuple[str, teaching.Read]], progress: teaching.Progress) -> None:
        """What the thread does."""
        self._error, self._said = "", ()
        try:
            model, self._said = teaching.taught(way, photos, progress)
            name = f"taught-{len(self._taught) + 1}"
            self.models.given[name] = opened(name, model, model.engine(ENGINE))
            self._taught.append(name)
        except NeoclassicError as error:
            self._error = str(error)
        except Exception as error:
            self._error = f"internal error: {type(error).__name__}: see the standard error of the server"
            raise
        finally:
            self.turn.give_back()

    def _stop(self, _asked: Asked) -> Response:
        if self._progress:
            self._progress.stopping = True
        return JsonResponse({})

    def _tell(self, _asked: Asked) -> Response:
        return JsonResponse(self._state())

    def _state(self) -> dict[str, Any]:
        running = bool(self._thread and self._thread.is_alive())  # before what the thread leaves
        name = self._taught[-1] if self._taught else None
        model = self.models.given[name].model if name else None
        return {
            "running": running,
            "progress": self._progress.to_dict() if self._progress else None,
            "warnings": list(self._said),
            "error": self._error,
            "model": name,
            "network": model and model.network,
            "classes": list(model.classes) if model else [],
            "held_out": model.metrics.get("validation") if model else None,
        }

    def _model(self, _asked: Asked) -> Response:
        if not self._taught:
            raise UsageError("there is no model yet: train one first")
        with tempfile.TemporaryDirectory(prefix="neoclassic-") as folder:
            path = Path(folder) / "model.safetensors"
            self.models.given[self._taught[-1]].model.save(path)
            return Response(path.read_bytes(), media_type="application/octet-stream")

    def end(self) -> None:
        """Stop the training that is in progress, if any."""
        if self._progress and self._thread:
            self._progress.stopping = True
            self._thread.join(SECONDS)


def _heads() -> tuple[str, ...]:
    """The models on this machine whose last layer can be trained; those that know the most kinds of things first."""
    return tuple(sorted(present(), key=lambda name: DATA.index(name.rpartition("@")[2])))


def _about(photo: Photo) -> dict[str, Any]:
    return {"photo": photo.number, "class": photo.label}
