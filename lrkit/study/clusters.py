"""Do vectors of one kind lie together? Scores against permuted labels, and maps.

A map of t-SNE shows clusters also where there are none, and other ones for another
random seed. So it is drawn for several seeds and its trustworthiness said (Venna and
Kaski, 2001), and what is claimed is claimed of the vectors themselves: silhouette and
purity of the nearest neighbours, each beside the same number for labels dealt anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.manifold import TSNE, trustworthiness
from sklearn.metrics import pairwise_distances, silhouette_score

SEEDS = (0, 1, 2, 3, 4)


@dataclass(frozen=True)
class MapOfVectors:
    """One map of t-SNE.

    Attributes:
        points: [vectors, 2].
        trust: trustworthiness, up to 1: how far neighbours on the map are neighbours.
        seed: random seed.
    """

    points: np.ndarray
    trust: float
    seed: int


def maps(
    vectors: np.ndarray,
    seeds: Iterable[int] = SEEDS,
    perplexity: float = 30.0,
    neighbours: int = 10,
) -> list[MapOfVectors]:
    """t-SNE of vectors, once for each random seed, begun at random.

    Args:
        vectors: [n, width], of n above 2 * `neighbours` and above `perplexity`.
        seeds: random seeds.
        perplexity: of t-SNE.
        neighbours: that trustworthiness asks for.
    """
    found = []
    for seed in seeds:
        points = TSNE(
            n_components=2, perplexity=perplexity, init="random", random_state=seed,
            learning_rate="auto",
        ).fit_transform(vectors)  # fmt: skip
        trust = trustworthiness(vectors, points, n_neighbors=neighbours)
        found.append(MapOfVectors(points, float(trust), seed))
    return found


@dataclass(frozen=True)
class Score:
    """A number of clustering beside those of permuted labels.

    Attributes:
        value: with the labels as they are.
        permuted: mean over permutations.
        high: 97.5 % of the permutations lie at or below it.
        p: share of permutations at least as high, the labels themselves counted.
    """

    value: float
    permuted: float
    high: float
    p: float


def _against(
    score, labels: np.ndarray, permutations: int, rng: np.random.Generator
) -> Score:
    value = float(score(labels))
    dealt = np.array([score(rng.permutation(labels)) for _ in range(permutations)])
    p = (1 + int((dealt >= value).sum())) / (1 + permutations)
    return Score(value, float(dealt.mean()), float(np.quantile(dealt, 0.975)), p)


def cluster_scores(
    vectors: np.ndarray,
    labels: Sequence[str],
    neighbours: int = 10,
    permutations: int = 200,
    metric: str = "euclidean",
    seed: int = 0,
) -> dict[str, Score]:
    """How far vectors of a label lie together.

    Args:
        vectors: [n, width].
        labels: n of them, two or more different ones.
        neighbours: whose labels are looked at for the purity.
        permutations: of the labels.
        metric: a distance of scikit-learn.
        seed: random seed of the permutations.

    Returns:
        "silhouette", from -1 to 1, and "purity", the mean share of a vector's
        neighbours that have its label.

    Raises:
        ValueError: for a single label, or too few vectors.
    """
    labels = np.asarray(labels)
    distance, near = _nearest(vectors, labels, neighbours, metric)
    rng = np.random.default_rng(seed)
    scores = {
        "silhouette": lambda dealt: silhouette_score(
            distance, dealt, metric="precomputed"
        ),
        "purity": lambda dealt: (dealt[near] == dealt[:, None]).mean(),
    }
    return {
        name: _against(score, labels, permutations, rng)
        for name, score in scores.items()
    }


def _nearest(
    vectors: np.ndarray, labels: np.ndarray, neighbours: int, metric: str
) -> tuple[np.ndarray, np.ndarray]:
    """Distances [n, n], and of each vector its nearest others [n, neighbours]."""
    if len(np.unique(labels)) < 2 or len(labels) <= neighbours:
        raise ValueError(
            f"two labels and more than {neighbours} vectors are needed, not "
            f"{len(np.unique(labels))} and {len(labels)}."
        )
    distance = pairwise_distances(np.asarray(vectors, float), metric=metric)
    np.fill_diagonal(distance, np.inf)
    near = np.argpartition(distance, neighbours - 1, axis=1)[:, :neighbours]
    np.fill_diagonal(distance, 0.0)
    return distance, near


def purities(
    vectors: np.ndarray,
    labels: Sequence[str],
    neighbours: int = 10,
    permutations: int = 200,
    metric: str = "euclidean",
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Purity of each vector by itself, for intervals over questions.

    Args:
        vectors, labels, neighbours, permutations, metric, seed: see `cluster_scores`.

    Returns:
        [n] share of a vector's neighbours that have its label; and [n] the mean of
        that share over permutations of the labels.

    Raises:
        ValueError: see `cluster_scores`.
    """
    labels = np.asarray(labels)
    _, near = _nearest(vectors, labels, neighbours, metric)
    rng = np.random.default_rng(seed)
    dealt = np.zeros(len(labels))
    for _ in range(permutations):
        others = rng.permutation(labels)
        dealt += (others[near] == others[:, None]).mean(1)
    return (labels[near] == labels[:, None]).mean(1), dealt / permutations


def cluster_table(
    vectors: Mapping[str, np.ndarray], labels: pd.DataFrame, **options
) -> pd.DataFrame:
    """Both scores of several kinds of vectors and several labels.

    Args:
        vectors: name to [n, width]; controls, such as the question's own states, among
            them.
        labels: n rows, a column for each label.
        options: of `cluster_scores`.

    Returns:
        A row for each (vectors, label, score): `value`, `permuted`, `high` and `p`.
    """
    return pd.DataFrame(
        {"vectors": name, "label": label, "score": score, **vars(found)}
        for name, of_name in vectors.items()
        for label in labels
        for score, found in cluster_scores(of_name, labels[label], **options).items()
    )
