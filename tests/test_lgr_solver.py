"""Laws of two models behind one solver, and of the ceiling beside them."""

import copy
from dataclasses import replace

import pytest
import torch
from lgr_models import (
    PROBLEMS,
    QUESTIONS,
    WIDE,
    K,
    executor,
    padded,
    solver,
    trainings,
    weights,
)

from lrkit.latent.layout import SlotRow, collate
from lrkit.latent.lgr_executor import (
    ExecutorModel,
    executor_row,
)
from lrkit.latent.lgr_guidance import (
    guidance_of,
    think,
)
from lrkit.latent.lgr_methods import LgrSettings, lgr
from lrkit.latent.lgr_methods import executor as train_executor
from lrkit.latent.lgr_solver import GivenChainSolver, with_guidance
from lrkit.latent.slots import SLOT
from lrkit.latent.solvers import SlotSolver, parameter_counts
from lrkit.study.latent_controls import zeroed


@pytest.mark.parametrize("other", ["chatml", "gpt2"])
def test_a_solution_is_that_of_the_question_alone_computed_by_hand(
    chatml, other, request
):
    """With two tokenizers, too; without cache, slots or padding."""
    both = solver(chatml, padded(request.getfixturevalue(other)))
    small, rows = both.model, both.rows
    for question, found in zip(QUESTIONS, both.solve(QUESTIONS), strict=True):
        guidance = think(both.thinker, both.thinker_rows, [question])
        row = rows.asked(question, K, cue=False)
        written = []
        for _ in range(found.text_tokens):
            rest = SlotRow(row.before, K, [*row.rest, *written])
            x = collate([rest], small.id_of(SLOT))
            del x["labels"]
            with torch.no_grad():
                logits = small(**x, guidance=guidance, use_cache=False).logits
            written.append(int(logits[0, -1].argmax()))
        assert rows.tokenizer.decode(written, skip_special_tokens=True) == found.text
        assert replace(found, seconds=0) == replace(
            both.solve([question])[0], seconds=0
        )
    assert len({s.text for s in both.solve(QUESTIONS)}) > 1


def test_both_models_are_counted(chatml):
    both = solver(chatml)
    seen = {"large": 0, "small": 0}
    for name, model in (("large", both.thinker), ("small", both.model)):
        model.base.register_forward_hook(
            lambda *_, name=name: seen.__setitem__(name, seen[name] + 1)
        )
    (found,) = both.solve(QUESTIONS[:1])
    assert seen["large"] == 1 and sum(seen.values()) == found.passes
    asked = both.asked(QUESTIONS[0])
    n_large = len(both.thinker_rows.thinking(QUESTIONS[0]))
    assert found.positions == n_large + len(asked) + found.text_tokens - 1
    blocks, head = parameter_counts(both.thinker)
    own, own_head = parameter_counts(both.model)
    n_small = found.positions - n_large
    theirs = 2 * (blocks * n_large + head)
    assert found.flops == theirs + 2 * (own * n_small + own_head * found.text_tokens)
    assert found.latent_steps == K


def test_stored_guidance_gives_the_same_solutions_and_is_not_thought_again(
    chatml, monkeypatch
):
    both = solver(chatml)
    wanted = [s.text for s in both.solve(QUESTIONS)]
    stored = with_guidance(both, QUESTIONS, both.guidance(QUESTIONS))
    monkeypatch.setattr(type(both.thinker), "guide", None)
    assert [s.text for s in stored.solve(QUESTIONS)] == wanted
    with pytest.raises(ValueError, match=r"of shape \[5, 3, 48\], got \[5, 3, 2\]"):
        with_guidance(both, QUESTIONS, torch.zeros(5, 3, 2))


def test_an_executor_that_sees_no_question_is_guided_all_the_same(chatml):
    both = solver(chatml)
    model, rows = executor(chatml, both.model.config.thinker, sees_question=False)
    known, p = both.guidance(QUESTIONS), PROBLEMS[1]
    stored = guidance_of(both.thinker, both.thinker_rows, QUESTIONS)
    made = executor_row(rows, p, stored, model.config)
    assert list(made.row.before) == [*rows.question("?"), rows.bot]
    assert torch.allclose(made.guidance, known[1], atol=1e-4)
    dark = replace(both, model=model, rows=rows)
    assert dark.asked(QUESTIONS[0]).before == dark.asked(QUESTIONS[1]).before
    texts = [s.text for s in dark.solve(QUESTIONS)]
    assert len(set(texts)) > 1, "the guidance tells them apart"
    same = with_guidance(dark, QUESTIONS, known[:1].expand_as(known))
    assert len({s.text for s in same.solve(QUESTIONS)}) == 1


