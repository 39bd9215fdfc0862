"""Laws of actions: what can be drawn, how likely, and scored the same in an update."""

from collections import Counter

import pytest
import torch
from latent_models import BASES, balanced, problem, rows_for, undecided

from lrkit.latent.adaptive import STOP
from lrkit.latent.adaptive_actions import Actions, draw, score
from lrkit.latent.layout import SlotRow, collate

QUESTIONS = ["Short?"] + [problem(k).question for k in (1, 3, 2)] * 4
TEMPERATURES = {"temperature": 0.7, "decision_temperature": 1.6}


@pytest.fixture(scope="module", params=BASES)
def model(request, chatml):
    model = undecided(BASES[request.param](len(chatml)))
    return balanced(model, rows_for(model, chatml), QUESTIONS)


@pytest.fixture(scope="module")
def rows(model, chatml):
    return rows_for(model, chatml)


def prompts(model, rows, questions=QUESTIONS):
    made = [SlotRow([*rows.question(q), rows.bot]) for q in questions]
    batch = collate(made, model.id_of("<slot>"))
    return batch["input_ids"], batch["attention_mask"]


def actions(rows, **options):
    end = rows.tokenizer.eos_token_id
    return Actions(**{"n_max": 4, "max_text": 5, "end": end, **TEMPERATURES} | options)


def as_trl_pads(ids, mask, completions, pad):
    """[batch, prompt + completion]: completions padded on the right, and their mask."""
    width = max(map(len, completions))
    padded = [row + [pad] * (width - len(row)) for row in completions]
    real = [[1] * len(row) + [0] * (width - len(row)) for row in completions]
    return (
        torch.cat([ids, torch.tensor(padded)], 1),
        torch.cat([mask, torch.tensor(real)], 1),
        width,
    )


def drawn(model, rows, how, seed=0):
    torch.manual_seed(seed)
    ids, mask = prompts(model, rows)
    completions, logprobs = draw(model, ids, mask, how)
    return as_trl_pads(ids, mask, completions, 7), completions, logprobs


def by_hand(model, rows, question, completion, how):
    """Log-probabilities of one completion: one row, one forward pass, no padding."""
    n = completion.index(model.id_of("<eot>"))
    row = SlotRow([*rows.question(question), rows.bot], n, completion[n:])
    inputs = collate([row], model.id_of("<slot>")) | {"labels": None}
    out = model(**inputs)
    states = [*([] if out.read is None else out.read[0]), out.after[0]]
    found = []
    for k, state in enumerate(states):
        odds = (model.stop_head(state) / how.decision_temperature).log_softmax(-1)
        forced = k < how.n_min or k == how.n_max
        found.append(0 * odds[0] if forced else odds[int(k == n)])
    begin = len(row.before) + n
    for j, token in enumerate(completion[n + 1 :]):
        scored = (out.logits[0, begin + j] / how.temperature).log_softmax(-1)
        found.append(scored[token])
    return torch.stack(found)


LIMITS = [{}, {"n_min": 2}, {"n_max": 0}, {"n_min": 3, "n_max": 3}]


@pytest.mark.parametrize("limits", LIMITS, ids=str)
def test_an_update_scores_an_action_as_likely_as_it_was_drawn(model, rows, limits):
    how = actions(rows, **limits)
    for seed in range(3):
        (ids, mask, width), completions, expected = drawn(model, rows, how, seed)
        found, entropies = score(model, ids, mask, width, how)
        assert found.shape == entropies.shape == (len(QUESTIONS), width)
        for i, wanted in enumerate(expected):
            n = len(wanted)
            assert n == len(completions[i])
            assert (found[i, :n] - torch.tensor(wanted)).abs().max() < 1e-4
            assert not found[i, n:].any() and not entropies[i, n:].any()
    lengths = {row.index(model.id_of("<eot>")) for row in completions}
    n_min, n_max = how.n_min, how.n_max
    assert lengths <= set(range(n_min, n_max + 1))
    assert len(lengths) >= min(n_max - n_min + 1, 3)


