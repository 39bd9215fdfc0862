"""Laws of the count of divergences."""

import pytest
import torch
from latent_models import tiny_llama

from lrkit.paths import results_dir
from lrkit.profiles import load_profile
from lrkit.study import fragility
from lrkit.study.fragility import ARMS, RULE, SEEDS, diverged_at, settings_of

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
    published = settings_of(study, "as published")
    assert (published.gamma, published.learning_rate) == (1.0, 3e-3)
    for name, trial in ARMS.items():
        found = settings_of(study, name)
        changed = {
            k for k, v in vars(found).items() if v != getattr(published, k)
        }  # fmt: skip
        expected = set(trial.changes) | ({"train_rows"} if trial.share < 1 else set())
        assert changed == expected, name


@pytest.fixture
def tiny(chatml, monkeypatch):
    monkeypatch.setattr(fragility, "STEPS", 5)
    monkeypatch.setattr(fragility, "ROWS", 40)
    monkeypatch.setattr(fragility, "ASKED", 4)
    monkeypatch.setattr(fragility, "load_tokenizer", lambda name: chatml)
    monkeypatch.setattr(fragility, "load_base", lambda s: tiny_llama(len(chatml)))
    return load_profile("study")


@pytest.mark.parametrize("arm", ["as published", "special tokens frozen"])
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
    assert row["diverged_at"] == "" and row["restorations"] == 0
    assert row["highest_loss"] >= row["last_loss"] > 0
    ((before, after),) = models
    assert torch.equal(before, after) == ARMS[arm].frozen


def test_a_loss_that_is_no_number_ends_a_run_and_keeps_its_columns(
    tiny, tmp_path, monkeypatch
):
    whole = fragility.run_one(tiny, "as published", 0, tmp_path)
    forward = fragility.SlotModel.forward
    seen = []

    def broken(self, *args, **kwargs):
        out = forward(self, *args, **kwargs)
        seen.append(1)
        if len(seen) > 4 and out.loss is not None:  # two passes a step
            out.loss = out.loss * float("nan")
        return out

    monkeypatch.setattr(fragility.SlotModel, "forward", broken)
    row = fragility.run_one(tiny, "as published", 0, tmp_path)
    assert row["diverged_at"] == 3 and row["accuracy_validation"] == ""
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
