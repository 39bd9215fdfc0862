"""Laws of the number of latents that a row is trained with."""

import random
from collections import Counter

import pytest
import torch
from latent_models import problem, rows_for, tiny_llama

from lrkit.latent.adaptive import AdaptiveModel
from lrkit.latent.codi import CodiRow, codi_row
from lrkit.latent.sim_cot_rows import SimCotRow, sim_cot_row
from lrkit.latent.stop_schedule import StopSchedule, adaptive_collator, adaptive_row

TABLE = {  # number of latents by steps 0, 1, 2, ...
    StopSchedule.latent_6(): [6] * 12,
    StopSchedule.latent_6_by_1(): [5, 6, 7, 8, 9, 10, 10, 10, 10],
    StopSchedule.latent_6_by_1(b=6): [6, 7, 8, 9, 10, 10, 10],
    StopSchedule.by_step(): [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 10],
    StopSchedule.by_step(2, n_max=6): [0, 2, 4, 6, 6],
    StopSchedule(c=1, b=-1, n_min=0, n_max=3): [0, 0, 1, 2, 3, 3],
    StopSchedule(c=2, b=1, n_min=4, n_max=8): [4, 4, 5, 7, 8],
    StopSchedule(c=0, b=0, n_min=0, n_max=0): [0, 0],
}


@pytest.fixture(scope="module", params=[True, False], ids=["decoder", "codi"])
def model(request, chatml):
    return AdaptiveModel.wrap(tiny_llama(len(chatml)), has_decoder=request.param)


@pytest.fixture
def rows(model, chatml):
    return rows_for(model, chatml)


@pytest.mark.parametrize("schedule", TABLE, ids=str)
def test_the_number_of_latents_follows_the_equation(schedule):
    expected = TABLE[schedule]
    assert [schedule.n_latents(k) for k in range(len(expected))] == expected


def test_a_drawn_number_is_any_from_that_of_the_equation_to_the_most():
    schedule, rng = StopSchedule.to_spare(6), random.Random(0)
    for k in (0, 3, 5, 8):
        drawn = Counter(schedule.n_latents(k, rng) for _ in range(2000))
        least = min(k, 6)
        assert sorted(drawn) == list(range(least, 7))
        assert max(drawn.values()) < 1.35 * min(drawn.values())


def test_a_row_has_the_number_that_was_drawn_for_it(model, rows):
    made = {
        adaptive_row(
            rows, problem(3), StopSchedule.to_spare(5), model.config, random.Random(i)
        ).student.n_slots
        for i in range(30)
    }
    assert made == {3, 4, 5}


def test_limits_in_the_wrong_order_are_refused():
    for n_min, n_max in ((3, 2), (-1, 2), (0, -1)):
        with pytest.raises(ValueError, match=f"not from {n_min} to {n_max}"):
            StopSchedule(1, 0, n_min, n_max)


def test_all_steps_count_though_the_teacher_does_not_read_the_last(model, rows):
    for k in (1, 3, 5):
        row = adaptive_row(rows, problem(k), StopSchedule.by_step(), model.config)
        assert row.student.n_slots == k
        assert problem(k).steps[-1] not in rows.tokenizer.decode(row.teacher.rest)


def test_a_row_is_that_of_its_method_with_as_many_latents(model, rows):
    schedule, teacher = StopSchedule.by_step(), {"chain": "results"}
    found = adaptive_row(rows, problem(3), schedule, model.config, **teacher)
    if model.config.has_decoder:
        assert found == sim_cot_row(rows, problem(3), 3, model.config, **teacher)
        assert len(found.steps) == 3 and isinstance(found, SimCotRow)
    else:
        assert found == codi_row(rows, problem(3), 3, **teacher)
        assert type(found) is CodiRow


def test_rows_of_all_lengths_share_a_batch(model, rows):
    schedule = StopSchedule(1, -1, 0, 10)
    made = [adaptive_row(rows, problem(k), schedule, model.config) for k in (3, 1, 5)]
    inputs = adaptive_collator(model, rows.tokenizer.pad_token_id)(made)
    slots = inputs["input_ids"] == model.id_of("<slot>")
    assert slots.sum(1).tolist() == [2, 0, 4]
    assert torch.isfinite(model(**inputs).loss)


def test_latents_that_cannot_be_shared_out_are_refused(chatml):
    model = AdaptiveModel.wrap(tiny_llama(len(chatml)), has_decoder=True, per_step=2)
    schedule, rows = StopSchedule.by_step(2, n_max=5), rows_for(model, chatml)
    adaptive_row(rows, problem(2), schedule, model.config)
    with pytest.raises(ValueError, match="5 latents cannot be shared out by 2"):
        adaptive_row(rows, problem(3), schedule, model.config)