@torch.no_grad()
def test_scores_are_those_of_each_row_by_itself(model, rows):
    how = actions(rows, n_min=1)
    (ids, mask, width), completions, _ = drawn(model, rows, how)
    found, _ = score(model, ids, mask, width, how)
    for i, question in enumerate(QUESTIONS):
        expected = by_hand(model, rows, question, completions[i], how)
        assert torch.allclose(found[i, : len(expected)], expected, atol=2e-4)
    plain, _ = score(model, ids, mask, width, actions(rows, n_min=1, temperature=1.0))
    assert not torch.allclose(plain, found, atol=1e-2), "the temperature matters"


def test_gradient_is_that_of_each_row_by_itself_through_its_latents(model, rows):
    how = actions(rows)
    (ids, mask, width), completions, _ = drawn(model, rows, how)
    weights = dict(model.named_parameters())

    def gradients(total):
        found = torch.autograd.grad(total, list(weights.values()), allow_unused=True)
        return dict(zip(weights, found, strict=True))

    ours = gradients(score(model, ids, mask, width, how)[0].sum())
    each = zip(QUESTIONS, completions, strict=True)
    naive = gradients(sum(by_hand(model, rows, q, c, how).sum() for q, c in each))
    for name, gradient in naive.items():
        if gradient is None:
            assert ours[name] is None, name
            continue
        scale = gradient.norm().clamp(min=1e-3)
        assert (ours[name] - gradient).norm() / scale < 1e-3, name
    assert all(ours[f"map.{k}.weight"].abs().sum() > 0 for k in (1, 3, 4))
    assert ours["stop_head.weight"].abs().sum() > 0


def test_forced_decisions_were_no_choice(model, rows):
    how = actions(rows, n_min=2, n_max=3)
    (ids, mask, width), completions, logprobs = drawn(model, rows, how)
    found, entropies = score(model, ids, mask, width, how)
    eot = model.id_of("<eot>")
    for i, (row, said) in enumerate(zip(completions, logprobs, strict=True)):
        n = row.index(eot)
        forced = [k < 2 or k == 3 for k in range(n + 1)]
        for k, was_forced in enumerate(forced):
            assert (said[k] == 0) == was_forced
            assert (found[i, k] == 0) == was_forced == (entropies[i, k] == 0)


def test_decisions_and_words_are_never_taken_for_each_other(model, rows):
    """Ids from the base's size on are specials; a text has none of them."""
    how = actions(rows, temperature=5.0)
    slot, eot = model.id_of("<slot>"), model.id_of("<eot>")
    for seed in range(5):
        _, completions, _ = drawn(model, rows, how, seed)
        for row in completions:
            n = row.index(eot)
            text = row[n + 1 :]
            assert row[:n] == [slot] * n and 1 <= len(text) <= 5
            assert max(text) < model.first_special
            assert how.end not in text[:-1], "nothing stands behind the end"


@torch.no_grad()
def test_lengths_are_drawn_with_the_odds_of_the_head(model, rows):
    how, many = actions(rows, max_text=1, decision_temperature=2.0), 3000
    ids, mask = prompts(model, rows, ["Short?"])
    torch.manual_seed(0)
    completions, _ = draw(model, ids.expand(many, -1), mask.expand(many, -1), how)
    eot = model.id_of("<eot>")
    found = Counter(row.index(eot) for row in completions)
    row = SlotRow(ids[0].tolist(), 4)
    inputs = collate([row], model.id_of("<slot>"))
    logits, _ = model.decisions(model(**inputs | {"labels": None}), inputs["input_ids"])
    stops = (logits[0] / 2.0).softmax(-1)[:, STOP]
    still = 1.0
    for n in range(5):
        share = float(still * (stops[n] if n < 4 else 1))
        assert abs(found[n] / many - share) < 0.04, n
        still = still * (1 - stops[n])


def test_what_cannot_be_is_refused(model, rows):
    how = actions(rows)
    with pytest.raises(ValueError, match="a completion has no <eot>"):
        score(model, torch.tensor([[rows.bot, 5, 6]]), torch.ones(1, 3), 2, how)
    for limits in ({"n_min": 5}, {"n_max": -1}, {"max_text": 0}):
        with pytest.raises(ValueError, match="latents go from n_min to n_max"):
            actions(rows, **limits)
    for hot in ({"temperature": 0.0}, {"decision_temperature": -1.0}):
        with pytest.raises(ValueError, match="temperatures must be above 0"):
            actions(rows, **hot)
