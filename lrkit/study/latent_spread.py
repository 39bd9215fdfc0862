"""How alike are the latents of different questions, within a task and between tasks?

Table 8 of Latent Reasoning Tuning: the latents of a question are averaged to one
vector, the mean over all questions is taken away, and vectors are compared by their
cosine. The paper reads task-specific reasoning from it. Words of a task look alike,
too, so that this is weak evidence of reasoning: it belongs beside the controls that
change latents and count answers.
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import torch


def question_cosines(latents: Mapping[str, torch.Tensor]) -> pd.DataFrame:
    """Mean cosine of the questions of two tasks, each task with itself on the diagonal.

    Args:
        latents: task -> [questions, slots, width], two questions or more.

    Returns:
        A table task by task. A question is not compared with itself.

    Raises:
        ValueError: for a task of one question.
    """
    for task, of_task in latents.items():
        if len(of_task) < 2:
            raise ValueError(f"task {task!r} has one question: two are compared.")
    means = {task: of_task.float().mean(1) for task, of_task in latents.items()}
    centre = torch.cat(list(means.values())).mean(0)
    unit = {
        task: torch.nn.functional.normalize(vectors - centre, dim=-1)
        for task, vectors in means.items()
    }
    found = {}
    for one, a in unit.items():
        for other, b in unit.items():
            total = float(a.sum(0) @ b.sum(0))
            same = one == other
            pairs = len(a) * len(b) - (len(a) if same else 0)
            # Of a vector at the centre nothing is left: its cosine with itself is 0.
            itself = float(a.square().sum()) if same else 0.0
            found[one, other] = (total - itself) / pairs
    return pd.Series(found).unstack().loc[list(latents), list(latents)]
