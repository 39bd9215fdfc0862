"""Public tables through the whole of the own-data path, at smoke size."""

import os
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lrkit.answer.calibration import recalibrated
from lrkit.answer.classifier import OneTokenClassifier
from lrkit.answer.label_ids import LabelCollision
from lrkit.data.own_table import own_table, split_by_group
from lrkit.profiles import load_profile

pytestmark = pytest.mark.skipif(
    "LRKIT_PUBLIC_DATA" not in os.environ, reason="no public data here"
)


@pytest.fixture(scope="module")
def public():
    return Path(os.environ["LRKIT_PUBLIC_DATA"])


@pytest.fixture(scope="module")
def settings():
    return load_profile("smoke", max_steps=2, batch_size=4).answer


def test_strategyqa_becomes_a_calibrated_classifier_and_a_file_of_scores(
    public, settings, tmp_path
):
    source = public / "strategyqa" / "dev.json"
    names = {"True": "yes", "False": "no"}
    table = own_table(source, "question", "answer", "facts", names=names)
    parts = split_by_group(table)
    question = "Is the answer to this question yes?"
    train = parts["train"].head(24)
    model = OneTokenClassifier(settings, ("no", "yes"), question)
    model.fit(train["running_message"], train["label"], train["reason"])
    rows = parts["calibration"]
    texts = rows["running_message"].tolist()
    calibrated = recalibrated(model, texts, rows["label"], "temperature")
    held_out = parts["test"]
    proba = calibrated.predict_proba(held_out["running_message"].tolist())
    scores = held_out[["id", "label"]].assign(
        predicted=calibrated.classes_[proba.argmax(1)], confidence=proba.max(1)
    )
    scores.to_csv(tmp_path / "scores.csv", index=False)
    read = pd.read_csv(tmp_path / "scores.csv")
    assert len(read) == len(held_out) and set(read["predicted"]) <= {"no", "yes"}
    assert read["confidence"].between(0.5, 1).all()
    told = model.explain(held_out["running_message"].iloc[0], max_new_tokens=4)
    assert told["label"] in ("no", "yes")


def test_the_77_intents_collide_and_are_scored_as_whole_labels(public, settings):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        table = own_table(public / "banking77" / "test.csv", "text", "category")
    labels = sorted(set(table["label"]))
    assert len(labels) == 77
    rows = table.sample(12, random_state=0)
    question = "What does the customer ask about?"
    texts, truth = rows["running_message"].tolist(), rows["label"].tolist()
    with pytest.raises(LabelCollision, match="both start with the token"):
        OneTokenClassifier(settings, labels, question).fit(texts, truth)
    model = OneTokenClassifier(settings, labels, question, collisions="whole")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        model.fit(texts, truth)
    proba = model.predict_proba(texts[:4])
    assert proba.shape == (4, 77) and np.allclose(proba.sum(1), 1, atol=1e-5)
    assert set(model.predict(texts[:4])) <= set(labels)
