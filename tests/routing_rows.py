"""Simulated rows and the prices of two stages, that the tests of routing share."""

import numpy as np

from lrkit.answer.routing import Prices


def simulated(n, seed, digits=2, slope=0.3):
    """Rows whose risk is `slope` * (1 - confidence); few digits make ties."""
    rng = np.random.default_rng(seed)
    confidence = np.round(rng.random(n), digits)
    return confidence, rng.random(n) >= slope * (1 - confidence)


PRICES = Prices(
    machine_per_hour=0.72,
    rows_per_second=20,
    second_in_per_million=2.5,
    second_out_per_million=10,
    tokens_in=600,
    tokens_out=4,
    latency_first_s=0.05,
    latency_second_s=0.8,
)
