"""Laws of the guard's judgement: what is divergence, and which checkpoint is good."""

import math
import random

import pytest

from lrkit.guard import GuardSettings, Memory

pytestmark = pytest.mark.filterwarnings("ignore:.*pin_memory")


@pytest.mark.parametrize("seed", range(20))
def test_a_checkpoint_is_good_when_it_and_its_patience_were_fine(seed):
    """Against the definition, on random losses; what is bad is never called good."""
    random.seed(seed)
    settings = GuardSettings(patience=3, window=3, spike=2.0, spike_steps=99)
    memory, saved, suspicious = Memory(), [], []
    for step in range(1, 200):
        memory.loss_fault(step, random.choice([1.0] * 7 + [9.0]), settings)
        suspicious += [step] if memory.suspect == step else []
        memory.fine_until(step, settings)
        fine = [
            s
            for s in saved
            if s + 3 <= step and not any(s <= bad <= s + 3 for bad in suspicious)
        ]
        assert memory.good == max(fine, default=0)
        if random.random() < 0.3:
            memory.saved(step)
            saved.append(step)
    assert suspicious and memory.good


def test_only_a_run_of_high_losses_is_divergence():
    settings = GuardSettings(window=4, spike=3.0, spike_steps=3)
    memory = Memory()
    for loss in [2.0] * 4 + [9.0, 9.0, 2.0, 9.0, 5.9, 9.0, 9.0]:
        assert memory.loss_fault(0, loss, settings) is None
    assert "9" in memory.loss_fault(0, 9.0, settings)


def test_before_there_is_a_median_only_nan_counts():
    settings = GuardSettings(window=4, spike_steps=1)
    memory = Memory()
    for loss in (1.0, 90.0, 1.0, 1.0):
        assert memory.loss_fault(0, loss, settings) is None
    assert memory.loss_fault(0, 90.0, settings)
    assert Memory().loss_fault(0, math.nan, settings) == "loss is nan"
    assert Memory().loss_fault(0, -math.inf, settings) == "loss is -inf"


def test_near_zero_and_below_it_the_multiple_says_nothing():
    settings = GuardSettings(window=2, spike=3.0, least_spike=0.5, spike_steps=1)
    for usual in (0.001, -4.0):
        memory = Memory()
        for loss in (usual, usual, usual + 0.4, usual, usual):
            assert memory.loss_fault(0, loss, settings) is None
        assert memory.loss_fault(0, usual + 0.6, settings)


def test_a_metric_may_waver_but_not_fall():
    memory, settings = Memory(), GuardSettings(drop=0.2)
    for value in (0.1, 0.5, 0.35, 0.6, 0.41):
        assert memory.metric_fault(value, settings) is None
    assert "at best it was 0.6" in memory.metric_fault(0.39, settings)
    assert memory.metric_fault(math.nan, settings)
    assert Memory().metric_fault(math.nan, settings)
