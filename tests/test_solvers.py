"""Laws of solvers: what is answered, and what it is said to have cost."""

import pytest
import torch
from latent_models import lively, problem, rows_for

from lrkit.latent.chain_rows import TooLong
from lrkit.latent.solvers import SlotSolver, parameter_counts

QUESTIONS = [problem(k).question + " Say it." * k for k in (1, 4, 2)]


@pytest.fixture(scope="module")
def model(chatml):
    return lively(chatml)


@pytest.fixture(scope="module")
def rows(model, chatml):
    return rows_for(model, chatml)


def solver(model, rows, **options):
    return SlotSolver(model, rows, **{"max_new_tokens": 6, "n_latents": 3} | options)


def test_one_question_is_answered_as_among_many(model, rows):
    ours = solver(model, rows)
    together = ours.solve(QUESTIONS)
    assert [s.text for s in together] == [ours.solve([q])[0].text for q in QUESTIONS]
    small = solver(model, rows, batch_size=1).solve(QUESTIONS)
    assert [s.text for s in small] == [s.text for s in together]


def test_a_latent_step_costs_a_pass_as_a_token_does(model, rows):
    def passes_of(**options):
        seen = []
        hook = model.base.register_forward_hook(lambda *_: seen.append(1))
        (solution,) = solver(model, rows, **options).solve(QUESTIONS[:1])
        hook.remove()
        return solution, len(seen)

    for options in (
        {"n_latents": 3}, {"n_latents": 0}, {"n_latents": 3, "pause": True},
        {"n_latents": None, "writes_chain": True},
    ):  # fmt: skip
        solution, counted = passes_of(**options)
        assert solution.passes == counted, options
        assert solution.latent_steps == (options["n_latents"] or 0)


def test_rounds_over_all_slots_are_counted_as_they_are_computed(model, rows):
    seen = []
    hook = model.base.register_forward_hook(
        lambda _, args, kwargs, out: seen.append(kwargs["inputs_embeds"].shape[1]),
        with_kwargs=True,
    )
    before = model.config.order, model.config.rounds
    try:
        model.config.order, model.config.rounds = "rounds", 2
        (solution,) = solver(model, rows, n_latents=5).solve(QUESTIONS[:1])
    finally:
        model.config.order, model.config.rounds = before
        hook.remove()
    assert (solution.passes, solution.positions) == (len(seen), sum(seen))


def test_flops_follow_positions_and_scored_tokens(model, rows):
    blocks, head = parameter_counts(model)
    base = model.base
    assert head == base.lm_head.weight.numel()
    assert blocks == sum(p.numel() for p in base.model.layers.parameters()) + 32
    few, more = (
        solver(model, rows, n_latents=n).solve(QUESTIONS[:1])[0] for n in (1, 5)
    )
    assert more.positions - few.positions == 4
    assert more.flops - few.flops == 2 * blocks * 4


def test_only_what_follows_the_cue_is_the_answer(model, rows, monkeypatch):
    said = {"The answer is: 12": "12", "<<1+1=2>>\nThe answer is: -3": "-3", "13": ""}
    for text, answer in said.items():
        ids = rows.encode(text)
        begun = {"n": 0}

        def generate(input_ids, ids=ids, begun=begun, **_):
            begun["n"] = input_ids.shape[1]
            end = [rows.tokenizer.eos_token_id]
            return torch.cat([input_ids, torch.tensor([ids + end])], 1)

        monkeypatch.setattr(model, "generate", generate)
        whole = solver(model, rows, n_latents=None, writes_chain=True)
        (solution,) = whole.solve(QUESTIONS[:1])
        assert solution.answer == answer and solution.text_tokens == len(ids) + 1
        given = solver(model, rows).solve(QUESTIONS[:1])[0].answer
        assert given == text.strip(), "the cue was given: all of it is the answer"


def test_bad_questions_are_refused(model, rows, chatml):
    with pytest.raises(
        TypeError, match=r"expected a list of questions, got one string"
    ):
        solver(model, rows).solve("What is 1 + 1?")
    with pytest.raises(ValueError, match="-2 latents cannot be"):
        solver(model, rows, n_latents=-2)
    with pytest.raises(TooLong):
        solver(model, rows_for(model, chatml, context=8)).solve(QUESTIONS)
