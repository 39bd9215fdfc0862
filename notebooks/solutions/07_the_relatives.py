"""Solutions to the exercises of 07 · The relatives."""

import math

import numpy as np


def further_tokens(rng, smoothing):
    """o, 0 or more, with probability (1 - exp(-smoothing)) * exp(-smoothing * o)."""
    return int(-math.log(1 - rng.random()) / smoothing)


def effective_number(probabilities):
    """Effective number of nodes that share the probability of a frontier."""
    shares = np.asarray(probabilities, float) / np.sum(probabilities)
    shares = shares[shares > 0]
    return float(np.exp(-(shares * np.log(shares)).sum()))
