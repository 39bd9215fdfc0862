"""All methods on one board, and the front that nothing beats."""

import pandas as pd
import pytest
from matplotlib import pyplot as plt

from lrkit.plots_scoreboard import VERDICTS, pareto, verdicts
from lrkit.study import gathered
from lrkit.study.claims.claim import SOURCES
from lrkit.study.gathered import PARTS, Part, answers, pareto_front, same
from lrkit.study.scoreboard import COSTS, scoreboard


def board(**points) -> pd.DataFrame:
    return pd.DataFrame(
        {
            name: {"accuracy": a, "low": a, "high": a, "passes": c, "flops": 2 * c}
            for name, (a, c) in points.items()
        }
    ).T


def test_the_front_is_what_nothing_beats():
    some = board(a=(0.5, 1), b=(0.4, 2), c=(0.9, 3), d=(0.9, 4), e=(1.0, 9), f=(0.2, 1))
    assert pareto_front(some, "passes") == ["a", "c", "e"]
    assert pareto_front(board(a=(0.5, 1), b=(0.5, 1)), "passes") == ["a"]
    assert pareto_front(board(a=(0.0, 5)), "passes") == ["a"]


def test_every_point_is_numbered_and_the_front_is_drawn():
    some = board(a=(0.5, 1), b=(0.4, 2), c=(0.9, 3))
    fig = pareto(some, {"passes": "forward passes", "flops": "FLOPs"})
    left, right = fig.axes
    assert [t.get_text() for t in left.texts] == ["1", "2", "3"]
    step = left.lines[-1]
    assert step.get_xdata().tolist() == [1, 3] and step.get_ydata().tolist() == [50, 90]
    said = [t.get_text() for t in right.get_legend().get_texts()]
    assert said == ["1  a", "2  b", "3  c"] and right.get_xlabel() == "FLOPs"
    plt.close(fig)


def test_verdicts_are_counted_by_source():
    claims = pd.DataFrame(
        {
            "source": [SOURCES[0]] * 2 + [SOURCES[4]],
            "verdict": ["reproduced", "reproduced", "not testable here"],
        }
    )
    fig = verdicts(claims)
    (ax,) = fig.axes
    widths = {c.get_label(): [b.get_width() for b in c] for c in ax.containers}
    assert widths["reproduced"] == [2, 0] and widths["not testable here"] == [0, 1]
    assert set(widths) == set(VERDICTS)
    plt.close(fig)


# --- what is recorded -----------------------------------------------------------------
def rows(ids, **others) -> pd.DataFrame:
    return pd.DataFrame(
        {"id": ids, "n_steps": 1, "correct": True, "seed": 0, "answer": "1"}
        | dict.fromkeys(COSTS, 1.0)
        | others
    )


def test_only_questions_that_all_were_asked_are_compared(monkeypatch):
    recorded = {
        "x": {"one": rows(["a", "b", "c"]), "other": rows(["z"])},
        "y": {"two": rows(["b", "c", "d"], split="test")},
    }
    monkeypatch.setattr(gathered, "_read", lambda f, split: recorded.get(f, {}))
    parts = (Part("x", same("one")), Part("y", {"second": "two"}), Part("z", same("q")))
    found = answers(parts)
    assert list(found) == ["one", "second"]
    assert all(part["id"].tolist() == ["b", "c"] for part in found.values())
    assert answers((Part("z", same("q")),)) == {}


def test_what_is_recorded_makes_a_board():
    found = answers()
    names = {name for part in PARTS for name in part.arms}
    assert {"CoT", "COCONUT", "CODI"} <= set(found) <= names
    made = scoreboard(found, "CoT")
    assert made["accuracy"].between(0, 1).all() and made.loc["CoT", "compression"] == 1
    assert made["n"].nunique() == 1, "the same questions"
    front = pareto_front(made, "passes")
    assert made.loc[front, "accuracy"].is_monotonic_increasing
    with pytest.raises(KeyError):
        pareto_front(made, "minutes")
