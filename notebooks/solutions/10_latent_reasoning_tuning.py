"""Solutions to the exercises of 10 · Latent reasoning tuning."""

import math
from collections import Counter


def one_of_k(n, c, k):
    """Probability that k of n draws, c of them right, hold a right one."""
    return 1 - math.comb(n - c, k) / math.comb(n, k)


def of_another_answer(answers):
    """For each place another place, each used once, where the answer differs.

    Raises ValueError where that cannot be.
    """
    most = max(Counter(answers).values())
    if 2 * most > len(answers):
        raise ValueError(f"{most} of {len(answers)} answers are the same.")
    order = sorted(range(len(answers)), key=lambda i: answers[i])
    given = dict(zip(order, order[most:] + order[:most], strict=True))
    return [given[i] for i in range(len(answers))]
