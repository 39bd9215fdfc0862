"""What is removed from a sequence, kept of it or moved in it: tokens or steps.

All take items and give those that are left; none knows what an item is. Whatever is
random is drawn from a source of its own, so that the same random seed drops the same.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def _checked(share: float, name: str) -> None:
    if not 0 <= share <= 1:
        raise ValueError(f"{name} must lie between 0 and 1, got {share}.")


def dropped(items: Sequence[T], p: float, rng: random.Random) -> list[T]:
    """Each item goes with probability p, independently; the order stays.

    One number is drawn for every item whatever p is. So with sources of the same random
    seed, what a larger p keeps is part of what a smaller one keeps, and two points of a
    curve over p differ by what was dropped between them alone.

    Raises:
        ValueError: for a p outside of 0 to 1.
    """
    _checked(p, "the probability of dropping")
    return [item for item in items if rng.random() >= p]


def first(items: Sequence[T], share: float) -> list[T]:
    """A share from the beginning, rounded to whole items.

    Raises:
        ValueError: for a share outside of 0 to 1.
    """
    _checked(share, "the share that is kept")
    return list(items[: round(share * len(items))])


def last(items: Sequence[T], share: float) -> list[T]:
    """A share from the end, rounded to whole items.

    Raises:
        ValueError: for a share outside of 0 to 1.
    """
    _checked(share, "the share that is kept")
    return list(items[len(items) - round(share * len(items)) :])


def shuffled(items: Sequence[T], rng: random.Random) -> list[T]:
    """The same items in another order; in the same one only where there is no other."""
    if all(item == items[0] for item in items):
        return list(items)
    found = list(items)
    while found == list(items):
        rng.shuffle(found)
    return found


def partners(n: int, rng: random.Random) -> list[int]:
    """For each of n questions another one; each is given to one of them.

    One cycle through all (Sattolo's algorithm), drawn at random.

    Raises:
        ValueError: for fewer than two questions.
    """
    if n < 2:
        raise ValueError("a single question has no other question's chain: ask two.")
    found = list(range(n))
    for i in range(n - 1, 0, -1):
        j = rng.randrange(i)
        found[i], found[j] = found[j], found[i]
    return found
