"""Which token ids count as which label, asked of the tokenizer at hand.

For each label: the token that its answer begins with; every casing, with and without a
leading space or newline, that is a single token; and, where a spelling is longer, its
first token if no other label shares it. Labels that begin with the same token raise. No
list of ids is hard-coded anywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from lrkit.answer.engine import Engine
from lrkit.answer.prompts import encode_inner


class LabelCollision(ValueError):
    """Two labels cannot be told apart by their first token."""


def surface_variants(label: str) -> list[str]:
    """Spellings of a label: its own, lower, Title and UPPER case, each with nothing,
    a space or a newline before it."""
    cases = dict.fromkeys((label, label.lower(), label.capitalize(), label.upper()))
    return [lead + c for c in cases for lead in ("", " ", "\n")]


class LabelIds:
    """Token ids per label, and the probabilities read with them.

    Args:
        tokenizer: any tokenizer of transformers.
        labels: two or more label words.

    Attributes:
        ids: label -> sorted list of token ids, disjoint between labels.
        texts: id -> the token's text, for showing.

    Raises:
        LabelCollision: when labels share the token that would have to decide.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, labels: Sequence[str]):
        labels = [str(label) for label in labels]  # numpy's strings show as such
        if len(labels) < 2 or len(set(labels)) != len(labels):
            raise ValueError(f"need two or more different labels, got {labels!r}.")
        if not all(label.strip() for label in labels):
            raise ValueError(f"a label must be a word, got {labels!r}.")
        self.labels = tuple(labels)
        # Ids that mean a label for certain: how its answer begins as it is trained, and
        # spellings that are one token. Beginnings of longer spellings only may mean it.
        certain = {label: {encode_inner(tokenizer, label)[0]} for label in labels}
        possible: dict[str, set[int]] = {label: set() for label in labels}
        for label in labels:
            for variant in surface_variants(label):
                ids = encode_inner(tokenizer, variant)
                (certain if len(ids) == 1 else possible)[label].add(ids[0])
        for label, other in combinations(sorted(labels), 2):
            if shared := certain[label] & certain[other]:
                self._refuse(tokenizer, label, other, shared)
        self.ids: dict[str, list[int]] = {}
        for label in labels:
            others = set().union(
                *(certain[o] | possible[o] for o in labels if o != label)
            )
            # A bare piece such as " " or "\n" says nothing about a label.
            worded = {i for i in possible[label] if tokenizer.decode([i]).strip()}
            self.ids[label] = sorted(certain[label] | (worded - others))
        self.texts = {
            i: tokenizer.convert_ids_to_tokens(i)
            for ids in self.ids.values()
            for i in ids
        }

    @staticmethod
    def _refuse(tokenizer, label: str, other: str, shared: set[int]) -> None:
        token = tokenizer.convert_ids_to_tokens(min(shared))
        raise LabelCollision(
            f"the labels {label!r} and {other!r} both start with the token {token!r}, "
            "so that one token cannot tell them apart: rename one of them, for example "
            "to a word that starts differently, or score whole labels "
            "(OneTokenClassifier(collisions='whole'), two forward passes a row)."
        )

    def log_mass(self, logits: torch.Tensor) -> torch.Tensor:
        """Log-probability that falls on each label.

        Args:
            logits: [batch, vocabulary] at the answer position.

        Returns:
            [batch, labels] in the order of `labels`, not normalised over labels.
        """
        logprobs = torch.log_softmax(logits.float(), dim=-1)
        return torch.stack(
            [logprobs[:, self.ids[label]].logsumexp(-1) for label in self.labels], dim=1
        )

    def score(
        self, engine: Engine, prompts: Iterable[list[int]], progress: bool = False
    ) -> torch.Tensor:
        """[rows, labels]: `log_mass` after each prompt, one forward pass a row."""
        return engine.score(prompts, self.log_mass, progress)

    def probabilities(self, logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Label probabilities and the *label mass*.

        Returns:
            `(proba, mass)`: [batch, labels], rows summing to 1; and [batch], the
            probability that the model spends on any label at all. A small mass points
            at a prompt or format problem, not at a hard row.
        """
        return normalised(self.log_mass(logits))


def normalised(log_mass: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """`(proba, mass)` of log-probabilities [batch, labels], see `probabilities`."""
    return log_mass.softmax(-1), log_mass.logsumexp(-1).exp()


def label_probabilities(log_mass: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """`normalised` as arrays.

    Raises:
        FloatingPointError: when the model returned NaN.
    """
    proba, mass = (t.numpy() for t in normalised(log_mass))
    if not np.isfinite(proba).all():
        raise FloatingPointError(
            "the model returned NaN for some rows: load it in float32 or bfloat16."
        )
    return proba, mass
