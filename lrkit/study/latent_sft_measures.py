"""What is measured on a run of Latent-SFT: controls, ceiling, rates, several chains.

The metrics are in `latent_thoughts`, `latent_sft_ceiling` and `thought_controls` beside
this file; here they are put together as `lrkit.study.latent_sft_arms` records them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

import pandas as pd

from lrkit.data.any_order import any_order_stream
from lrkit.data.problems import Question
from lrkit.latent.latent_sft import LatentSFTModel
from lrkit.latent.latent_sft_solver import SuperpositionSolver
from lrkit.study.latent_sft_ceiling import encoded_answers
from lrkit.study.latent_thoughts import latent_table, path_table
from lrkit.study.scoreboard import evaluate
from lrkit.study.thought_controls import THOUGHT_CHANGES, changed

KS = (1, 2, 5, 10, 50)


def control_answers(
    solver: SuperpositionSolver, problems: Sequence[Question]
) -> pd.DataFrame:
    """Rows of `evaluate` under every change of the thoughts, column `control`."""
    parts = [
        evaluate(changed(solver, change), problems).assign(control=name)
        for name, change in THOUGHT_CHANGES.items()
    ]
    return pd.concat(parts, ignore_index=True)


def ceiling_answers(
    model: LatentSFTModel, solver: SuperpositionSolver, problems: Sequence[Question]
) -> pd.DataFrame:
    """Answers of the decoder from the encoder's latents, as they are (`control` "none")
    and changed."""
    parts = [
        encoded_answers(model, solver.thought, problems, change).assign(control=name)
        for name, change in {"none": None, **THOUGHT_CHANGES}.items()
    ]
    return pd.concat(parts, ignore_index=True)


def rates(
    solver: SuperpositionSolver, problems: Sequence[Question]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(ECR@K by question for each K of `KS`, means of each latent's sharpness).

    The first has `k`, `id` and, as means over the question's latents, `found`,
    `distinct`, `chance` and `shuffled`: its mean over questions is the rate, and
    questions are what an interval is made over. The second has a row for each place in
    the thought.
    """
    tables = {k: latent_table(solver, problems, k) for k in KS}
    columns = ["found", "distinct", "chance", "shuffled"]
    by_question = [
        table.groupby("id", sort=False)[columns].mean().reset_index().assign(k=k)
        for k, table in tables.items()
    ]
    sharp = tables[KS[0]].groupby("latent")[["entropy", "effective", "top1", "top2"]]
    places = sharp.mean().assign(n=sharp.size()).reset_index()
    return pd.concat(by_question, ignore_index=True), places


def several_chains(
    solver: SuperpositionSolver, encoder: LatentSFTModel, n: int
) -> pd.DataFrame:
    """`path_table` of validation problems that several chains solve, with segments by
    their place and matched by the encoder's latents (column `matching`)."""
    problems = list(islice(any_order_stream("validation"), n))
    found = [
        path_table(solver, problems, matched).assign(matching=name)
        for name, matched in (("place", None), ("latents", encoder))
    ]
    return pd.concat(found, ignore_index=True)
