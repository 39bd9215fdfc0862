"""Laws of thinking for as long as it takes: alone, in a batch, and as it is trained."""

from collections import Counter

import pytest
import torch
from latent_models import BASES, problem, rows_for, undecided
from transformers import DynamicCache, MistralConfig, MistralForCausalLM

from lrkit.kv_cache import RowsCache
from lrkit.latent.adaptive import STOP
from lrkit.latent.adaptive_solver import AdaptiveSolver, think
from lrkit.latent.layout import SlotRow, collate
from lrkit.latent.solvers import SlotSolver, parameter_counts
from lrkit.latent.stop_policies import PlannedLengths, Sampled, greedy

N_MAX = 5
QUESTIONS = [problem(1 + k % 7).question + f" Say it {k}." * (k % 3) for k in range(16)]
LENGTHS = [3, 0, 5, 1, 0, 2, 2, 4, 5, 0, 1, 3, 3, 0, 4, 1]


def listed(lengths):
    """A policy: these lengths for the rows of a batch, in its order."""
    place = {}

    def policy(step, logits, begun):
        for row in begun:
            place.setdefault(tuple(row), len(place))
        return torch.tensor([step >= lengths[place[tuple(row)]] for row in begun])

    return policy


@pytest.fixture(scope="module", params=BASES)
def model(request, chatml):
    """Its head is the first random one that stops some rows at once, others late."""
    model = undecided(BASES[request.param](len(chatml)))
    rows = rows_for(model, chatml)
    made = [SlotRow(rows.asked(q, 0).before, N_MAX) for q in QUESTIONS]
    with torch.no_grad():
        out = model(**collate(made, model.id_of("<slot>")) | {"labels": None})
        states = torch.cat([out.read, out.after[:, None]], 1)
        for seed in range(1000):
            torch.manual_seed(seed)
            model.stop_head.weight.normal_()
            model.stop_head.bias.normal_()
            stops = model.stop_logits(states).argmax(-1) == STOP
            stops[:, -1] = True
            if set(stops.int().argmax(1).tolist()) >= {0, 1, 2, 4}:
                return model
    raise AssertionError("no head decides now so, now so")


@pytest.fixture(scope="module")
def rows(model, chatml):
    return rows_for(model, chatml)


def never(step, logits, begun):
    return torch.zeros(len(begun), dtype=torch.bool)


def begin(model, rows, questions=QUESTIONS):
    made = [SlotRow(rows.asked(q, 0).before) for q in questions]
    inputs = collate(made, model.id_of("<slot>"), rows.tokenizer.pad_token_id)
    return {k: inputs[k] for k in ("input_ids", "attention_mask")}


def solver(model, rows, **options):
    return AdaptiveSolver(model, rows, N_MAX, **{"max_new_tokens": 5} | options)


# --- thinking -------------------------------------------------------------------------
@torch.no_grad()
def test_what_is_cached_is_what_forward_computes_for_as_many_slots(model, rows):
    thoughts = think(model, **begin(model, rows), policy=listed(LENGTHS), n_max=N_MAX)
    assert thoughts.n_latents == LENGTHS
    eot, rest = model.id_of("<eot>"), rows.cue()
    together = model(**thoughts.then([eot, *rest])).logits
    for i, question in enumerate(QUESTIONS):
        row = rows.asked(question, LENGTHS[i])
        inputs = collate([row], model.id_of("<slot>")) | {"labels": None}
        alone = model(**inputs, logits_to_keep=len(row.rest))
        assert torch.allclose(together[i], alone.logits[0], atol=5e-4)
        logits, _ = model.decisions(alone, inputs["input_ids"])
        n = LENGTHS[i] + 1
        assert torch.allclose(thoughts.logits[i, :n], logits[0], atol=5e-4)
        assert not thoughts.logits[i, n:].any()


@torch.no_grad()
def test_rows_that_have_stopped_are_not_computed(model, rows):
    seen = []
    hook = model.base.register_forward_hook(
        lambda _, args, kwargs, out: seen.append(kwargs["inputs_embeds"].shape[:2]),
        with_kwargs=True,
    )
    inputs = begin(model, rows)
    think(model, **inputs, policy=listed(LENGTHS), n_max=N_MAX)
    hook.remove()
    assert seen[0] == inputs["input_ids"].shape
    still = [sum(n > step for n in LENGTHS) for step in range(max(LENGTHS))]
    assert seen[1:] == [(n, 1) for n in still]


