"""Solutions to the exercises of 02 · Answer, then reason."""

import numpy as np


def answer_share(completion_lengths):
    """Share of a batch's loss terms that are answer tokens."""
    return len(completion_lengths) / sum(completion_lengths)


def cluster_sign_test(a, b, clusters, n_draws=2000, seed=0):
    """Two-sided p-value of a sign-flip test over clusters ("" stands alone)."""
    names = [c if c else ("alone", i) for i, c in enumerate(clusters)]
    sums = {}
    for name, d in zip(names, np.asarray(a, float) - np.asarray(b, float), strict=True):
        sums[name] = sums.get(name, 0.0) + d
    sums = np.array(list(sums.values()))
    rng = np.random.default_rng(seed)
    flips = rng.choice([-1.0, 1.0], size=(n_draws, len(sums)))
    drawn = np.abs(flips @ sums)
    return (1 + (drawn >= abs(sums.sum()) - 1e-12).sum()) / (n_draws + 1)
