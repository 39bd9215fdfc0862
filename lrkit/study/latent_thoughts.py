"""The thoughts of a model that thinks in mixtures, measured: what is in each latent,
and whether several chains are.

The metrics themselves are in `superposition_metrics` and `parallelism` beside this
file; here they are taken of a solver's own thoughts, of the length that it gave them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from transformers import PreTrainedTokenizerBase

from lrkit.data.any_order import chains
from lrkit.data.problems import Problem, Question
from lrkit.latent.latent_sft import LatentSFTModel, written
from lrkit.latent.latent_sft_rows import ThoughtCollator, ThoughtRow, ThoughtRows
from lrkit.latent.latent_sft_solver import SuperpositionSolver
from lrkit.study.latent_controls import nearest_words
from lrkit.study.parallelism import parallelism, segments
from lrkit.study.superposition_metrics import ecr_at_k, sharpness

OWN, OTHERS = "own", "another question's"


@dataclass(frozen=True)
class Thought:
    """What was thought about one question.

    Attributes:
        probabilities: [latents, vocabulary], what the model predicted where each latent
            was made.
        latents: [latents, width], as written.
        read: [latents, width], the hidden states that they were made from.
    """

    probabilities: np.ndarray
    latents: np.ndarray
    read: np.ndarray


@torch.inference_mode()
def thoughts_of(solver: SuperpositionSolver, questions: Sequence[str]) -> list[Thought]:
    """The thoughts about questions, in their order."""
    found = []
    for start in range(0, len(questions), solver.batch_size):
        asked = [solver.asked(q) for q in questions[start : start + solver.batch_size]]
        thoughts = solver.thoughts(asked)
        for i, n in enumerate(thoughts.n_latents):
            read = thoughts.read[i, :n]
            parts = nearest_words(solver.model, read), thoughts.written[i, :n], read
            found.append(Thought(*(part.float().cpu().numpy() for part in parts)))
    return found


def top_words(
    tokenizer: PreTrainedTokenizerBase, probabilities: np.ndarray, k: int = 6
) -> list[dict[str, float]]:
    """For each latent its likeliest tokens, quoted, and their probabilities.

    Args:
        tokenizer: of the model.
        probabilities: [latents, vocabulary].
        k: tokens of each.
    """
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
    return [
        {repr(tokenizer.decode([i])): float(p[i]) for i in row.tolist()}
        for row, p in zip(order, probabilities, strict=True)
    ]


def latent_table(
    solver: SuperpositionSolver, problems: Sequence[Question], k: int = 50
) -> pd.DataFrame:
    """A row for each latent of each thought.

    Latent i is held against piece i of the problem's own chain, as long as there are
    both; a thought that is longer than its chain ends there.

    Args:
        solver: with rows of the pieces that it was trained on.
        problems: with steps.
        k: K of ECR@K.

    Returns:
        `id`, `n_steps`, `latent` (from 0), the columns of `ecr_at_k` and those of
        `sharpness`.
    """
    probabilities, pieces, about = [], [], []
    said = thoughts_of(solver, [p.question for p in problems])
    for problem, thought in zip(problems, said, strict=True):
        chain = solver.thought.pieces(problem.steps)
        both = zip(thought.probabilities, chain, strict=False)
        for i, (p, piece) in enumerate(both):
            probabilities.append(p)
            pieces.append(piece)
            about.append({"id": problem.id, "n_steps": problem.n_steps, "latent": i})
    if not about:
        raise ValueError("there is no latent to measure: no thought has one.")
    rates = ecr_at_k(np.stack(probabilities), pieces, [row["id"] for row in about], k)
    sharp = sharpness(np.stack(probabilities))
    parts = [pd.DataFrame(about), rates.drop(columns="question"), sharp]
    return pd.concat(parts, axis=1)


def path_table(
    solver: SuperpositionSolver,
    problems: Sequence[Problem],
    encoder: LatentSFTModel | None = None,
    tau: float = 1.0,
    seed: int = 0,
) -> pd.DataFrame:
    """N_eff and its company for problems that several chains solve.

    Every thought is also held against the chains of another question, the next one:
    what looks parallel there is none of the metric's business.

    Args:
        solver: whose thoughts are measured.
        problems: see `lrkit.data.any_order`; two or more.
        encoder: makes a latent of each segment of a chain, to match the thought's with;
            None: segment t belongs to latent t (version 1 of the paper).
        tau: temperature of the shares.
        seed: random seed of the random matchings.

    Returns:
        For each problem and `chains` ("own", "another question's"): `id`, `n_steps`,
        `latents`, `paths` (M), `best` and `mean` path score in nats, `mean_random`,
        `n_eff`, `n_eff_random`, `ratio`, `top2_ratio`, `top2_mass`. A thought that has
        no latents, or more than one of the chains has tokens, has no row.
    """
    if len(problems) < 2:
        raise ValueError("two problems are needed: each is held against another, too.")
    rows = solver.thought
    paths = [
        [[t for piece in rows.pieces(chain) for t in piece] for chain in chains(p)]
        for p in problems
    ]
    found = []
    said = thoughts_of(solver, [p.question for p in problems])
    for i, (problem, thought) in enumerate(zip(problems, said, strict=True)):
        n, other = len(thought.latents), (i + 1) % len(problems)
        for whose, j in ((OWN, i), (OTHERS, other)):
            if not 1 <= n <= min(map(len, paths[j])):
                continue
            vectors = None
            if encoder is not None:
                vectors = segment_latents(encoder, rows, problems[j], paths[j], n)
            one = parallelism(
                thought.probabilities, paths[j],
                None if encoder is None else thought.latents, vectors, tau, seed=seed,
            )  # fmt: skip
            found.append(
                {
                    "id": problem.id,
                    "n_steps": problem.n_steps,
                    "chains": whose,
                    "latents": n,
                    "paths": len(paths[j]),
                    "best": one.scores.max(),
                    "mean": one.scores.mean(),
                    "mean_random": one.random_scores.mean(),
                    "n_eff": one.n_eff,
                    "n_eff_random": one.n_eff_random,
                    "ratio": one.ratio,
                    "top2_ratio": one.top2_ratio,
                    "top2_mass": one.top2_mass,
                }
            )
    return pd.DataFrame(found)


@torch.inference_mode()
def segment_latents(
    encoder: LatentSFTModel,
    rows: ThoughtRows,
    problem: Question,
    paths: Sequence[Sequence[int]],
    n: int,
) -> list[np.ndarray]:
    """For each chain [n, width]: what the encoder makes of its n segments.

    Args:
        encoder: of stage 1.
        rows: how its rows are made.
        problem: gives the question.
        paths: token ids of the chains.
        n: segments.
    """
    question = rows.rows.question(problem.question)
    made = [ThoughtRow(question, segments(path, n), [rows.end]) for path in paths]
    batch = ThoughtCollator(encoder.latent_id)(made)
    inputs = (
        batch[name].to(encoder.device) for name in ("encoder_ids", "encoder_mask")
    )
    labels = encoder.eval().encode(*inputs)
    table = encoder.decoder.get_input_embeddings()
    vectors = written(labels, table, encoder.config.scale)
    return list(vectors.float().cpu().numpy().reshape(len(paths), n, -1))
