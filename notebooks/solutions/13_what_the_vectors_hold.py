"""Solutions to the exercises of 13 · What the vectors hold."""

import numpy as np


def neighbour_purity(vectors, labels, k):
    """Mean share of the k nearest others with the same label, from 0 to 1."""
    vectors, labels = np.asarray(vectors, float), np.asarray(labels)
    distance = np.linalg.norm(vectors[:, None] - vectors[None], axis=-1)
    np.fill_diagonal(distance, np.inf)
    near = distance.argsort(1)[:, :k]
    return float((labels[near] == labels[:, None]).mean())


def patched_answer(n_hours, operations, step, value):
    """The hour at the end. operations: list of (sign, number), sign one of + - *."""
    if step >= len(operations):
        return None
    for sign, k in operations[step + 1 :]:
        value = {"+": value + k, "-": value - k, "*": value * k}[sign] % n_hours
    return value
