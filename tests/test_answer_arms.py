"""The recorded experiment: what is in results/ is complete and adds up."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from lrkit.answer.arms import ARMS
from lrkit.data import conversations
from lrkit.paths import results_dir
from lrkit.profiles import load_profile
from lrkit.study import answer_arms
from lrkit.study.answer_arms import correctness, recorded
from lrkit.study.baselines import recorded_heads
from lrkit.study.recording import slug


@pytest.fixture(scope="module")
def record():
    return recorded()


def test_every_arm_is_recorded_with_the_same_random_seeds(record):
    runs, _ = record
    assert set(runs["arm"]) == set(ARMS)
    seeds = runs.groupby("arm")["seed"].agg(lambda s: tuple(sorted(s)))
    assert set(seeds) == {load_profile("study").seeds} and len(set(seeds)) == 1
    heads, _ = recorded_heads()
    assert tuple(sorted(heads["seed"])) == load_profile("study").seeds
    assert not runs.duplicated(["arm", "seed"]).any()


def test_accuracies_are_those_of_the_recorded_answers(record):
    runs, predictions = record
    for run in runs.to_dict("records"):
        mine = predictions[
            (predictions["arm"] == run["arm"]) & (predictions["seed"] == run["seed"])
        ]
        for name, part in mine.groupby("set"):
            right = ((part["p_yes"] > 0.5) == (part["label"] == "yes")).mean()
            assert right == pytest.approx(run[f"accuracy_{name}"], abs=1e-4)


def test_every_run_answered_every_question_of_every_set(record):
    _, predictions = record
    data = {
        name: conversations.gold_standard(name).set_index("id")["label"]
        for name in ("validation", "calibration", "test")
    }
    data["hand_written"] = conversations.hand_written().set_index("id")["label"]
    for (_, _, name), part in predictions.groupby(["arm", "seed", "set"]):
        expected = data[name]
        got = part.set_index("id")["label"]
        assert got.sort_index().equals(expected.sort_index()), name


def test_provenance_is_recorded(record):
    runs, _ = record
    for run in runs.to_dict("records"):
        assert set(json.loads(run["versions"])) >= {"torch", "transformers", "trl"}
        assert run["train_seconds"] > 0 and run["peak_rss_mb"] > 0
        assert len(run["key"]) == 12


def test_correctness_has_a_row_per_random_seed_and_a_column_per_question():
    predictions = pd.DataFrame(
        {
            "arm": "x",
            "set": "test",
            "seed": [0, 0, 1, 1],
            "id": ["b", "a", "a", "b"],
            "label": ["yes", "no", "no", "yes"],
            "p_yes": [0.9, 0.9, 0.1, 0.2],
        }
    )
    assert (correctness(predictions, "x", "test") == np.array([[0, 1], [1, 0]])).all()


def test_an_undecided_answer_counts_as_no():
    """p_yes of exactly one half, as where no answer was written, is no 'yes'."""
    predictions = pd.DataFrame(
        {"arm": "x", "set": "t", "seed": 0, "id": ["a"], "label": "yes", "p_yes": 0.5},
    )
    assert correctness(predictions, "x", "t").item() == 0


def test_the_answer_of_a_reason_first_completion_is_found():
    found = answer_arms.ANSWER_LAST.search("'ok' closes it, so in the end, no")
    assert found and found[1] == "no"
    assert answer_arms.ANSWER_LAST.search("so in the end, nothing") is None


def test_file_names_of_arms_are_distinct():
    assert len({slug(a) for a in ARMS}) == len(ARMS)
    assert (results_dir() / "answer_arms.csv").is_file()
