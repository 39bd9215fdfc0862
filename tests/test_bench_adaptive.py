"""Laws of the bench of adaptive thinking: what is computed, and in what time."""

import random
import time

import pytest
import torch
from latent_models import BASES, tiny_llama

from lrkit.latent.adaptive import AdaptiveModel
from lrkit.study.bench import adaptive_measuring
from lrkit.study.bench.adaptive_measuring import (
    LONGEST,
    NEEDED,
    OURS,
    WANTED,
    measure_thinking,
    needed_seconds,
    questions,
)

LENGTHS = random.Random(0).choices(range(11), k=64)


@pytest.mark.parametrize("make", BASES.values(), ids=BASES)
def test_as_many_latents_are_computed_as_rows_need(make):
    model = AdaptiveModel.wrap(make(90)).eval()
    lengths = [0, 3, 1, 3, 5, 0]
    record = measure_thinking(model, lengths, n_tokens=4, repeats=2)
    assert record["row_steps"] == record["needed"] == 12
    assert record["to_the_longest"] == 30 and record["lengths"] == lengths
    assert all(len(found) == 2 for found in record["seconds"].values())
    ours, needed = (record["seconds"][way] for way in (OURS, NEEDED))
    ratios = sorted(a / b for a, b in zip(ours, needed, strict=True))
    assert [record["over_needed"][k] for k in ("min", "max")] == ratios
    least = min(record["seconds"][LONGEST]) / min(ours)
    assert record["of_least"]["faster"] == least
    assert record["met"] == (sum(ratios) / 2 <= WANTED)


def test_what_is_needed_is_a_pass_for_each_step_over_those_that_think():
    model, seen = AdaptiveModel.wrap(tiny_llama(90)).eval(), []
    model.base.register_forward_hook(
        lambda _, args, kwargs, out: seen.append(kwargs["inputs_embeds"].shape[:2]),
        with_kwargs=True,
    )
    lengths = [0, 3, 1, 3, 5, 0]
    ids, mask = questions(model, len(lengths), 4)
    assert needed_seconds(model, ids, mask, lengths) > 0
    assert seen == [(6, 5), (4, 1), (3, 1), (3, 1), (1, 1), (1, 1)]


def test_a_batch_of_mixed_lengths_takes_little_more_than_its_rows_need(monkeypatch):
    """By the time of this process: others do not count."""
    monkeypatch.setattr(adaptive_measuring, "now", lambda _: time.process_time())
    torch.manual_seed(0)
    model = AdaptiveModel.wrap(tiny_llama(500, width=128, layers=4)).eval()
    record = measure_thinking(model, LENGTHS, n_tokens=32, repeats=8)
    assert record["row_steps"] == sum(LENGTHS)
    assert record["of_least"]["over_needed"] <= WANTED
    assert record["of_least"]["faster"] > 1
