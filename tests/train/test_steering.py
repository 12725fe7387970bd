"""A run that is steered: held, slowed, its rate changed, ended; and resumed with the same bytes."""

from dataclasses import replace
from threading import Thread

import numpy as np
import pytest
from options import TINY

from neoclassic.base.errors import NeoclassicError
from neoclassic.model.artefact import Model
from neoclassic.train.control import Changes
from neoclassic.train.loop import Interrupted, resume, train
from neoclassic.train.run import Run, Settings
from neoclassic.train.steering import Steering

SETTINGS = Settings("numpy")
RECIPE = replace(TINY, epochs=2, batch_size=50)  # 10 steps an epoch


@pytest.fixture(scope="module")
def few(fashion):
    return replace(fashion, train=fashion.train.subset(np.arange(500)), test=fashion.test.subset(np.arange(50)))


@pytest.fixture(scope="module")
def ordinary(few, tmp_path_factory):
    out = tmp_path_factory.mktemp("ordinary") / "run"
    train(RECIPE, SETTINGS, out, few)
    return out


class Script(Steering):
    """Does something after some steps, and whenever the run holds."""

    def __init__(self, acts=None, resting=lambda steering: steering.go()):
        super().__init__()
        self.acts, self.resting, self.steps, self.rests, self.losses = acts or {}, resting, 0, [], []

    def stepped(self, epoch, images):
        super().stepped(epoch, images)
        self.steps += 1
        self.acts.get(self.steps, lambda steering: None)(self)

    def measured(self, loss, accuracy):
        self.losses.append(loss)

    def rested(self):
        self.rests.append(self.steps)
        Thread(target=self.resting, args=(self,)).start()


def steered(few, out, script, recipe=RECIPE):
    return train(recipe, SETTINGS, out, few, [script], control=script)


def test_a_run_that_is_only_held_and_slowed_ends_with_the_bytes_of_an_ordinary_one(few, ordinary, tmp_path):
    script = Script({1: lambda s: s.go(2), 5: lambda s: s.slow(0.001), 8: lambda s: s.go_one_epoch()})
    result = steered(few, tmp_path / "run", script)
    assert script.rests == [3, 10]
    assert len(script.losses) >= 3  # the loss is told whenever it holds
    assert result.checksum == Model.load(ordinary).checksum
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == sorted(p.name for p in ordinary.iterdir())
    assert result.warnings == Run(ordinary).result().warnings


def test_a_changed_rate_is_kept_and_a_resumed_run_repeats_it(few, ordinary, tmp_path):
    acts = {4: lambda s: s.scale(0.1), 12: lambda s: s.scale(2.0)}
    whole = steered(few, tmp_path / "whole", Script(acts))
    assert whole.checksum != Model.load(ordinary).checksum
    assert Changes.of(tmp_path / "whole").rows == [(4, 0.1), (12, 2.0)]
    assert [row.learning_rate for row in Run(tmp_path / "whole").log()] == pytest.approx([0.005, 0.1])
    assert "rates.csv" in whole.warnings[-1]
    with pytest.raises(Interrupted, match="after step 14 of 20"):
        steered(few, tmp_path / "cut", Script({**acts, 14: lambda s: s.end()}))
    assert resume(tmp_path / "cut", few).checksum == whole.checksum


def test_a_change_replaces_what_was_kept_for_later_steps(tmp_path):
    changes = Changes.of(tmp_path)
    assert changes.factor(3) == 1
    assert not changes.path.exists()
    assert [changes.factor(3, 0.5), changes.factor(9, 4.0), changes.factor(5, 0.5)] == [0.5, 4.0, 0.5]
    assert changes.factor(6, 2.0) == 2
    assert Changes.of(tmp_path).rows == [(3, 0.5), (6, 2.0)]


def test_a_run_that_rests_can_be_ended_and_is_resumable(few, ordinary, tmp_path):
    with pytest.raises(Interrupted, match="resume with"):
        steered(few, tmp_path / "run", Script({10: lambda s: s.pause()}, resting=lambda s: s.end()))
    assert resume(tmp_path / "run", few).checksum == Model.load(ordinary).checksum


@pytest.mark.parametrize("text", ["step,factor\n3,x\n", "step,factor\n3,0\n", "step,factor\n3,1\n1,2\n", "step\n3\n"])
def test_a_damaged_file_of_rates_is_told_in_one_line(text, tmp_path):
    (tmp_path / "rates.csv").write_text(text)
    with pytest.raises(NeoclassicError, match="damaged") as error:
        Changes.of(tmp_path)
    assert "\n" not in str(error.value)
