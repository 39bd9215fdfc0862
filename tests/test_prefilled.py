"""A chain that was begun goes on as if the model had begun it itself."""

from dataclasses import fields

import pytest
from latent_models import lively, problem, rows_for

from lrkit.latent.hybrid import HybridSolver
from lrkit.latent.prefilled import PrefilledSolver
from lrkit.latent.solvers import SlotSolver

QUESTIONS = [problem(k).question for k in (1, 3, 4)]


@pytest.fixture
def thinking(chatml):
    model = lively(chatml)
    return SlotSolver(model, rows_for(model, chatml), writes_chain=True, batch_size=2)


def begun(solver, words, **changes):
    own = {f.name: getattr(solver, f.name) for f in fields(SlotSolver)}
    return PrefilledSolver(**own | changes, begun=words)


def test_with_its_own_first_token_a_model_writes_what_it_would_have_written(thinking):
    """The token is taken from the text that each question gets without a prefill."""
    tried = 0
    for question in QUESTIONS:
        (whole,) = thinking.solve([question])
        ids = thinking.rows.encode(whole.text)
        first = thinking.rows.tokenizer.decode(ids[:1])
        if thinking.rows.encode(first) != ids[:1]:
            continue
        tried += 1
        limit = thinking.max_new_tokens - 1
        (rest,) = begun(thinking, first, max_new_tokens=limit).solve([question])
        assert first + rest.text == whole.text
        assert rest.text_tokens == whole.text_tokens - 1
        assert rest.positions == whole.positions
    assert tried


def test_other_first_words_change_what_is_written_and_batches_do_not_mix(thinking):
    solver = begun(thinking, "<<1+1=")
    together = [s.text for s in solver.solve(QUESTIONS)]
    assert together == [solver.solve([q])[0].text for q in QUESTIONS]
    assert together != [s.text for s in thinking.solve(QUESTIONS)]
    words = solver.rows.encode("<<1+1=")
    assert list(solver.asked(QUESTIONS[0]).rest) == words


def test_a_hybrid_can_begin_its_chains(thinking):
    fast = SlotSolver(thinking.model, thinking.rows, 2)
    plain, started = (HybridSolver.of(fast, begun=words) for words in ("", "<<"))
    assert type(plain.slow) is SlotSolver
    assert started.slow.asked(QUESTIONS[0]).rest == thinking.rows.encode("<<")
    assert started.fast == plain.fast


def test_what_cannot_be_is_refused(thinking):
    with pytest.raises(ValueError, match="set writes_chain"):
        begun(thinking, "<<", writes_chain=False)
    with pytest.raises(ValueError, match="nothing to begin"):
        begun(thinking, "")
