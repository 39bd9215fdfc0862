"""InfoNCE: a lower estimate of mutual information from pairs, and its ceiling.

    I(X; Y) >= E log( e^f(x_i, y_i) / mean_j e^f(x_i, y_j) )        j over a batch

(van den Oord et al., arXiv 1807.03748.) The critic f is learned on some pairs, the
estimate taken on others. It can never be above ln(batch), whatever the truth is (Poole
et al., arXiv 1905.06922): a batch of 22 cannot show more than 3.09 nats. So the ceiling
is part of the result, and so is the same estimate on pairs that were mixed up, where
the truth is zero.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.feature_extraction import DictVectorizer
from torch import nn

from lrkit.data.problems import Problem
from lrkit.study.stats import Estimate, mean_estimate


@dataclass(frozen=True)
class CriticSettings:
    """How the critic is learned.

    Attributes:
        batch: pairs that are told apart.
        steps: of Adam.
        width: of the hidden layer and of the two codes.
        learning_rate: of Adam.
        weight_decay: of AdamW.
        held_out: share of the pairs that the estimate is taken on.
    """

    batch: int = 128
    steps: int = 1500
    width: int = 128
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    held_out: float = 0.5


@dataclass(frozen=True)
class InfoNCE:
    """An estimate of mutual information, in nats.

    Attributes:
        value: on held-out pairs; the interval is over batches.
        mixed: the same critic on pairs whose y were dealt anew: it is not above zero.
        ceiling: ln(batch); a value near it says "at least about this".
    """

    value: Estimate
    mixed: Estimate
    ceiling: float


class Critic(nn.Module):
    """f(x, y) = g(x) . h(y), two layers each; inputs are standardised."""

    def __init__(self, x: torch.Tensor, y: torch.Tensor, width: int):
        super().__init__()
        self.scales = [(v.mean(0), v.std(0).clamp(min=1e-6)) for v in (x, y)]
        self.codes = nn.ModuleList(
            nn.Sequential(
                nn.Linear(v.shape[1], width), nn.ReLU(), nn.Linear(width, width)
            )
            for v in (x, y)
        )

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """[batch, batch]: of every x with every y."""
        a, b = (
            code((v - mean) / std)
            for code, v, (mean, std) in zip(
                self.codes, (x, y), self.scales, strict=True
            )
        )
        return a @ b.T / a.shape[1] ** 0.5


def _nats(scores: torch.Tensor) -> torch.Tensor:
    """[batch]: log of each right pair's share, plus ln(batch)."""
    return scores.log_softmax(1).diagonal() + math.log(len(scores))


def infonce(
    x: np.ndarray,
    y: np.ndarray,
    settings: CriticSettings | None = None,
    seed: int = 0,
) -> InfoNCE:
    """Mutual information of paired vectors.

    Args:
        x: [pairs, any width].
        y: [pairs, any width].
        settings: of the critic; None: as they are.
        seed: random seed of the critic, of the split and of the batches.

    Raises:
        ValueError: for unlike numbers of pairs, or fewer than two held-out batches.
    """
    settings = settings or CriticSettings()
    if len(x) != len(y):
        raise ValueError(f"pairs are needed: {len(x)} of x and {len(y)} of y.")
    n_test = int(len(x) * settings.held_out)
    if n_test < 2 * settings.batch or len(x) - n_test < settings.batch:
        raise ValueError(
            f"{len(x)} pairs are too few for two held-out batches of "
            f"{settings.batch} and one to learn from."
        )
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(x))
    x, y = (torch.tensor(np.asarray(v, np.float32)[order]) for v in (x, y))
    train, test = slice(n_test, None), slice(0, n_test)
    critic = _learned(x[train], y[train], settings, seed)
    return InfoNCE(
        _estimate(critic, x[test], y[test], settings.batch, seed),
        _estimate(
            critic, x[test], y[test][rng.permutation(n_test)], settings.batch, seed
        ),
        math.log(settings.batch),
    )


def _learned(
    x: torch.Tensor, y: torch.Tensor, settings: CriticSettings, seed: int
) -> Critic:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        critic = Critic(x, y, settings.width)
        optimizer = torch.optim.AdamW(
            critic.parameters(), settings.learning_rate,
            weight_decay=settings.weight_decay,
        )  # fmt: skip
        for _ in range(settings.steps):
            which = torch.randperm(len(x))[: settings.batch]
            loss = -_nats(critic(x[which], y[which])).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return critic.eval()


@torch.no_grad()
def _estimate(
    critic: Critic, x: torch.Tensor, y: torch.Tensor, batch: int, seed: int
) -> Estimate:
    n = len(x) // batch * batch
    values = torch.cat(
        [_nats(critic(x[k : k + batch], y[k : k + batch])) for k in range(0, n, batch)]
    )
    names = [str(k // batch) for k in range(n)]
    return mean_estimate(values.numpy(), names, seed)


def gaussian_pairs(
    n: int, dims: int, nats: float, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of Gaussian vectors of a known mutual information: what every estimate is
    to be tried on first.

    Args:
        n: pairs.
        dims: of either vector; the information is spread evenly.
        nats: I(X; Y) = - dims / 2 * ln(1 - rho^2).
        seed: random seed.
    """
    rho = math.sqrt(1 - math.exp(-2 * nats / dims))
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, dims))
    noise = rng.standard_normal((n, dims))
    return x, rho * x + math.sqrt(1 - rho**2) * noise


def gaussian_nats(
    x: np.ndarray, y: np.ndarray, held_out: float = 0.5
) -> tuple[np.ndarray, float]:
    """What the bound of `lrkit.study.information` is made of, for Gaussians.

    Returns:
        [held-out pairs] nats of y given x under a linear map with Gaussian noise, which
        is fitted to the other pairs: their L_recon; and H(Y) of y of unit variance.
    """
    n = int(len(x) * held_out)
    design = np.column_stack([x, np.ones(len(x))])
    fitted, *_ = np.linalg.lstsq(design[n:], y[n:], rcond=None)
    spread = (y[n:] - design[n:] @ fitted).var(0)
    errors = (y[:n] - design[:n] @ fitted) ** 2
    nats = 0.5 * (np.log(2 * np.pi * spread) + errors / spread).sum(1)
    return nats, y.shape[1] * 0.5 * math.log(2 * math.pi * math.e)


def chain_features(
    train: Sequence[Problem], test: Sequence[Problem] = ()
) -> tuple[np.ndarray, np.ndarray]:
    """Chains as vectors for the critic: one column for each start, and for each
    operation and number at each step, as 0 or 1.

    Args:
        train: generated problems, which decide the columns.
        test: others; what they alone have is left out.
    """

    def said(problem: Problem) -> dict[str, str]:
        found = {"start": str(problem.made_from["start"])}
        for k, (op, number) in enumerate(problem.made_from["operations"], 1):
            found |= {f"operation {k}": op, f"number {k}": str(number)}
        return found

    columns = DictVectorizer(sparse=False, dtype=np.float32)
    first = columns.fit_transform([said(p) for p in train])
    rest = columns.transform([said(p) for p in test]) if test else first[:0]
    return first, rest
