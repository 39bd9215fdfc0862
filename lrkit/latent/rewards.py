"""Rewards of a group: what GRPO pays for a right answer, and for a short one.

A group is the samples of one question. All functions take arrays [groups, members] and
give one; they know nothing of how a sample was made, nor of what its length counts.
The sources agree on 1 for a right answer and 0 for a wrong one, and differ in what a
length adds to it or takes away.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def kimi_length(
    correct: npt.ArrayLike, lengths: npt.ArrayLike, weight: float = 1.0
) -> Array:
    """The length reward of Kimi k1.5 (arXiv 2501.12599, "Length Penalty").

        lambda = 0.5 - (len - min_len) / (max_len - min_len)
        reward = weight * lambda                if the answer is right
                 weight * min(0, lambda)        if it is wrong

    min_len and max_len are over the whole group, wrong members too; where all lengths
    are equal the reward is 0. It is added to the reward for the answer. Below a weight
    of 2 every right member still earns more than every wrong one.

    Args:
        correct: [groups, members], whether the answer is right.
        lengths: [groups, members], in any unit.
        weight: of this reward against 1 for a right answer.

    Returns:
        [groups, members], from -weight / 2 to weight / 2.

    Raises:
        ValueError: for shapes that do not fit.
    """
    correct, lengths = _groups(correct, lengths)
    shortest, longest = lengths.min(1, keepdims=True), lengths.max(1, keepdims=True)
    score = 0.5 - _over(lengths - shortest, longest - shortest)
    reward = np.where(correct, score, np.minimum(0, score))
    return weight * np.where(longest > shortest, reward, 0.0)


def within_limit(correct: npt.ArrayLike, lengths: npt.ArrayLike, limit: float) -> Array:
    """ThinkPrune's reward (arXiv 2504.01296): 1 for right and not beyond the limit.

    There a sample is cut at the limit; one that is longer loses its answer with its
    end and earns 0. This is the whole reward, not a term beside that for the answer.

    Args:
        correct: [groups, members], whether the uncut answer is right.
        lengths: [groups, members].
        limit: longest that still earns, in the unit of `lengths`.

    Returns:
        [groups, members] of 0 and 1.

    Raises:
        ValueError: for shapes that do not fit.
    """
    correct, lengths = _groups(correct, lengths)
    return (correct & (lengths <= limit)).astype(np.float64)


def limit_at(step: int, n_steps: int, limits: Sequence[int]) -> int:
    """ThinkPrune's limit at a step: one round of RL for each limit, one after another.

    Args:
        step: optimizer steps already taken.
        n_steps: of all rounds; they share them equally.
        limits: of the rounds, each below the one before.
    """
    return limits[min(step * len(limits) // n_steps, len(limits) - 1)]


def relative_length(
    correct: npt.ArrayLike,
    lengths: npt.ArrayLike,
    lambda_penalty: float = 1e-4,
    lambda_reward: float = 0.1,
    p_cutoff: float = 1.0,
) -> Array:
    """The relative length penalty and reward of "Learning When to Stop" (2511.21581).

        (len - mean_len) / (max_len - min_len) * coefficient     for right members
        coefficient = -lambda_penalty      where the share of right members >= p_cutoff
                      +lambda_reward       elsewhere

    mean_len, min_len and max_len are over the right members. A wrong member gets 0, and
    so do all where right ones are equally long. So a question that is mastered is
    answered sooner, and another one is thought about for longer. The right members of a
    group get 0 together: its mean reward moves with accuracy alone.

    Args:
        correct: [groups, members], whether the answer is right.
        lengths: [groups, members], in any unit.
        lambda_penalty: for what is mastered, from 0.
        lambda_reward: for what is not, from 0.
        p_cutoff: share of right members from which a question counts as mastered.

    Returns:
        [groups, members].

    Raises:
        ValueError: for shapes that do not fit.
    """
    correct, lengths = _groups(correct, lengths)
    n_right = correct.sum(1, keepdims=True)
    mean = _over((lengths * correct).sum(1, keepdims=True), n_right)
    shortest = np.where(correct, lengths, np.inf).min(1, keepdims=True)
    longest = np.where(correct, lengths, -np.inf).max(1, keepdims=True)
    spread = np.where(n_right > 0, longest - shortest, 0.0)
    mastered = correct.mean(1, keepdims=True) >= p_cutoff
    coefficient = np.where(mastered, -lambda_penalty, lambda_reward)
    return np.where(correct, coefficient * _over(lengths - mean, spread), 0.0)


def advantages(rewards: npt.ArrayLike, epsilon: float = 1e-4) -> Array:
    """What GRPO makes of the rewards of a group (arXiv 2402.03300).

        A = (reward - mean) / (std + epsilon)

    over the members, with the standard deviation of a sample (n - 1). TRL's epsilon is
    1e-4, and no mere guard against a division by 0: where all members are right and
    the rewards differ by a length term alone, std is about as large as its weight, and
    the length acts by std / (std + epsilon). Without an epsilon its weight would cancel
    out; one of 1e-4 with a `lambda_penalty` of 1e-4 leaves about a quarter.

    Args:
        rewards: [groups, members].
        epsilon: added to the standard deviation, from 0.

    Returns:
        [groups, members]; 0 where all rewards of a group are equal.

    Raises:
        ValueError: for another shape.
    """
    rewards = np.asarray(rewards, np.float64)
    if rewards.ndim != 2 or rewards.shape[1] < 2:
        raise ValueError(
            "rewards must be [groups, members] with two members or more, got "
            f"{list(rewards.shape)}."
        )
    off = rewards - rewards.mean(1, keepdims=True)
    return _over(off, rewards.std(1, ddof=1, keepdims=True) + epsilon)


def _over(a: Array, b: Array) -> Array:
    """a / b; 0 where b is 0."""
    shape = np.broadcast_shapes(a.shape, b.shape)
    return np.divide(a, b, out=np.zeros(shape), where=np.broadcast_to(b, shape) != 0)


def _groups(
    correct: npt.ArrayLike, lengths: npt.ArrayLike
) -> tuple[npt.NDArray[np.bool_], Array]:
    """Both as arrays of one shape."""
    correct, lengths = np.asarray(correct, bool), np.asarray(lengths, np.float64)
    if correct.shape != lengths.shape or correct.ndim != 2 or not correct.shape[1]:
        raise ValueError(
            "correct and lengths must both be [groups, members] with a member or more, "
            f"got {list(correct.shape)} and {list(lengths.shape)}."
        )
    return correct, lengths
