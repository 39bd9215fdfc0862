"""The recorded experiment of Latent Reasoning Tuning; a run leaves all its parts."""

import json
from dataclasses import fields, replace

import pandas as pd
import pytest
from recorded import checked_accuracy

from lrkit.data.other_words import OTHER, TRAINED, in_words
from lrkit.latent.grpo import GRPOSettings
from lrkit.latent.sampling import SamplingSolver
from lrkit.latent.solvers import SlotSolver
from lrkit.paths import results_dir
from lrkit.profiles import load_profile
from lrkit.study import lrt_arms as arms
from lrkit.study import lrt_records as records
from lrkit.study.hybrid_modes import compare, sweep
from lrkit.study.recording import slug

STUDY = load_profile("study")
SPLITS = (*records.SPLITS, *records.WORDED)


@pytest.fixture(scope="module")
def record():
    if not (results_dir() / arms.TABLE).is_file():
        pytest.skip("the study of latent reasoning tuning is not recorded yet")
    return pd.read_csv(results_dir() / arms.TABLE)


def test_rows_are_those_of_the_recorded_answers(record):
    assert set(record["arm"]) <= set(arms.ARMS)
    assert not record.duplicated(["arm", "seed"]).any()
    asked = {s: records.problems_of(STUDY.latent, s) for s in SPLITS}
    for run in record.to_dict("records"):
        file = results_dir() / arms.FOLDER / f"{slug(run['arm'])}-{run['seed']}.csv"
        answers = pd.read_csv(file, dtype={"answer": str})
        assert set(answers["split"]) == set(SPLITS)
        for split, part in answers.groupby("split"):
            accuracy = checked_accuracy(part, asked[split])
            column = f"accuracy_{split.replace(' ', '_')}"
            assert run[column] == pytest.approx(accuracy, abs=1e-4)


def test_arms_with_a_second_stage_have_their_first_stage_among_them():
    reinforced = {n: a for n, a in arms.ARMS.items() if a.grpo is not None}
    assert reinforced
    for name, arm in reinforced.items():
        start = arms.ARMS[name.partition(" + GRPO")[0]]
        assert start == replace(arm, grpo=None, longest=start.longest)
    assert all(arm.half_the_words for arm in reinforced.values())


def test_other_words_are_those_of_test_told_anew():
    asked = {s: records.problems_of(STUDY.latent, s) for s in ("test", *records.WORDED)}
    for split, words in records.WORDED.items():
        assert asked[split] == [in_words(p, words) for p in asked["test"]]
    arm = arms.ARMS["half the words"]
    settings = replace(arms.settings_of(STUDY, arm), train_rows=40)
    read, plain = (
        arms.read_by(settings, a, 0) for a in (arm, replace(arm, half_the_words=False))
    )
    assert read == [in_words(p, TRAINED) for p in plain] != plain
    assert not any(w in p.question.split() for p in read for w in OTHER.values())


def test_the_second_stage_reads_other_and_short_questions_in_its_words():
    arm = arms.ARMS["half the words, short + GRPO"]
    settings = replace(arms.settings_of(STUDY, arm), train_rows=500)
    read, every = (
        arms.rewarded(a, settings, 0) for a in (arm, replace(arm, longest=5))
    )
    assert len(read) == len(every) == arm.grpo.steps * arm.grpo.questions
    assert {p.n_steps for p in read} == {1} < {p.n_steps for p in every}
    first = {p.id for p in arms.read_by(settings, arm, 0)}
    assert not first & {p.id for p in (*read, *every)}
    assert read[0] != arms.rewarded(arm, settings, 1)[0]
    assert not any(w in p.question.split() for p in read for w in OTHER.values())


def test_shares_of_drawn_answers_are_by_question(profile):
    """What was drawn first is what is wanted: one draw of two is right at least."""
    arm = arms.ARMS["LRT"]
    solver = arms.solver_of(arms.settings_of(profile, arm), arm, 0)[0]
    asked = records.problems_of(profile.latent, "test")
    own = {f.name: getattr(solver, f.name) for f in fields(SlotSolver)}
    first = SamplingSolver(**own, temperature=1.0, top_p=1.0).solve(
        [p.question for p in asked]
    )
    wanted = [s.answer or "nothing" for s in first]
    said = [replace(p, answer=a) for p, a in zip(asked, wanted, strict=True)]
    rows = records.drawn(solver, said, 2)
    assert rows["id"].tolist() == [p.id for p in asked]
    least = [0.5 * (a != "nothing") for a in wanted]
    assert max(least) and all(rows["share"] >= least)
    assert records.drawn(solver, asked, 2)["share"].mean() < rows["share"].mean()


