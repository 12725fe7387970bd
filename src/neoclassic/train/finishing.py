"""The end of a run: the model that was kept is calibrated and measured, and the result is saved."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from neoclassic.base.errors import NeoclassicError
from neoclassic.engines.contract import Array
from neoclassic.model.artefact import Model
from neoclassic.model.calibration import fit, refusal
from neoclassic.model.evaluate import Evaluation, logits_of
from neoclassic.train.control import Changes
from neoclassic.train.doubtful import warnings
from neoclassic.train.job import Job
from neoclassic.train.run import Result, Run, State, machine, versions


def finish(job: Job, run: Run, state: State, held: tuple[Array, Array] | None) -> tuple[Result, str]:
    """Calibrate the model that was kept, evaluate it on the test set, and save model, log and result.

    held: logits and labels of images that were held out, if they are known already. Returns the result, and a line that
    says why there is no calibration, if too few images were held out for one.
    """
    model = Model.load(run.model)
    best = model.metrics.get("epoch")  # on a GPU, an epoch that is trained again may not be the best any more
    if not isinstance(best, int) or not 1 <= best <= len(state.log):
        raise NeoclassicError(
            f"{run.model} is from epoch {best}, but the log has only {len(state.log)} epochs: start a new run"
        )
    job.engine.load(model.weights)
    row, metrics = state.log[best - 1], {**model.metrics}
    validated = bool(job.recipe.validation or held)
    if validated:  # the temperature is fitted on images that were held out, never on the test set
        logits, labels = held or (_logits(job), job.monitored.labels)
        exact = Evaluation.of(logits, labels, model.classes)
        model, metrics["validation"] = replace(model, calibration=fit(logits, labels)), exact.summary
        row = replace(row, validation_loss=round(exact.loss, 6), validation_accuracy=round(exact.accuracy, 6))
    part = job.splits.test
    logits = logits_of(job.engine, part.images, job.preprocessing)
    test = Evaluation.of(logits / np.float32(model.temperature), part.labels, part.classes)
    run.save_answers(part.labels, logits.argmax(1))
    if not validated:
        row = replace(row, test_loss=round(test.loss, 6), test_accuracy=round(test.accuracy, 6))
    state.log[best - 1] = row  # evaluations between epochs are fast and inexact; the best one is made exact
    run.save_log(state.log)
    model = replace(model, metrics=metrics | {"test": test.summary})
    run.save_model(model)
    result = _result(job, run, state, best, test, model)
    run.save_result(result)
    few = refusal(model.calibration)
    return (
        result,
        f"no temperature and no threshold are stored: {few}; a larger validation set gives both" if few else "",
    )


def _logits(job: Job) -> Array:
    return logits_of(job.engine, job.monitored.images, job.preprocessing)


def _result(job: Job, run: Run, state: State, best: int, test: Evaluation, model: Model) -> Result:
    """What `result.json` will hold. best: the epoch whose model was kept."""
    images, row = sum(each.images_per_second * each.seconds for each in state.log), state.log[best - 1]
    return Result(
        run=str(run.folder),
        model=str(run.model),
        network=job.recipe.network,
        recipe=job.recipe.name,
        data=job.splits.train.name,
        engine=job.engine.name,
        device=job.engine.device,
        precision=job.settings.speed.precision,
        compile=job.settings.speed.compile,
        seed=job.recipe.seed,
        epochs=len(state.log),
        best_epoch=best,
        train_accuracy=row.train_accuracy,
        validation_accuracy=row.validation_accuracy,
        test_accuracy=test.accuracy,
        test_loss=test.loss,
        seconds=round(state.seconds, 3),
        images_per_second=round(images / max(state.seconds, 1e-9), 1),
        steps=state.step,
        skipped=len(job.splits.skipped),
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=versions(job.engine.name),
        machine=machine(job.engine),
        evaluation=test.to_dict(),
        checksum=model.checksum,
        test_fingerprint=job.splits.test.fingerprint,
        warnings=(
            *warnings(job.recipe, max(each.train_accuracy for each in state.log), test, model),
            *Changes.of(run.folder).lines(),
        ),
    )
