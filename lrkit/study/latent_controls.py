"""Does an answer use its latents? What is written is changed, and the answers counted.

The latents of a batch are computed as always and then replaced by others in a second
run, so that a change of one latent does not leak into how the next one is computed.
If accuracy stays where it was, the latents were not read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace

import pandas as pd
import torch

from lrkit.data.problems import Question
from lrkit.latent.sim_cot import STEP_TEXTS, read_steps
from lrkit.latent.slots import SlotModel
from lrkit.latent.solvers import SlotSolver

Change = Callable[[torch.Tensor], torch.Tensor]


def zeroed(latents: torch.Tensor) -> torch.Tensor:
    """Nothing: zeros of the same shape."""
    return torch.zeros_like(latents)


def reversed_order(latents: torch.Tensor) -> torch.Tensor:
    """The row's own latents in reverse order: none keeps its place, but for a middle
    one."""
    return latents.flip(1)


def of_another(latents: torch.Tensor) -> torch.Tensor:
    """The latents of the next question of the batch.

    Raises:
        ValueError: for a batch of one.
    """
    if len(latents) < 2:
        raise ValueError("a batch of one question has no other question's latents.")
    return latents.roll(1, 0)


def averaged(latents: torch.Tensor) -> torch.Tensor:
    """The mean over the questions of the batch: of the right size, knowing nothing."""
    return latents.mean(0, keepdim=True).expand_as(latents)


CHANGES: dict[str, Change] = {
    "zeroed": zeroed,
    "reversed": reversed_order,
    "of another question": of_another,
    "mean of all questions": averaged,
}


@dataclass(frozen=True)
class ChangedSolver(SlotSolver):
    """A solver whose latents are replaced before they are read.

    Attributes:
        change: takes [batch, n, width] to the same shape.
    """

    change: Change = zeroed

    def decode(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """As ever, with the other latents; see the module's docstring."""
        latents = self.model(**inputs, logits_to_keep=1).latents
        if latents is None:
            raise ValueError("the method has no latents to change.")
        latents = self.change(latents)
        with self.model.writing(lambda _, which: latents[:, which]):
            return super().decode(inputs)


def changed(solver: SlotSolver, change: Change) -> ChangedSolver:
    """The same solver with other latents.

    Raises:
        ValueError: for a method without latents.
    """
    if not solver.n_latents or solver.pause:
        raise ValueError("the method has no latents to change.")
    own = {f.name: getattr(solver, f.name) for f in fields(SlotSolver)}
    return ChangedSolver(**own, change=change)


def controls(
    solver: SlotSolver, others: Sequence[int] = ()
) -> Mapping[str, SlotSolver]:
    """Solvers with changed latents, and with other numbers of them.

    Args:
        solver: of a method with latents or pauses.
        others: numbers of latents to try beside the trained one.
    """
    found: dict[str, SlotSolver] = {}
    if not solver.pause:
        found |= {name: changed(solver, change) for name, change in CHANGES.items()}
    wanted = [n for n in others if n != solver.n_latents]
    return found | {f"{n} latents": replace(solver, n_latents=n) for n in wanted}


@torch.inference_mode()
def latents_of(
    solver: SlotSolver, questions: Sequence[str]
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """What was written and what it was read from, each [questions, n, width]; None for
    latents that were not read from a position each."""
    model = solver.model.eval()
    written, read = [], []
    for start in range(0, len(questions), solver.batch_size):
        asked = [
            solver.rows.asked(q, solver.n_latents)
            for q in questions[start : start + solver.batch_size]
        ]
        out = model(**solver.batch_of(asked), logits_to_keep=1)
        written.append(out.latents.float().cpu())
        if out.read is not None:
            read.append(out.read.float().cpu())
    return torch.cat(written), torch.cat(read) if read else None


def nearest_words(model: SlotModel, read: torch.Tensor) -> torch.Tensor:
    """[..., vocabulary]: probabilities of the base's own output layer on the states
    that the latents were read from (a logit lens on the last layer)."""
    head = model.base.get_output_embeddings()
    with torch.no_grad():
        return head(read.to(head.weight)).float().softmax(-1).cpu()


def diversity(solver: SlotSolver, problems: Sequence[Question]) -> pd.DataFrame:
    """How unlike latents are: a row per slot.

    Returns:
        By slot: `cosine_slots`, mean cosine with the other slots of the same question;
        `cosine_questions`, with the same slot of other questions; and where latents
        were read from positions, `entropy`, in nats, and `top1`, of the words that
        these are nearest to (see `nearest_words`).
    """
    written, read = latents_of(solver, [p.question for p in problems])
    unit = torch.nn.functional.normalize(written, dim=-1)
    n_questions, n = unit.shape[:2]
    among_slots = unit @ unit.transpose(1, 2)  # [questions, n, n]
    others = max(n - 1, 1)
    slots = (among_slots.sum(2) - 1).mean(0) / others
    by_slot = unit.transpose(0, 1)  # [n, questions, width]
    total = by_slot.sum(1).square().sum(-1)
    questions = (total - n_questions) / max(n_questions * (n_questions - 1), 1)
    table = pd.DataFrame(
        {"slot": range(n), "cosine_slots": slots, "cosine_questions": questions}
    )
    if read is None:
        return table
    probability = nearest_words(solver.model, read)
    entropy = torch.special.entr(probability).sum(-1).mean(0)
    top = probability.max(-1).values.mean(0)
    return table.assign(entropy=entropy.numpy(), top1=top.numpy())


def readings(solver: SlotSolver, problems: Sequence[Question]) -> pd.DataFrame:
    """What the step decoder of SIM-CoT reads in the latents of each step.

    Returns:
        A row for each step that has latents: `id`, `n_steps`, `step` (from 1),
        `wanted`, `read` and `correct`.

    Raises:
        ValueError: for a model without a step decoder.
    """
    if getattr(solver.model, "step_decoder", None) is None:
        raise ValueError("the model has no step decoder: nothing can read its latents.")
    written, _ = latents_of(solver, [p.question for p in problems])
    said = read_steps(solver.model, written.to(solver.model.device), solver.rows)
    text = STEP_TEXTS[solver.model.config.step_text][1]
    found = pd.DataFrame(
        {
            "id": problem.id,
            "n_steps": problem.n_steps,
            "step": k,
            "wanted": text(step).strip(),
            "read": words,
        }
        for problem, texts in zip(problems, said, strict=True)
        for k, (step, words) in enumerate(zip(problem.steps, texts, strict=False), 1)
    )
    return found.assign(correct=found["wanted"] == found["read"])
