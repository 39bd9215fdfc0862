"""Laws of the guard: what blinds it, cannot be lowered or has no sense is refused."""

import pytest
from guard_trainings import (  # noqa: F401 (fixtures)
    SETTINGS,
    factory,
    quick_collections_fixture,
    saved_steps,
)
from torch.optim.lr_scheduler import ReduceLROnPlateau

from lrkit.guard import GuardSettings, guarded_train

pytestmark = pytest.mark.filterwarnings("ignore:.*pin_memory")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("logging_nan_inf_filter", True),
        ("save_strategy", "no"),
        ("save_only_model", True),
        ("save_total_limit", 1),
        ("load_best_model_at_end", True),
        ("ignore_data_skip", True),
    ],
)
def test_arguments_that_blind_the_guard_are_refused(tmp_path, name, value):
    def make():
        trainer = factory(tmp_path)()
        setattr(trainer.args, name, value)
        return trainer

    with pytest.raises(ValueError, match=f"{name} is '?{value}.*: (set|leave)"):
        guarded_train(make, SETTINGS)
    assert not saved_steps(tmp_path)


def test_a_schedule_whose_rate_cannot_be_lowered_is_refused(tmp_path):
    def make():
        trainer = factory(tmp_path)()
        trainer.lr_scheduler = ReduceLROnPlateau(trainer.create_optimizer())
        return trainer

    with pytest.raises(ValueError, match=r"ReduceLROnPlateau.*lr_scheduler_type"):
        guarded_train(make, SETTINGS)


@pytest.mark.parametrize(
    "change",
    [
        {"factor": 1.0},
        {"factor": 0},
        {"patience": 0},
        {"max_restores": -1},
        {"spike": 0.5},
        {"window": 0},
        {"metric_every": 0},
        {"drop": -1},
    ],
    ids=str,
)
def test_settings_without_sense_are_refused(change):
    (name,) = change
    with pytest.raises(ValueError, match=f"{name} is .*: give"):
        GuardSettings(**change)
