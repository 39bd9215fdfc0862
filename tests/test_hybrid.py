"""Laws of thinking in two ways with one set of weights, and of what it costs."""

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from latent_models import problem, tiny_llama

from lrkit.latent.chain_rows import ChainRows
from lrkit.latent.hybrid import COUNTED, HybridSolver, SureSolver
from lrkit.latent.layout import SlotRow, collate
from lrkit.latent.lrt import LrtModel
from lrkit.latent.slots import SLOT, SlotModel
from lrkit.latent.solvers import SlotSolver, Solution
from lrkit.study import latency as latency_module
from lrkit.study.hybrid_modes import (
    both_ways,
    choose_threshold,
    compare,
    routed,
    sweep,
    traffic,
)
from lrkit.study.latency import latency, peak_memory, times_as_fast

PROBLEMS = [problem(k, question=f"Question {k}, what is it?" + " Well?" * k)
            for k in (1, 2, 3, 4, 5)]  # fmt: skip
QUESTIONS = [p.question for p in PROBLEMS]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def solver(chatml):
    base = tiny_llama(len(chatml))
    for weight in base.parameters():
        if weight.ndim == 2:
            weight.data *= 8
    torch.manual_seed(0)
    model = LrtModel.wrap(base, n_latents=3).eval()
    for weight in model.network.parameters():
        if weight.ndim == 2:
            weight.data *= 4
    return SlotSolver(model, ChainRows.of(model, chatml), 3, max_new_tokens=5)


@pytest.fixture
def hybrid(solver):
    return HybridSolver.of(solver, max_chain=9)


def texts(solutions):
    return [s.text for s in solutions]


# --- confidence -----------------------------------------------------------------------
def test_confidence_is_the_probability_of_what_was_written(hybrid, chatml):
    fast = hybrid.fast
    for question, found in zip(QUESTIONS, fast.solve(QUESTIONS), strict=True):
        row = fast.rows.asked(question, 3)
        logprob, written = 0.0, []
        for _ in range(found.text_tokens):
            whole = SlotRow(row.before, 3, [*row.rest, *written])
            with torch.no_grad():
                out = fast.model(**collate([whole], fast.model.id_of(SLOT)))
            scores = out.logits[0, -1].log_softmax(-1)
            written.append(int(scores.argmax()))
            logprob += scores.max().item()
        assert found.confidence == pytest.approx(np.exp(logprob), rel=1e-3)


def test_what_stands_behind_the_end_does_not_count(solver, chatml, monkeypatch):
    """The same tokens and scores, padded further: the same confidence."""
    end, pad = chatml.eos_token_id, chatml.pad_token_id
    scores = torch.randn(2, 4, len(chatml))
    new = torch.tensor([[5, end, pad, pad], [5, 6, 7, 8]])

    class Out:
        sequences = torch.cat([torch.zeros(2, 3, dtype=torch.long), new], 1)
        logits = tuple(scores.unbind(1))

    sure = SureSolver(solver.model, solver.rows, 3)
    monkeypatch.setattr(SureSolver, "generate", lambda *_, **__: Out)
    sure.decode({"input_ids": torch.zeros(2, 3)})
    logprobs = scores.log_softmax(-1)
    first = (logprobs[0, 0, 5] + logprobs[0, 1, end]).exp().item()
    second = sum(logprobs[1, k, 5 + k] for k in range(4)).exp().item()
    assert sure.seen == pytest.approx([first, second])


def test_being_sure_changes_no_answer_and_batches_do_not_mix(hybrid, solver):
    sure = hybrid.fast.solve(QUESTIONS)
    assert texts(sure) == texts(solver.solve(QUESTIONS))
    small = replace(hybrid.fast, batch_size=2).solve(QUESTIONS)
    alone = [hybrid.fast.solve([q])[0] for q in QUESTIONS]
    for one, other, third in zip(sure, small, alone, strict=True):
        assert one.confidence == pytest.approx(other.confidence, rel=1e-3)
        assert one.confidence == pytest.approx(third.confidence, rel=1e-3)


# --- the modes ------------------------------------------------------------------------
def test_the_ends_of_the_router_are_the_two_modes(hybrid):
    fast, slow = (replace(hybrid, mode=m).solve(QUESTIONS)
                  for m in ("latent", "explicit"))  # fmt: skip
    never = replace(hybrid, threshold=0.0).solve(QUESTIONS)
    always = replace(hybrid, threshold=1.1).solve(QUESTIONS)
    assert texts(never) == texts(fast) and texts(always) == texts(slow)
    assert [s.passes for s in never] == [s.passes for s in fast]
    for both, one, other in zip(always, fast, slow, strict=True):
        for cost in COUNTED[:-1]:
            paid = getattr(one, cost) + getattr(other, cost)
            assert getattr(both, cost) == pytest.approx(paid)