@torch.no_grad()
def test_a_thought_ends_at_the_latest_and_not_before_the_first(model, rows):
    def always(step, logits, begun):
        return ~never(step, logits, begun)

    inputs = begin(model, rows)
    for policy, n_min, n_max, expected in (
        (never, 0, 3, 3), (never, 0, 0, 0), (always, 2, 5, 2), (always, 0, 5, 0),
        (never, 2, 2, 2),
    ):  # fmt: skip
        found = think(model, **inputs, policy=policy, n_max=n_max, n_min=n_min)
        assert found.n_latents == [expected] * 16
        assert found.logits.shape == (16, expected + 1, 2)


@torch.no_grad()
def test_a_change_of_what_is_written_is_heard(model, rows):
    inputs = begin(model, rows)
    plain = think(model, **inputs, policy=never, n_max=2)
    with model.writing(lambda z, which: torch.zeros_like(z)):
        zeroed = think(model, **inputs, policy=never, n_max=2)
    assert torch.equal(plain.logits[:, 0], zeroed.logits[:, 0])
    assert not torch.allclose(plain.logits[:, 1], zeroed.logits[:, 1], atol=1e-2)


# --- the solver -----------------------------------------------------------------------
@pytest.mark.parametrize("writes", [False, True])
def test_one_question_is_answered_as_among_many_and_as_with_that_many(
    model, rows, writes
):
    ours = solver(model, rows, writes_chain=writes)
    together = ours.solve(QUESTIONS)
    small = solver(model, rows, writes_chain=writes, batch_size=5).solve(QUESTIONS)
    for question, found, other in zip(QUESTIONS, together, small, strict=True):
        (alone,) = ours.solve([question])
        n = found.latent_steps
        fixed = SlotSolver(model, rows, n, writes, max_new_tokens=5)
        (expected,) = fixed.solve([question])
        for solution in (alone, other, found):
            assert solution.latent_steps == n
            assert solution.text == expected.text
            assert solution.answer == expected.answer
    assert {s.latent_steps for s in together} >= {0, 1, 2, 4}
    assert len({s.text for s in together}) > 2, "answers that are all alike say nothing"


def test_what_a_row_costs_is_counted_by_itself(model, rows):
    seen = []
    hook = model.base.register_forward_hook(
        lambda _, args, kwargs, out: seen.append(kwargs["inputs_embeds"].shape[1]),
        with_kwargs=True,
    )
    ours = solver(model, rows)
    alone = []
    for question in QUESTIONS[:6]:
        seen.clear()
        (solution,) = ours.solve([question])
        assert (solution.passes, solution.positions) == (len(seen), sum(seen))
        alone.append(solution)
    hook.remove()
    blocks, head = parameter_counts(model)
    for one, same in zip(alone, ours.solve(QUESTIONS[:6]), strict=True):
        for cost in ("text_tokens", "latent_steps", "passes", "positions", "flops"):
            assert getattr(one, cost) == getattr(same, cost)
        flops = 2 * (blocks * one.positions + head * one.text_tokens)
        assert one.flops == flops


# --- policies -------------------------------------------------------------------------
def test_the_head_is_taken_at_its_word():
    logits = torch.tensor([[0.0, 1.0], [1.0, 0.0], [2.0, 2.0]])
    assert greedy(0, logits, [[]] * 3).tolist() == [True, False, False]


def test_decisions_are_drawn_with_their_odds_and_temperature():
    torch.manual_seed(0)
    logits = torch.tensor([[0.0, 1.0]]).expand(20_000, 2)
    for temperature in (0.5, 1.0, 2.0):
        odds = float((logits[0] / temperature).softmax(0)[STOP])
        drawn = Sampled(temperature)(0, logits, [[]] * len(logits))
        assert abs(float(drawn.float().mean()) - odds) < 0.015
    with pytest.raises(ValueError, match="temperature must be above 0"):
        Sampled(0.0)


