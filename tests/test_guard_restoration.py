"""Laws of the guard: what goes back, to where, and at which rate."""

import math
import re

import pytest
import torch
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
)
from transformers import TrainerCallback, get_scheduler

from lrkit.guard import Diverged, GuardSettings, guarded_train, scale_rates

pytestmark = pytest.mark.filterwarnings("ignore:.*pin_memory")


def inf_gradient(model):
    """The loss is fine, a gradient is not."""

    def spoil(gradient):
        handle.remove()
        return gradient * math.inf

    handle = model.lm_head.weight.register_hook(spoil)


@pytest.mark.parametrize(
    ("spoil", "reason", "diverged_at", "restored_to"),
    [
        (nan_loss, "loss is nan", 8, 4),
        (inf_gradient, "gradient norm is (inf|nan)", 8, 4),
        (blow_up, r"loss is \d.*the recent median 3", 10, 4),
    ],
)
def test_what_diverges_is_restored_and_ends_at_half_the_rate(
    plain, tmp_path, spoil, reason, diverged_at, restored_to
):
    spy = Spy()
    make = factory(tmp_path, Fault(spoil, step=8), spy)
    with pytest.warns(UserWarning, match=f"^Step {diverged_at}: {reason}") as warned:
        trainer = guarded_train(make, SETTINGS)
    assert trainer.state.global_step == STEPS
    assert [row["step"] for row in losses(trainer)] == list(range(1, STEPS + 1))
    assert all(math.isfinite(row["loss"]) for row in losses(trainer))
    assert all(torch.isfinite(p).all() for p in trainer.model.parameters())
    (row,) = restorations(trainer)
    assert row["step"] == row["restored_to"] == restored_to
    assert row["diverged_at"] == diverged_at and re.match(reason, row["reason"])
    assert (row["old_rate"], row["new_rate"]) == (1e-2, 5e-3)
    assert len([w for w in warned if "Gone back" in str(w.message)]) == 1
    assert spy.step_of_begin == [0, restored_to]
    assert same(spy.begins[1], plain[2][restored_to])
    # The rate that the optimizer really had, in every group, at every step.
    first, second = spy.rates[:diverged_at], spy.rates[diverged_at:]
    assert first == [(k, plain[1][k]) for k in range(1, diverged_at + 1)]
    expected = [(k, [0.5 * r for r in plain[1][k]]) for k in range(1, STEPS + 1)]
    assert second == expected[restored_to:]


@pytest.mark.parametrize(
    "changes",
    [
        {"gradient_accumulation_steps": 2, "per_device_train_batch_size": 2},
        {"bf16": True},
        {"lr_scheduler_type": "cosine_with_min_lr"}
        | {"lr_scheduler_kwargs": {"min_lr": 1e-3}},
        {"save_strategy": "epoch", "num_train_epochs": 3, "max_steps": -1},
    ],
    ids=["accumulation", "bf16", "cosine", "epochs"],
)
def test_other_ways_of_training_are_restored_too(tmp_path, changes):
    spy, reference = Spy(), Spy()
    at = 20 if "num_train_epochs" in changes else 8
    undisturbed_run = factory(tmp_path / "plain", reference, **changes)()
    undisturbed_run.train()
    with pytest.warns(UserWarning, match=f"Step {at}: loss is nan"):
        trainer = guarded_train(
            factory(tmp_path / "guarded", Fault(nan_loss, at), spy, **changes), SETTINGS
        )
    back = restorations(trainer)[0]["restored_to"]
    assert back == (16 if at == 20 else 4)
    assert trainer.state.global_step == trainer.state.max_steps
    assert [rates for _, rates in spy.rates[at:]] == [
        pytest.approx([0.5 * r for r in rates]) for _, rates in reference.rates[back:]
    ]
    # Weights, random numbers and rows are those of an undisturbed run.
    assert losses(trainer)[back]["loss"] == losses(undisturbed_run)[back]["loss"]
    assert all(math.isfinite(row["loss"]) for row in losses(trainer))


def test_a_checkpoint_that_was_written_while_diverging_is_not_restored(tmp_path):
    """Checkpoints 10, 12 and 14 hold blown-up weights, and 8 is too close to them."""
    spy, saved = Spy(), []

    class Saved(TrainerCallback):
        def on_save(self, args, state, control, **_):
            saved.append(state.global_step)

    settings = GuardSettings(patience=2, window=4, spike=1.5, spike_steps=6)
    make = factory(tmp_path, Fault(blow_up, step=9), spy, Saved(), max_steps=16)
    with pytest.warns(UserWarning, match="Gone back to step 6"):
        guarded_train(make, settings)
    assert saved[:6] == [2, 4, 6, 8, 10, 12], "they were there to be taken"
    assert spy.step_of_begin == [0, 6]
    assert all(p.abs().max() < 2 for p in spy.begins[1].values())