def test_the_unsure_alone_think_again(hybrid):
    sure = hybrid.fast.solve(QUESTIONS)
    confidences = sorted(s.confidence for s in sure)
    middle = replace(hybrid, threshold=confidences[2])
    slow = hybrid.slow.solve(QUESTIONS)
    for one, other, found in zip(sure, slow, middle.solve(QUESTIONS), strict=True):
        unsure = one.confidence < confidences[2]
        assert found.text == (other.text if unsure else one.text)
    assert sum(s.confidence < confidences[2] for s in sure) == 2


def test_thinking_in_words_is_that_of_the_untouched_base(hybrid, chatml):
    plain = SlotModel.wrap(tiny_llama(len(chatml)))
    plain.base.load_state_dict(hybrid.slow.model.base.state_dict())
    rows = ChainRows.of(plain, chatml)
    own = SlotSolver(plain, rows, writes_chain=True, max_new_tokens=9)
    assert texts(hybrid.slow.solve(QUESTIONS)) == texts(own.solve(QUESTIONS))


def test_hybrids_that_cannot_be_are_refused(hybrid, chatml):
    with pytest.raises(ValueError, match="choose one of latent, explicit, router"):
        replace(hybrid, mode="fast")
    other = SlotModel.wrap(tiny_llama(len(chatml)))
    with pytest.raises(ValueError, match="one set of weights"):
        replace(hybrid, slow=SlotSolver(other, ChainRows.of(other, chatml)))


# --- what a router buys ---------------------------------------------------------------
@pytest.fixture
def rows():
    """The sure half is right at once, words are right three times in four."""
    n = 200
    return pd.DataFrame(
        {
            "id": [f"q{k}" for k in range(n)],
            "confidence": np.linspace(0.01, 0.99, n),
            "fast": np.arange(n) >= n // 2,
            "slow": np.arange(n) % 4 != 0,
            "fast_tokens": 2,
            "slow_tokens": 20,
        }
    )


def test_both_ways_are_those_of_the_solvers(hybrid):
    found = both_ways(hybrid, PROBLEMS)
    fast, slow = hybrid.fast.solve(QUESTIONS), hybrid.slow.solve(QUESTIONS)
    assert found["confidence"].tolist() == pytest.approx([s.confidence for s in fast])
    assert found["fast_tokens"].tolist() == [s.text_tokens + 3 for s in fast]
    assert found["slow_tokens"].tolist() == [s.text_tokens for s in slow]
    for threshold in (0.0, float(found["confidence"].median()), 1.1):
        solved = replace(hybrid, threshold=threshold).solve(QUESTIONS)
        _, tokens = routed(found, threshold)
        paid = [s.text_tokens + s.latent_steps for s in solved]
        assert tokens.tolist() == paid, "the table is what the router would do"


def test_a_sweep_goes_from_one_end_to_the_other(rows):
    table = sweep(rows)
    assert table["explicit"].iloc[0] == 0 and table["explicit"].iloc[-1] == 1
    assert (np.diff(table["tokens"]) > 0).all() and len(table) == len(rows) + 1
    assert table["accuracy"].iloc[0] == 0.5 and table["accuracy"].iloc[-1] == 0.75
    assert table["tokens"].iloc[-1] == 22, "both attempts are paid for"


def test_the_threshold_is_the_best_within_the_budget(rows):
    table = sweep(rows)
    best = choose_threshold(rows, 100)
    assert routed(rows, best)[0].mean() == table["accuracy"].max() == 0.875
    assert 0.49 < best < 0.51
    few = choose_threshold(rows, 7)
    correct, tokens = routed(rows, few)
    within = table[table["tokens"] <= 7]
    assert tokens.mean() <= 7 and correct.mean() == within["accuracy"].max()
    with pytest.raises(ValueError, match=r"fewer than the 2\.0 that latents alone"):
        choose_threshold(rows, 1)


