"""The recorded experiment of Latent-Guided Reasoning; a run leaves all its parts."""

import json
from dataclasses import replace

import pandas as pd
import pytest
from recorded import checked_accuracy

from lrkit.data.problem_sets import SPLITS, evaluation_problems
from lrkit.latent.lgr_methods import LgrSettings
from lrkit.latent.lgr_trained import BASELINES
from lrkit.latent.solvers import Solution
from lrkit.paths import results_dir
from lrkit.profiles import load_profile
from lrkit.study import lgr_arms as arms
from lrkit.study.guidance_controls import GUIDANCE_CHANGES, SLOTS_ZEROED
from lrkit.study.recording import slug

STUDY = load_profile("study")


@pytest.fixture
def profile(tiny_base, monkeypatch):
    """A profile of three steps; writer and thinker are the same random base."""
    monkeypatch.setattr(arms, "fresh_base", lambda *size, tokenizer: tiny_base)
    for name, arm in arms.ARMS.items():
        lgr = {"n_thoughts": 2, "inner": 8} | arm.lgr
        tiny = replace(arm, large=tiny_base, lgr=lgr)
        monkeypatch.setitem(arms.ARMS, name, tiny)
    return load_profile(
        "smoke", "latent", base=tiny_base, eval_rows=4, steps=3, batch_size=2
    )


def test_every_arm_changes_one_thing_of_the_first():
    guided = arms.ARMS["guided"]
    for name, arm in arms.ARMS.items():
        others = [k for k, v in vars(arm).items() if v != getattr(guided, k)]
        allowed = 2 if "writer of" in name else 1
        assert len(others) <= allowed and len(arm.lgr) <= 1, name
        assert replace(LgrSettings(), **arm.lgr)
    systems = {arm.system for arm in arms.ARMS.values()}
    assert systems == {"guided", "thinker", "given chain", *BASELINES}


def test_a_key_tells_arms_and_random_seeds_apart(profile):
    keys = {
        arms.key_of(profile, arm, seed)
        for arm in {str(arm): arm for arm in arms.ARMS.values()}.values()
        for seed in (0, 1)
    }
    assert len(keys) == 2 * len({str(arm) for arm in arms.ARMS.values()})


def test_a_writer_of_each_size_has_its_blind_twin_and_is_asked_alone():
    for size in {arm.small for arm in arms.ARMS.values()}:
        same = [arm for arm in arms.ARMS.values() if arm.small == size]
        assert {("CoT", False), ("guided", False), ("guided", True)} <= {
            (arm.system, arm.blind) for arm in same
        }


def test_both_sides_read_the_same_problems_for_as_many_steps():
    pair = arms.pair_of(STUDY, arms.ARMS["guided"])
    changed = {k for k, v in vars(pair.small).items() if v != getattr(pair.large, k)}
    assert changed == {"base", "learning_rate"}


def test_equations_are_right_where_the_chain_has_them():
    problem = evaluation_problems(STUDY.latent, "validation")[0]
    whole = " ".join(problem.steps)
    assert arms.right_equations(whole, problem) == (problem.n_steps,) * 2
    wrong = problem.steps[0].replace("=", "=9")
    assert arms.right_equations(f"{whole} {wrong}", problem) == (
        problem.n_steps, problem.n_steps + 1,
    )  # fmt: skip
    assert arms.right_equations("no chain", problem) == (0, 0)


def test_rows_keep_what_was_written():
    problems = evaluation_problems(STUDY.latent, "validation")[:3]

    class Fixed:
        def solve(self, questions):
            text = " ".join(problems[0].steps)
            said = Solution(problems[0].answer, text, 5, 0, 1, 9, 1.0, 0.1)
            return [said] * len(questions)

    rows = arms.answered(Fixed(), problems)
    assert rows["correct"].iloc[0] and rows["text_tokens"].tolist() == [5] * 3
    assert rows["right"].iloc[0] == rows["equations"].iloc[0] == problems[0].n_steps
    assert set(rows["equations"]) == {problems[0].n_steps}


@pytest.mark.parametrize(
    "arm",
    ["writer alone", "guided", "guided, blind", "guided, question unseen",
     "thinker alone", "given chain", "MT-CoT", "KD, words"],
)  # fmt: skip
def test_a_run_leaves_all_its_parts(arm, profile, tmp_path):
    row = arms.run_one(profile, arm, 0, tmp_path)
    assert row["key"] == arms.key_of(profile, arms.ARMS[arm], 0)
    folder = tmp_path / arms.FOLDER
    answers = pd.read_csv(folder / f"{slug(arm)}-0.csv", dtype={"answer": str})
    for split, part in answers.groupby("split"):
        asked = evaluation_problems(profile.latent, split)
        accuracy = checked_accuracy(part, asked)
        assert row[f"accuracy_{split}"] == pytest.approx(accuracy, abs=1e-4)
    assert set(answers["split"]) == set(SPLITS)
    assert (answers["right"] <= answers["equations"]).all()
    curves = json.loads((folder / f"{slug(arm)}-0-loss.json").read_text())
    assert curves, "a curve for each run"
    controls = folder / f"{slug(arm)}-0-controls.csv"
    assert controls.is_file() == (arms.ARMS[arm].system == "guided")
    if controls.is_file():
        tried = pd.read_csv(controls)
        assert set(tried["control"]) == {"own", SLOTS_ZEROED, *GUIDANCE_CHANGES}


def test_a_blind_executor_hears_nothing(profile):
    solver, _ = arms.solver_of(profile, arms.ARMS["guided, blind"])
    asked = [p.question for p in evaluation_problems(profile.latent, "test")]
    assert not solver.guidance(asked).any()
    sighted, _ = arms.solver_of(profile, arms.ARMS["guided"])
    assert sighted.guidance(asked).any()


def test_what_is_recorded_is_of_the_arms_and_says_what_its_answers_say():
    if not (results_dir() / arms.TABLE).is_file():
        pytest.skip("the study of guidance is not recorded yet")
    record = pd.read_csv(results_dir() / arms.TABLE)
    assert set(record["arm"]) <= set(arms.ARMS)
    assert not record.duplicated(["arm", "seed"]).any()
    asked = {s: evaluation_problems(STUDY.latent, s) for s in SPLITS}
    for run in record.to_dict("records"):
        file = results_dir() / arms.FOLDER / f"{slug(run['arm'])}-{run['seed']}.csv"
        answers = pd.read_csv(file, dtype={"answer": str})
        for split, part in answers.groupby("split"):
            accuracy = checked_accuracy(part, asked[split])
            assert run[f"accuracy_{split}"] == pytest.approx(accuracy, abs=1e-4)