def test_before_anything_was_proven_the_run_begins_again(plain, tmp_path):
    """Even if the trainers share one model, whose weights are spoiled by then."""
    spy, make = Spy(), factory(tmp_path, callback := Fault(nan_loss, step=3))
    shared = make().model

    def sharing():
        trainer = make()
        trainer.model = trainer.model_wrapped = shared
        trainer.callback_handler.model = shared
        trainer.add_callback(spy)
        return trainer

    with pytest.warns(UserWarning, match="Gone back to step 0"):
        trainer = guarded_train(sharing, SETTINGS)
    assert callback.times == 0
    assert same(*spy.begins), "the same weights, though a step was made with them"
    assert [row["step"] for row in losses(trainer)] == list(range(1, STEPS + 1))
    assert losses(trainer)[0]["loss"] == losses(plain[0])[0]["loss"], "and rows"


def test_each_restoration_lowers_the_rate_once(plain, tmp_path):
    """The second one begins with a checkpoint whose rate was already lowered."""
    spy = Spy()
    faults = Fault(nan_loss, step=6), Fault(inf_gradient, step=11)
    make = factory(tmp_path, spy, *faults)
    with pytest.warns(UserWarning, match="Gone back"):
        trainer = guarded_train(make, SETTINGS)
    one, two = restorations(trainer)
    assert (one["restored_to"], two["restored_to"]) == (2, 8)
    assert (two["old_rate"], two["new_rate"]) == (5e-3, 2.5e-3)
    assert spy.rates[-4:] == [(k, [r / 4 for r in plain[1][k]]) for k in range(9, 13)]


@pytest.mark.filterwarnings("ignore:Step 8")
def test_right_after_a_restoration_the_same_checkpoint_is_good_enough(tmp_path):
    """What it knew when it was written, of older ones, is no longer true: they are
    deleted."""
    spy, first = Spy(), Fault(nan_loss, step=8)
    second = Fault(lambda model: first.times or nan_loss(model), step=5, times=2)
    make = factory(tmp_path, spy, first, second)
    with pytest.warns(UserWarning, match="Step 5: loss is nan. Gone back to step 4"):
        trainer = guarded_train(make, SETTINGS)
    assert spy.step_of_begin == [0, 4, 4]
    assert [row["new_rate"] for row in restorations(trainer)] == [5e-3, 2.5e-3]


def test_a_schedule_with_scaled_rates_is_that_of_other_peaks():
    """From its next step on, in every group, and if it is made anew."""

    def schedule(*peaks):
        groups = [{"params": [torch.zeros(1)], "lr": peak} for peak in peaks]
        optimizer = torch.optim.SGD(groups)
        made = get_scheduler("cosine", optimizer, 2, 9)
        for _ in range(4):
            optimizer.step(), made.step()
        return optimizer, made

    def rates(optimizer, made):
        seen = []
        for _ in range(4):
            seen.append(([g["lr"] for g in optimizer.param_groups], made.get_last_lr()))
            optimizer.step(), made.step()
        return seen, [g["initial_lr"] for g in optimizer.param_groups]

    optimizer, made = schedule(4.0, 1.0)
    scale_rates(optimizer, made, 0.25)
    assert rates(optimizer, made) == rates(*schedule(1.0, 0.25))


def test_what_does_not_stop_diverging_is_given_up_with_a_reason(tmp_path):
    spy = Spy()
    make = factory(tmp_path, spy, Fault(nan_loss, step=7, times=99))
    with pytest.warns(UserWarning), pytest.raises(Diverged) as given_up:
        guarded_train(make, SETTINGS)
    assert spy.step_of_begin == [0, 4, 4], "max_restores is 2"
    at_7 = [rates[0] for step, rates in spy.rates if step == 7]
    assert at_7 == [at_7[0], at_7[0] / 2, at_7[0] / 4]
    said = str(given_up.value)
    assert "diverged at step 7: loss is nan" in said
    assert "0.01 -> 0.005" in said and "0.005 -> 0.0025" in said
    assert "checkpoint of step 4" in said and "learning_rate" in said
    with pytest.raises(Diverged):  # the count outlives the process
        guarded_train(make, SETTINGS)
    assert len(spy.step_of_begin) == 4


def test_a_collapsed_metric_is_restored_from_before_the_last_good_look(tmp_path):
    """Looks are at 5, 10 and the end: 6 and 8 were saved since a look that was fine."""
    blind = GuardSettings(patience=1, spike=1e9, metric_every=5, drop=1.0)

    def metric(model):
        assert not model.training and not torch.is_grad_enabled()
        return -float(model.lm_head.weight.norm())

    make = factory(tmp_path, Fault(blow_up, step=8))
    with pytest.warns(
        UserWarning, match=r"Step 10: metric is -\d.*Gone back to step 4"
    ):
        trainer = guarded_train(make, blind, metric)
    looks = [r for r in trainer.state.log_history if "guard_metric" in r]
    assert [row["step"] for row in looks] == [5, 10, 12]
    assert min(row["guard_metric"] for row in looks) > -10
