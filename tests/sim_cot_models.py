"""Tiny models with a step decoder, and their rows, that the tests of SIM-CoT share."""

import pytest
import torch
from latent_models import BASES, problem, rows_for

from lrkit.latent.sim_cot import SimCotModel
from lrkit.latent.sim_cot_rows import SimCotCollator, sim_cot_row

WIDTH = 32
PROBLEMS = [problem(3), problem(1), problem(2, answer="-12")]


@pytest.fixture(name="base", params=BASES)
def base_fixture(request, chatml):
    return BASES[request.param](len(chatml))


def wrapped(base, **config):
    torch.manual_seed(0)
    return SimCotModel.wrap(base, gamma=2.0, **config).eval()


@pytest.fixture(name="model")
def model_fixture(base):
    """The decoder is moved away from the base: which of the two is used shows."""
    model = wrapped(base)
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in model.step_decoder.parameters():
            weight += 0.1 * torch.randn_like(weight)
    return model


@pytest.fixture(name="rows")
def rows_fixture(model, chatml):
    return rows_for(model, chatml)


def batch(model, rows, problems, n=4):
    made = [sim_cot_row(rows, p, n, model.config) for p in problems]
    return SimCotCollator.of(model, rows.tokenizer.pad_token_id)(made)


def steps_of(inputs):
    return inputs["step_ids"], inputs["step_labels"]


def latents_for(problems, n=4):
    torch.manual_seed(2)
    return torch.randn(len(problems), n, WIDTH)
