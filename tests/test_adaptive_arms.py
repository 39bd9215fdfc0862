"""The recorded experiment of adaptive length; a run leaves all its parts."""

import json
from dataclasses import replace

import pandas as pd
import pytest
from recorded import checked_accuracy

from lrkit.data.problem_sets import evaluation_problems
from lrkit.divergence import GuardSettings
from lrkit.latent.adaptive_reward import AdaptiveRLSettings
from lrkit.latent.grpo import GRPOSettings
from lrkit.paths import results_dir
from lrkit.profiles import load_profile
from lrkit.study import adaptive_arms as arms
from lrkit.study.recording import slug

STUDY = load_profile("study")


@pytest.fixture(scope="module")
def record():
    if not (results_dir() / arms.TABLE).is_file():
        pytest.skip("the study of adaptive length is not recorded yet")
    return pd.read_csv(results_dir() / arms.TABLE)


def test_rows_are_those_of_the_recorded_answers(record):
    assert set(record["arm"]) <= set(arms.ARMS)
    assert not record.duplicated(["arm", "seed"]).any()
    settings = replace(STUDY.latent, eval_rows=4 * STUDY.latent.eval_rows)
    for split in ("test", "longer"):
        asked = evaluation_problems(settings, split)
        for run in record.to_dict("records"):
            name = f"{slug(run['arm'])}-{run['seed']}-{split}.csv"
            file = results_dir() / arms.FOLDER / name
            found = pd.read_csv(file, dtype={"answer": str})
            accuracy = checked_accuracy(found, asked)
            assert run[f"accuracy_{split}"] == pytest.approx(accuracy, abs=1e-4)
            mean = found["latent_steps"].mean()
            assert run[f"latents_{split}"] == pytest.approx(mean, abs=1e-3)


def test_the_start_never_sees_what_rl_is_trained_on():
    settings = replace(STUDY.latent, train_rows=600)
    first, second = arms.parts(settings, 0)
    assert not {p.question for p in first} & {p.question for p in second}
    assert 0.1 < len(second) / 600 < 0.2


def test_arms_of_a_sweep_differ_in_what_they_name_alone():
    swept = [arm.rl for name, arm in arms.ARMS.items() if name.startswith(arms.SWEPT)]
    same = {replace(rl, lambda_penalty=1e-4, lambda_reward=0.1, p_cutoff=1.0)
            for rl in swept}  # fmt: skip
    assert same == {arms.RL} and len(set(swept)) == len(swept)


@pytest.mark.parametrize("arm", ["Latent-6-by-1", "Latent-6 + RL"])
def test_a_run_leaves_its_row_its_lengths_and_its_controls(
    arm, tiny_base, tmp_path, monkeypatch
):
    run = GRPOSettings(4, 2, 2, 1e-3, max_completion=40, save_steps=2)
    rl = AdaptiveRLSettings(run, n_max=6, guard=GuardSettings(metric_every=2))
    if arms.ARMS[arm].rl is not None:
        changed = replace(arms.ARMS[arm], rl=rl)
        monkeypatch.setitem(arms.ARMS, arm, changed)
    profile = load_profile("smoke", "latent", base=tiny_base, eval_rows=2, steps=4)
    row = arms.run_one(profile, arm, 0, tmp_path / "out")
    assert row["rl_steps"] == (4 if arm.endswith("RL") else 0)
    assert 0 <= row["accuracy_test"] <= 1 and 0 <= row["latents_test"] <= 10
    out, name = tmp_path / "out" / arms.FOLDER, f"{slug(arm)}-0"
    for split in ("test", "longer"):
        assert len(pd.read_csv(out / f"{name}-{split}.csv")) == 8
    tried = pd.read_csv(out / f"{name}-controls.csv")
    assert set(tried["control"]) == {
        "head", "random", "mean", *(f"{n} latents" for n in range(arms.N_MAX + 1)),
    }  # fmt: skip
    lengths = tried.groupby("control")["latent_steps"].apply(sorted)
    assert set(lengths["random"]) <= set(lengths["head"]), "dealt out again"
    assert set(lengths["3 latents"]) == {3}
    file = out / f"{name}-rl.json"
    assert file.is_file() == arm.endswith("RL")
    if file.is_file():
        said = json.loads(file.read_text())
        assert [entry["step"] for entry in said["log"]] == [1, 2, 3, 4]
        assert {"accuracy", "latents"} <= set(said["best"])
