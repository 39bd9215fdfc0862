"""Linear probes: is something readable from a hidden state, and from that alone?

A probe that can learn anything proves nothing, so each is run beside a *control task*
in the manner of Hewitt and Liang (2019): labels drawn at random for each surface type,
which only a memorising probe can get right. Accuracy minus control is the selectivity.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


@dataclass(frozen=True)
class ProbeResult:
    """Held-out scores of one probe.

    Attributes:
        correct: [rows] whether the probe was right on the true task.
        control: [rows] whether it was right on the control task.
        majority: accuracy of always answering the commonest training class.
    """

    correct: np.ndarray
    control: np.ndarray
    majority: float

    @property
    def accuracy(self) -> float:
        """Share right on the true task."""
        return float(self.correct.mean())

    @property
    def selectivity(self) -> float:
        """Accuracy minus accuracy on the control task."""
        return float(self.correct.mean() - self.control.mean())


def control_labels(
    types: Sequence[str], classes: Sequence[str], seed: int = 0
) -> np.ndarray:
    """A random class for each surface type, drawn with the marginals of `classes`.

    Rows of one type always share a class, in training and in test.
    """
    pool = sorted(classes)
    out = []
    for t in types:
        digest = hashlib.sha256(f"{seed}/{t}".encode()).digest()
        out.append(pool[int.from_bytes(digest[:8], "big") % len(pool)])
    return np.array(out)


def _fit_score(x_train, y_train, x_test, y_test) -> np.ndarray:
    if len(set(y_train)) < 2:
        return np.asarray(y_test) == np.asarray(y_train)[0]
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
    probe.fit(x_train, y_train)
    return probe.predict(x_test) == np.asarray(y_test)


def linear_probe(
    x_train: np.ndarray,
    y_train: Sequence[str],
    x_test: np.ndarray,
    y_test: Sequence[str],
    types_train: Sequence[str],
    types_test: Sequence[str],
    seed: int = 0,
) -> ProbeResult:
    """Multinomial logistic regression on hidden states, with its control task.

    Args:
        x_train, x_test: [rows, width] hidden states.
        y_train, y_test: the property, e.g. the kind of evidence.
        types_train, types_test: a surface type per row, for the control task.
        seed: random seed of the control labels.
    """
    y_train, y_test = np.asarray(y_train), np.asarray(y_test)
    correct = _fit_score(x_train, y_train, x_test, y_test)
    c_train = control_labels(types_train, y_train, seed)
    c_test = control_labels(types_test, y_train, seed)
    control = _fit_score(x_train, c_train, x_test, c_test)
    values, counts = np.unique(y_train, return_counts=True)
    majority = float((y_test == values[counts.argmax()]).mean())
    return ProbeResult(correct, control, majority)
