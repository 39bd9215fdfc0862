"""Solutions to the exercises of 09 · Redundant chains."""

import random
import re
from math import prod


def drop(items, p, seed):
    """The items that are left."""
    rng = random.Random(seed)
    return [item for item in items if rng.random() >= p]


def predicted(all_copies, p):
    """Mean over chains of the chance that every needed result is left."""
    chances = [prod(1 - p**c for c in copies) for copies in all_copies]
    return sum(chances) / len(chances)


def leak_account(texts, answers, correct):
    """(share that leaks, accuracy where it leaks, accuracy where it does not)."""
    parts = {True: [], False: []}
    for text, answer, right in zip(texts, answers, correct, strict=True):
        whole = rf"(?<![\d.]){re.escape(answer)}(?!\d|\.\d)"
        parts[bool(re.search(whole, text))].append(right)
    leaks, others = (
        sum(parts[leaked]) / len(parts[leaked]) if parts[leaked] else None
        for leaked in (True, False)
    )
    return len(parts[True]) / len(texts), leaks, others
