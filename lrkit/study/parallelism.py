"""Does a thought follow several chains at once? N_eff and Top-2 of Latent-SFT.

(arXiv 2510.15522; the definition is that of the metric script of its code.) A question
has M different right chains. Each is cut into as many segments as there are latents,
each latent is matched with a segment, and a chain's *path score* is the mean logarithm
of the probability that latents give to the tokens of their segments:

    s_m = mean_t log(mass of latent t on segment pi_m(t) + 1e-12)
    share = softmax(s / tau)         N_eff = exp(entropy of share), from 1 to M

N_eff says how alike the scores are and nothing of how good: a thought that fits no
chain at all has N_eff = M. So the path scores belong beside it, and so does the same
with segments matched at random; N_eff over N_eff at random is not bounded by M.

What the reference does otherwise: a token that comes twice in a segment is counted
twice, so that a mass may exceed 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

FLOOR = 1e-12


@dataclass(frozen=True)
class Parallelism:
    """Of one question with M chains.

    Attributes:
        scores: [M] path scores, in nats.
        random_scores: [M], their means over random matchings.
        n_eff: effective number of chains.
        n_eff_random: its mean over random matchings.
        top2_ratio: share of the second-best chain over that of the best one, the
            likelier reading of the source's "Top-2 score": 1 where both are alike.
        top2_mass: shares of the best two together, the other reading.
    """

    scores: np.ndarray
    random_scores: np.ndarray
    n_eff: float
    n_eff_random: float
    top2_ratio: float
    top2_mass: float

    @property
    def ratio(self) -> float:
        """N_eff over N_eff at random; also below 1, and not bounded by M."""
        return self.n_eff / self.n_eff_random


def shares(scores: npt.ArrayLike, tau: float = 1.0) -> np.ndarray:
    """softmax(s / tau) over the last axis, [..., M].

    Raises:
        ValueError: for a tau that is not above 0.
    """
    if tau <= 0:
        raise ValueError(f"tau must be above 0, not {tau}.")
    scaled = np.asarray(scores, float) / tau
    weights = np.exp(scaled - scaled.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def effective_number(share: npt.ArrayLike) -> np.ndarray:
    """exp of the entropy over the last axis: from 1 (one has all) to M (all alike)."""
    share = np.asarray(share, float)
    return np.exp(-(share * np.log(share.clip(1e-300))).sum(-1))


def segments(tokens: Sequence[int], n: int) -> list[list[int]]:
    """n consecutive parts, as even as can be: part t from floor(t L / n).

    Raises:
        ValueError: for fewer tokens than parts: some would be empty.
    """
    length = len(tokens)
    if not 1 <= n <= length:
        raise ValueError(
            f"a chain of {length} tokens cannot be cut into {n} segments: it needs a "
            "token or more for each latent."
        )
    bounds = [t * length // n for t in range(n + 1)]
    return [list(tokens[a:b]) for a, b in pairwise(bounds)]


def closest_unused(latents: npt.ArrayLike, of_segments: npt.ArrayLike) -> np.ndarray:
    """[T]: for each latent, in order, the segment with the smallest cosine distance
    among those that no earlier latent has taken.

    Args:
        latents: [T, width].
        of_segments: [T, width], a vector for each segment of a chain: the latent that
            the encoder makes of it, or the mean of its tokens' embeddings.
    """
    ours, theirs = (
        x / np.linalg.norm(x, axis=1, keepdims=True).clip(1e-12)
        for x in (np.asarray(latents, float), np.asarray(of_segments, float))
    )
    close = ours @ theirs.T
    taken: list[int] = []
    for row in close:
        row = row.copy()
        row[taken] = -np.inf
        taken.append(int(row.argmax()))
    return np.array(taken)


def masses(
    probabilities: npt.ArrayLike, parts: Sequence[Sequence[int]], top: int = 100
) -> np.ndarray:
    """[T latents, T segments]: what a latent gives to the tokens of a segment.

    Args:
        probabilities: [T, vocabulary].
        parts: T segments; a token counts once.
        top: the likeliest tokens of a latent that count; the others are taken as 0.
    """
    given = np.asarray(probabilities, float)
    likeliest = np.argsort(-given, axis=1, kind="stable")[:, :top]
    kept = np.zeros_like(given)
    chosen = np.take_along_axis(given, likeliest, 1)
    np.put_along_axis(kept, likeliest, chosen, axis=1)
    return np.stack([kept[:, sorted(set(part))].sum(1) for part in parts], axis=1)


def parallelism(
    probabilities: npt.ArrayLike,
    paths: Sequence[Sequence[int]],
    latents: npt.ArrayLike | None = None,
    of_segments: Sequence[npt.ArrayLike] | None = None,
    tau: float = 1.0,
    top: int = 100,
    trials: int = 64,
    seed: int = 0,
) -> Parallelism:
    """How many chains the latents of one question follow.

    Args:
        probabilities: [T, vocabulary] of the T latents.
        paths: token ids of M chains, two or more.
        latents: [T, width], for the matching of `closest_unused`; None: segment t
            belongs to latent t, as in the first version of the paper.
        of_segments: for each chain [T, width], see `closest_unused`.
        tau: temperature of the shares.
        top: see `masses`.
        trials: random one-to-one matchings.
        seed: random seed of them.

    Raises:
        ValueError: for fewer than two chains, a chain shorter than the thought, or
            latents without vectors of the segments.
    """
    if len(paths) < 2:
        raise ValueError("parallelism needs two or more chains of one question.")
    if (latents is None) != (of_segments is None):
        raise ValueError("give vectors of latents and of segments, or neither of them.")
    n = len(np.asarray(probabilities))
    order = np.arange(n)
    rng = np.random.default_rng(seed)
    scores, drawn = [], []
    for m, path in enumerate(paths):
        logs = np.log(masses(probabilities, segments(path, n), top) + FLOOR)
        match = order if latents is None else closest_unused(latents, of_segments[m])
        scores.append(logs[order, match].mean())
        tried = [logs[order, rng.permutation(n)].mean() for _ in range(trials)]
        drawn.append(tried)
    share = shares(scores, tau)
    best, second = np.sort(share)[::-1][:2]
    at_random = effective_number(shares(np.transpose(drawn), tau))
    return Parallelism(
        scores=np.array(scores),
        random_scores=np.mean(drawn, axis=1),
        n_eff=float(effective_number(share)),
        n_eff_random=float(at_random.mean()),
        top2_ratio=float(second / best),
        top2_mass=float(best + second),
    )
