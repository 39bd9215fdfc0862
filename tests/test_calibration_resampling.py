"""Rows of one name are drawn together, so that repeated rows narrow no interval."""

import numpy as np
import pytest
from calibration_rows import simulated_proba

from lrkit.answer.calibration import calibration_summary, reliability_band, resamples


def test_rows_of_one_name_are_drawn_together_and_nameless_rows_alone():
    groups = ["a", "", "b", "a", None, "b", float("nan"), "a", ""]
    draws = np.array(list(resamples(9, 500, 0, groups)))
    assert (draws[:, 0] == draws[:, 3]).all() and (draws[:, 0] == draws[:, 7]).all()
    assert (draws[:, 2] == draws[:, 5]).all()
    singles = draws[:, [0, 1, 2, 4, 6, 8]]  # six groups
    assert (singles.sum(1) == 6).all()
    together = np.corrcoef(singles.T)[np.triu_indices(6, 1)]
    assert together.max() < 0.2, "different names are not drawn together"
    assert draws.mean() == pytest.approx(1, abs=0.05)


def test_doubled_rows_in_groups_widen_nothing_and_narrow_nothing():
    proba, truth = simulated_proba(150)
    names = [str(i) for i in range(150)]
    once = calibration_summary(truth, proba, range(3), 250)
    twice_args = np.repeat(truth, 2), np.repeat(proba, 2, axis=0), range(3), 250
    twice = calibration_summary(*twice_args, groups=np.repeat(names, 2))
    blind = calibration_summary(*twice_args)
    width = [(t["high"] - t["low"])["log_loss"] for t in (once, twice, blind)]
    assert twice["value"]["log_loss"] == pytest.approx(once["value"]["log_loss"])
    assert width[1] == pytest.approx(width[0], rel=0.15)
    assert width[2] < 0.85 * width[1]


def test_groups_need_a_name_for_every_row():
    with pytest.raises(ValueError, match="2 rows need as many group names, got 1"):
        reliability_band([0.5, 0.6], [True, False], groups=["a"])
