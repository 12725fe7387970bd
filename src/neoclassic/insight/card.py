"""The model card: a README in Markdown that says what a model does, how well, for what, and how to use it.

Its head is the YAML that the Hugging Face Hub reads. The licence is left to whoever publishes the model.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from neoclassic import __version__
from neoclassic.base.text import markdown, yaml_text
from neoclassic.insight.card_parts import class_limits, class_row, fenced, listed, repository, table
from neoclassic.insight.reproduce import command
from neoclassic.insight.review import confusions
from neoclassic.measure import by, measure
from neoclassic.model.artefact import Model
from neoclassic.model.calibration import refusal
from neoclassic.model.evaluate import wilson
from neoclassic.model.export import SCRIPT
from neoclassic.networks import entry, in_zoo
from neoclassic.train.recipe import Recipe
from neoclassic.train.run import Result
from neoclassic.views.table import duration, size

ROWS = 50  # classes in the table of a card
FITTED = {"crop": "scaled and cropped at the centre", "pad": "scaled and padded with black", "stretch": "stretched"}
DATASETS = {"fashion-mnist": "zalando-datasets/fashion_mnist", "mnist": "ylecun/mnist"}  # their names on the Hub


@dataclass(frozen=True)
class Card:
    """What a card is written from.

    result  of the model's run; None where there is only the artefact, and so no accuracy of each class
    name    of the folder, and of the repository on the Hub
    files   that stand beside the card: name and size in bytes
    """

    model: Model
    result: Result | None
    name: str
    files: dict[str, int]

    def text(self) -> str:
        """The whole card."""
        parts = [
            self._head(),
            *self._summary(),
            *self._use(),
            *self._accuracy(),
            *self._limits(),
            *self._training(),
            f"Written by neoclassic {__version__}.",
        ]
        return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"

    # ── the head ─────────────────────────────────────────────────────────────────────────────────────

    @property
    def data(self) -> str:
        """The name of the data, without a path."""
        return str(self.model.data.get("name", "unknown data"))

    @property
    def test(self) -> dict[str, Any]:
        """Accuracy and number of the test images; empty if there were none."""
        return dict(self.model.metrics.get("test", {}))

    def _head(self) -> str:
        model = self.model
        tags = ["image-classification", "neoclassic", *([entry(model.network).family] if in_zoo(model.network) else [])]
        tags += ["onnx"] if "model.onnx" in self.files else []
        lines = [
            "---",
            "# license: name yours here, such as apache-2.0; see https://huggingface.co/docs/hub/repositories-licenses",
            "library_name: neoclassic",
            "pipeline_tag: image-classification",
            "tags:",
            *(f"- {yaml_text(tag)}" for tag in dict.fromkeys(tags)),
            *(["datasets:", f"- {DATASETS[self.data]}"] if self.data in DATASETS else []),
            "metrics:",
            "- accuracy",
        ]
        if self.test:
            lines += [
                "model-index:",
                f"- name: {yaml_text(self.name)}",
                "  results:",
                "  - task:",
                "      type: image-classification",
                "    dataset:",
                f"      name: {yaml_text(self.data)}",
                f"      type: {yaml_text(DATASETS.get(self.data, self.data))}",
                "      split: test",
                "    metrics:",
                "    - type: accuracy",
                f"      value: {round(float(self.test['accuracy']), 4)}",
            ]
        return "\n".join([*lines, "---"])

    # ── what it is, and how it is used ───────────────────────────────────────────────────────────────

    def _summary(self) -> Iterable[str]:
        model, n = self.model, len(self.model.classes)
        p, m = model.preprocessing, measure(model.tree, model.input)
        yield f"# {markdown(self.name)}"
        says = f"This model classifies images into {n:,} classes: {listed(model.classes)}."
        if self.test:
            low, high = wilson(round(self.test["accuracy"] * self.test["n"]), self.test["n"])
            says += (
                f" It is right on **{self.test['accuracy']:.1%}** of {self.test['n']:,} test images of "
                f"{markdown(self.data)} (95% interval: {low:.1%} to {high:.1%})."
            )
        yield says
        colour = "grey" if p.channels == 1 else "colour"
        row = entry(model.network if in_zoo(model.network) else model.tree)
        year = "" if row.own else f" ({row.year})"
        yield table(
            ("", ""),
            (
                ("network", f"{markdown(model.network)}{year}: {markdown(row.about)}"),
                ("input", f"{by(p.size)} pixels, {colour}; images of any size are {FITTED[p.fit]}"),
                ("parameters", f"{m.parameters:,}"),
                ("multiply-accumulates per image", f"{m.macs:,}"),
                *((f"`{name}`", size(count)) for name, count in self.files.items() if name.startswith("model.")),
            ),
        )

    def _use(self) -> Iterable[str]:
        address = f"hf:OWNER/{repository(self.name)}"
        yield "## How to use it"
        yield (
            "With neoclassic and its extra `hub`, where OWNER is the account that holds this repository; the path of a "
            "downloaded folder works as well:"
        )
        yield (
            "```python\nimport neoclassic as nc\n\n"
            f'model = nc.load("{address}")\n'
            'model.predict(["photo.jpg"])        # the labels\n'
            'model.predict_proba(["photo.jpg"])  # the probability of each class, in the order of model.classes_\n```'
        )
        yield f"```sh\nneoclassic predict {address} photo.jpg\nneoclassic serve {address}\n```"
        if "model.onnx" in self.files:
            yield (
                "Without neoclassic: the script needs only NumPy, Pillow and onnxruntime, and gives the same answers. "
                "`model.onnx` holds the classes and the preprocessing as metadata."
            )
            yield f"```sh\npip install numpy pillow onnxruntime\npython {SCRIPT} model.onnx photo.jpg\n```"
        yield (
            "`model.safetensors` is the trained network with its classes, preprocessing and calibration. It is not a "
            "pickle: opening it runs no code. `config.json` repeats the facts for other programs."
        )

    # ── how well ─────────────────────────────────────────────────────────────────────────────────────

    def _accuracy(self) -> Iterable[str]:
        yield "## How accurate it is"
        if not self.test:
            yield "It was not measured on test images."
            return
        if self.result is None:
            yield "The accuracy of each class is not known here."
            return
        rows = self.result.evaluation["per_class"]
        yield (
            "Recall is the share of a class's test images that are recognised, with its 95% interval; precision is the "
            "share of the answers with that class that are right. Naming the most frequent class every time would be "
            f"right on {max(row['n'] for row in rows) / max(sum(row['n'] for row in rows), 1):.1%}."
        )
        ordered = rows if len(rows) <= ROWS else sorted(rows, key=lambda row: row["recall"])[:ROWS]
        if len(rows) > ROWS:
            yield f"These are the {ROWS} classes of {len(rows):,} that are recognised least often."
        yield table(("class", "test images", "recall", "interval", "precision"), map(class_row, ordered), "lrrrr")
        yield from self._confusions()
        yield self._probabilities()

    def _confusions(self) -> Iterable[str]:
        assert self.result is not None
        pairs = confusions(self.result.evaluation["confusion"], self.model.classes)[:5]
        if pairs:
            yield "Most frequent mistakes:\n\n" + "\n".join(
                f"- {markdown(true)}, taken for {markdown(said)}: {n:,} images, {share:.1%} of that class"
                for true, said, n, share in pairs
            )

    def _probabilities(self) -> str:
        if "temperature" in self.model.calibration:
            return (
                f"The probabilities are calibrated: the logits are divided by {self.model.temperature:.3f}, which was "
                "fitted on validation images (Guo et al. 2017, arXiv 1706.04599)."
            )
        reason = refusal(self.model.calibration) or "there were no validation images"
        return f"The probabilities are not calibrated: {reason}."

    # ── limits ───────────────────────────────────────────────────────────────────────────────────────

    def _limits(self) -> Iterable[str]:
        model, p = self.model, self.model.preprocessing
        yield "## Limits"
        limits = [
            f"It always answers with one of its {len(model.classes):,} classes, even if an image shows none of them. "
            "A high probability does not mean that the image is of a known kind.",
            f"It was tested on images from the same source as its training images ({markdown(self.data)}). Expect less "
            "on images from other cameras, places or times, and measure it on some of your own first.",
            f"It sees {by(p.size)} pixels{' without colour' if p.channels == 1 else ''}: smaller details are lost."
            + (" What a centre crop cuts off is not seen." if p.fit == "crop" else ""),
        ]
        if "mnist" in self.data:
            limits.append("The training images are bright on black. Invert dark figures on white: `predict --invert`.")
        if self.result is not None:
            limits += class_limits(self.result.evaluation["per_class"])
            if self.result.validation_accuracy is None:
                limits.append("The test set was evaluated after every epoch of training, as in the published recipe.")
        yield "\n".join(f"- {limit}" for limit in limits)
        yield (
            "<!-- If you publish this model, say here where the images come from, who or what they show, and what the "
            "model should not be used for. -->"
        )

    # ── how it was trained ───────────────────────────────────────────────────────────────────────────

    def _training(self) -> Iterable[str]:
        recipe, data, result = self.model.recipe, self.model.data, self.result
        yield "## How it was trained"
        rows = [
            ("data", markdown(self.data)),
            ("training images", f"{data.get('images', 0):,}" if "images" in data else ""),
        ]
        if recipe.get("weights"):
            rows.append(("started from", markdown(str(recipe["weights"]))))
        if recipe:
            rows.append(("recipe", markdown(f"{recipe['name']}: {recipe['about']}")))
        if recipe and not recipe.get("head"):  # which has no steps
            optimizer = recipe["optimizer"]
            rows += [
                ("epochs", f"{recipe['epochs']}"),
                ("batch size", f"{recipe['batch_size']}"),
                (
                    "optimizer",
                    markdown(f"{optimizer['name']}, learning rate {recipe['learning_rate']:g}, {recipe['schedule']}"),
                ),
                ("seed", f"{recipe['seed']}"),
            ]
        if result is not None:
            where = str(result.machine.get("accelerator", f"{result.machine.get('cores', '?')} cores"))
            rows += [
                ("kept", f"the model of epoch {result.best_epoch} of {result.epochs}"),
                ("engine", markdown(f"{result.engine}, precision {result.precision}, on {where}")),
                ("duration", duration(result.seconds)),
                ("finished", markdown(result.finished.partition("T")[0])),
            ]
        rows.append(("versions", markdown(", ".join(f"{k} {v}" for k, v in self.model.versions.items()))))
        rows.append(("checksum of the model", f"`{self.model.checksum[:16]}…`"))
        yield table(("", ""), [row for row in rows if row[1]])
        line, rest = command(Recipe.from_dict(recipe), result.engine) if result else ("", ["all"])
        if rest:  # the command line would not say everything
            yield "The whole recipe is in the metadata of `model.safetensors`."
        else:
            yield f"This command trains it again.\n\n```sh\n{fenced(line)}\n```"
