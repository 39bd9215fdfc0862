"""Laws of SIM-CoT's rows: which steps are supervised, and all else is as in CODI."""

import pytest
import torch
from latent_models import problem, rows_for
from sim_cot_models import (  # noqa: F401 (fixtures)
    PROBLEMS,
    base_fixture,
    batch,
    model_fixture,
    rows_fixture,
    steps_of,
    wrapped,
)

from lrkit.latent.codi import CodiCollator, codi_row
from lrkit.latent.layout import IGNORED
from lrkit.latent.sim_cot import STEP_TEXTS, SimCotConfig
from lrkit.latent.sim_cot_rows import SimCotCollator, sim_cot_row


@pytest.mark.parametrize("text", STEP_TEXTS)
def test_text_and_end_of_a_step_are_supervised_and_its_mark_is_not(base, chatml, text):
    model = wrapped(base, step_text=text)
    inputs = batch(model, rows_for(model, chatml), PROBLEMS)
    ids, labels = steps_of(inputs)
    assert ids.shape == labels.shape and ids.shape[:2] == (3, 3)
    mark, expected = {
        "equation": ("\n", lambda k: f"<<{k}+1={k + 1}>>"),
        "result": ("(", lambda k: f" {k + 1}"),
    }[text]
    for i, p in enumerate(PROBLEMS):
        for k in range(3):
            kept = labels[i, k] != IGNORED
            if k >= p.n_steps:
                assert not kept.any()
                continue
            target = ids[i, k][kept].tolist()
            assert torch.equal(labels[i, k][kept], ids[i, k][kept])
            assert target.pop() == chatml.eos_token_id
            assert chatml.decode(target) == expected(k + 1)
            begin = int(kept.nonzero()[0])
            assert chatml.decode(ids[i, k, :begin]) == mark


def test_the_rest_of_a_row_is_that_of_codi(model, rows):
    collator, theirs = SimCotCollator.of(model), CodiCollator.of(model)
    teacher = {"keep_last_step": True, "chain": "results"}
    inputs = collator(
        [sim_cot_row(rows, p, 4, model.config, **teacher) for p in PROBLEMS]
    )
    codi = theirs([codi_row(rows, p, 4, **teacher) for p in PROBLEMS])
    assert set(inputs) - set(codi) == {"step_ids", "step_labels"}
    assert all(torch.equal(inputs[name], codi[name]) for name in codi)


def test_steps_beyond_the_latents_are_left_out(base, chatml):
    rows = rows_for(model := wrapped(base), chatml)
    first, all_steps = (sim_cot_row(rows, problem(5), n, model.config) for n in (2, 6))
    assert first.steps == all_steps.steps[:2] and len(all_steps.steps) == 5
    pairs = sim_cot_row(rows, problem(5), 6, SimCotConfig(per_step=2))
    assert pairs.steps == all_steps.steps[:3]
