"""Solvers: questions in, answers with what they cost out.

One protocol for every method and every baseline, so that all of them are counted alike:
a latent step costs a pass over one position, as a token does.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from lrkit.latent.chain_rows import CUE, ChainRows
from lrkit.latent.curriculum import paused
from lrkit.latent.layout import SlotRow, collate
from lrkit.latent.slots import SLOT, SlotModel


@dataclass(frozen=True)
class Solution:
    """One answered question.

    Attributes:
        answer: what was answered; "" where no answer was written.
        text: all that was written, cue included where it was not given.
        text_tokens: tokens written, end token included.
        latent_steps: latents, or pauses.
        passes: forward passes one after another.
        positions: positions that the base computed, padding not counted.
        flops: 2 * (block parameters * positions + head parameters * scored positions),
            and those of a network beside the base, see `FrozenSlotModel.flops_beside`.
        seconds: of its batch, over the rows of the batch.
    """

    answer: str
    text: str
    text_tokens: int
    latent_steps: int
    passes: int
    positions: int
    flops: float
    seconds: float


class Solver(Protocol):
    """Whatever answers questions."""

    def solve(self, questions: Sequence[str]) -> list[Solution]:
        """A solution for each question, in their order."""


def parameter_counts(model: SlotModel) -> tuple[int, int]:
    """(parameters of the blocks, of the output layer); tables are looked up, not
    multiplied."""
    head = model.base.get_output_embeddings().weight.numel()
    table = model.base.get_input_embeddings().weight
    tied = table is model.base.get_output_embeddings().weight
    total = sum(p.numel() for p in model.base.parameters())
    return total - head - (0 if tied else table.numel()), head


def _slot_passes(model: SlotModel, n_slots: int) -> tuple[int, int]:
    """(passes over all slots whose cache is thrown away, passes that fill it)."""
    if not n_slots:
        return 0, 0
    if model.config.order == "sequential":
        return 0, n_slots
    return (model.config.rounds if model.config.order == "rounds" else 0), 1


class BatchSolver(ABC):
    """What solvers over a `SlotModel` share: batches, and how a solution is counted.

    Attributes:
        model: trained.
        rows: how its rows are made.
        writes_chain: the model writes what precedes the answer, the cue at least,
            itself; else the cue is given.
        batch_size: questions per batch.
        max_new_tokens: longest answer, all that is written counted.
    """

    model: SlotModel
    rows: ChainRows
    writes_chain: bool
    batch_size: int
    max_new_tokens: int

    @abstractmethod
    def asked(self, question: str) -> SlotRow:
        """What the model is given of a question."""

    @abstractmethod
    def solve_batch(self, asked: list[SlotRow]) -> Iterator[Solution]:
        """Solutions of one batch, in its order."""

    def solve(self, questions: Sequence[str]) -> list[Solution]:
        """A solution for each question, in their order.

        Raises:
            TypeError: for one string in place of a list.
            lrkit.latent.chain_rows.TooLong: for a question beyond the context.
        """
        if isinstance(questions, str):
            raise TypeError(
                "expected a list of questions, got one string: pass [text]."
            )
        asked = [self.asked(q) for q in questions]
        # Rows of one length share a batch: little padding, and the same result.
        order = sorted(range(len(asked)), key=lambda i: len(asked[i]))
        found: dict[int, Solution] = {}
        for k in range(0, len(order), self.batch_size):
            batch = order[k : k + self.batch_size]
            solved = self.solve_batch([asked[i] for i in batch])
            found |= zip(batch, solved, strict=True)
        return [found[i] for i in range(len(asked))]

    def batch_of(self, asked: Sequence[SlotRow]) -> dict[str, torch.Tensor]:
        """`input_ids` and `attention_mask`, each [batch, columns], on the device."""
        batch = collate(asked, self.model.id_of(SLOT), self.rows.tokenizer.pad_token_id)
        del batch["labels"]
        return {name: value.to(self.model.device) for name, value in batch.items()}

    def decode(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """[batch, columns + written] token ids of one batch."""
        return self.generate(inputs, do_sample=False)

    def generate(self, inputs: dict[str, torch.Tensor], **options):
        """What the library's `generate` gives, with the solver's limit and end token.

        Args:
            inputs: of `batch_of`.
            options: further arguments of `generate`.
        """
        tokenizer = self.rows.tokenizer
        return self.model.generate(
            **inputs,
            max_new_tokens=self.max_new_tokens,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            **options,
        )

    def solution(
        self,
        ids: Sequence[int],
        latent_steps: int,
        passes: int,
        positions: int,
        seconds: float,
        beside: float = 0.0,
    ) -> Solution:
        """The solution that was written.

        Args:
            ids: new tokens of a row, padded behind their end token.
            latent_steps: latents, or pauses.
            passes: forward passes up to the one that gives the first new token.
            positions: that these computed.
            seconds: of the row.
            beside: FLOPs of a network beside the base.
        """
        tokenizer = self.rows.tokenizer
        end = tokenizer.eos_token_id
        n = ids.index(end) + 1 if end in ids else len(ids)
        text = tokenizer.decode(ids[:n], skip_special_tokens=True)
        written = text.rpartition(CUE)[2] if self.writes_chain else text
        answered = CUE in text or not self.writes_chain
        positions += n - 1
        blocks, head = parameter_counts(self.model)
        return Solution(
            answer=written.strip() if answered else "",
            text=text,
            text_tokens=n,
            latent_steps=latent_steps,
            passes=passes + n - 1,
            positions=positions,
            flops=2.0 * (blocks * positions + head * n) + beside,
            seconds=seconds,
        )


@dataclass(frozen=True)
class SlotSolver(BatchSolver):
    """A `SlotModel` of any method with a fixed number of slots, decoding greedily.

    Attributes:
        model: trained.
        rows: how its rows are made.
        n_latents: slots of every question; None: a method without `<bot>` and `<eot>`.
        writes_chain: the model writes chain and cue itself; else the cue is given.
        pause: the slots hold the learned constant.
        batch_size: questions per batch.
        max_new_tokens: longest answer, chain included.
    """

    model: SlotModel
    rows: ChainRows
    n_latents: int | None = None
    writes_chain: bool = False
    pause: bool = False
    batch_size: int = 128
    max_new_tokens: int = 96

    def __post_init__(self) -> None:
        if self.n_latents is not None and self.n_latents < 0:
            raise ValueError(f"{self.n_latents} latents cannot be: 0 or more.")

    def asked(self, question: str) -> SlotRow:
        """The question, slots and, unless the model writes it, the cue."""
        row = self.rows.asked(question, self.n_latents, cue=not self.writes_chain)
        return paused(row, self.rows.pause) if self.pause else row

    @torch.inference_mode()
    def solve_batch(self, asked: list[SlotRow]) -> Iterator[Solution]:
        """Solutions of one batch, in its order."""
        began = time.perf_counter()
        model = self.model.eval()
        inputs = self.batch_of(asked)
        new = self.decode(inputs)[:, inputs["input_ids"].shape[1] :].tolist()
        seconds = (time.perf_counter() - began) / len(asked)
        beside = getattr(model, "flops_beside", lambda row: 0.0)
        for row, ids in zip(asked, new, strict=True):
            aside, last = _slot_passes(model, row.n_slots)
            more = beside(row)
            yield self.solution(
                ids,
                latent_steps=self.n_latents or 0,
                # The beginning, a network beside the base, the slots, what follows
                # the slots.
                passes=1 + (more > 0) + aside + last + (row.n_slots > 0),
                positions=len(row) + aside * row.n_slots,
                beside=more,
                seconds=seconds,
            )
