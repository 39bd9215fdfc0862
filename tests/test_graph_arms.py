"""The recorded experiment on graphs; a run leaves all its parts."""

import pandas as pd
import pytest
from recorded import checked_accuracy

from lrkit.data.problem_sets import evaluation_problems
from lrkit.latent.methods import METHODS
from lrkit.paths import results_dir
from lrkit.profiles import load_profile
from lrkit.study import graph_arms, latent_arms
from lrkit.study.breadth import breadth
from lrkit.study.graph_arms import BY_CURRICULUM, FOLDER, run_one, settings_of
from lrkit.study.latent_arms import recorded
from lrkit.study.recording import slug

STUDY = load_profile("study")


@pytest.fixture(scope="module")
def record():
    if not (results_dir() / graph_arms.TABLE).is_file():
        pytest.skip("the study of graphs is not recorded yet")
    return recorded(folder=FOLDER)


def test_arms_are_methods_and_accuracies_are_those_of_the_answers(record):
    runs, answers = record
    assert set(runs["arm"]) <= set(graph_arms.METHODS) <= set(METHODS)
    assert not runs.duplicated(["arm", "seed"]).any()
    settings = settings_of(STUDY)
    for split in ("validation", "test"):
        asked = evaluation_problems(settings, split)
        for run in runs.to_dict("records"):
            part = answers[
                (answers["arm"] == run["arm"])
                & (answers["seed"] == run["seed"])
                & (answers["split"] == split)
            ]
            accuracy = checked_accuracy(part, asked)
            assert run[f"accuracy_{split}"] == pytest.approx(accuracy, abs=1e-4)


@pytest.mark.parametrize("arm", ["No-CoT", "pause", "COCONUT"])
def test_a_run_leaves_its_row_its_answers_and_where_thought_stands(
    arm, tiny_base, tmp_path, monkeypatch
):
    monkeypatch.setattr(latent_arms, "OTHER_NUMBERS", (1,))
    base = {"base": tiny_base, "stages": 2, "context": 1200, "train_rows": 64}
    monkeypatch.setattr(graph_arms, "CHANGES", graph_arms.CHANGES | base)
    profile = load_profile("smoke", "latent", eval_rows=3, steps=12)
    row = run_one(profile, arm, 0, tmp_path / "out")
    assert {"accuracy_validation", "accuracy_test"} <= set(row)
    assert row["steps"] == 12
    out = tmp_path / "out" / FOLDER
    assert set(pd.read_csv(out / f"{slug(arm)}-0.csv")["split"]) == {
        "validation", "test",
    }  # fmt: skip
    file = out / f"{slug(arm)}-0-nodes.csv"
    assert file.is_file() == (arm in BY_CURRICULUM)
    if file.is_file():
        summary = breadth(pd.read_csv(file))
        assert set(summary["latents"]) == {1, 2}
        assert summary["id"].nunique() == 3
