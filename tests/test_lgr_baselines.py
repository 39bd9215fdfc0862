"""Laws of the students of two tasks: what each is trained on, and what answers."""

from dataclasses import replace

import pytest
import torch
from latent_models import tiny_llama
from lgr_models import PROBLEMS, QUESTIONS, loud, trainings, weights

from lrkit.latent.layout import SlotRow
from lrkit.latent.lgr_baselines import (
    cascod,
    mt_cot,
    step_by_step,
)
from lrkit.latent.lgr_tasks import (
    CascadeSolver,
    TaskRows,
    TaskSolver,
    TwoTaskCollator,
    TwoTaskConfig,
    TwoTaskModel,
    TwoTaskRow,
)
from lrkit.latent.slots import SlotModel
from lrkit.latent.training import RowCollator

CUE = "The answer is:"


@pytest.fixture
def training(chatml, tmp_path):
    return trainings(chatml, tmp_path)[1]


def two_tasks(tokenizer, **config):
    torch.manual_seed(0)
    model = TwoTaskModel.wrap(loud(tiny_llama(len(tokenizer))), **config).eval()
    return model, TaskRows.of(model, tokenizer, 256)


def test_rows_of_the_tasks(chatml):
    _, rows = two_tasks(chatml)
    p = PROBLEMS[1]
    question, chain = rows.question(p.question), rows.steps(p.steps)
    answer, end = rows.answer(p.answer).ids, chatml.eos_token_id
    label, why = [*question, rows.label], [*question, rows.rationale]
    assert rows.answering(p) == SlotRow(label, 0, answer, len(answer))
    read = rows.answering(p, chain=True)
    assert read == SlotRow(label, 0, [*chain, *answer], len(answer))
    n = len(chain) + 1
    assert rows.reasoning(p) == SlotRow(why, 0, [*chain, end], n)
    whole = [*chain, *answer]
    assert rows.reasoning(p, answer=True) == SlotRow(why, 0, whole, len(whole))
    assert rows.label != rows.rationale


@torch.no_grad()
def test_the_loss_is_the_weighted_sum_of_two_means(chatml):
    model, rows = two_tasks(chatml, weights=(0.3, 2.0))
    made = [TwoTaskRow(rows.answering(p), rows.reasoning(p)) for p in PROBLEMS]
    found = model(**TwoTaskCollator.of(model)(made)).loss
    one = RowCollator.of(model)
    first, second = (
        SlotModel.forward(model, **one([getattr(row, name) for row in made])).loss
        for name in ("first", "second")
    )
    assert torch.allclose(found, 0.3 * first + 2.0 * second, rtol=1e-4)
    assert abs(first - second) > 0.1
    for weights_ in ((1.0,), (1.0, -1.0)):
        with pytest.raises(ValueError, match="two weights of 0 or more"):
            TwoTaskConfig(weights=weights_)


@pytest.mark.parametrize("method", [mt_cot, step_by_step, cascod])
def test_each_trains_its_base_and_its_tasks_and_answers(method, training):
    solver = method(training)
    fresh = weights(training.load_base())
    after = weights(solver.model.base)
    assert all(not torch.equal(w, after[n]) for n, w in fresh.items())
    begun = training.wrapped(TwoTaskModel).rows.weight
    marks = [i - solver.model.first_special
             for i in (solver.rows.label, solver.rows.rationale)]  # fmt: skip
    assert (solver.model.rows.weight[marks] != begun[marks]).any(1).all()
    assert len(solver.solve(QUESTIONS)) == len(QUESTIONS)
    assert solver.writes_chain == (method is not step_by_step)
    assert isinstance(solver, CascadeSolver) == (method is cascod)
    ratio = {mt_cot: [1, 1], step_by_step: [0.5, 0.5], cascod: [0.5, 0.5]}
    assert solver.model.config.weights == ratio[method]


def greedy(model, ids, n, end):
    """New tokens behind some ids, without a cache."""
    ids, begin = list(ids), len(ids)
    for _ in range(n):
        with torch.no_grad():
            logits = model(torch.tensor([ids]), use_cache=False).logits
        ids.append(int(logits[0, -1].argmax()))
        if ids[-1] == end:
            break
    return ids[begin:]


def test_a_branch_is_asked_by_its_token(chatml):
    model, rows = two_tasks(chatml)
    label = TaskSolver(model, rows, max_new_tokens=4)
    chain = replace(label, writes_chain=True)
    for question, a, b in zip(
        QUESTIONS, label.solve(QUESTIONS), chain.solve(QUESTIONS), strict=True
    ):
        asked = rows.question(question)
        for found, begin in (
            (a, [*asked, rows.label, *rows.cue()]),
            (b, [*asked, rows.rationale]),
        ):
            ids = greedy(model, begin, 4, chatml.eos_token_id)
            assert found.text == chatml.decode(ids, skip_special_tokens=True)
            assert found.text_tokens == len(ids)


def test_the_cascade_writes_a_chain_and_reads_it_with_the_question(chatml):
    model, rows = two_tasks(chatml)
    solver = CascadeSolver(model, rows, writes_chain=True, max_new_tokens=5)
    end = chatml.eos_token_id
    for question, found in zip(QUESTIONS, solver.solve(QUESTIONS), strict=True):
        asked = rows.question(question)
        chain = greedy(model, [*asked, rows.rationale], 5, end)
        begin = [*asked, rows.label, *(t for t in chain if t != end), *rows.cue()]
        ids = greedy(model, begin, 5, end)
        said = chatml.decode(ids, skip_special_tokens=True)
        assert found.answer == said.strip() and found.text.endswith(CUE + said)
        assert found.text_tokens == len(chain) + len(ids) == found.passes
        read = len(asked) + 1 + len(begin)
        assert found.positions == read + len(chain) + len(ids) - 2
