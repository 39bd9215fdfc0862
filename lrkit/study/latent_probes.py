"""Linear probes on latents: held-out questions, a control task, and other vectors.

A thinker that was trained to write its chain has the chain in its vectors, so that a
probe that finds it proves little. What counts is the difference: to the same probe on
the question's own last state, to a thinker without that loss, and to a control task
that only memory can solve (selectivity: Hewitt and Liang, arXiv 1909.03368).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from lrkit.study.probes import linear_probe
from lrkit.study.stats import paired_difference, proportion

Split = tuple[np.ndarray, np.ndarray]


def probe_latents(
    vectors: Mapping[str, Split],
    labels: tuple[pd.DataFrame, pd.DataFrame],
    properties: Sequence[str],
    surface: str = "surface",
    seed: int = 0,
) -> pd.DataFrame:
    """A linear probe for each kind of vectors and each property.

    Args:
        vectors: name to [train questions, width] and [test questions, width].
        labels: of train and of test questions, such as those of
            `lrkit.study.latent_vectors.question_labels`.
        properties: columns of the labels.
        surface: column with the surface type of a question, for the control task.
        seed: random seed of the control task.

    Returns:
        A row for each (vectors, property): `accuracy`, `low` and `high`; `majority`;
        `control`, accuracy on the control task; `selectivity`, accuracy minus control,
        with `selectivity_low` and `selectivity_high`; and `n`.

    Raises:
        ValueError: for vectors that are not as many as the questions.
    """
    train, test = labels
    found = []
    for name, (x_train, x_test) in vectors.items():
        if (len(x_train), len(x_test)) != (len(train), len(test)):
            raise ValueError(
                f"{name}: {len(x_train)} and {len(x_test)} vectors, for {len(train)} "
                f"and {len(test)} questions."
            )
        for prop in properties:
            probe = linear_probe(
                x_train, train[prop], x_test, test[prop], train[surface],
                test[surface], seed,
            )  # fmt: skip
            right = proportion(probe.correct)
            above = paired_difference(probe.correct, probe.control, seed=seed)
            found.append(
                {
                    "vectors": name,
                    "property": prop,
                    "accuracy": right.value,
                    "low": right.low,
                    "high": right.high,
                    "majority": probe.majority,
                    "control": float(probe.control.mean()),
                    "selectivity": above.value,
                    "selectivity_low": above.low,
                    "selectivity_high": above.high,
                    "n": right.n,
                }
            )
    return pd.DataFrame(found)
