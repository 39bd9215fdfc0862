"""Laws of damaged chains: the tables of accuracy, and the figure that shows them."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from lrkit.plots_redundancy import redundancy_curves
from lrkit.study.redundancy.curves import by_leak, curve
from lrkit.study.redundancy.measuring import NOTHING


@pytest.fixture
def scored():
    """Rows whose accuracy is known: whole 1.0, half dropped 0.75, of which leaked 1."""
    ids = [f"q{k}" for k in range(40)]
    rows = [
        {
            "id": i,
            "kind": "tokens",
            "p": 0.0,
            "seed": s,
            "kept": 1.0,
            "leaked": True,
            "correct": True,
        }
        for i in ids
        for s in (0, 1)
    ]
    rows += [
        {
            "id": i,
            "kind": "tokens",
            "p": 0.5,
            "seed": s,
            "kept": 0.5,
            "leaked": k % 2 == 0,
            "correct": k % 4 != 1,
        }
        for k, i in enumerate(ids)
        for s in (0, 1)
    ]
    rows += [{"id": i, "kind": NOTHING, "p": 1.0, "seed": 0, "kept": 0.0,
              "leaked": False, "correct": False} for i in ids]  # fmt: skip
    return pd.DataFrame(rows)


def test_a_curve_counts_questions_and_pairs_them_with_the_whole_chain(scored):
    table = curve(scored)
    half = table.loc[("tokens", 0.5)]
    assert (half["n"], half["seeds"], half["accuracy"]) == (40, 2, 0.75)
    assert half["low"] < 0.75 < half["high"] and half["kept"] == half["leaked"] == 0.5
    assert half["change"] == -0.25 and half["change_high"] < 0
    whole = table.loc[("tokens", 0.0)]
    assert whole["accuracy"] == 1 and whole["change"] == whole["change_low"] == 0
    # Two seeds that agree are no more questions: the interval is that of 40.
    error = 1.96 * np.sqrt(0.75 * 0.25 / 40)
    assert half["high"] - half["low"] == pytest.approx(2 * error, rel=0.15)


def test_accuracy_is_split_by_whether_the_answer_was_still_there(scored):
    table = by_leak(scored)
    assert table.loc[("tokens", 0.5, True), "accuracy"] == 1
    assert table.loc[("tokens", 0.5, False), "accuracy"] == 0.5
    assert table.loc[("tokens", 0.5, False), "rows"] == 40


def test_questions_that_are_missing_are_no_curve(scored):
    with pytest.raises(ValueError, match="different questions"):
        curve(scored.iloc[1:])


def test_the_figure_shows_what_is_in_the_table(scored):
    ideal = {"ideal reader": ([0, 1], [1, 0])}
    figure = redundancy_curves(curve(scored), ["tokens"], [NOTHING], ideal, "title")
    (ax,) = figure.axes
    bars = ax.containers[0].lines[0]
    assert np.allclose(bars.get_xydata(), [[0, 100], [50, 75]])
    assert NOTHING in [text.get_text() for text in ax.texts]
    assert np.allclose(ax.lines[-1].get_xydata(), [[0, 100], [100, 0]])
    assert "n = 40" in ax.get_ylabel()
    plt.close(figure)
