"""What a decoder answers from its encoder's latents: the ceiling of a student.

The encoder has read the chain, so this is no way of solving problems. It says whether
latents of this kind can hold a chain at all (stage 1 of Latent-SFT); where it is high
and the student is low, what is hard is to think them up.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import torch

from lrkit.data.problems import Question
from lrkit.latent.latent_sft import LatentSFTModel, written
from lrkit.latent.latent_sft_rows import ThoughtRows
from lrkit.latent.latent_sft_solver import SuperpositionSolver, given_thoughts
from lrkit.latent.layout import SlotRow
from lrkit.latent.slot_config import SLOT
from lrkit.latent.slots import SlotModel
from lrkit.latent.soft_labels import encode_problems
from lrkit.study.scoreboard import same_answer
from lrkit.study.thought_controls import ThoughtChange


@torch.inference_mode()
def encoded_answers(
    model: LatentSFTModel,
    rows: ThoughtRows,
    problems: Sequence[Question],
    change: ThoughtChange | None = None,
    batch_size: int = 128,
    max_new_tokens: int = 16,
) -> pd.DataFrame:
    """Answers of the decoder, given question and latents and no text of the chain.

    Args:
        model: of stage 1.
        rows: that it was trained on.
        problems: with steps.
        change: one of `lrkit.study.thought_controls`; None: the latents as they are.
        batch_size: problems per batch.
        max_new_tokens: longest answer.

    Returns:
        A row for each problem: `id`, `n_steps`, `latents`, `wanted`, `answer` and
        `correct`.
    """
    labels = encode_problems(model, rows, problems, batch_size)
    reader = SlotModel.wrap(model.decoder, specials=[SLOT], order="given").eval()
    solver = SuperpositionSolver(reader, rows, 0, None, batch_size, max_new_tokens)
    tokenizer, table = rows.rows.tokenizer, reader.get_input_embeddings()
    found = []
    for start in range(0, len(problems), batch_size):
        part = problems[start : start + batch_size]
        latents = [
            written(
                {name: own.to(model.device) for name, own in labels.of(p).items()},
                table,
                model.config.scale,
            )
            for p in part
        ]
        if change is not None:
            latents = change(latents)
        asked = [rows.asked(p.question) for p in part]
        begun = solver.batch_of([SlotRow(row.before) for row in asked])
        thoughts = given_thoughts(reader, **begun, latents=latents)
        rest = asked[0].rest
        ids = solver.decode(thoughts.then(rest))[:, len(rest) :]
        said = tokenizer.batch_decode(ids, skip_special_tokens=True)
        found += [
            {
                "id": problem.id,
                "n_steps": problem.n_steps,
                "latents": n,
                "wanted": problem.answer,
                "answer": text.strip(),
                "correct": same_answer(text, problem.answer),
            }
            for problem, n, text in zip(part, thoughts.n_latents, said, strict=True)
        ]
    return pd.DataFrame(found)