def test_a_blind_executor_is_told_nothing_when_it_answers_either(chatml):
    both = solver(chatml)
    blind = replace(both, change=zeroed)
    assert not blind.guidance(QUESTIONS).any()
    told = with_guidance(both, QUESTIONS, torch.zeros(len(QUESTIONS), K, WIDE))
    texts = [[s.text for s in one.solve(QUESTIONS)] for one in (blind, told, both)]
    assert texts[0] == texts[1] != texts[2]
    stored = with_guidance(blind, QUESTIONS, both.guidance(QUESTIONS))
    assert [s.text for s in stored.solve(QUESTIONS)] == texts[2]


def test_a_thinker_that_the_executor_does_not_know_is_refused(chatml):
    both = solver(chatml)
    other = copy.deepcopy(both.thinker)
    other.rows.weight.data += 1e-3
    with pytest.raises(ValueError, match=r"learned the guidance of thinker \w+, not"):
        replace(both, thinker=other)
    stale = replace(guidance_of(both.thinker, both.thinker_rows, QUESTIONS), thinker="")
    with pytest.raises(ValueError, match="compute it again"):
        replace(both, stored=stale)


def test_the_large_models_chain_is_read_by_the_small_one(chatml, gpt2):
    """The chain goes as text, and is the writer's own, up to its cue."""
    both = solver(chatml)
    writer = SlotSolver(both.model, both.rows, None, True, max_new_tokens=8)
    small, rows = executor(padded(gpt2), family="gpt2")
    given = GivenChainSolver(writer, small, rows, max_new_tokens=3)
    theirs = writer.solve(QUESTIONS)
    found = given.solve(QUESTIONS)
    for question, said, one in zip(QUESTIONS, theirs, found, strict=True):
        chain = rows.encode(said.text.partition("The answer is:")[0])
        row = SlotRow([*rows.question(question), *chain], 0, rows.cue())
        ids = []
        for _ in range(one.text_tokens - said.text_tokens):
            x = collate([SlotRow(row.before, 0, [*row.rest, *ids])], small.id_of(SLOT))
            del x["labels"]
            with torch.no_grad():
                ids.append(int(small(**x).logits[0, -1].argmax()))
        assert (
            rows.tokenizer.decode(ids, skip_special_tokens=True).strip() == one.answer
        )
        assert one.flops > said.flops and one.passes > said.passes
    with pytest.raises(ValueError, match="must write its chain"):
        GivenChainSolver(replace(writer, writes_chain=False), small, rows)


def test_both_stages_from_two_bases(chatml, gpt2, tmp_path):
    """With two tokenizers: every weight moves, the thinker's not in stage 2."""
    large, small = trainings(chatml, tmp_path, padded(gpt2))
    settings = LgrSettings(2, inner=16)
    thought, both = lgr(large, small, settings)
    for training, model in ((large, thought.model), (small, both.model)):
        fresh = weights(training.load_base())
        after = weights(model.base)
        assert all(not torch.equal(w, after[n]) for n, w in fresh.items())
    before = weights(thought.model)
    again = train_executor(small, thought, settings, zeroed, name="blind")
    assert all(torch.equal(w, before[n]) for n, w in weights(thought.model).items())
    told = (both.model.projector[0].weight, again.model.projector[0].weight)
    torch.manual_seed(small.seed)
    begun = small.wrapped(
        ExecutorModel, thinker_width=WIDE, n_latents=2, inner=16
    ).projector[0]
    shrunk = [(w - begun.weight).abs().max() for w in told]
    assert shrunk[0] > 1e-4 > shrunk[1], "zeros give this layer nothing but decay"
    assert thought.solve(QUESTIONS)[0].latent_steps == 2
    assert len(both.solve(QUESTIONS)) == len(QUESTIONS)
