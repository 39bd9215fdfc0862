"""Laws of the count of divergences."""

from dataclasses import replace

import pytest
import torch
from latent_models import tiny_llama

from lrkit.paths import results_dir
from lrkit.profiles import load_profile
from lrkit.study import fragility
from lrkit.study.fragility import (
    ARMS,
    RULE,
    SEEDS,
    diverged_at,
    rows_to_read,
    settings_of,
)

QUIET = [2.0] * 30


def test_a_run_diverges_where_the_guard_would_have_acted():
    assert diverged_at(QUIET) is None
    assert diverged_at([*QUIET, float("nan")]) == 31
    assert diverged_at([*QUIET, 9.0, 9.0, 2.0, 9.0, 9.0]) is None, (
        "shorter than a spike"
    )
    high = [*QUIET, *[9.0] * RULE.spike_steps]
    assert diverged_at(high) == len(high)
    assert diverged_at([9.0] * 3 + QUIET) is None, "nothing is recent at the start"


def test_every_arm_changes_what_it_says_and_no_more():
    study = load_profile("study")
    published = settings_of(study, "CODI")
    assert (published.gamma, published.learning_rate) == (1.0, 1e-3)
    for name, trial in ARMS.items():
        found = settings_of(study, name)
        changed = {
            k for k, v in vars(found).items() if v != getattr(published, k)
        }  # fmt: skip
        assert changed == set(trial.changes), name


@pytest.mark.parametrize("arm", ["CODI", "15 % less data"])
def test_what_is_read_is_short_and_read_several_times(arm):
    settings = settings_of(load_profile("study"), arm)
    read = rows_to_read(settings, arm, seed=1)
    assert len(read) == round(fragility.ROWS * ARMS[arm].share)
    assert {problem.n_steps for problem in read} == {1, 2}
    assert 4 * len(read) < fragility.STEPS * fragility.BATCH
    assert read == rows_to_read(settings, "CODI", seed=1)[: len(read)]


def test_too_few_short_problems_are_refused():
    settings = settings_of(load_profile("study"), "CODI")
    with pytest.raises(ValueError, match="2000"):
        rows_to_read(replace(settings, train_rows=100), "CODI", seed=0)


@pytest.fixture
def tiny(chatml, monkeypatch):
    monkeypatch.setattr(fragility, "STEPS", 5)
    monkeypatch.setattr(fragility, "BATCH", 4)
    monkeypatch.setattr(fragility, "ROWS", 40)
    monkeypatch.setattr(fragility, "ASKED", 12)
    monkeypatch.setattr(fragility, "load_tokenizer", lambda name: chatml)
    monkeypatch.setattr(fragility, "load_base", lambda s: tiny_llama(len(chatml)))
    study = load_profile("study")
    return replace(study, latent=replace(study.latent, train_rows=200))


@pytest.mark.parametrize("arm", ["CODI", "special tokens frozen"])
def test_a_run_leaves_its_row(arm, tiny, tmp_path, monkeypatch):
    models = []
    codi = fragility.codi

    def kept(training, guard):
        solver = codi(training, guard)
        before = training.wrapped(type(solver.model), "mlp").rows.weight
        models.append((before, solver.model.rows.weight))
        return solver

    monkeypatch.setattr(fragility, "codi", kept)
    row = fragility.run_one(tiny, arm, 3, tmp_path)
    assert (row["arm"], row["seed"], row["steps"]) == (arm, 3, 5)
    assert row["diverged_at"] == ""
    assert row["highest_loss"] >= row["last_loss"] > 0
    assert row["learned"] == (row["accuracy_one_step"] > fragility.LEARNED)
    ((before, after),) = models
    assert torch.equal(before, after) == ARMS[arm].frozen


def test_a_loss_that_is_no_number_ends_a_run_and_keeps_its_columns(
    tiny, tmp_path, monkeypatch
):
    whole = fragility.run_one(tiny, "CODI", 0, tmp_path)
    forward = fragility.SlotModel.forward
    seen = []

    def broken(self, *args, **kwargs):
        out = forward(self, *args, **kwargs)
        seen.append(1)
        if len(seen) > 4 and out.loss is not None:  # two passes a step
            out.loss = out.loss * float("nan")
        return out

    monkeypatch.setattr(fragility.SlotModel, "forward", broken)
    row = fragility.run_one(tiny, "CODI", 0, tmp_path)
    assert row["diverged_at"] == 3 and row["accuracy_validation"] == ""
    assert row["learned"] == 0, "what has diverged has not learned"
    assert list(row) == list(whole), "rows of one table have the same columns"


def test_what_is_recorded_is_of_the_arms_and_no_run_is_there_twice():
    path = results_dir() / fragility.TABLE
    if not path.is_file():
        pytest.skip("the count of divergences is not recorded yet")
    runs = fragility.recorded()
    assert set(runs["arm"]) <= set(ARMS) and set(runs["seed"]) <= set(SEEDS)
    assert not runs.duplicated(["arm", "seed"]).any()
    ended = runs["accuracy_validation"].isna()
    assert (runs["diverged_at"][ended] > 0).all(), "who has no accuracy has diverged"
