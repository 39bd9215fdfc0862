"""Laws of the guard: what is killed, finished or begun without it goes on rightly."""

import shutil
import weakref

import pytest
from guard_trainings import (  # noqa: F401 (fixtures)
    SETTINGS,
    STEPS,
    Fault,
    Spy,
    blow_up,
    factory,
    losses,
    nan_loss,
    plain_fixture,
    quick_collections_fixture,
    restorations,
    same,
    saved_steps,
    snapshot,
)
from transformers import TrainerCallback

from lrkit.guard import GuardSettings, guarded_train

pytestmark = pytest.mark.filterwarnings("ignore:.*pin_memory")


class Kill(TrainerCallback):
    """Stops the process's work, as Ctrl-C would, after `step`; once."""

    def __init__(self, step, when=lambda: True):
        self.step, self.when = step, when

    def on_step_begin(self, args, state, control, **_):
        if state.global_step == self.step and self.when():
            self.when = lambda: False
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def restored(tmp_path_factory):
    """An uninterrupted run with a restoration: from step 8 back to step 4."""
    make = factory(tmp_path_factory.mktemp("restored"), Fault(nan_loss, step=8))
    with pytest.warns(UserWarning, match="Gone back to step 4"):
        return guarded_train(make, SETTINGS)


@pytest.mark.filterwarnings("ignore:Step 8")
@pytest.mark.parametrize(
    ("killed_at", "attempt"),
    [(1, 1), (5, 1), (4, 2), (11, 2)],
    ids=str,
)
def test_a_killed_run_goes_on_to_the_same_end(restored, tmp_path, killed_at, attempt):
    """Killed before the restoration, right after it, and later."""
    fault = Fault(nan_loss, step=8)
    kill = Kill(killed_at, lambda: fault.times == 2 - attempt)
    make = factory(tmp_path, fault, kill)
    with pytest.raises(KeyboardInterrupt):
        guarded_train(make, SETTINGS)
    # A kill while a checkpoint is written leaves one that nobody can go on from.
    (tmp_path / "checkpoint-99").mkdir()
    trainer = guarded_train(make, SETTINGS)
    assert fault.times == 0
    assert losses(trainer) == losses(restored)
    assert same(snapshot(trainer.model), snapshot(restored.model)), "bit by bit"
    assert restorations(trainer) == restorations(restored)


def test_the_last_model_is_let_go_before_the_next_is_built(tmp_path):
    """A GPU that holds one model of 7 B holds no two."""
    make, seen = factory(tmp_path, Fault(nan_loss, step=1)), []

    def watched():
        assert [reference() for reference in seen] == [None] * len(seen)
        trainer = make()
        seen.append(weakref.ref(trainer.model))
        return trainer

    with pytest.warns(UserWarning, match="Gone back to step 0"):
        guarded_train(watched, SETTINGS)
    assert len(seen) == 2


def test_a_run_killed_while_it_is_restored_is_restored_when_it_goes_on(
    monkeypatch, restored, tmp_path
):
    make, remove = factory(tmp_path, Fault(nan_loss, step=8)), shutil.rmtree

    def killed(path, *_, **__):
        if path.name == "checkpoint-6":
            raise KeyboardInterrupt
        remove(path)

    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.warns(UserWarning), pytest.raises(KeyboardInterrupt):
        guarded_train(make, SETTINGS)
    assert 6 in saved_steps(tmp_path), "a diverged checkpoint is left"
    monkeypatch.undo()
    trainer = guarded_train(make, SETTINGS)
    assert losses(trainer) == losses(restored)
    assert same(snapshot(trainer.model), snapshot(restored.model))


def test_what_was_known_before_a_kill_is_known_after_it(tmp_path):
    """The spike has begun when the run is killed; its first checkpoint is no good."""
    fault = Fault(blow_up, step=8)
    settings = GuardSettings(patience=2, window=4, spike=1.5, spike_steps=4)
    make = factory(tmp_path, fault, Kill(9, lambda: fault.times == 0))
    with pytest.raises(KeyboardInterrupt):
        guarded_train(make, settings)
    assert saved_steps(tmp_path)[-1] == 8, "it is taken up again in the midst of it"
    with pytest.warns(UserWarning, match=r"^Step 11.*Gone back to step 4"):
        guarded_train(make, settings)


def test_a_finished_run_takes_no_step_more(restored):
    spy = Spy()
    make = factory(restored.args.output_dir, spy)
    trainer = guarded_train(make, SETTINGS)
    assert trainer.state.global_step == STEPS and spy.rates == []
    assert not trainer.is_in_train
    assert same(snapshot(trainer.model), snapshot(restored.model))


def test_a_run_that_began_without_guard_can_go_on_with_it(plain, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        factory(tmp_path, Kill(5))().train()
    with pytest.warns(UserWarning, match="Step 6: loss is nan. Gone back to step 4"):
        trainer = guarded_train(factory(tmp_path, Fault(nan_loss, step=6)), SETTINGS)
    expected = [row["learning_rate"] for row in losses(plain[0])]
    expected[4:] = [0.5 * rate for rate in expected[4:]]
    assert [row["learning_rate"] for row in losses(trainer)] == expected
