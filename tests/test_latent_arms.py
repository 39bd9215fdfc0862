"""The recorded experiment of the latent half adds up; a run leaves all its parts."""

import json
from dataclasses import replace

import pandas as pd
import pytest
from recorded import checked_accuracy

from lrkit.data.problem_sets import SPLITS, evaluation_problems
from lrkit.paths import results_dir
from lrkit.profiles import load_profile
from lrkit.study import latent_arms
from lrkit.study.latent_arms import ARMS, MAIN, recorded, run_one, settings_of
from lrkit.study.recording import slug

STUDY = load_profile("study")


@pytest.fixture(scope="module")
def record():
    if not (results_dir() / latent_arms.TABLE).is_file():
        pytest.skip("the study of the latent half is not recorded yet")
    return recorded()


def test_every_main_arm_is_recorded_and_no_run_twice(record):
    runs, _ = record
    assert set(MAIN) <= set(runs["arm"]) <= set(ARMS)
    assert not runs.duplicated(["arm", "seed"]).any()
    assert set(runs["seed"]) <= set(STUDY.seeds)


def test_accuracies_are_those_of_the_recorded_answers(record):
    runs, answers = record
    for run in runs.to_dict("records"):
        mine = answers[
            (answers["arm"] == run["arm"]) & (answers["seed"] == run["seed"])
        ]
        assert set(mine["split"]) == set(SPLITS)
        for split, part in mine.groupby("split"):
            assert part["correct"].mean() == pytest.approx(
                run[f"accuracy_{split}"], abs=1e-4
            )


def test_every_run_answered_the_questions_that_there_are(record):
    _, answers = record
    for split in SPLITS:
        asked = evaluation_problems(STUDY.latent, split)
        for _, part in answers[answers["split"] == split].groupby(["arm", "seed"]):
            checked_accuracy(part, asked)


def test_provenance_is_recorded(record):
    runs, _ = record
    for run in runs.to_dict("records"):
        assert set(json.loads(run["versions"])) == {"torch", "transformers"}
        assert run["train_seconds"] > 0 and len(run["key"]) == 12
        assert run["steps"] == settings_of(STUDY, run["arm"]).steps
        name = f"{slug(run['arm'])}-{run['seed']}-loss.json"
        curves = json.loads((results_dir() / "latent_arms" / name).read_text())
        assert curves and all(len(curve) > 3 for curve in curves.values())


def test_arms_differ_from_the_profile_in_what_they_name_alone():
    for arm, spec in ARMS.items():
        changed = settings_of(STUDY, arm)
        assert changed == replace(STUDY.latent, **spec.changes)
    assert len({slug(arm) for arm in ARMS}) == len(ARMS)


@pytest.mark.parametrize("arm", ["No-CoT", "pause", "CODI", "SIM-CoT, results"])
def test_a_run_leaves_its_row_answers_controls_and_curves(
    arm, tiny_base, tmp_path, monkeypatch
):
    monkeypatch.setattr(latent_arms, "OTHER_NUMBERS", (1, 3))
    profile = load_profile(
        "smoke", "latent", base=tiny_base, eval_rows=4, steps=12,
        n_latents=2, stages=2,
    )  # fmt: skip
    row = run_one(profile, arm, 0, tmp_path / "out")
    assert row["arm"] == arm and row["train_seconds"] > 0
    assert {f"accuracy_{s}" for s in SPLITS} <= set(row)
    answers = pd.read_csv(tmp_path / "out" / "latent_arms" / f"{slug(arm)}-0.csv")
    assert len(answers) == 4 * len(SPLITS)
    left = {f.name for f in (tmp_path / "out" / "latent_arms").iterdir()}
    controls = f"{slug(arm)}-0-controls.csv"
    assert (controls in left) == (arm != "No-CoT")
    vectors = arm in ("CODI", "SIM-CoT, results")
    assert (f"{slug(arm)}-0-latents.csv" in left) == vectors
    assert (f"{slug(arm)}-0-read.csv" in left) == arm.startswith("SIM-CoT")
    if controls in left:
        tried = pd.read_csv(tmp_path / "out" / "latent_arms" / controls)
        assert set(tried["control"]) >= {"1 latents", "3 latents"}
        assert ("zeroed" in set(tried["control"])) == vectors
