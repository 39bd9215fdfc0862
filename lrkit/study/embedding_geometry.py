"""How far apart hidden states and embeddings lie: the motive of Latent-SFT.

A hidden state that is written where an embedding is expected comes from another
distribution (arXiv 2510.15522 measures Frechet distance and MMD, and the low effective
rank of the embeddings). A distance means little alone: between two halves of one and
the same sample it is not zero either, so `compare` shows that, too.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd


def effective_rank(vectors: npt.ArrayLike) -> float:
    """exp of the entropy of the singular values' shares (Roy and Vetterli, 2007).

    Args:
        vectors: [n, width]; they are not centred.

    Returns:
        From 1, all on one line, to min(n, width), all directions alike.

    Raises:
        ValueError: for vectors that are all zero.
    """
    values = np.linalg.svd(np.asarray(vectors, float), compute_uv=False)
    if not values.sum():
        raise ValueError("vectors of zero have no rank.")
    share = values / values.sum()
    return float(np.exp(-(share * np.log(share.clip(1e-300))).sum()))


def frechet_distance(x: npt.ArrayLike, y: npt.ArrayLike) -> float:
    """Between Gaussians with the means and covariances of two samples, squared.

        |mu_x - mu_y|^2 + tr(C_x + C_y - 2 (C_x C_y)^(1/2))

    Args:
        x: [n, width], n of 2 or more.
        y: [m, width].
    """
    x, y = np.asarray(x, float), np.asarray(y, float)
    shift = x.mean(0) - y.mean(0)
    cov_x, cov_y = (np.atleast_2d(np.cov(v, rowvar=False)) for v in (x, y))
    root = _square_root(cov_x)
    between = np.linalg.eigvalsh(root @ cov_y @ root).clip(0)
    spread = np.trace(cov_x) + np.trace(cov_y) - 2 * np.sqrt(between).sum()
    return float(shift @ shift + max(spread, 0.0))


def mmd2(x: npt.ArrayLike, y: npt.ArrayLike) -> float:
    """Squared maximum mean discrepancy with a Gaussian kernel, unbiased: 0 is expected
    of two samples of one distribution, and it may be below.

    The kernel's width is the median distance within both samples together.

    Args:
        x: [n, width], n of 2 or more.
        y: [m, width], m of 2 or more.
    """
    x, y = np.asarray(x, float), np.asarray(y, float)
    both = np.concatenate([x, y])
    squares = (both**2).sum(1)
    distance = (squares[:, None] + squares - 2 * both @ both.T).clip(0)
    apart = distance[np.triu_indices(len(both), 1)]
    kernel = np.exp(-distance / (2 * max(np.median(apart), 1e-12)))
    n, m = len(x), len(y)
    within_x = (kernel[:n, :n].sum() - np.trace(kernel[:n, :n])) / (n * (n - 1))
    within_y = (kernel[n:, n:].sum() - np.trace(kernel[n:, n:])) / (m * (m - 1))
    return float(within_x + within_y - 2 * kernel[:n, n:].mean())


def compare(
    vectors: dict[str, npt.ArrayLike],
    embeddings: npt.ArrayLike,
    at_most: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Several kinds of vectors against the embeddings; a row for each kind.

    Embeddings are dealt to two halves. Every kind is held against the first one; the
    second half is the last row, "embeddings", what no difference looks like.

    Args:
        vectors: name to [n, width], such as hidden states and mixtures.
        embeddings: [vocabulary, width].
        at_most: vectors of each sample, drawn if there are more.
        seed: random seed of halves and draws.

    Returns:
        By name: `n`, `length` (median), `effective_rank`, `frechet` and `mmd2`, and
        both again between vectors of length 1 (`frechet_unit`, `mmd2_unit`): whether
        they differ in more than their length.
    """
    rng = np.random.default_rng(seed)
    table = rng.permutation(np.asarray(embeddings, float))
    half, other = table[::2][:at_most], table[1::2][:at_most]
    found = {}
    for name, kind in {**vectors, "embeddings": other}.items():
        kind = np.asarray(kind, float)
        kind = rng.permutation(kind)[:at_most]
        found[name] = {
            "n": len(kind),
            "length": float(np.median(np.linalg.norm(kind, axis=1))),
            "effective_rank": effective_rank(kind),
            "frechet": frechet_distance(kind, half),
            "mmd2": mmd2(kind, half),
            "frechet_unit": frechet_distance(_unit(kind), _unit(half)),
            "mmd2_unit": mmd2(_unit(kind), _unit(half)),
        }
    return pd.DataFrame(found).T.astype({"n": int})


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors of length 1."""
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-12)


def _square_root(matrix: np.ndarray) -> np.ndarray:
    """Of a symmetric matrix without negative directions."""
    values, directions = np.linalg.eigh(matrix)
    return (directions * np.sqrt(values.clip(0))) @ directions.T
