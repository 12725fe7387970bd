"""Images to ask about, and whether an answer is the one that `predict` gives in this process."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from campaigns.common import mutated
from campaigns.serving.wire import Answer, Client
from neoclassic.model.artefact import Model
from neoclassic.model.predict import Prediction, predict

TOLERANCE = 2e-5  # of a probability: the server computes in batches of other sizes
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")


class Pictures:
    """good: contents of image files; bad: the same, damaged; and what the model answers to each."""

    def __init__(self, model: Model, work: Path, rng: np.random.Generator) -> None:
        self.model, self.engine, self.path = model, model.engine("numpy"), work / "image"
        self.known: dict[bytes, Prediction] = {}
        self.good = [_picture(rng, FORMATS[i % len(FORMATS)]) for i in range(48)]
        self.bad = [mutated(self.good[int(rng.integers(48))], rng) or b"x" for _ in range(48)]
        for content in (*self.good, *self.bad):
            self.known[content] = self.predicted(content)
        answers = {tuple(round(p, 3) for _, p in self.known[content].top) for content in self.good}
        if len(answers) < 40:
            raise RuntimeError(f"only {len(answers)} of 48 images have their own answers: mixed ones would be missed")

    def any(self, rng: np.random.Generator) -> bytes:
        """One of them, most often a good one."""
        return (self.good if rng.random() < 0.8 else self.bad)[int(rng.integers(48))]

    def predicted(self, content: bytes) -> Prediction:
        """What `predict` answers to an image file."""
        if content in self.known:
            return self.known[content]
        self.path.write_bytes(content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return next(predict(self.model, self.engine, [self.path]))

    def complaint(self, images: list[bytes], answer: Answer) -> str:
        """What is wrong with the server's answer to these images, each sent as "image"; or an empty string."""
        try:
            found = answer.json()
        except ValueError:
            return f"answered {answer.status} {answer.body[:200]!r}, which is not JSON"
        if images == [b""]:
            return "" if answer.status == 400 and "no image" in found["error"] else f"an empty body: {found}"
        expected = [self.predicted(content) for content in images]
        if not isinstance(found, list) or len(found) != len(expected):
            return f"answered {answer.status} {str(found)[:200]}"
        for row, wanted in zip(found, expected, strict=True):
            if problem := self._difference(row, wanted):
                return problem
        status = 400 if all(row["error"] for row in found) else 200
        return "" if answer.status == status else f"answered {answer.status}, not {status}"

    def _difference(self, row: dict[str, object], wanted: Prediction) -> str:
        error, expected = row["error"], (wanted.error or "").replace(str(self.path), "image") or None
        if error and "million pixels" in str(error):  # the server's own limit comes first
            return ""
        if error or expected:
            return "" if error == expected and row["label"] is None else f"error {error!r}, not {expected!r}"
        top = {entry["label"]: entry["probability"] for entry in row["top"]}  # type: ignore[attr-defined]
        furthest = max(abs(top.get(label, 2) - probability) for label, probability in wanted.top)
        best = [probability for _, probability in wanted.top]
        if furthest > TOLERANCE:
            return f"a probability differs by {furthest:.2g}: {top}, not {dict(wanted.top)}"
        right = row["label"] == wanted.label or best[0] - best[1] < 2 * TOLERANCE
        return "" if right else f"label {row['label']!r}, not {wanted.label!r}"


def _picture(rng: np.random.Generator, kind: str) -> bytes:
    """A small image file: a coloured gradient with noise."""
    height, width = (int(side) for side in rng.integers(20, 60, size=2))
    ramp = np.linspace(0, 1, width)[None, :, None] * rng.uniform(-200, 200, 3) + rng.uniform(0, 255, 3)
    pixels = np.clip(ramp + rng.normal(0, 30, (height, width, 3)), 0, 255).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


async def answer_to(client: Client, request: bytes, images: list[bytes], pictures: Pictures) -> tuple[str, int]:
    """What is wrong with the answer to a request with these images, or an empty string; and the status."""
    try:
        answer = await client.ask(request)
        return pictures.complaint(images, answer), answer.status
    except (OSError, EOFError, TimeoutError, ValueError) as error:
        client.close()
        return f"{type(error).__name__}: {error}", 0
