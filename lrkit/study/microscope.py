"""The latent microscope: one question, its slots, the words nearest to them, and what
becomes of the answer when one of them is patched.

    print(microscope(solver, question))
    print(microscope(solver, question, other=question_2, slot=1))

It takes a trained solver of any method whose latents `lrkit.study.latent_vectors`
knows. What is near is a description: only the patch shows what is used.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from lrkit.latent.solvers import Solution, Solver
from lrkit.study.latent_controls import nearest_words
from lrkit.study.latent_vectors import Latents, Words, latents_of_any
from lrkit.study.patching import patched, written_of


@dataclass(frozen=True)
class Look:
    """What the microscope shows.

    Attributes:
        question: that was asked.
        slots: a row for each latent: `slot`; `length`, of the vector; `says`, the words
            that the output layer reads in its state, likeliest first, with their
            probabilities; `near`, the tokens whose embeddings point most nearly the way
            of what is written, with their cosines. "" where there is no state, or
            nothing is written.
        before: the solution as it is.
        after: the solution with the patch; None: there is none.
        patch: what was patched, in words.
    """

    question: str
    slots: pd.DataFrame
    before: Solution
    after: Solution | None = None
    patch: str = ""

    def __str__(self) -> str:
        lines = [self.question, "", self.slots.to_string(index=False), ""]
        lines.append(f"answer: {self.before.answer or '(none)'}")
        if self.after is not None:
            lines.append(f"with {self.patch}: {self.after.answer or '(none)'}")
        return "\n".join(lines)


def microscope(
    solver: Solver,
    question: str,
    other: str | None = None,
    slot: int | None = None,
    later: str = "recomputed",
    top: int = 3,
) -> Look:
    """Look at the latents of a question, and patch one of them.

    Args:
        solver: trained.
        question: that is asked.
        other: the question that a latent is taken from; None: nothing is patched.
        slot: number of the latent, from 0; None: all of them.
        later: see `lrkit.study.patching`.
        top: words for each latent.

    Raises:
        TypeError: for a solver whose latents nobody has registered.
        ValueError: for a method without latents, or a slot that there is not.
    """
    latents = latents_of_any(solver, [question])
    look = Look(question, slot_table(latents, top), solver.solve([question])[0])
    if other is None:
        return look
    vectors = written_of(solver, [other])
    which = range(vectors.shape[1]) if slot is None else [slot]
    (after,) = patched(solver, [question], vectors[:, list(which)], which, later)
    said = "all latents" if slot is None else f"latent {slot}"
    words = f"{said} of the other question, later ones {later}"
    return Look(question, look.slots, look.before, after, words)


def slot_table(latents: Latents, top: int = 3) -> pd.DataFrame:
    """The slots of the first question, see `Look.slots`."""
    n = int(latents.mask[0].sum())
    says, near = [""] * n, [""] * n
    if latents.states is not None:
        says = _said(latents.states[0, :n], latents.reader, top)
    if latents.written is not None:
        near = _near(latents.written[0, :n], latents.writer, top)
    lengths = np.linalg.norm(latents.vectors[0, :n], axis=-1)
    return pd.DataFrame(
        {"slot": range(n), "length": lengths, "says": says, "near": near}
    )


def _said(states: torch.Tensor, reader: Words, top: int) -> list[str]:
    model, tokenizer = reader
    found = nearest_words(model, states.to(model.device)).topk(top, -1)
    return _listed(found, tokenizer)


def _near(written: torch.Tensor, writer: Words, top: int) -> list[str]:
    model, tokenizer = writer
    table = model.get_input_embeddings().weight.detach().float().cpu()
    unit = torch.nn.functional.normalize
    cosines = unit(written.float(), dim=-1) @ unit(table, dim=-1).T
    return _listed(cosines.topk(top, -1), tokenizer)


def _listed(found, tokenizer) -> list[str]:
    """ "7 0.91, 3 0.05" for each row of a `topk`."""
    return [
        ", ".join(
            f"{tokenizer.decode([i]).strip() or repr(tokenizer.decode([i]))} {v:.2f}"
            for v, i in zip(values.tolist(), ids.tolist(), strict=True)
        )
        for values, ids in zip(found.values, found.indices, strict=True)
    ]
