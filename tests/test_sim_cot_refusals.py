"""Laws of SIM-CoT: what cannot be is refused."""

import pytest
import torch
from sim_cot_models import (  # noqa: F401 (fixtures)
    PROBLEMS,
    WIDTH,
    base_fixture,
    batch,
    latents_for,
    model_fixture,
    rows_fixture,
    steps_of,
)

from lrkit.latent.sim_cot import SimCotConfig, read_steps
from lrkit.latent.sim_cot_rows import sim_cot_row


def test_what_cannot_be_is_refused(model, rows):
    with pytest.raises(ValueError, match="choose one of equation, result"):
        SimCotConfig(step_text="prose")
    with pytest.raises(ValueError, match="needs 1 or more latents, not 0"):
        SimCotConfig(per_step=0)
    with pytest.raises(ValueError, match="5 latents cannot be shared out by 2"):
        sim_cot_row(rows, PROBLEMS[0], 5, SimCotConfig(per_step=2))
    inputs = batch(model, rows, PROBLEMS)
    with pytest.raises(ValueError, match="3 steps need 3 latents, 1 for each"):
        model.step_loss(latents_for(PROBLEMS, 2), *steps_of(inputs))
    with pytest.raises(ValueError, match="1 for each: there are 0"):
        model.step_loss(None, *steps_of(inputs))
    for shape in ((2, WIDTH), (2, 3, WIDTH), (2, 4, WIDTH + 1)):
        model.config.per_step = 2
        with pytest.raises(ValueError, match=r"a multiple of 2, 32\], got"):
            read_steps(model, torch.zeros(shape), rows)