@pytest.fixture
def profile(tiny_base):
    return load_profile(
        "smoke", "latent", base=tiny_base, eval_rows=4, steps=3, batch_size=2
    )


def few(monkeypatch, arm):
    """Let an arm's second stage, if it has one, be short, and few samples be drawn."""
    monkeypatch.setattr(records, "N_SAMPLED", 2)
    monkeypatch.setattr(records, "N_SAMPLES", 4)
    monkeypatch.setattr(records, "N_TIMED", 2)
    monkeypatch.setattr(records, "table", lambda rows: table(rows, (1, 2)))
    changes = dict(arms.ARMS[arm].changes)
    changes |= {"steps": 2} if "steps" in changes else {}
    run = GRPOSettings(2, 2, 2, 1e-3, max_completion=4, save_steps=0)
    arm_now = replace(arms.ARMS[arm], changes=changes)
    if arm_now.grpo is not None:
        arm_now = replace(arm_now, grpo=run)
    monkeypatch.setitem(arms.ARMS, arm, arm_now)


table = records.table


@pytest.mark.parametrize("arm", ["LRT", "half the words, short + GRPO"])
def test_a_run_leaves_its_row_and_all_its_parts(arm, profile, tmp_path, monkeypatch):
    few(monkeypatch, arm)
    row = arms.run_one(profile, arm, 0, tmp_path / "out")
    assert row["weights"] > 0 and len(row["key"]) == 12
    assert row["grpo_steps"] == (2 if "GRPO" in arm else 0)
    folder, name = tmp_path / "out" / arms.FOLDER, f"{slug(arm)}-0"
    own = pd.read_csv(folder / f"{name}.csv")
    assert own["split"].value_counts().to_dict() == dict.fromkeys(SPLITS, 4)
    assert (own["latent_steps"] == arms.N_LATENTS).all()
    tried = pd.read_csv(folder / f"{name}-controls.csv")
    assert {"of another question", "zeroed", "0 latents", "2 latents"} <= set(
        tried["control"]
    )
    modes = pd.read_csv(folder / f"{name}-modes.csv")
    test = modes[modes["split"] == "test"]
    fast = own[own["split"] == "test"].set_index("id")["correct"]
    assert test.set_index("id")["fast"].equals(fast.rename("fast"))
    assert len(sweep(modes)) >= 2 and "random mix" in compare(test, 0.5).index
    assert set(pd.read_csv(folder / f"{name}-pass.csv")["k"]) == {1, 2}
    shares = pd.read_csv(folder / f"{name}-drawn.csv")
    assert shares["split"].value_counts().to_dict() == dict.fromkeys(records.WORDED, 4)
    logs = json.loads((folder / f"{name}-log.json").read_text())
    assert set(logs) == ({"lrt", "grpo"} if "GRPO" in arm else {"lrt"})
    assert (folder / f"{name}-latency.csv").is_file() == (arm == "LRT")


@pytest.mark.parametrize(
    "arm", ["no thinking", "thinking", "thinking, 4 tokens", "LoRA No-CoT"]
)
def test_what_has_no_latents_leaves_its_answers_alone(
    arm, profile, tmp_path, monkeypatch
):
    few(monkeypatch, arm)
    row = arms.run_one(profile, arm, 0, tmp_path / "out")
    assert row["steps"] == (3 if arm == "LoRA No-CoT" else 0)
    files = sorted(f.name for f in (tmp_path / "out" / arms.FOLDER).iterdir())
    wanted = [f"{slug(arm)}-0.csv"]
    assert files == sorted(
        wanted + [f"{slug(arm)}-0-log.json"] * (arm == "LoRA No-CoT")
    )
    own = pd.read_csv(tmp_path / "out" / arms.FOLDER / wanted[0])
    assert (own["latent_steps"] == 0).all()
    if arm == "thinking, 4 tokens":
        cue = len(arms.untrained(profile.latent).rows.cue())
        written = own["text_tokens"].max()
        assert cue < written <= 96 and arms.ARMS[arm].budget == 4


def test_the_key_of_a_row_tells_apart_what_is_apart(profile):
    base = {n: a for n, a in arms.ARMS.items() if not a.method}
    keys = {arms.solver_of(profile.latent, a, 0)[2] for a in base.values()}
    assert len(keys) == len(base) > 3
