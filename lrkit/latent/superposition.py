"""Superpositions: a vector that is a mixture of the vocabulary's embeddings.

    alpha = softmax(top_k(logits) / T)        z = sum_v alpha_v e_v

(Latent-SFT, arXiv 2510.15522.) The logits come from a model's own output layer, or
from hidden states and any other table: where input and output tables are tied the two
are the same, elsewhere they are not, so nothing here chooses between them. The rows
that are mixed are detached; gradient flows through the weights alone.

Every z lies in the convex hull of the embeddings, so a model can be given it in place
of a token without ever having seen one. The paper writes the whole vocabulary (k = 0
here), its code the 10 likeliest tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

Layer = Callable[[torch.Tensor], torch.Tensor]
# Where Gumbel noise is cut: a draw from far out would decide a mixture by itself.
NOISE_RANGE = (-1.5, 3.0)


@dataclass(frozen=True)
class Mixture:
    """Weights of a few tokens; one mixture for each leading index.

    Attributes:
        weights: [..., k], from 0, with the sum 1.
        ids: [..., k], which tokens.
    """

    weights: torch.Tensor
    ids: torch.Tensor

    def embed(self, table: Layer) -> torch.Tensor:
        """[..., width] in float32: the weighted sum of embeddings.

        Args:
            table: looks ids up, such as `model.get_input_embeddings()`; no gradient
                flows to it.
        """
        rows = table(self.ids).detach().float()
        return torch.einsum("...k,...kw->...w", self.weights.float(), rows)

    def dense(self, vocabulary: int) -> torch.Tensor:
        """[..., vocabulary]: the same weights, 0 for all other tokens."""
        empty = self.weights.new_zeros(*self.ids.shape[:-1], vocabulary)
        return empty.scatter_add(-1, self.ids, self.weights)

    def noised(
        self,
        scale: float,
        temperature: float,
        generator: torch.Generator | None = None,
    ) -> Mixture:
        """softmax((log alpha + scale * g) / temperature), g Gumbel noise within
        `NOISE_RANGE`; a weight of 0 stays 0.

        Args:
            scale: of the noise; 0 and a temperature of 1 change nothing.
            temperature: above 1 towards even weights, below 1 towards a single token.
            generator: source of randomness; None: torch's own.

        Raises:
            ValueError: for a negative scale, or a temperature that is not above 0.
        """
        if scale < 0 or temperature <= 0:
            raise ValueError(
                f"noise needs a scale of 0 or more and a temperature above 0, not "
                f"{scale} and {temperature}."
            )
        uniform = torch.empty_like(self.weights).uniform_(generator=generator)
        tiny = torch.finfo(uniform.dtype).tiny
        gumbel = -(-uniform.clamp(min=tiny).log()).clamp(min=tiny).log()
        noise = scale * gumbel.clamp(*NOISE_RANGE)
        logits = (self.weights.log() + noise) / temperature
        return Mixture(logits.softmax(-1), self.ids)


def one_hot(ids: torch.Tensor) -> Mixture:
    """Mixtures of one token each, ids [...]: what they embed to is its embedding."""
    return Mixture(torch.ones_like(ids, dtype=torch.float)[..., None], ids[..., None])


def mixture(
    logits: torch.Tensor, k: int, temperature: float, excluded: int | None = None
) -> Mixture:
    """The k likeliest tokens, with a softmax among them.

    Args:
        logits: [..., vocabulary].
        k: how many tokens count; 0, or more than there are: the whole vocabulary.
        temperature: T, above 0.
        excluded: id of a token that is never mixed in, such as the one that ends a
            thought: to mix it in would say that the thought ends here and goes on.

    Raises:
        ValueError: for a negative k, or a temperature that is not above 0.
    """
    check(k, temperature)
    logits = logits.float() / temperature
    n = logits.shape[-1]
    if excluded is not None:
        n -= 1
        never = torch.arange(n + 1, device=logits.device) == excluded
        logits = logits.masked_fill(never, -torch.inf)
    top, ids = logits.topk(min(k or n, n), dim=-1)
    return Mixture(top.softmax(-1), ids)


def mixture_of_states(
    states: torch.Tensor,
    head: Layer,
    k: int,
    temperature: float,
    excluded: int | None = None,
) -> Mixture:
    """`mixture` of the logits that a layer gives for hidden states.

    Args:
        states: [..., width], behind the last norm.
        head: gives logits, such as `model.get_output_embeddings()`, or
            `scores_by(table)` for a table of embeddings.
        k, temperature, excluded: see `mixture`.
    """
    return mixture(head(states), k, temperature, excluded)


def scores_by(table: torch.Tensor) -> Layer:
    """h E^T: a layer of logits made of a table of embeddings [vocabulary, width]; no
    gradient flows to the table."""
    return lambda states: states @ table.detach().to(states.dtype).T


def check(k: int, temperature: float) -> None:
    """Whether mixtures of this kind can be.

    Raises:
        ValueError: for a negative k, or a temperature that is not above 0.
    """
    if k < 0 or temperature <= 0:
        raise ValueError(
            f"k must be 0 or more and the temperature above 0, not {k} and "
            f"{temperature}."
        )
