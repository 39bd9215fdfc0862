"""The recorded experiment of Latent-SFT; a run leaves all its parts."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from recorded import checked_accuracy

from lrkit.data.problem_sets import evaluation_problems
from lrkit.latent.latent_sft_methods import LATENT_SFT
from lrkit.paths import results_dir
from lrkit.profiles import load_profile
from lrkit.study import latent_sft_arms as arms
from lrkit.study.latent_sft_measures import KS
from lrkit.study.recording import slug
from lrkit.study.thought_controls import THOUGHT_CHANGES

STUDY = load_profile("study")


@pytest.fixture(scope="module")
def record():
    if not (results_dir() / arms.TABLE).is_file():
        pytest.skip("the study of Latent-SFT is not recorded yet")
    return pd.read_csv(results_dir() / arms.TABLE)


def test_rows_are_those_of_the_recorded_answers(record):
    assert set(record["arm"]) <= set(arms.ARMS)
    assert not record.duplicated(["arm", "seed"]).any()
    for run in record.to_dict("records"):
        file = results_dir() / arms.FOLDER / f"{slug(run['arm'])}-{run['seed']}.csv"
        answers = pd.read_csv(file, dtype={"answer": str})
        for split, part in answers.groupby("split"):
            asked = evaluation_problems(STUDY.latent, split)
            accuracy = checked_accuracy(part, asked)
            assert run[f"accuracy_{split}"] == pytest.approx(accuracy, abs=1e-4)


def test_recorded_rates_lie_where_rates_can_lie(record):
    for run in record.to_dict("records"):
        if run["arm"] not in LATENT_SFT:
            continue
        name = f"{slug(run['arm'])}-{run['seed']}-ecr.csv"
        table = pd.read_csv(results_dir() / arms.FOLDER / name)
        assert set(table["k"]) == set(KS)
        assert (table["found"] <= table["distinct"] + 1e-4).all()
        means = table.groupby("k")[["found", "chance"]].mean()
        assert (np.diff(means.to_numpy(), axis=0) >= -1e-4).all(), (
            "more with a larger K"
        )


def test_the_arms_are_all_variants_and_three_that_train_no_latents():
    assert set(arms.ARMS) == {*LATENT_SFT, arms.SOFT, arms.SOFT_COT, arms.GREEDY}
    assert set(arms.MASKS) <= set(LATENT_SFT)
    assert len({slug(arm) for arm in arms.ARMS}) == len(arms.ARMS)


@pytest.mark.parametrize("arm", [arms.SOFT, "Latent-SFT, a latent a step"])
def test_a_run_leaves_its_row_and_its_parts(arm, tiny_base, tmp_path, monkeypatch):
    monkeypatch.setattr(arms, "N_PATHS", 4)
    profile = load_profile(
        "smoke", "latent", base=tiny_base, eval_rows=3, steps=2, train_rows=8
    )
    row = arms.run_one(profile, arm, 0, tmp_path / "out")
    trained = arm in LATENT_SFT
    assert row["steps"] == (2 if trained else 0) and len(row["key"]) == 12
    assert (row["ceiling_validation"] is not None) == trained
    out, name = tmp_path / "out" / arms.FOLDER, f"{slug(arm)}-0"
    answers = pd.read_csv(out / f"{name}.csv")
    assert len(answers) == 3 * 5 and answers["latent_steps"].max() <= 64
    controls = pd.read_csv(out / f"{name}-controls.csv")
    assert set(controls["control"]) == set(THOUGHT_CHANGES) and len(controls) == 12
    assert (out / f"{name}-ceiling.csv").is_file() == trained
    assert len(pd.read_csv(out / f"{name}-latents.csv"))
    for part in ("-ecr", "-paths"):
        assert (out / f"{name}{part}.csv").is_file() == trained
    curve = json.loads((out / f"{name}-loss.json").read_text())
    assert len(curve) == (4 if trained else 0)


def test_greedy_soft_thinking_writes_what_the_base_writes():
    """With one token in each mixture it is the base's own chain, token by token."""
    settings = load_profile("smoke", "latent").latent
    problems = evaluation_problems(settings, "validation")[:6]
    soft = arms.soft_solver(settings, arms.GREEDY)
    solved = soft.solve([p.question for p in problems])
    for problem, solution in zip(problems, solved, strict=True):
        chain = soft.rows.steps(problem.steps)  # what the base was trained to write
        begun = [*soft.rows.question(problem.question), chain[0]]
        ids = torch.tensor([begun])
        said = soft.model.base.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=64, do_sample=False
        )[0, len(begun) :].tolist()
        assert said[: len(chain) - 1] == chain[1:]
        assert solution.latent_steps == said.index(soft.thought.end)
        assert solution.answer == problem.answer
