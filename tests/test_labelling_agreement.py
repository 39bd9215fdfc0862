"""Two annotators: kappa, its interval, and the adjudication of what they differ in."""

import math

import numpy as np
import pandas as pd
import pytest
from labelling_store import ROWS

from lrkit.data.annotator import Annotator
from lrkit.data.labelling import adjudicate, agreement


def labels_of(text):
    """A frame from 'yes no yes': ids 0, 1, 2."""
    labels = text.split()
    return pd.DataFrame({"id": [str(i) for i in range(len(labels))], "label": labels})


FIRST = labels_of("yes yes yes yes yes no no no no no")
SECOND = labels_of("yes yes yes yes no yes yes no no no")


def test_kappa_is_what_the_hand_computes():
    result = agreement(FIRST, SECOND, n_resamples=50)
    # observed 7/10; by chance 5/10 * 6/10 + 5/10 * 4/10 = 1/2; (0.7 - 0.5) / (1 - 0.5)
    assert result.n == 10
    assert result.raw == pytest.approx(0.7)
    assert result.kappa == pytest.approx(0.4)
    assert result.disagreeing == ["4", "5", "6"]
    assert result.confusion.loc["yes"].to_dict() == {"no": 1, "yes": 4}
    assert result.confusion.loc["no"].to_dict() == {"no": 3, "yes": 2}
    assert "kappa 0.40" in str(result)


def test_agreement_goes_by_id_and_not_by_position():
    shuffled = SECOND.sample(frac=1, random_state=1)
    straight = agreement(FIRST, SECOND, n_resamples=50)
    assert agreement(FIRST, shuffled, n_resamples=50).kappa == straight.kappa
    assert agreement(FIRST, shuffled, n_resamples=50).disagreeing == ["4", "5", "6"]


def test_agreement_is_symmetric():
    there = agreement(FIRST, SECOND, n_resamples=200)
    back = agreement(SECOND, FIRST, n_resamples=200)
    assert there.kappa == pytest.approx(back.kappa)
    assert (there.low, there.high) == pytest.approx((back.low, back.high))
    assert there.confusion.values.tolist() == back.confusion.values.T.tolist()


def test_the_extremes_of_agreement():
    same = agreement(FIRST, FIRST, n_resamples=50)
    assert (same.raw, same.kappa, same.low, same.high) == (1, 1, 1, 1)
    assert same.disagreeing == []
    flipped = FIRST.replace({"yes": "no", "no": "yes"})
    assert agreement(FIRST, flipped, n_resamples=50).kappa == pytest.approx(-1)
    alternating = labels_of("yes no yes no")
    paired = labels_of("yes yes no no")
    assert agreement(alternating, paired, n_resamples=50).kappa == 0


def test_one_label_throughout_has_no_kappa_and_says_nan():
    result = agreement(labels_of("yes yes yes"), labels_of("yes yes yes"))
    assert result.raw == 1
    assert all(math.isnan(value) for value in (result.kappa, result.low, result.high))


def test_rare_labels_still_get_an_interval():
    first = labels_of("no " + "yes " * 9)  # a third of the resamples have only "yes"
    result = agreement(first, first, n_resamples=100)
    assert (result.low, result.high) == (1, 1)


def test_the_interval_is_that_of_resampling_rows_by_brute_force():
    rng = np.random.default_rng(3)
    truth = rng.integers(0, 2, 60)
    seen = np.where(rng.random(60) < 0.2, 1 - truth, truth)
    kappas = []
    for _ in range(4000):
        drawn = rng.integers(0, 60, 60)
        a, b = truth[drawn], seen[drawn]
        chance = a.mean() * b.mean() + (1 - a.mean()) * (1 - b.mean())
        kappas.append(((a == b).mean() - chance) / (1 - chance))
    result = agreement(*(labels_of(" ".join(map(str, side))) for side in (truth, seen)))
    expected = np.quantile(kappas, [0.025, 0.975])
    assert (result.low, result.high) == pytest.approx(expected, abs=0.03)
    assert result.low < result.kappa < result.high


def test_the_same_seed_gives_the_same_interval():
    def interval(seed):
        result = agreement(FIRST, SECOND, n_resamples=100, seed=seed)
        return result.low, result.high

    assert interval(0) == interval(0)
    assert len({interval(seed) for seed in range(5)}) > 1


def test_rows_of_one_annotator_only_are_named_and_not_counted():
    first = pd.DataFrame({"id": ["a", "b"], "label": ["yes", "no"]})
    second = pd.DataFrame({"id": ["c", "b"], "label": ["yes", "no"]})
    result = agreement(first, second)
    assert result.n == 1
    assert result.unmatched == ["a", "c"]


def test_labels_from_one_shared_file_can_be_compared(store):
    Annotator(ROWS, store, annotator="ann").replay([("yes", ""), ("no", "")])
    Annotator(ROWS, store, annotator="bob").replay([("yes", ""), ("yes", "")])
    result = agreement(store.labels("ann"), store.labels("bob"), n_resamples=50)
    assert (result.n, result.raw, result.disagreeing) == (2, 0.5, ["r1"])
    with pytest.raises(ValueError, match=r"more than one label for 'r0', 'r1'"):
        agreement(store.labels(), store.labels("bob"))


@pytest.mark.parametrize(
    ("first", "complaint"),
    [
        (FIRST.drop(columns="label"), "first annotator have no column 'label'"),
        (FIRST.assign(label=[None, *"abcdefghi"]), "an empty label for '0'"),
        (FIRST.assign(id=[f"x{i}" for i in range(10)]), "no row in common"),
    ],
)
def test_labels_that_cannot_be_compared_are_refused(first, complaint):
    with pytest.raises(ValueError, match=complaint):
        agreement(first, SECOND)


def test_adjudication_decides_where_they_differ_and_keeps_both_sides():
    decisions = {"4": "no", "5": "yes", "6": "no"}
    final = adjudicate(FIRST, SECOND, decisions)
    assert final.columns.tolist() == ["id", "first", "second", "final"]
    assert final["first"].tolist() == FIRST["label"].tolist()
    assert final["second"].tolist() == SECOND["label"].tolist()
    agreed = final["first"] == final["second"]
    assert (final["final"] == final["first"])[agreed].all()
    assert dict(final[~agreed][["id", "final"]].values) == decisions


def test_two_who_agree_need_no_decision():
    assert adjudicate(FIRST, FIRST, {})["final"].tolist() == FIRST["label"].tolist()


def test_a_row_that_one_of_them_left_out_needs_a_decision():
    with pytest.raises(ValueError, match=r"No decision for '8', '9', where"):
        adjudicate(FIRST.head(8), FIRST, {})
    final = adjudicate(FIRST.head(8), FIRST, {"8": "yes", "9": "no"})
    assert final["final"].tolist()[-2:] == ["yes", "no"]
    assert final["first"].tolist()[-2:] == [None, None]


@pytest.mark.parametrize(
    ("decisions", "complaint"),
    [
        ({"5": "yes"}, "No decision for '4', '6'"),
        (
            {"4": "no", "5": "no", "6": "no", "1": "no"},
            "A decision for '1', where both",
        ),
        (
            {"4": "no", "5": "no", "6": "no", "z": "no"},
            "A decision for 'z', where both",
        ),
        (
            {"4": "no", "5": "nope", "6": "no"},
            "label decided for '5'; used: 'no', 'yes'",
        ),
    ],
)
def test_decisions_that_do_not_fit_are_named(decisions, complaint):
    with pytest.raises(ValueError, match=complaint):
        adjudicate(FIRST, SECOND, decisions)
