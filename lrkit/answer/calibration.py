"""Does a confidence of 0.9 mean right nine times in ten? Tables, scores, a repair.

Works on plain arrays: `confidence` [n], the probability of the top label, and `correct`
[n], whether that label is right. It knows no model, except that `recalibrated` wraps
one; what to do with a calibrated confidence is `lrkit.answer.routing`'s question.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import roc_auc_score
from sklearn.utils.validation import check_is_fitted

from lrkit.resampling import group_codes


# --- what is let in, and how it is resampled ------------------------------------------
def shares(name: str, values: Any, flags: bool = False) -> np.ndarray:
    """[n] numbers in [0, 1]; with `flags` [n] booleans.

    Raises:
        ValueError: naming the first row that is none.
    """
    wanted = "true or false" if flags else "a number between 0 and 1"
    try:
        array = np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        raise ValueError(f"every row of {name} must be {wanted}.") from None
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"{name} needs one value per row and at least one row.")
    good = np.isin(array, (0, 1)) if flags else (array >= 0) & (array <= 1)  # NaN: not
    if not good.all():
        row = int(np.argmin(good))
        raise ValueError(f"{name} of row {row} is {array[row]}: it must be {wanted}.")
    return array.astype(bool) if flags else array


def same_rows(**columns: Any) -> None:
    """Raise a ValueError that names the columns unless all have one length."""
    counted = {name: len(column) for name, column in columns.items()}
    if len(set(counted.values())) > 1:
        raise ValueError(f"the same rows are needed in every column, got {counted}.")


def checked(confidence: Any, correct: Any) -> tuple[np.ndarray, np.ndarray]:
    """Both as arrays [n]; see `shares` and `same_rows` for what is raised."""
    same_rows(confidence=confidence, correct=correct)
    return shares("confidence", confidence), shares("correct", correct, flags=True)


def resamples(
    n: int, n_boot: int, seed: int, groups: Sequence | None = None
) -> Iterator[np.ndarray]:
    """How often each row is drawn, [n] counts, for each of `n_boot` bootstraps.

    Rows of one name in `groups` [n] are drawn together; a row whose name is empty ("",
    None, NaN) stands alone.
    """
    codes = group_codes(n, groups)
    size = codes.max() + 1
    rng = np.random.default_rng(seed)
    for _ in range(n_boot):
        yield np.bincount(rng.integers(0, size, size), minlength=size)[codes]


# --- reliability ----------------------------------------------------------------------
def _bins(confidence: np.ndarray, bins: int, by: str) -> tuple[np.ndarray, np.ndarray]:
    """Edges from 0 to 1, [bins + 1], and the bin of each row, [n]."""
    if bins < 1 or by not in ("width", "mass"):
        raise ValueError(f"need 1 bin or more by 'width' or 'mass': {bins}, {by!r}.")
    edges = np.linspace(0, 1, bins + 1)
    if by == "mass":
        # An edge is the confidence of its share's last row, so that equal rows fall on
        # one side; a tie that is longer than a share leaves empty bins behind it.
        sizes = [len(part) for part in np.array_split(confidence, bins)]
        edges[1:-1] = np.sort(confidence)[np.cumsum(sizes)[:-1] - 1]
    return edges, np.searchsorted(edges[1:-1], confidence, side="left")


def reliability_table(
    confidence: np.ndarray, correct: np.ndarray, bins: int = 10, by: str = "width"
) -> pd.DataFrame:
    """What a reliability diagram draws: a row per bin of confidence.

    Args:
        by: "width": bins of equal width on [0, 1]; "mass": of equal counts, give or
            take one. Ties share a bin, however many they are.

    Returns:
        `low`, `high` (a bin is (low, high], the first one holds 0 too), `count`, mean
        `confidence`, `accuracy`; an empty bin has count 0 and NaN.

    Raises:
        ValueError: for no rows, rows that do not fit, or values outside [0, 1].
    """
    confidence, correct = checked(confidence, correct)
    edges, bin_of = _bins(confidence, bins, by)
    rows = pd.DataFrame({"confidence": confidence, "accuracy": correct.astype(float)})
    table = rows.groupby(bin_of).mean().reindex(range(bins))
    counts = np.bincount(bin_of, minlength=bins)
    ends = pd.DataFrame({"low": edges[:-1], "high": edges[1:], "count": counts})
    return ends.join(table)


def reliability_band(
    confidence: np.ndarray,
    correct: np.ndarray,
    bins: int = 10,
    by: str = "width",
    n_boot: int = 1000,
    seed: int = 0,
    groups: Sequence | None = None,
) -> pd.DataFrame:
    """`reliability_table` with `accuracy_low` and `accuracy_high`, a 95 % band.

    Percentiles of a bootstrap over rows (or `groups`, see `resamples`), bin edges
    fixed. A bin whose rows are all right has no width: few rows, not certainty.
    """
    table = reliability_table(confidence, correct, bins, by)
    confidence, correct = checked(confidence, correct)
    _, bin_of = _bins(confidence, bins, by)
    draws = []
    for times in resamples(len(correct), n_boot, seed, groups):
        right, count = (np.bincount(bin_of, w, bins) for w in (times * correct, times))
        draws.append(right / np.where(count > 0, count, np.nan))
    low, high = pd.DataFrame(draws).quantile([0.025, 0.975]).to_numpy()
    return table.assign(accuracy_low=low, accuracy_high=high)


def expected_calibration_error(
    confidence: np.ndarray, correct: np.ndarray, bins: int = 10, by: str = "width"
) -> float:
    """Mean distance between confidence and accuracy over bins, weighted by counts.

    In [0, 1]; eq. 3 of Guo et al. 2017, "On calibration of modern neural networks".
    On few rows and many bins, noise lifts even perfect calibration well above 0.
    """
    confidence, correct = checked(confidence, correct)
    _, bin_of = _bins(confidence, bins, by)
    return float(np.abs(np.bincount(bin_of, correct - confidence)).sum() / correct.size)


# --- one table of scores --------------------------------------------------------------
def calibration_summary(
    y_true: Sequence,
    proba: np.ndarray,
    classes: Sequence,
    n_boot: int = 1000,
    seed: int = 0,
    groups: Sequence | None = None,
) -> pd.DataFrame:
    """Accuracy, calibration and ranking of one model on one set of rows.

    Args:
        y_true, proba, classes: labels [n], probabilities [n, k], labels of the columns
            [k] in any order.
        groups: a name per row; rows of one name are resampled together.

    Returns:
        By `metric`: "accuracy"; "ece_width" and "ece_mass" over ten bins, edges fixed;
        "brier" (two classes: squared error of one, in [0, 1]; more: sum over all, in
        [0, 2]); "log_loss" in nats; "auroc_of_confidence", how well confidence tells
        right rows from wrong ones. Columns `value`, `low`, `high` (95 % bootstrap
        percentiles) and `note`, a sentence where there is no value. For the two ece the
        interval is reflected at the value: resampling adds sampling noise to them a
        second time, so that their percentiles lie above the truth.

    Raises:
        ValueError: for rows, labels or probabilities that do not fit together.
    """
    proba, column = np.asarray(proba, float), {c: k for k, c in enumerate(classes)}
    y_true, n, k = list(y_true), len(proba), len(column)
    if proba.ndim != 2 or proba.shape[1] != len(classes) or len(classes) != k or k < 2:
        said = f"proba of shape {proba.shape} with classes {list(classes)}"
        raise ValueError(f"{said}: need a column for each of two or more classes.")
    same_rows(y_true=y_true, proba=proba)
    shares("proba (counted row by row)", proba.ravel())
    if (off := np.abs(proba.sum(1) - 1)).max() > 1e-3:
        raise ValueError(f"row {off.argmax()} of proba does not sum to 1.")
    if unknown := [label for label in y_true if label not in column]:
        raise ValueError(f"y_true has {unknown[0]!r}, which is none of {list(column)}.")
    truth = np.array([column[label] for label in y_true])
    confidence, correct = proba.max(1), proba.argmax(1) == truth
    # Not scikit-learn's log_loss: it takes columns to be in alphabetical order.
    losses = -np.log(proba[np.arange(n), truth].clip(np.finfo(float).eps))
    squares = ((proba - np.eye(k)[truth]) ** 2).sum(1) / (2 if k == 2 else 1)
    bins = [_bins(confidence, 10, by)[1] for by in ("width", "mass")]

    def metrics(times: np.ndarray) -> dict[str, float]:
        mean = times / times.sum()
        gaps = mean * (correct - confidence)
        width, mass = (np.abs(np.bincount(b, gaps)).sum() for b in bins)
        auroc = np.nan
        if len(np.unique(correct[times > 0])) == 2:
            auroc = roc_auc_score(correct, confidence, sample_weight=times)
        return {
            "accuracy": mean @ correct, "ece_width": width, "ece_mass": mass,
            "brier": mean @ squares, "log_loss": mean @ losses,
            "auroc_of_confidence": auroc,
        }  # fmt: skip

    table = pd.DataFrame({"value": metrics(np.ones(n))}).rename_axis("metric")
    draws = pd.DataFrame(map(metrics, resamples(n, n_boot, seed, groups)))
    table["low"], table["high"] = draws.quantile(0.025), draws.quantile(0.975)
    for name in ("ece_width", "ece_mass"):
        value, low, high = table.loc[name]
        table.loc[name, ["low", "high"]] = max(0, 2 * value - high), 2 * value - low
    said = f"every row is {'right' if correct.all() else 'wrong'}: nothing to rank."
    return table.assign(note=np.where(table["value"].isna(), said, ""))


# --- a repair -------------------------------------------------------------------------
def recalibrated(
    model: Any, messages: Sequence, labels: Sequence, method: str = "temperature"
) -> CalibratedClassifierCV:
    """The model behind a calibrator, fitted on rows that the model was not trained on.

    "temperature" (Guo et al. 2017) has one parameter and keeps every answer; "sigmoid"
    (Platt 1999) can change answers; "isotonic" (Zadrozny & Elkan 2002) is free in
    shape, makes ties and wants about a thousand rows. Where no row is wrong, the best
    temperature is the coldest: confidences become 1. The model is neither copied nor
    changed; scikit-learn reads its `decision_function`, or else `predict_proba`.

    Raises:
        ValueError: for an unknown method, or labels that are not exactly the model's.
    """
    check_is_fitted(model, "classes_")
    messages, labels = list(messages), np.array(list(labels))
    same_rows(messages=messages, labels=labels)
    shown, known = sorted(set(labels.tolist())), list(model.classes_)
    # scikit-learn takes the classes from the labels that occur, sorted, and reads the
    # model's columns by them; labels that are numbers it would take for columns.
    if shown != known or labels.dtype.kind != "U":
        said = f"the rows show {shown}, the model has {known}"
        raise ValueError(f"{said}: need text labels, sorted, each shown at least once.")
    # One fold of all rows: a frozen model needs no other, and rare classes stay whole.
    fold = np.arange(len(labels))
    frozen = FrozenEstimator(model)
    calibrator = CalibratedClassifierCV(frozen, method=method, cv=[(fold, fold)])
    return calibrator.fit(messages, labels)
