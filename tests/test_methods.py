"""Laws of the methods: what each trains, and that a new one costs a map and a loss."""

from dataclasses import replace

import pytest
import torch
from latent_models import problem, tiny_llama
from torch import nn

from lrkit.latent import maps
from lrkit.latent.curriculum import Curriculum, TokenDropping
from lrkit.latent.layout import collate
from lrkit.latent.methods import METHODS, MethodSettings, Training
from lrkit.latent.slots import SLOT, SlotModel
from lrkit.latent.solvers import SlotSolver
from lrkit.latent.training import RowCollator, Rows, RunSettings, run, trainer_for

PROBLEMS = [problem(k) for k in (1, 2, 3, 4)]
RUN = RunSettings(6, batch_size=2, warmup=0, save_steps=3, learning_rate=3e-3)


@pytest.fixture
def training(chatml, tmp_path):
    settings = MethodSettings(
        RUN, 2, curriculum=Curriculum(1, 2), token_dropping=TokenDropping(8, 2)
    )
    return Training(
        lambda: tiny_llama(len(chatml)), chatml, PROBLEMS, settings, tmp_path
    )


def weights(model):
    return {name: weight.detach().clone() for name, weight in model.named_parameters()}


@pytest.mark.parametrize("name", METHODS)
def test_every_method_trains_its_base_and_answers(name, training):
    before = tiny_llama(len(training.tokenizer))
    solver = METHODS[name](training)
    after = weights(solver.model.base)
    moved = [n for n, w in before.named_parameters() if not torch.equal(w, after[n])]
    assert len(moved) == len(after), "all of the base is trained"
    (solution,) = solver.solve([PROBLEMS[0].question])
    thinks = name.startswith(("CODI", "SIM-CoT", "COCONUT", "pause"))
    assert solution.latent_steps == 2 * thinks
    assert solver.writes_chain == (name in ("CoT", "short CoT", "mixed chains"))


def test_the_rows_around_the_slots_begin_as_brackets(training):
    model = training.wrapped()
    rows, table = training.rows(model), model.get_input_embeddings().weight
    left, *_, right = rows.encode("( 1 )")
    begin = model.embed(torch.tensor([rows.bot, rows.eot, rows.pause]))
    assert torch.equal(begin[0], table[left]) and torch.equal(begin[1], table[right])
    assert not (begin[2] == table).all(1).any()


@pytest.mark.parametrize("name", ["CODI", "COCONUT"])
def test_the_random_seed_decides_the_weights(name, training, chatml, tmp_path):
    def trained(folder, seed):
        again = Training(
            training.load_base, chatml, PROBLEMS, training.settings, tmp_path / folder,
            seed,
        )  # fmt: skip
        return weights(METHODS[name](again).model)

    first, same, other = trained("a", 0), trained("b", 0), trained("c", 1)
    assert all(torch.equal(first[n], same[n]) for n in first)
    assert any(not torch.equal(first[n], other[n]) for n in first)


def test_the_stages_of_a_curriculum_take_the_steps_of_one_run(training, monkeypatch):
    taken = []
    monkeypatch.setattr(
        Training, "train", lambda self, model, make, run, name: taken.append(run.steps)
    )
    METHODS["COCONUT"](training)
    assert len(taken) == 3 and sum(taken) <= RUN.steps
    assert taken[-1] == round(RUN.steps * training.settings.last_stage)


@pytest.mark.parametrize("last", [0, 4])
def test_all_steps_are_taken_or_too_few_of_them_are_refused(
    last, training, monkeypatch
):
    taken = []
    monkeypatch.setattr(
        Training, "train", lambda self, model, make, run, name: taken.append(run.steps)
    )
    settings = replace(training.settings, token_dropping=TokenDropping(8, last))
    asked = replace(training, settings=settings)
    if last == 4:  # 4 of 6 steps for 4 stages, 2 for the last
        METHODS["stepwise internalisation"](asked)
        assert taken == [1, 1, 1, 1, 2]
        settings = replace(settings, token_dropping=TokenDropping(8, 5))
        with pytest.raises(ValueError, match="6 optimizer steps are too few for 6 st"):
            METHODS["stepwise internalisation"](replace(asked, settings=settings))
    else:
        METHODS["stepwise internalisation"](asked)
        assert taken == [6]


def test_a_run_that_was_killed_goes_on_to_the_same_weights(training, chatml, tmp_path):
    def trainer(folder, steps):
        model = training.wrapped(map="mlp")
        rows = training.rows(model)
        settings = RunSettings(6, 2, warmup=0, save_steps=3)
        made = trainer_for(
            model, PROBLEMS, lambda p, _: rows.latent(p, 2),
            RowCollator.of(model, chatml.pad_token_id), settings, tmp_path / folder,
        )  # fmt: skip
        made.args.max_steps = steps
        return made

    whole = trainer("whole", 6)
    run(whole)
    killed = trainer("killed", 6)

    class Kill(Exception):
        pass

    def stop(*args, **kwargs):
        if killed.state.global_step == 4:
            raise Kill
        return type(killed).training_step(killed, *args, **kwargs)

    killed.training_step = stop
    with pytest.raises(Kill):
        run(killed)
    resumed = trainer("killed", 6)
    run(resumed)
    expected, got = weights(whole.model), weights(resumed.model)
    assert all(torch.equal(expected[n], got[n]) for n in expected)


def test_a_row_depends_on_its_place_and_the_seed_alone():
    def make(p, rng):
        return p.n_steps, rng.random()

    rows, again, other = (Rows(PROBLEMS, make, 10, seed) for seed in (0, 0, 1))
    assert [rows[i] for i in range(10)] == [again[i] for i in reversed(range(10))][::-1]
    assert rows[3] != other[3] and rows[0][0] == rows[4][0] == 1
    with pytest.raises(ValueError, match="no problems to train on"):
        Rows([], make, 1, 0)


# --- a toy method: one map, one loss --------------------------------------------------
class Halved(nn.Module):
    """The map of the toy method."""

    def forward(self, hidden):
        return hidden / 2


class Quiet(SlotModel):
    """The loss of the toy method: cross-entropy, and small latents."""

    def forward(self, *args, labels=None, **kwargs):
        out = super().forward(*args, labels=labels, **kwargs)
        if labels is not None:
            out.loss = out.loss + 0.1 * out.latents.square().mean()
        return out


def test_a_new_method_is_a_map_and_a_loss(training, monkeypatch, chatml):
    monkeypatch.setitem(maps.MAPS, "halved", lambda width: Halved())
    model = training.wrapped(Quiet, map="halved")
    rows = training.rows(model)
    inputs = collate([rows.latent(PROBLEMS[2], 3)], model.id_of(SLOT))
    with torch.no_grad():
        out = model(**inputs)
        assert torch.allclose(out.latents, out.read / 2)
        plain = SlotModel.forward(model, **inputs).loss
        assert torch.allclose(out.loss, plain + 0.1 * out.latents.square().mean())
    before = weights(model)
    training.train(model, lambda p, _: rows.latent(p, 3), RUN, "toy")
    assert any(not torch.equal(before[n], w) for n, w in weights(model).items())
    assert SlotSolver(model, rows, 3).solve([PROBLEMS[0].question])[0].latent_steps == 3
