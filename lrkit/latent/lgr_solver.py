"""Two models behind one `Solver`: the thinker reads once, the executor writes.

The thinker's pass over question and thoughts gives the guidance; the executor reads the
question with it and writes chain and answer, a token a pass. Both passes are counted.
The two have tokenizers of their own. A question has the solution that it has alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from lrkit.latent.chain_rows import CUE, ChainRows
from lrkit.latent.layout import SlotRow
from lrkit.latent.lgr import ThinkerModel
from lrkit.latent.lgr_executor import ExecutorModel
from lrkit.latent.lgr_guidance import Guidance, key_of, think, thinker_digest
from lrkit.latent.lgr_rows import ThinkerRows
from lrkit.latent.slots import SlotModel
from lrkit.latent.solvers import BatchSolver, SlotSolver, Solution, parameter_counts

Change = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class GuidedRow(SlotRow):
    """What the executor is given, and the question that the thinker reads.

    Attributes:
        question: text.
    """

    question: str = ""


@dataclass(frozen=True)
class LgrSolver(BatchSolver):
    """Thinker and executor.

    Attributes:
        thinker: trained.
        thinker_rows: how its rows are made.
        model: the executor, trained on this thinker's guidance.
        rows: how the executor's rows are made.
        stored: guidance that is read in place of the thinker's own; None: the thinker
            is asked. What a solution costs is the same.
        change: what is done to the thinker's vectors [questions, K, d_T], not to stored
            ones, where the executor was trained on changed ones; None: nothing. A
            change of each question by itself, so that none depends on its batch.
        batch_size: questions per batch.
        max_new_tokens: longest chain and answer.

    Raises:
        ValueError: for a thinker that the executor was not trained with, or guidance
            of another one.
    """

    thinker: ThinkerModel
    thinker_rows: ThinkerRows
    model: ExecutorModel
    rows: ChainRows
    stored: Guidance | None = None
    change: Change | None = None
    batch_size: int = 128
    max_new_tokens: int = 96

    writes_chain = True  # no field: an executor without a chain is no executor

    def __post_init__(self) -> None:
        digest = thinker_digest(self.thinker, self.thinker_rows)
        known = self.model.config.thinker
        if known and known != digest:
            raise ValueError(
                f"the executor learned the guidance of thinker {known}, not of "
                f"{digest}: give it that thinker, or train it again."
            )
        if self.stored is not None:
            self.stored.check(digest)

    @property
    def n_latents(self) -> int:
        """K."""
        return self.model.config.n_latents

    def asked(self, question: str) -> GuidedRow:
        """Question and slots, for the executor; the question again, for the thinker."""
        shown = self.model.config.shown(question)
        row = self.rows.asked(shown, self.n_latents, cue=False)
        return GuidedRow(**vars(row), question=question)

    def guidance(self, questions: Sequence[str]) -> torch.Tensor:
        """H: [questions, K, d_T], stored or thought now."""
        if self.stored is not None:
            return torch.stack([self.stored.of(q) for q in questions])
        vectors = think(self.thinker, self.thinker_rows, questions, self.batch_size)
        return vectors if self.change is None else self.change(vectors)

    @torch.no_grad()
    def written(self, questions: Sequence[str]) -> torch.Tensor:
        """H': [questions, K, d_S], what stands in the executor's slots."""
        guidance = self.guidance(questions).to(self.model.device)
        return self.model.eval().projector(guidance).float().cpu()

    @torch.inference_mode()
    def solve_batch(self, asked: list[GuidedRow]) -> Iterator[Solution]:
        """Solutions of one batch, in its order."""
        began = time.perf_counter()
        self.model.eval()
        inputs = self.batch_of(asked)
        # Not as guidance: `generate` would have it projected again for every token.
        written = self.written([row.question for row in asked])
        inputs |= {"latents": written.to(self.model.device)}
        n_given = inputs["input_ids"].shape[1]
        new = self.decode(inputs)[:, n_given:].tolist()
        seconds = (time.perf_counter() - began) / len(asked)
        blocks, head = parameter_counts(self.thinker)
        for row, ids in zip(asked, new, strict=True):
            columns = len(self.thinker_rows.thinking(row.question))
            alone = self.solution(
                ids,
                latent_steps=row.n_slots,
                # The thinker's; then question, slots and what follows them.
                passes=1 + 3,
                positions=len(row),
                beside=2.0 * (blocks * columns + head),
                seconds=seconds,
            )
            yield replace(alone, positions=alone.positions + columns)


def with_guidance(
    solver: LgrSolver, questions: Sequence[str], vectors: torch.Tensor
) -> LgrSolver:
    """The same solver with other vectors for some questions, and for no others.

    Args:
        solver: trained.
        questions: texts, each once.
        vectors: [questions, K, d_T].

    Raises:
        ValueError: for vectors that do not fit.
    """
    wanted = (len(questions), solver.n_latents, solver.model.config.thinker_width)
    if tuple(vectors.shape) != wanted:
        raise ValueError(
            f"vectors must be of shape {list(wanted)}, got {list(vectors.shape)}."
        )
    places = {key_of(question): i for i, question in enumerate(questions)}
    digest = thinker_digest(solver.thinker, solver.thinker_rows)
    return replace(solver, stored=Guidance(places, vectors, digest))


@dataclass(frozen=True)
class GivenChainSolver(BatchSolver):
    """The ceiling: the large model writes its own chain, the small one reads it behind
    the question and answers.

    The chain goes from one to the other as text, so that tokenizers may differ.

    Attributes:
        writer: the large model, of a method that writes its chain.
        model: the small one, of a method that writes chains itself: it has learned to
            answer behind them.
        rows: of the small one.
        batch_size: questions per batch.
        max_new_tokens: longest answer.

    Raises:
        ValueError: for a writer that writes no chain.
    """

    writer: SlotSolver
    model: SlotModel
    rows: ChainRows
    batch_size: int = 128
    max_new_tokens: int = 32

    writes_chain = False  # no field: chain and cue are given

    def __post_init__(self) -> None:
        if not self.writer.writes_chain:
            raise ValueError("the large model of a given chain must write its chain.")

    def asked(self, question: str) -> GuidedRow:
        """The question alone: its chain is not written yet."""
        return GuidedRow(**vars(self.rows.asked(question, None)), question=question)

    @torch.inference_mode()
    def solve_batch(self, asked: list[GuidedRow]) -> Iterator[Solution]:
        """Solutions of one batch, in its order; what the large model wrote is counted
        as written, and its passes, positions and FLOPs are added."""
        began = time.perf_counter()
        self.model.eval()
        theirs = self.writer.solve([row.question for row in asked])
        given = [
            self._behind(row, said) for row, said in zip(asked, theirs, strict=True)
        ]
        inputs = self.batch_of(given)
        n_given = inputs["input_ids"].shape[1]
        new = self.decode(inputs)[:, n_given:].tolist()
        seconds = (time.perf_counter() - began) / len(asked)
        for row, said, ids in zip(given, theirs, new, strict=True):
            own = self.solution(
                ids, latent_steps=0, passes=1, positions=len(row), seconds=seconds,
                beside=said.flops,
            )  # fmt: skip
            yield replace(
                own,
                text=said.text.partition(CUE)[0] + own.text,
                text_tokens=own.text_tokens + said.text_tokens,
                passes=own.passes + said.passes,
                positions=own.positions + said.positions,
            )

    def _behind(self, row: GuidedRow, said: Solution) -> SlotRow:
        """Question, the chain that was written, cue; the chain is cut where the context
        ends."""
        chain = self.rows.encode(said.text.partition(CUE)[0])
        room = self.rows.context - len(row)
        return SlotRow([*row.before, *chain[: max(room, 0)]], 0, row.rest)
