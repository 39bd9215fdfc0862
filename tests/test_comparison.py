"""Laws of what the one-token answer is compared with, and of the table that does it."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from lrkit.data.conversations import gold_standard
from lrkit.study.baselines import last_turns, tfidf_scores
from lrkit.study.tables import score_table, scored_right


def answers(p_yes, seed=0):
    label = ["yes", "no"] * (len(p_yes) // 2)
    ids = [f"q{i}" for i in range(len(p_yes))]
    return pd.DataFrame({"id": ids, "label": label, "p_yes": p_yes, "seed": seed})


def test_scores_are_those_of_scikit_learn_and_mean_over_runs():
    rng = np.random.default_rng(0)
    runs = [answers(rng.random(40), seed) for seed in (0, 1)]
    row = score_table({"m": pd.concat(runs)}).loc["m"]
    assert (row["runs"], row["n"]) == (2, 40)
    y = (runs[0]["label"] == "yes").to_numpy()
    for name, score in (("log_loss", log_loss), ("auroc", roc_auc_score)):
        expected = np.mean([score(y, run["p_yes"].to_numpy()) for run in runs])
        assert row[name] == pytest.approx(expected, abs=1e-3)
    right = np.mean([(run["p_yes"] > 0.5) == y for run in runs])
    assert row["accuracy"] == pytest.approx(right)
    assert row["low"] < right < row["high"]


def test_order_of_rows_and_a_missing_seed_change_nothing():
    one = answers(np.linspace(0.1, 0.9, 20))
    mixed = one.sample(frac=1, random_state=0).drop(columns="seed")
    table = score_table({"a": one, "b": mixed})
    assert table.loc["a"].equals(table.loc["b"].rename("a"))


def test_rows_of_a_pair_are_resampled_together():
    p = np.where(np.arange(80) // 2 % 2, [0.9, 0.1] * 40, [0.1, 0.9] * 40)
    alone = score_table({"m": answers(p)}).loc["m"]
    pairs = {f"q{i}": f"pair {i // 2}" for i in range(80)}
    paired = score_table({"m": answers(p)}, pairs).loc["m"]
    assert paired["high"] - paired["low"] > 1.2 * (alone["high"] - alone["low"])


def test_runs_over_different_questions_are_refused():
    other = answers([0.5] * 4, 1).assign(id=list("wxyz"))
    with pytest.raises(ValueError, match="different questions"):
        score_table({"m": pd.concat([answers([0.5] * 4), other])})


def test_the_last_turns_of_a_chat_are_read():
    text = "Customer: a\nSupport Agent: b\nCustomer: c"
    assert last_turns(2)(text) == "Support Agent: b\nCustomer: c"
    assert last_turns(1)(text) == "Customer: c"
    assert last_turns(0)(text) == last_turns(9)(text) == text


def test_tfidf_learns_from_the_rows_it_is_given():
    train, rows = gold_standard("train").head(200), gold_standard("train").head(60)
    known = tfidf_scores(train, rows)
    assert (((known["p_yes"] > 0.5) == (known["label"] == "yes")).mean()) > 0.95
    assert known["id"].tolist() == rows["id"].tolist()
    turned = train.assign(label=train["label"].map({"yes": "no", "no": "yes"}))
    assert np.allclose(tfidf_scores(turned, rows)["p_yes"], 1 - known["p_yes"])


def test_hits_stand_in_the_order_of_ids_a_row_per_run():
    runs = [answers(np.array([0.9, 0.9, 0.1, 0.1]), seed) for seed in (0, 1)]
    runs[1]["p_yes"] = [0.1, 0.1, 0.9, 0.9]
    mixed = pd.concat(runs).sample(frac=1, random_state=1)
    assert scored_right(mixed).tolist() == [[1, 0, 0, 1], [0, 1, 1, 0]]
    with pytest.raises(ValueError, match="answered different questions"):
        scored_right(mixed.iloc[1:])
