"""Vectors fitted to answers: they fit where they can, and nothing else moves."""

from dataclasses import replace

import pytest
import torch
from latent_models import problem, rows_for, tiny_gpt2, tiny_llama

from lrkit.data.problem_sets import evaluation_problems
from lrkit.latent.layout import collate
from lrkit.latent.lrt import SoftPromptModel
from lrkit.latent.lrt_methods import answered
from lrkit.latent.slots import SLOT
from lrkit.latent.trained import load_base
from lrkit.models import load_tokenizer
from lrkit.profiles import load_profile
from lrkit.study.best_latents import fitted_latents

PROBLEMS = [problem(k, answer=str(k)) for k in (1, 2, 3)]


@pytest.fixture(params=[tiny_llama, tiny_gpt2])
def model(request, chatml):
    torch.manual_seed(0)
    base = request.param(len(chatml))
    for weight in base.parameters():
        if weight.ndim == 2:
            weight.data *= 4
    return SoftPromptModel.wrap(base, n_latents=2)


def test_fitted_vectors_make_likelier_what_is_wanted_whatever_it_is(model, chatml):
    rows = rows_for(model, chatml)
    before = {n: w.clone() for n, w in model.named_parameters()}

    def loss(fitted, problems):
        made = [answered(rows, p, rows.latent(p, 2)) for p in problems]
        batch = collate(made, model.id_of(SLOT), chatml.pad_token_id)
        with torch.no_grad():
            return float(model(**batch, latents=fitted.latents).loss)

    for problems in (PROBLEMS, [replace(p, answer="no") for p in PROBLEMS]):
        begun, fitted = (
            fitted_latents(model, rows, problems, 2, steps, 0.3) for steps in (0, 60)
        )
        assert fitted.latents.shape == (3, 2, 32)
        assert loss(fitted, problems) < loss(begun, problems) - 0.1
    assert all(torch.equal(before[n], w) for n, w in model.named_parameters())
    assert all(w.grad is None for w in model.parameters())


def test_the_embedded_base_can_be_made_to_say_right_and_wrong_answers():
    settings = load_profile("cpu").latent
    base, tokenizer = load_base(settings), load_tokenizer(settings.base)
    torch.manual_seed(0)
    model = SoftPromptModel.wrap(base, n_latents=2)
    rows = rows_for(model, tokenizer)
    model.copy_row("<bot>", rows.encode("(")[0])
    model.copy_row("<eot>", rows.encode("( 2 )")[-1])
    right = evaluation_problems(settings, "validation")[:12]
    wrong = [replace(p, answer=str((int(p.answer) + 3) % 10)) for p in right]
    begun = fitted_latents(model, rows, right, 2, 0)
    assert begun.correct.float().mean() < 0.6
    for problems in (right, wrong):
        fitted = fitted_latents(model, rows, problems, 2)
        assert fitted.correct.float().mean() > 0.8


def test_a_question_is_fitted_alone(model, chatml):
    rows = rows_for(model, chatml)
    both = fitted_latents(model, rows, PROBLEMS[:2], 2, 5)
    again = fitted_latents(
        model, rows, [PROBLEMS[0], replace(PROBLEMS[1], answer="no")], 2, 5
    )
    assert torch.allclose(both.latents[0], again.latents[0], atol=1e-5)
    assert not torch.allclose(both.latents[1], again.latents[1], atol=1e-3)
