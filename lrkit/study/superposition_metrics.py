"""What a latent holds of the vocabulary: the metrics of Latent-SFT on compression.

(arXiv 2510.15522.) A latent's distribution is the softmax of the logits at the position
that it was made from. Effective compression rate: how many tokens of the piece of text
that it stands for are among the likeliest of that distribution. Beside it, always, what
a latent that knows nothing would reach, and what the latents of other questions reach:
in a small vocabulary, or where all chains are alike, that can be as much.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd


def ecr_at_k(
    probabilities: npt.ArrayLike,
    chunks: Sequence[Sequence[int]],
    questions: Sequence[Hashable],
    k: int = 50,
) -> pd.DataFrame:
    """ECR@K: a row for each latent; the rate is the mean of `found`.

    Intervals come from `lrkit.study.stats.mean_estimate` with questions as clusters.

    Args:
        probabilities: [latents, vocabulary]; entries of 0 are never counted, so that a
            mixture of 10 tokens has 10 candidates and not K.
        chunks: for each latent the token ids of the piece of text it stands for. A
            token that is there twice is one token (our reading of the source).
        questions: for each latent the question that it belongs to.
        k: K.

    Returns:
        `question`; `found`, how many tokens of the chunk are among the K likeliest;
        `distinct`, the most that could be; `chance`, the expectation for as many tokens
        drawn at random; `shuffled`, the mean over latents of other questions in its
        place, exact and not drawn; NaN where there is no other question.

    Raises:
        ValueError: for lengths that do not match, or a K that is not from 1.
    """
    given = np.asarray(probabilities, float)
    if given.ndim != 2 or not len(given) == len(chunks) == len(questions):
        raise ValueError(
            f"each latent needs a distribution, a chunk and a question: got "
            f"{list(given.shape)}, {len(chunks)} and {len(questions)}."
        )
    if k < 1:
        raise ValueError(f"K counts the likeliest tokens, from 1, not {k}.")
    n, vocabulary = given.shape
    likeliest = np.argsort(-given, axis=1, kind="stable")[:, :k]
    counted = np.zeros((n, vocabulary), bool)
    np.put_along_axis(counted, likeliest, True, axis=1)
    counted &= given > 0
    codes, _ = pd.factorize(pd.Series(list(questions), dtype=object))
    of_question = np.zeros((codes.max(initial=-1) + 1, vocabulary))
    np.add.at(of_question, codes, counted)
    sizes = np.bincount(codes)
    total = of_question.sum(0)
    rows = []
    for i, chunk in enumerate(chunks):
        distinct = sorted(set(chunk))
        others = n - sizes[codes[i]]
        elsewhere = (total - of_question[codes[i]])[distinct].sum()
        rows.append(
            {
                "question": questions[i],
                "found": int(counted[i, distinct].sum()),
                "distinct": len(distinct),
                "chance": len(distinct) * counted[i].sum() / vocabulary,
                "shuffled": elsewhere / others if others else np.nan,
            }
        )
    columns = ["question", "found", "distinct", "chance", "shuffled"]
    return pd.DataFrame(rows, columns=columns)


def sharpness(probabilities: npt.ArrayLike) -> pd.DataFrame:
    """How many tokens a latent is made of: a row for each latent.

    A claim of superposition needs latents that are not one token: training-free and
    fine-tuned mixtures were both seen to collapse (arXiv 2604.06374).

    Args:
        probabilities: [latents, tokens], each row with the sum 1: a whole distribution
            or the weights of a mixture.

    Returns:
        `entropy` in nats; `effective`, its exponential: as many even tokens have that
        entropy; `top1` and `top2`, the largest probability and the second largest.

    Raises:
        ValueError: for rows that are no distribution.
    """
    given = np.asarray(probabilities, float)
    if (
        given.ndim != 2
        or (given < 0).any()
        or not np.allclose(given.sum(1), 1, 0, 1e-3)
    ):
        raise ValueError("expected [latents, tokens] from 0, each row with the sum 1.")
    entropy = -(given * np.log(given.clip(1e-300))).sum(1)
    ordered = -np.sort(-given, axis=1)
    second = ordered[:, 1] if given.shape[1] > 1 else np.zeros(len(given))
    return pd.DataFrame(
        {
            "entropy": entropy,
            "effective": np.exp(entropy),
            "top1": ordered[:, 0],
            "top2": second,
        }
    )


def compression_ratio(n_tokens: npt.ArrayLike, n_latents: npt.ArrayLike) -> float:
    """Tokens of the explicit chains over the latents that replace them.

    Args:
        n_tokens: [questions].
        n_latents: the same questions.

    Returns:
        The ratio of the sums: a mean of ratios would be infinite as soon as one
        question is answered without a latent.

    Raises:
        ValueError: for other questions, or no latents at all.
    """
    tokens, latents = np.asarray(n_tokens), np.asarray(n_latents)
    if tokens.shape != latents.shape:
        raise ValueError(
            f"the same questions are needed: {len(tokens)} and {len(latents)}."
        )
    if not latents.sum():
        raise ValueError("there are no latents: nothing replaces the chains.")
    return float(tokens.sum() / latents.sum())
