"""What SIM-CoT is trained on: rows and batches; its loss is in `sim_cot`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from lrkit.data.problems import Question
from lrkit.latent.chain_rows import ChainRows
from lrkit.latent.codi import CodiCollator, CodiRow, codi_row
from lrkit.latent.layout import IGNORED
from lrkit.latent.sim_cot import STEP_TEXTS, SimCotConfig


@dataclass(frozen=True)
class SimCotRow(CodiRow):
    """A problem as student, teacher and step decoder see it.

    Attributes:
        mark: token ids that the decoder is given behind the latents.
        steps: for each step that has latents the ids to be written, the end token last.
    """

    mark: Sequence[int]
    steps: Sequence[Sequence[int]]


def sim_cot_row(
    rows: ChainRows, problem: Question, n_latents: int, config: SimCotConfig, **teacher
) -> SimCotRow:
    """A problem for student, teacher and step decoder.

    Args:
        rows: makes them.
        problem: with steps; the decoder is asked for the last one, too.
        n_latents: of the student.
        config: of the model.
        teacher: what it reads, see `lrkit.latent.codi.codi_row`.

    Raises:
        ValueError: where latents are left over, or for "result" and a step that
            `lrkit.data.chains.step_value` cannot read.
    """
    if n_latents % config.per_step:
        raise ValueError(
            f"{n_latents} latents cannot be shared out by {config.per_step} for a step."
        )
    mark, text = STEP_TEXTS[config.step_text]
    end = rows.tokenizer.eos_token_id
    of_codi = codi_row(rows, problem, n_latents, **teacher)
    return SimCotRow(
        **vars(of_codi),
        mark=rows.encode(mark),
        steps=[
            [*rows.encode(text(step)), end]
            for step in problem.steps[: n_latents // config.per_step]
        ],
    )


class SimCotCollator(CodiCollator):
    """Batches of `SimCotRow` for `transformers.Trainer`."""

    def __call__(self, batch: Sequence[SimCotRow]) -> dict[str, torch.Tensor]:
        """CODI's, `step_ids` and `step_labels`, see `SimCotModel.step_loss`."""
        longest = max((len(s) for row in batch for s in row.steps), default=0)
        most, before = max(len(row.steps) for row in batch), len(batch[0].mark)
        ids = torch.full((len(batch), most, before + longest), self.pad_id)
        labels = torch.full_like(ids, IGNORED)
        for i, row in enumerate(batch):
            for k, step in enumerate(row.steps):
                end = before + len(step)
                ids[i, k, :end] = torch.tensor([*row.mark, *step])
                labels[i, k, before:end] = ids[i, k, before:end]
        return super().__call__(batch) | {"step_ids": ids, "step_labels": labels}
