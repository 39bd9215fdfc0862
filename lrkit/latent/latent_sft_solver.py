"""Thinking in latents until the model says the end of thinking; then the answer.

At every position the model predicts its next token. While that is not the end of
thinking, the next input is no token but a latent: what the model's map makes of its
state, a mixture of the vocabulary (Latent-SFT, arXiv 2510.15522). Rows stop one by one
and leave the batch; a row thinks and answers as it does alone. A thought of no latents
is a thought, too.

*Soft Thinking* (arXiv 2505.15778) is the same without any training: a model that has
learned to write chains is given mixtures in their place, and may be stopped when it has
been sure of itself for some steps (`ColdStop`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import DynamicCache

from lrkit.kv_cache import RowsCache
from lrkit.latent.chain_rows import ChainRows
from lrkit.latent.latent_sft_rows import ThoughtRows
from lrkit.latent.layout import SlotRow
from lrkit.latent.passes import Passes
from lrkit.latent.slot_config import SLOT
from lrkit.latent.slots import SlotModel
from lrkit.latent.solvers import SlotSolver
from lrkit.latent.thinking import ThinkingSolver, Thoughts


@dataclass(frozen=True)
class ColdStop:
    """Soft Thinking's early end: the thought goes nowhere any more.

    Attributes:
        entropy: in nats; a prediction below it is sure.
        steps: sure predictions in succession that end a thought.
    """

    entropy: float
    steps: int

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(
                f"a thought ends after 1 sure step or more, not {self.steps}."
            )


@dataclass(frozen=True)
class WrittenThoughts(Thoughts):
    """Thoughts, and what they are made of.

    Attributes:
        written: [batch, longest thought, width], the latents; 0 behind a row's end.
        read: the same of the states that they were made from; None where they were
            given.
    """

    written: torch.Tensor
    read: torch.Tensor | None = None


@torch.no_grad()
def think(
    model: SlotModel,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    end: int,
    n_max: int,
    cold_stop: ColdStop | None = None,
) -> WrittenThoughts:
    """Let each row think until it says the end.

    A change of what is written (`SlotModel.writing`) is given the rows that still
    think, and no others.

    Args:
        model: in evaluation mode; its map makes latents of states.
        input_ids: [batch, columns], padded on the left.
        attention_mask: the same.
        end: id that ends a thought where it is the likeliest.
        n_max: latents at which a thought ends in any case.
        cold_stop: another way to end; None: there is none.

    Raises:
        ValueError: for a negative limit, or a base with a sliding window.
    """
    if n_max < 0:
        raise ValueError(f"a thought has 0 latents or more, not up to {n_max}.")
    rows = torch.arange(len(input_ids), device=input_ids.device)  # that still think
    begin, mask = DynamicCache(config=model.base.config), attention_mask
    state, logits = _pass(model, model.embed(input_ids), mask, begin)
    cache = RowsCache(begin, n_max)
    n_latents, sure = torch.zeros_like(rows), torch.zeros_like(rows)
    read, written = [], []
    for step in range(n_max + 1):
        stops = (logits.argmax(-1) == end) | (step == n_max)
        if cold_stop is not None:
            entropy = torch.special.entr(logits.float().softmax(-1)).sum(-1)
            sure[rows] = torch.where(entropy < cold_stop.entropy, sure[rows] + 1, 0)
            stops |= sure[rows] >= cold_stop.steps
        n_latents[rows[stops]] = step
        if stops.all():
            break
        if stops.any():
            go_on = (~stops).nonzero()[:, 0]
            rows, mask, state = rows[go_on], mask[go_on], state[go_on]
            cache.only(rows)
        vector = model.latent(state, step)
        for kept, part in ((read, state), (written, vector[:, 0])):
            every = part.new_zeros(len(input_ids), part.shape[-1])
            kept.append(every.index_copy(0, rows, part))
        mask = torch.cat([mask, torch.ones_like(mask[:, :1])], 1)
        state, logits = _pass(model, vector, mask, cache)
    thought = torch.arange(step, device=rows.device) < n_latents[:, None]
    nothing = state.new_zeros(len(input_ids), 0, state.shape[-1])
    return WrittenThoughts(
        cache.whole(),
        torch.cat([attention_mask, thought.to(attention_mask)], 1),
        n_latents.tolist(),
        torch.stack(written, 1) if written else nothing,
        torch.stack(read, 1) if read else nothing,
    )


@torch.no_grad()
def given_thoughts(
    model: SlotModel,
    input_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    latents: Sequence[torch.Tensor],
) -> WrittenThoughts:
    """Thoughts that are already there: question and latents in one pass.

    Args:
        model: in evaluation mode.
        input_ids: [batch, columns], padded on the left.
        attention_mask: the same.
        latents: for each row [its latents, width].
    """
    n_latents = [len(own) for own in latents]
    written = torch.nn.utils.rnn.pad_sequence(list(latents), batch_first=True)
    behind = [own.new_ones(n) for own, n in zip(latents, n_latents, strict=True)]
    thought = torch.nn.utils.rnn.pad_sequence(behind, batch_first=True)
    mask = torch.cat([attention_mask, thought.to(attention_mask)], 1)
    vectors, cache = model.embed(input_ids), DynamicCache(config=model.base.config)
    _pass(model, torch.cat([vectors, written.to(vectors)], 1), mask, cache)
    return WrittenThoughts(cache, mask, n_latents, written)


def _pass(
    model: SlotModel, vectors: torch.Tensor, mask: torch.Tensor, cache: DynamicCache
) -> tuple[torch.Tensor, torch.Tensor]:
    """State [batch, width] and logits [batch, vocabulary] at the last of some further
    columns, which grow the cache."""
    n = vectors.shape[1]
    positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -n:]
    run = Passes(model.base, mask, positions, cache, False, n - 1, mask.shape[1] - n)
    return run.forward(vectors)[:, -1], run.logits[-1][:, -1]


@dataclass(frozen=True)
class SuperpositionSolver(ThinkingSolver):
    """A model that thinks in latents until it says the end, and answers greedily.

    Attributes:
        model: a trained `LatentSFTStudent`, or for Soft Thinking any `SlotModel` of the
            order "sequential" that can write chains.
        thought: how its rows are made, and what ends a thought.
        n_max: latents at which a thought ends in any case.
        cold_stop: see `ColdStop`.
        batch_size: questions per batch.
        max_new_tokens: longest answer.
    """

    model: SlotModel
    thought: ThoughtRows
    n_max: int
    cold_stop: ColdStop | None = None
    batch_size: int = 128
    max_new_tokens: int = 96

    writes_chain = False  # no field: the cue is always given

    @property
    def rows(self) -> ChainRows:
        """How rows are made."""
        return self.thought.rows

    @property
    def piece(self) -> int:
        """Tokens that a latent stands for, see `ThoughtRows`."""
        return self.thought.piece

    @property
    def think(self) -> tuple[int, ...]:
        """What stands behind the question, see `ThoughtRows`."""
        return self.thought.think

    def asked(self, question: str) -> SlotRow:
        """The question; behind the thought come its end and the cue."""
        return self.thought.asked(question)

    def thoughts(self, asked: Sequence[SlotRow]) -> WrittenThoughts:
        """What the model thinks about some questions."""
        begun = self.batch_of([SlotRow(row.before) for row in asked])
        model, end = self.model.eval(), self.thought.end
        return think(
            model, **begun, end=end, n_max=self.n_max, cold_stop=self.cold_stop
        )


def soft_thinking(
    solver: SlotSolver,
    k: int,
    temperature: float,
    n_max: int,
    cold_stop: ColdStop | None = None,
) -> SuperpositionSolver:
    """Soft Thinking with a model that writes chains: the same weights, mixtures in
    place of the tokens of a chain. With k = 1 it is greedy decoding.

    Args:
        solver: of a method that writes its chain, such as CoT.
        k, temperature: of a mixture.
        n_max: tokens at which a chain ends in any case.
        cold_stop: see `ColdStop`.

    Raises:
        ValueError: for a method that writes no chain: it has nothing to soften.
    """
    if not solver.writes_chain:
        raise ValueError("Soft Thinking needs a method that writes its chain.")
    spec = {"kind": "superposition", "k": k, "temperature": temperature}
    model = SlotModel.wrap(solver.model.base, specials=[SLOT], map=spec)
    thought = ThoughtRows.of(solver.rows.tokenizer, 1, solver.rows.context)
    return SuperpositionSolver(
        model, thought, n_max, cold_stop, solver.batch_size, solver.max_new_tokens
    )
