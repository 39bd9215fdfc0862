"""The recorded experiment of cut chains; a run leaves all its parts."""

import json
from dataclasses import replace

import pandas as pd
import pytest
from recorded import checked_accuracy

from lrkit.data.problem_sets import evaluation_problems
from lrkit.latent.grpo import GRPOSettings
from lrkit.paths import results_dir
from lrkit.profiles import load_profile
from lrkit.study import short_chain_arms as arms
from lrkit.study.recording import slug

STUDY = load_profile("study")


@pytest.fixture(scope="module")
def record():
    if not (results_dir() / arms.TABLE).is_file():
        pytest.skip("the study of cut chains is not recorded yet")
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
            assert run[f"tokens_{split}"] == pytest.approx(
                part["text_tokens"].mean(), abs=0.01
            )


def test_arms_differ_in_their_length_term_alone():
    terms = [term for term in arms.ARMS.values() if term is not None]
    assert {term.run for term in terms} == {arms.RUN}
    assert len({term.length_term for term in terms}) == len(terms)


@pytest.mark.parametrize("arm", ["start", "ThinkPrune"])
def test_a_run_leaves_its_row_its_answers_and_its_log(
    arm, tiny_base, tmp_path, monkeypatch
):
    run = GRPOSettings(3, 2, 2, 1e-3, max_completion=8, save_steps=0)
    if arms.ARMS[arm] is not None:
        monkeypatch.setitem(arms.ARMS, arm, replace(arms.ARMS[arm], run=run))
    profile = load_profile("smoke", "latent", base=tiny_base, eval_rows=3, steps=4)
    row = arms.run_one(profile, arm, 0, tmp_path / "out")
    assert row["steps"] == (0 if arm == "start" else 3) and len(row["key"]) == 12
    assert row["tokens_test"] > 0 and 0 <= row["accuracy_test"] <= 1
    out = tmp_path / "out" / arms.FOLDER
    assert len(pd.read_csv(out / f"{slug(arm)}-0.csv")) == 3 * len(arms.SPLITS)
    log = json.loads((out / f"{slug(arm)}-0-log.json").read_text())
    assert [entry["step"] for entry in log] == list(range(1, row["steps"] + 1))