def test_planned_lengths_are_those_of_the_distribution():
    begun = [[7, k] for k in range(4000)]
    wanted = {0: 1, 2: 2, 5: 1}
    policy = PlannedLengths.like(
        [n for n, times in wanted.items() for _ in [0] * times]
    )
    found = Counter(policy.length(row) for row in begun)
    assert all(abs(found[n] / 4000 - share / 4) < 0.03 for n, share in wanted.items())
    mean = [PlannedLengths.at_mean(2.3).length(row) for row in begun]
    assert set(mean) == {2, 3} and abs(sum(mean) / 4000 - 2.3) < 0.03
    assert {PlannedLengths.at_mean(4.0).length(row) for row in begun} == {4}
    again = PlannedLengths.like([0, 2, 2, 5])
    assert [again.length(row) for row in begun] == [policy.length(r) for r in begun]
    other = PlannedLengths.like([0, 2, 2, 5], seed=1)
    assert [other.length(row) for row in begun] != [policy.length(r) for r in begun]
    for shares in ({}, {-1: 1.0}, {1: -1.0}, {1: 0.0}):
        with pytest.raises(ValueError, match="must be 0 or more, one share above 0"):
            PlannedLengths(shares)


def test_a_control_in_place_of_the_head_thinks_as_long_as_planned(model, rows):
    fixed = solver(model, rows, policy=PlannedLengths.fixed(3)).solve(QUESTIONS)
    expected = SlotSolver(model, rows, 3, max_new_tokens=5).solve(QUESTIONS)
    assert [s.text for s in fixed] == [s.text for s in expected]
    policy = PlannedLengths.like(LENGTHS)
    ours = solver(model, rows, policy=policy)
    wanted = [policy.length(rows.asked(q, 0).before) for q in QUESTIONS]
    assert [s.latent_steps for s in ours.solve(QUESTIONS)] == wanted
    assert [s.latent_steps for s in ours.solve(QUESTIONS[::-1])] == wanted[::-1]


# --- caches ---------------------------------------------------------------------------
@torch.no_grad()
def test_rows_that_grow_alone_and_rows_that_wait_share_a_cache():
    torch.manual_seed(0)
    keys = torch.randn(2, 4, 2, 3, 5)  # keys and values, rows, heads, columns, width
    plain = DynamicCache()
    plain.update(*keys, 0)
    cache = RowsCache(plain, 2)
    assert cache.get_seq_length() == 3
    new = torch.randn(2, 4, 2, 1, 5)
    found = cache.update(*new, 0)
    assert torch.equal(torch.stack(found), torch.cat([keys, new], 3))
    cache.only(torch.tensor([3, 1]))
    more = torch.randn(2, 2, 2, 1, 5)
    found = cache.update(*more, 0)
    expected = torch.cat([keys, new], 3)[:, [3, 1]]
    assert torch.equal(torch.stack(found), torch.cat([expected, more], 3))
    (whole,) = cache.whole().layers
    assert whole.get_seq_length() == cache.get_seq_length() == 5
    assert torch.equal(whole.keys[[3, 1]], found[0])
    assert torch.equal(whole.values[[3, 1]], found[1])
    assert torch.equal(whole.keys[0, :, :4], torch.cat([keys, new], 3)[0, 0])
    assert not whole.keys[[0, 2], :, 4].any() and not whole.values[[0, 2], :, 4].any()
    assert torch.equal(plain.layers[0].keys, keys[0]), "the original is as it was"


def test_a_sliding_window_is_refused():
    config = MistralConfig(
        vocab_size=20, hidden_size=16, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=1, sliding_window=4,
    )  # fmt: skip
    cache = DynamicCache(config=config)
    MistralForCausalLM(config)(torch.tensor([[1, 2], [3, 4]]), past_key_values=cache)
    with pytest.raises(ValueError, match="cannot end at different lengths"):
        RowsCache(cache, 2)


def test_limits_in_the_wrong_order_are_refused(model, rows):
    with pytest.raises(ValueError, match="not from 3 to 2"):
        AdaptiveSolver(model, rows, 2, 3)
    with pytest.raises(ValueError, match="not from 3 to 2"):
        think(model, **begin(model, rows), policy=never, n_max=2, n_min=3)
