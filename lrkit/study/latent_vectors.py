"""The latents of any method, through one door: what probes, maps and patches look at.

`latents_of_any` takes a solver and questions. What it gives depends on the method: the
vectors in the slots (CODI, COCONUT, LRT, ...), the thinker's guidance before its
projection (Latent-Guided Reasoning), thoughts of unlike lengths (Latent-SFT). Another
kind of solver registers itself with `@latents_of_any.register`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import singledispatch

import numpy as np
import pandas as pd
import torch
from transformers import PreTrainedTokenizerBase

from lrkit.data.problems import Problem
from lrkit.latent.chain_rows import ChainRows
from lrkit.latent.latent_sft_solver import SuperpositionSolver
from lrkit.latent.layout import SlotRow, collate
from lrkit.latent.lgr import ThinkerModel
from lrkit.latent.lgr_guidance import think
from lrkit.latent.lgr_solver import LgrSolver
from lrkit.latent.slots import SLOT, SlotModel
from lrkit.latent.solvers import SlotSolver
from lrkit.study.latent_controls import latents_of

Words = tuple[SlotModel, PreTrainedTokenizerBase]


@dataclass(frozen=True)
class Latents:
    """Latents of some questions.

    Attributes:
        vectors: [questions, slots, width], what a probe is given; 0 where a question
            has fewer.
        mask: [questions, slots], true where there is a latent.
        written: [questions, slots, width], what stands in the slots of the model that
            answers; None: nothing is written.
        states: [questions, slots, width], hidden states behind the last norm that the
            latents are, or were made from; None: there are none.
        writer: the model that `written` is read by, and its tokenizer.
        reader: the one whose output layer reads `states`, and its tokenizer.
    """

    vectors: np.ndarray
    mask: np.ndarray
    written: torch.Tensor | None = None
    states: torch.Tensor | None = None
    writer: Words | None = None
    reader: Words | None = None

    def __len__(self) -> int:
        return len(self.vectors)

    def mean(self) -> np.ndarray:
        """[questions, width]: the mean of a question's latents; zeros for none."""
        n = self.mask.sum(1, keepdims=True).clip(min=1)
        return (self.vectors * self.mask[..., None]).sum(1) / n

    def joined(self) -> np.ndarray:
        """[questions, slots * width]: one behind the other."""
        return (self.vectors * self.mask[..., None]).reshape(len(self), -1)

    def slot(self, k: int) -> np.ndarray:
        """[questions, width]: the latents of one slot, from 0; zeros for none."""
        return self.vectors[:, k] * self.mask[:, k, None]


def _whole(vectors: torch.Tensor, **parts) -> Latents:
    """Latents of questions that all have as many."""
    values = vectors.float().cpu().numpy()
    return Latents(values, np.ones(values.shape[:2], bool), **parts)


@singledispatch
def latents_of_any(solver, questions: Sequence[str]) -> Latents:
    """The latents of questions.

    Raises:
        TypeError: for a solver that nobody has registered.
        ValueError: for a method without latents.
    """
    raise TypeError(
        f"nothing is known of the latents of a {type(solver).__name__}: register it "
        "with lrkit.study.latent_vectors.latents_of_any."
    )


@latents_of_any.register
def _(solver: SlotSolver, questions: Sequence[str]) -> Latents:
    words = (solver.model, solver.rows.tokenizer)
    if isinstance(solver.model, ThinkerModel):  # its thoughts are read, never written
        states = think(solver.model, solver.rows, questions, solver.batch_size)
        return _whole(states, states=states, reader=words)
    if not solver.n_latents:
        raise ValueError("the method has no latents to look at.")
    written, states = latents_of(solver, questions)
    reader = None if states is None else words
    return _whole(written, written=written, states=states, writer=words, reader=reader)


@latents_of_any.register
def _(solver: LgrSolver, questions: Sequence[str]) -> Latents:
    states = solver.guidance(questions)
    return _whole(
        states,
        states=states,
        written=solver.written(questions),
        writer=(solver.model, solver.rows.tokenizer),
        reader=(solver.thinker, solver.thinker_rows.tokenizer),
    )


@latents_of_any.register
def _(solver: SuperpositionSolver, questions: Sequence[str]) -> Latents:
    parts = []
    for k in range(0, len(questions), solver.batch_size):
        asked = [solver.asked(q) for q in questions[k : k + solver.batch_size]]
        thoughts = solver.thoughts(asked)
        parts += [
            (thoughts.written[i, :n].float().cpu(), thoughts.read[i, :n].float().cpu())
            for i, n in enumerate(thoughts.n_latents)
        ]
    written, states = (
        torch.nn.utils.rnn.pad_sequence(list(part), batch_first=True)
        for part in zip(*parts, strict=True)
    )
    lengths = np.array([len(own) for own, _ in parts])
    mask = np.arange(written.shape[1]) < lengths[:, None]
    words = (solver.model, solver.rows.tokenizer)
    return Latents(written.numpy(), mask, written, states, words, words)


@torch.inference_mode()
def question_states(
    model: SlotModel, rows: ChainRows, questions: Sequence[str], batch_size: int = 128
) -> Latents:
    """One vector a question: its own last hidden state, before any latent.

    What a probe finds here, the latents need not have worked out.

    Args:
        model: it is put into evaluation mode.
        rows: of the model.
        questions: texts.
        batch_size: questions per pass.
    """
    model.eval()
    found = []
    for k in range(0, len(questions), batch_size):
        made = [SlotRow(rows.question(q)) for q in questions[k : k + batch_size]]
        batch = collate(made, model.id_of(SLOT), rows.tokenizer.pad_token_id)
        out = SlotModel.forward(
            model,
            batch["input_ids"].to(model.device),
            batch["attention_mask"].to(model.device),
            output_hidden_states=True,
            logits_to_keep=1,
            use_cache=False,
        )
        found.append(out.hidden_states[-1][:, -1:].float().cpu())
    states = torch.cat(found)
    return _whole(states, states=states, reader=(model, rows.tokenizer))


def question_labels(problems: Sequence[Problem]) -> pd.DataFrame:
    """What generated problems are known to be: a row for each, all of it text.

    Returns:
        `n_steps`; `strategy`, the kind of story (word problems), else which operations
        occur; `operators`, which occur, in a fixed order; `first` and `last` operation;
        `start` number; `answer`; and `surface`, start and first operation, a surface
        type for control tasks.
    """
    table = []
    for problem in problems:
        made = problem.made_from
        done = [op for op, _ in made["operations"]]
        occur = "".join(sorted(set(done)))
        table.append(
            {
                "n_steps": str(problem.n_steps),
                "strategy": made.get("kind", occur),
                "operators": occur,
                "first": done[0],
                "last": done[-1],
                "start": str(made["start"]),
                "answer": problem.answer,
                "surface": f"{made['start']}{done[0]}",
            }
        )
    return pd.DataFrame(table)