def test_a_router_is_compared_with_a_blind_mix_of_as_many_tokens(rows):
    table = compare(rows, choose_threshold(rows, 100))
    router, mix = table.loc["router"], table.loc["random mix"]
    assert mix["tokens"] == pytest.approx(router["tokens"])
    share = (router["tokens"] - 2) / 18
    assert mix["explicit"] == pytest.approx(share)
    assert mix["accuracy"] == pytest.approx(0.5 + share * 0.25)
    gain = router["accuracy"] - mix["accuracy"]
    assert mix["router_gain"] == pytest.approx(gain) and mix["gain_low"] > 0
    assert table.loc["router", "router_gain"] == 0
    blind = rows.assign(confidence=np.random.default_rng(0).random(len(rows)))
    lost = compare(blind, 0.5).loc["random mix"]
    assert lost["gain_low"] < 0, "confidence that knows nothing buys nothing"


def test_traffic_has_the_share_that_was_asked_for(rows):
    easy = rows["fast"].to_numpy() & (np.arange(len(rows)) % 2 == 0)  # 50 of 200
    for share, n in ((0.0, 150), (0.2, 187), (0.5, 100), (0.8, 62), (1.0, 50)):
        found = traffic(rows, easy, share)
        is_easy = found["id"].isin(rows.loc[easy, "id"])
        assert abs(len(found) - n) <= 1 and not found["id"].duplicated().any()
        assert is_easy.mean() == pytest.approx(share, abs=0.02)
        assert found["id"].tolist() == [i for i in rows["id"] if i in set(found["id"])]
    with pytest.raises(ValueError, match=r"no traffic with a share of 0\.5"):
        traffic(rows, np.zeros(len(rows), bool), 0.5)


def test_a_router_pays_where_sure_answers_save_more_than_all_attempts_cost():
    """Perfect knowledge of which latent answers are right: the law of the docstring."""
    n = 400
    for right, cheap in itertools.product((0.1, 0.3, 0.6), (1, 4, 9)):
        fast = np.arange(n) < right * n
        rows = pd.DataFrame(
            {
                "confidence": np.where(fast, 0.9, 0.1), "fast": fast, "slow": True,
                "fast_tokens": cheap, "slow_tokens": np.where(fast, 12, 24),
            }
        )  # fmt: skip
        gain = compare(rows, 0.5).loc["random mix", "router_gain"]
        saved = (rows["fast"] * rows["slow_tokens"]).mean()
        assert (gain > 1e-9) == (cheap < saved), (right, cheap)


def test_questions_of_one_cluster_are_resampled_together(rows):
    alone, together = (
        compare(rows, 0.5, names).loc["random mix"]
        for names in (None, [f"c{k // 50}" for k in range(len(rows))])
    )
    assert alone["router_gain"] == together["router_gain"]
    width = [row["gain_high"] - row["gain_low"] for row in (alone, together)]
    assert width[1] > 1.5 * width[0]


# --- seconds and memory ---------------------------------------------------------------
class Clock:
    """A solver that takes a known time."""

    def __init__(self, seconds, now):
        self.seconds, self.now, self.asked = seconds, now, 0

    def solve(self, questions):
        self.now[0] += self.seconds
        self.asked += 1
        return [Solution("1", "1", 3, 2, 5, 9, 1.0, 0.1) for _ in questions]


def test_solvers_take_turns_and_the_first_turn_is_not_counted(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(latency_module.time, "perf_counter", lambda: now[0])
    solvers = {"fast": Clock(0.5, now), "slow": Clock(2.0, now)}
    found = latency(solvers, QUESTIONS, CPU, repeats=3)
    assert found["solver"].tolist() == ["fast", "slow"] * 3
    assert found["seconds"].tolist() == pytest.approx([0.5, 2.0] * 3)
    assert found["tokens_per_second"].tolist() == pytest.approx([30, 7.5] * 3)
    assert (found["latent_steps"] == 10).all() and solvers["fast"].asked == 4
    ratios = times_as_fast(found, "fast", "slow")
    assert ratios == pytest.approx({"min": 4, "median": 4, "max": 4})
    for bad in ({"repeats": 0}, {"questions": []}):
        asked = {"questions": QUESTIONS} | bad
        with pytest.raises(ValueError, match="nothing to measure"):
            latency(solvers, device=CPU, **asked)


def test_memory_that_is_taken_and_given_back_is_seen():
    with peak_memory(CPU) as peak:
        block = np.ones(2**24, np.float64)  # 128 MiB
        block += 1
        del block
    assert 100 < peak.mib < 400
    with peak_memory(CPU) as quiet:
        sum(range(1000))
    assert quiet.mib < 50
