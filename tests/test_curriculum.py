"""Laws of COCONUT's curriculum and its controls."""

import math
import random
from collections import Counter

import pytest
import torch
from latent_models import problem, rows_for, tiny_llama

from lrkit.latent.curriculum import FILLERS, Curriculum, TokenDropping
from lrkit.latent.layout import collate
from lrkit.latent.slots import SLOT, SlotModel


@pytest.fixture(scope="module")
def model(chatml):
    return SlotModel.wrap(tiny_llama(len(chatml))).eval()


@pytest.fixture(scope="module")
def rows(model, chatml):
    return rows_for(model, chatml)


def texts(tokenizer, row):
    return tokenizer.decode(row.rest[1:], skip_special_tokens=True)


def test_stage_by_stage_steps_go_and_latents_come(rows, chatml):
    schedule, p = Curriculum(per_step=2, last=3), problem(5)
    assert list(schedule.stages) == [0, 1, 2, 3, 4]
    for stage in schedule.stages:
        row = schedule.row(rows, p, stage, random.Random(0))
        assert row.n_slots == min(stage, 3) * 2
        kept = p.steps[stage:] if stage <= 3 else ()
        text = texts(chatml, row)
        assert [s in text for s in p.steps] == [s in kept for s in p.steps]


def test_the_number_of_latents_tells_nothing_of_the_row(rows):
    schedule = Curriculum(per_step=1, last=4)
    for stage in schedule.stages:
        made = [
            schedule.row(rows, problem(k), stage, random.Random(0)) for k in range(1, 6)
        ]
        assert {row.n_slots for row in made} == {schedule.n_latents(stage)}


def test_controls_follow_the_same_schedule(rows):
    p = problem(4)
    made = {
        f: Curriculum(2, 3, filler=f).row(rows, p, 2, random.Random(0)) for f in FILLERS
    }
    rests = {f: list(row.rest) for f, row in made.items()}
    assert rests["latent"] == rests["pause"] == rests["nothing"]
    assert len(made["pause"]) == len(made["latent"]) == len(made["nothing"]) + 4
    assert list(made["pause"].before[-4:]) == [rows.pause] * 4
    assert made["pause"].n_slots == made["nothing"].n_slots == 0


@torch.no_grad()
def test_stage_zero_is_the_plain_loss_on_the_chain(model, rows):
    p = problem(3)
    row = Curriculum().row(rows, p, 0, random.Random(0))
    out = model(**collate([row], model.id_of(SLOT)))
    ids = torch.tensor([[*row.before, *row.rest]])
    logits = model.base(inputs_embeds=model.embed(ids)).logits[0]
    n = row.supervised
    plain = torch.nn.functional.cross_entropy(logits[-n - 1 : -1], ids[0, -n:])
    assert torch.allclose(out.loss, plain, rtol=1e-5)


def test_mixing_draws_earlier_stages_and_no_later_ones(rows):
    schedule, p = Curriculum(per_step=1, last=3, mixing=0.5), problem(4)
    rng = random.Random(0)
    seen = [schedule.row(rows, p, 2, rng).n_slots for _ in range(400)]
    assert set(seen) == {0, 1, 2}
    assert 0.55 < seen.count(2) / 400 < 0.8  # 1/2 + 1/2 * 1/3
    pure = Curriculum(per_step=1, last=3)
    assert {pure.row(rows, p, 2, rng).n_slots for _ in range(20)} == {2}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"filler": "magic"}, "choose one of latent, pause, nothing"),
        ({"per_step": -1}, "must be 0 or more, not -1"),
        ({"mixing": 1.5}, "mixing must lie between 0 and 1"),
    ],
)
def test_schedules_that_cannot_be_are_refused(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        Curriculum(**arguments)


def test_tokens_of_a_chain_go_from_the_left_and_at_last_all_of_them(rows):
    p, plain = problem(4), TokenDropping(3, 5, smoothing=math.inf)
    assert list(plain.stages) == list(range(7))
    whole, none = rows.chain(p), rows.chain(p, ())
    chain = len(whole.rest) - len(none.rest)
    for stage in plain.stages[:-1]:
        row = plain.row(rows, p, stage, random.Random(0))
        assert row.before == whole.before
        assert row.rest == whole.rest[:chain][3 * stage :] + whole.rest[chain:]
        assert row.supervised == len(row.rest), "the answer is whole at every stage"
    assert plain.row(rows, p, 6, random.Random(0)) == none


def test_smoothing_takes_further_tokens_with_a_falling_probability(rows):
    p, rng = problem(8), random.Random(0)
    smooth, n = TokenDropping(2, 5, smoothing=0.7), 4000
    whole = len(rows.chain(p).rest)
    found = Counter(whole - len(smooth.row(rows, p, 1, rng).rest) - 2 for _ in range(n))
    assert min(found) == 0
    for o in range(4):
        expected = (1 - math.exp(-0.7)) * math.exp(-0.7 * o)
        error = math.sqrt(expected * (1 - expected) / n)
        assert found[o] / n == pytest.approx(expected, abs=4 * error)


@pytest.mark.parametrize("wrong", [{"per_stage": 0}, {"last": -1}, {"smoothing": 0.0}])
def test_a_schedule_of_tokens_that_cannot_be_is_refused(wrong):
    with pytest.raises(ValueError, match=r"must be above 0|1 token or more"):
        TokenDropping(**wrong)
