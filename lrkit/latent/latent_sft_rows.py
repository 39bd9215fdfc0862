"""Rows of Latent-SFT (arXiv 2510.15522): where latents stand among text, and instead.

A chain is cut into pieces, and a latent stands for each:

    encoder   question s1 s2 L1 s3 s4 L2 s5 L3
    decoder   question L1 s3 s4 L2 s5 L3 end cue answer
    student   question L1 L2 L3 end cue answer

The decoder's row lacks the first piece, which L1 is made of, and says each other one
behind the latent before it. The end of thinking is one token of the vocabulary, so that
a model can predict it: here the line break that ends a written chain, too. So a base
that was trained on chains reads these rows as rows that it knows.

The encoder's row has no end of thinking: nothing would read it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from transformers import PreTrainedTokenizerBase

from lrkit.data.problems import Question
from lrkit.latent.chain_rows import ChainRows, TooLong
from lrkit.latent.layout import IGNORED, SlotRow

END = "\n"


@dataclass(frozen=True)
class ThoughtRow:
    """A problem with its chain in pieces.

    Attributes:
        question: token ids up to the first piece.
        pieces: token ids of the pieces; none for a problem without steps.
        rest: end of thinking, cue, answer and end token; all of it carries loss.
        think: token ids behind the question where latents come next; the encoder reads
            the chain as it is written, without them.
    """

    question: Sequence[int]
    pieces: Sequence[Sequence[int]]
    rest: Sequence[int]
    think: Sequence[int] = ()


@dataclass(frozen=True)
class ThoughtRows:
    """Makes rows of problems.

    Attributes:
        rows: makes questions, cues and answers. Its `eot` is the end of thinking; of
            its `bot` and `pause` there are none in these rows.
        piece: r, tokens of the chain that a latent stands for; the last piece may be
            shorter. 0: a latent for each step, however long.
        think: ids behind the question that say that a thought in latents begins.
    """

    rows: ChainRows
    piece: int
    think: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.piece < 0:
            raise ValueError(
                f"a latent stands for 1 or more tokens, or for a step (0), not for "
                f"{self.piece}."
            )

    @classmethod
    def of(
        cls,
        tokenizer: PreTrainedTokenizerBase,
        piece: int,
        context: int = 512,
        think: str = "",
    ) -> Self:
        """For any tokenizer to which the end of thinking is one token.

        Raises:
            ValueError: where it is several: the first of them would be mistaken for
                the whole.
        """
        ids = tokenizer(END, add_special_tokens=False)["input_ids"]
        # SentencePiece puts a blank of its own before a text.
        ids = ids[-1:] if tokenizer.decode(ids) == tokenizer.decode(ids[-1:]) else ids
        if len(ids) != 1:
            raise ValueError(
                f"the end of thinking, {END!r}, must be one token, and to this "
                f"tokenizer it is {len(ids)}."
            )
        rows = ChainRows(tokenizer, ids[0], ids[0], ids[0], context)
        return cls(rows, piece, tuple(rows.encode(think)))

    @property
    def end(self) -> int:
        """The id that ends a thought."""
        return self.rows.eot

    def pieces(self, steps: Sequence[str]) -> list[list[int]]:
        """The chain's token ids, cut: together those of the steps with blanks between.

        Args:
            steps: as written.
        """
        texts = [f"{' ' if k else ''}{step}" for k, step in enumerate(steps)]
        tokens = [self.rows.encode(text) for text in texts]
        if not self.piece:
            return tokens
        chain = [token for step in tokens for token in step]
        return [chain[k : k + self.piece] for k in range(0, len(chain), self.piece)]

    def row(self, problem: Question) -> ThoughtRow:
        """For encoder and decoder.

        Raises:
            lrkit.latent.chain_rows.TooLong: for a row beyond the context.
        """
        question = self.rows.question(problem.question)
        pieces = self.pieces(problem.steps)
        rest = [self.end, *self.rows.answer(problem.answer).ids]
        length = len(question) + sum(map(len, pieces)) + len(pieces) + len(rest)
        length += len(self.think)
        if length > self.rows.context:
            raise TooLong(
                f"a row of {length} tokens does not fit into {self.rows.context}: "
                f"question, chain and answer, and {len(pieces)} latents."
            )
        return ThoughtRow(question, pieces, rest, self.think)

    def student(self, problem: Question) -> SlotRow:
        """The same with latents alone; end, cue and answer carry loss."""
        row = self.row(problem)
        before = [*row.question, *row.think]
        return SlotRow(before, len(row.pieces), row.rest, len(row.rest))

    def asked(self, question: str) -> SlotRow:
        """What a solver begins with, and what it goes on with behind the thought."""
        before = [*self.rows.question(question), *self.think]
        return SlotRow(before, 0, [self.end, *self.rows.cue()])


def encoder_columns(row: ThoughtRow, latent: int) -> list[int]:
    """Token ids of the encoder's row, with an id for latents."""
    ids = list(row.question)
    for piece in row.pieces:
        ids += [*piece, latent]
    return ids


def decoder_columns(row: ThoughtRow, latent: int) -> tuple[list[int], list[int]]:
    """(token ids, labels) of the decoder's row; questions and latents have no label."""
    ids = [*row.question, *row.think]
    labels = [IGNORED] * len(ids)
    said = [*row.pieces[1:], row.rest] if row.pieces else [row.rest]
    for text in said:
        if row.pieces:
            ids.append(latent)
            labels.append(IGNORED)
        ids += text
        labels += text
    return ids, labels


@dataclass(frozen=True)
class ThoughtCollator:
    """Batches of `ThoughtRow` for `transformers.Trainer`, padded on the right.

    Attributes:
        latent_id: placeholder of a latent.
        pad_id: masked, its value does not matter.
    """

    latent_id: int
    pad_id: int = 0

    def __call__(self, batch: Sequence[ThoughtRow]) -> dict[str, torch.Tensor]:
        """`encoder_ids`, `encoder_mask`, `decoder_ids`, `decoder_mask`, `labels`, each
        [batch, columns] of encoder or decoder."""
        encoder = [encoder_columns(row, self.latent_id) for row in batch]
        decoder, labels = zip(
            *(decoder_columns(row, self.latent_id) for row in batch), strict=True
        )
        return {
            "encoder_ids": _padded(encoder, self.pad_id),
            "encoder_mask": _padded([[1] * len(ids) for ids in encoder], 0),
            "decoder_ids": _padded(decoder, self.pad_id),
            "decoder_mask": _padded([[1] * len(ids) for ids in decoder], 0),
            "labels": _padded(labels, IGNORED),
        }


def _padded(rows: Sequence[Sequence[int]], fill: int) -> torch.Tensor:
    """[batch, columns]."""
    width = max(map(len, rows))
    return torch.tensor([[*row, *[fill] * (width - len(row))] for row in rows])
