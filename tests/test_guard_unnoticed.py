"""Laws of the guard: without divergence it changes nothing and keeps little."""

import json
import random

import numpy as np
import pytest
import torch
from guard_trainings import (  # noqa: F401 (fixtures)
    SETTINGS,
    factory,
    losses,
    plain_fixture,
    quick_collections_fixture,
    restorations,
    same,
    saved_steps,
    snapshot,
)
from transformers import TrainerCallback

from lrkit.checkpoints import last_checkpoint
from lrkit.guard import MEMORY, RECORD, GuardSettings, guarded_train, undisturbed

pytestmark = pytest.mark.filterwarnings("ignore:.*pin_memory")


@pytest.mark.parametrize("looks", [False, True])
def test_without_divergence_the_guard_changes_nothing(plain, tmp_path, looks):
    def restless(model):
        model.lm_head(torch.randn(3, 32))
        return float(torch.rand(()) + random.random() + np.random.rand())

    settings = GuardSettings(metric_every=1, drop=9.0)
    make = factory(tmp_path)
    trainer = guarded_train(make, settings, restless if looks else None)
    assert same(snapshot(trainer.model), snapshot(plain[0].model)), "bit by bit"
    assert losses(trainer) == losses(plain[0])
    assert not restorations(trainer) and not (tmp_path / RECORD).exists()
    left, usual = (t.callback_handler.callbacks for t in (trainer, make()))
    assert [type(c) for c in left] == [type(c) for c in usual]


def test_looking_leaves_mode_and_random_numbers_alone():
    model = torch.nn.Dropout()

    def draw():
        return float(torch.rand(())), random.random(), float(np.random.rand())

    torch.manual_seed(0), random.seed(0), np.random.seed(0)
    expected = [draw(), draw()]
    torch.manual_seed(0), random.seed(0), np.random.seed(0)
    first = draw()
    with pytest.raises(ZeroDivisionError), undisturbed(model):
        assert not model.training
        draw()
        raise ZeroDivisionError
    assert model.training and [first, draw()] == expected


def test_the_good_checkpoint_is_always_there_and_older_ones_are_not_kept(tmp_path):
    seen = []

    class Look(TrainerCallback):
        def on_step_begin(self, args, state, control, **_):
            good = state.stateful_callbacks[MEMORY]["good"]
            assert (tmp_path / f"checkpoint-{good}" / "trainer_state.json").is_file()
            newest = json.loads(
                (
                    tmp_path / last_checkpoint(tmp_path) / "trainer_state.json"
                ).read_text()
            )
            # A killed run goes on from the newest, and asks for the one named there.
            named = newest["stateful_callbacks"][MEMORY]["good"]
            assert (tmp_path / f"checkpoint-{named}").is_dir()
            seen.append((state.global_step, good, saved_steps(tmp_path)))

    guarded_train(factory(tmp_path, Look()), SETTINGS)
    assert seen[0] == (0, 0, [0])
    assert seen[9] == (9, 6, [6, 8])
    assert max(len(steps) for _, _, steps in seen) <= 3
    assert [good for _, good, _ in seen] == [0, 0, 0, 0, 2, 2, 4, 4, 6, 6, 8, 8]
