"""Causal patching: a latent of one question is put into another's slot.

A probe says what is in a latent; a patch says what the model does with it. If slot k
holds the result of a step, then with the *donor*'s latent there the *recipient* should
go on from the donor's result: an answer that neither question has by itself
(`swapped_answer`). Later latents are made from earlier ones where slots are filled one
after another, so it must be said what becomes of them:

* "recomputed": they are made anew behind the patch;
* "kept": they stay those of the recipient, so that the patch alone differs.

Where all latents are given at once (LRT, Latent-Guided Reasoning) the two are the same.
The control is a random vector of the donor's length.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import singledispatch

import pandas as pd
import torch

from lrkit.data.problems import STEP, TASKS, Problem
from lrkit.latent.lgr_solver import LgrSolver
from lrkit.latent.slots import Write
from lrkit.latent.solvers import SlotSolver, Solution
from lrkit.study.latent_controls import latents_of
from lrkit.study.scoreboard import same_answer

LATER = ("recomputed", "kept")
Patchable = SlotSolver | LgrSolver
Expected = Callable[[Problem, Problem, int], str | None]


@singledispatch
def written_of(solver, questions: Sequence[str]) -> torch.Tensor:
    """[questions, slots, width]: what stands in the slots.

    Raises:
        TypeError: for a solver whose slots cannot be written from outside.
        ValueError: for a method without latents.
    """
    raise TypeError(f"the slots of a {type(solver).__name__} cannot be patched.")


@written_of.register
def _(solver: SlotSolver, questions: Sequence[str]) -> torch.Tensor:
    if not solver.n_latents or not solver.asked(questions[0]).n_slots:
        raise ValueError("the method writes no latents that could be patched.")
    return latents_of(solver, questions)[0]


@written_of.register
def _(solver: LgrSolver, questions: Sequence[str]) -> torch.Tensor:
    return solver.written(questions)


def patched(
    solver: Patchable,
    questions: Sequence[str],
    vectors: torch.Tensor,
    slots: Sequence[int],
    later: str = "recomputed",
) -> list[Solution]:
    """Solutions with other vectors in some slots.

    Args:
        solver: of a method with latents.
        questions: the recipients.
        vectors: [questions, len(slots), width], as written.
        slots: numbers from 0.
        later: one of `LATER`.

    Raises:
        ValueError: for another word, or a slot that there is not.
    """
    if later not in LATER:
        raise ValueError(f"later latents are {' or '.join(LATER)}, not {later!r}.")
    own = written_of(solver, questions)
    if not all(0 <= k < own.shape[1] for k in slots):
        raise ValueError(f"slots {list(slots)} are not all among {own.shape[1]}.")
    whole = own.clone()
    whole[:, list(slots)] = vectors.to(whole)
    found: list[Solution] = []
    for begin in range(0, len(questions), solver.batch_size):
        some = slice(begin, begin + solver.batch_size)
        change = _writer(whole[some].to(solver.model.device), set(slots), later)
        with solver.model.writing(change):
            asked = [solver.asked(q) for q in questions[some]]
            found += solver.solve_batch(asked)
    return found


def _writer(whole: torch.Tensor, slots: set[int], later: str) -> Write:
    """What stands in a batch's slots: all of `whole`, or of it the patched ones."""

    def write(vectors: torch.Tensor, which: slice) -> torch.Tensor:
        given = whole[:, which].to(vectors)
        if later == "kept":
            return given
        here = torch.tensor(
            [k in slots for k in range(which.start, which.stop)], device=vectors.device
        )
        return torch.where(here[None, :, None], given, vectors)

    return write


def swapped_answer(recipient: Problem, donor: Problem, step: int) -> str | None:
    """What the recipient comes to if its step has the donor's result; None where one of
    them has no such step, or the remaining operations are impossible with it.

    Args:
        recipient, donor: generated problems of one task.
        step: number from 0.
    """
    if step >= min(recipient.n_steps, donor.n_steps):
        return None
    value = STEP.fullmatch(donor.steps[step])[2]
    rest = recipient.made_from["operations"][step + 1 :]
    if not rest:
        return value
    if recipient.task == "words" and not _possible(int(value), rest):
        return None
    made = {**recipient.made_from, "start": int(value), "operations": rest}
    return STEP.fullmatch(TASKS[recipient.task].steps(made)[-1])[2]


def _possible(amount: int, operations: Sequence[Sequence]) -> bool:
    """Whether a story stays with whole amounts that are not negative."""
    for op, k in operations:
        if op == "/" and amount % k:
            return False
        amount = {"+": amount + k, "-": amount - k, "*": amount * k, "/": amount // k}[
            op
        ]
        if amount < 0:
            return False
    return True


def patch_table(
    solver: Patchable,
    pairs: Sequence[tuple[Problem, Problem]],
    slots: Sequence[int],
    later: str = "recomputed",
    expected: Expected | None = swapped_answer,
    seed: int = 0,
) -> pd.DataFrame:
    """Patch one slot at a time between pairs of problems.

    Args:
        solver: of a method with latents.
        pairs: (recipient, donor).
        slots: numbers from 0, each tried by itself.
        later: one of `LATER`.
        expected: recipient, donor and slot to the answer that would show that the slot
            holds that step's result; None where there is none such. Slot k is held to
            be step k. A pair counts there only if that answer differs from both own
            ones.
        seed: random seed of the control's vectors.

    Returns:
        A row for each (pair, slot, `patch`), `patch` being "donor" or "random":
        `recipient`, `donor` (ids), `slot`, `later`; `before`, `donor_answer` and
        `after`, answers; `stays` (after is before), `follows` (after is the donor's
        answer; missing where the two were the same anyway), `expected`, and `moves`
        (after is the expected answer; missing where none tells).

    Raises:
        ValueError: for no pairs.
    """
    if not pairs:
        raise ValueError("there are no pairs to patch.")
    questions = [r.question for r, _ in pairs]
    donors = [d.question for _, d in pairs]
    before = [s.answer for s in _plain(solver, questions)]
    theirs = [s.answer for s in _plain(solver, donors)]
    vectors = written_of(solver, donors)
    draw = torch.Generator().manual_seed(seed)
    noise = torch.randn(vectors.shape, generator=draw)
    noise *= vectors.norm(dim=-1, keepdim=True) / noise.norm(dim=-1, keepdim=True)
    table = []
    for slot in slots:
        for name, source in (("donor", vectors), ("random", noise)):
            after = patched(solver, questions, source[:, [slot]], [slot], later)
            for i, (recipient, donor) in enumerate(pairs):
                wanted = expected(recipient, donor, slot) if expected else None
                table.append(
                    {
                        "recipient": recipient.id,
                        "donor": donor.id,
                        "slot": slot,
                        "later": later,
                        "patch": name,
                        **_compared(before[i], theirs[i], after[i].answer, wanted),
                    }
                )
    return pd.DataFrame(table)


def _plain(solver: Patchable, questions: Sequence[str]) -> list[Solution]:
    return solver.solve(list(questions))


def _compared(before: str, donor: str, after: str, wanted: str | None) -> dict:
    own = same_answer(before, donor)
    tells = wanted is not None and not (
        same_answer(wanted, before) or same_answer(wanted, donor)
    )
    return {
        "before": before,
        "donor_answer": donor,
        "after": after,
        "stays": same_answer(after, before),
        "follows": None if own else same_answer(after, donor),
        "expected": wanted if tells else None,
        "moves": same_answer(after, wanted) if tells else None,
    }
