"""Laws of the bench of adaptive thinking: what is computed, and in what time."""

import json
import random
import time

import pytest
import torch
from latent_models import BASES, tiny_llama

from lrkit.latent.adaptive import AdaptiveModel
from lrkit.study.bench import adaptive, adaptive_measuring
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


def test_the_bench_writes_a_record_with_each_spread_of_lengths(monkeypatch, tmp_path):
    made = {"tiny": lambda: AdaptiveModel.wrap(tiny_llama(90)).eval()}
    monkeypatch.setattr(adaptive, "CASES", made)
    out = tmp_path / "bench.json"
    monkeypatch.setattr("sys.argv", ["bench", "--small", "--out", str(out)])
    adaptive.main()
    results = json.loads(out.read_text())
    (case,) = results["cases"]
    assert results["torch"] == torch.__version__ and case["case"] == "tiny"
    assert [row["spread"] for row in case["spreads"]] == list(adaptive.LENGTHS)
    assert all(row["row_steps"] == row["needed"] for row in case["spreads"])
    assert case["spreads"][2]["to_the_longest"] == case["spreads"][2]["needed"] == 24


def test_a_line_says_whether_the_aim_is_met():
    row = {
        "spread": "0 to 10", "wanted": 1.25, "met": False,
        "over_needed": {"median": 1.5}, "faster": {"median": 2.0},
    }  # fmt: skip
    assert adaptive.said({"case": "a", "spreads": [row]}) == [
        "a, latents 0 to 10: 1.50 times what the rows need, aim 1.25: not met; 2.00 "
        "times as fast as thinking to the longest"
    ]
    assert adaptive.said({"case": "b", "skipped": "no weights"}) == []


def test_lengths_are_drawn_from_a_spread_the_same_each_time():
    found = adaptive.drawn(range(1, 6), 64)
    assert set(found) == {1, 2, 3, 4, 5} and found == adaptive.drawn(range(1, 6), 64)
