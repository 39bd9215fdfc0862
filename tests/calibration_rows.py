"""Confidences and probabilities, simulated, that the tests of calibration share."""

import numpy as np


def simulated(n, seed=0, overconfidence=0.0):
    """Confidences, and labels that are right with that probability less a part."""
    rng = np.random.default_rng(seed)
    confidence = 0.5 + 0.5 * rng.beta(2, 1, n)
    truth = confidence - overconfidence * (confidence - 0.5)
    return confidence, rng.random(n) < truth


def simulated_proba(n, k=3, seed=0):
    rng = np.random.default_rng(seed)
    proba = rng.dirichlet(np.ones(k), n)
    truth = np.array(
        [rng.choice(k, p=p) for p in proba**0.5 / (proba**0.5).sum(1)[:, None]]
    )
    return proba, truth
