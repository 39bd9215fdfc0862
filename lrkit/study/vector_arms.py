"""The recorded experiment on what vectors hold: probes, clusters and information.

Vectors of the same questions, from a thinker of Latent-Guided Reasoning, from other
methods, and from where nothing has been thought yet: the last state of the question.
`python -m lrkit.study.vector_arms` (a part of `make study`) appends one row for each
arm and random seed to `results/vector_arms.csv`; what a claim rests on lies beside it,
a row for each question. Methods that `lrkit.study.latent_arms` has trained are found
again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from lrkit.cache import fingerprint
from lrkit.data.problem_sets import evaluation_problems
from lrkit.data.problems import Problem
from lrkit.latent.chain_rows import ChainRows
from lrkit.latent.lgr_methods import LgrSettings
from lrkit.latent.lgr_trained import CODE, trained_thinker
from lrkit.latent.slots import SlotModel
from lrkit.latent.trained import load_base, run_key
from lrkit.models import load_tokenizer
from lrkit.profiles import LatentSettings, Profile
from lrkit.study import latent_arms
from lrkit.study.clusters import cluster_scores, purities
from lrkit.study.infonce import CriticSettings, chain_features, infonce
from lrkit.study.information import clock_entropy, reconstruction_nats
from lrkit.study.latent_vectors import (
    Latents,
    latents_of_any,
    question_states,
)
from lrkit.study.recording import record_runs, slug, write_rows
from lrkit.study.vector_questions import (
    NUMBERS,
    RESULTS,
    labels_of,
    probe_rows,
    questions_of,
)

FOLDER = "vector_arms"
TABLE = f"{FOLDER}.csv"
THINKER, UNTAUGHT = "thinker", "thinker, no reconstruction"
STATE, BASE_STATE = "question state", "question state, base"
METHODS = ("COCONUT", "CODI", "SIM-CoT, results")  # arms of `latent_arms`
ARMS = (THINKER, UNTAUGHT, STATE, BASE_STATE, *METHODS)
PROPERTIES = (
    "n_steps", "operators", "first", "last", "start", *NUMBERS, "answer", *RESULTS,
)  # fmt: skip
CLUSTERED = ("operators", "n_steps")


@dataclass(frozen=True)
class VectorSettings:
    """How much is looked at.

    Attributes:
        questions: drawn from either split; of each chain one is kept.
        clustered: of the test questions, for silhouette and purity.
        permutations: of labels.
        batches: of InfoNCE, a ceiling each. 22 has the 3.1 nats of the source.
        critic: of InfoNCE, but for the batch.
    """

    questions: int = 3000
    clustered: int = 1000
    permutations: int = 200
    batches: tuple[int, ...] = (22, 128, 512)
    critic: CriticSettings = field(default_factory=CriticSettings)


def latents_of_arm(
    profile: Profile, arm: str, seed: int, questions: Sequence[str]
) -> Latents:
    """The vectors of an arm; its model is trained now, or found.

    Raises:
        ValueError: for an unknown arm.
    """
    if arm not in ARMS:
        raise ValueError(f"no arm {arm!r}: choose one of {', '.join(ARMS)}.")
    settings = profile.latent
    if arm in METHODS:
        return latents_of_any(latent_arms.solver_of(profile, arm, seed), questions)
    if arm == BASE_STATE:
        model = SlotModel.wrap(load_base(settings))
        tokenizer = load_tokenizer(settings.base)
        rows = ChainRows.of(model, tokenizer, settings.context)
        return question_states(model, rows, questions)
    solver = _thinker(settings, arm, seed)
    if arm == STATE:
        return question_states(solver.model, solver.rows, questions)
    return latents_of_any(solver, questions)


def _thinker(settings: LatentSettings, arm: str, seed: int):
    losses = ("task",) if arm == UNTAUGHT else ("task", "recon")
    return trained_thinker(settings, LgrSettings(losses=losses), seed)[0]


def run_one(
    profile: Profile,
    arm: str,
    seed: int,
    out: Path,
    sizes: VectorSettings | None = None,
) -> dict:
    """Look at the vectors of one (arm, random seed); the row of the table.

    Beside it lie, in the folder `FOLDER`: `-probes.csv`, whether each probe and its
    control task were right on each question; `-clusters.csv`, purity of each question
    and its mean under permuted labels; `-information.csv`, InfoNCE by batch.
    """
    sizes, settings = sizes or VectorSettings(), profile.latent
    problems = [
        questions_of(settings, split, sizes.questions)
        for split in ("validation", "test")
    ]
    labels = tuple(
        labels_of(part).set_index(pd.Index([p.id for p in part], name="id"))
        for part in problems
    )
    vectors = tuple(
        latents_of_arm(profile, arm, seed, [p.question for p in part]).joined()
        for part in problems
    )
    stem = out / FOLDER / f"{slug(arm)}-{seed}"
    row = {"arm": arm, "seed": seed, "steps": settings.steps, "n": len(labels[1])}
    row |= _probed(vectors, labels, seed, stem)
    row |= _clustered(vectors[1], labels[1], sizes, seed, stem)
    row |= _informed(
        np.concatenate(vectors), [*problems[0], *problems[1]], sizes, seed, stem
    )
    if arm == THINKER and settings.task == "clock":  # whose entropy is known
        row |= _bound(settings, seed, sizes.questions)
    return row | {"key": _key(settings, arm, seed)}


def _probed(vectors, labels, seed: int, stem: Path) -> dict[str, float]:
    rows = pd.concat([probe_rows(vectors, labels, p, seed) for p in PROPERTIES])
    write_rows(rows.reset_index(), stem.with_name(f"{stem.name}-probes.csv"))
    means = rows.groupby("property")[["correct", "control"]].mean()
    return {
        f"{what}_{name}".replace(" ", "_"): round(float(value), 4)
        for name, mean in means.iterrows()
        for what, value in (
            ("probe", mean["correct"]),
            ("selectivity", mean["correct"] - mean["control"]),
        )
    }


def _clustered(
    vectors: np.ndarray,
    labels: pd.DataFrame,
    sizes: VectorSettings,
    seed: int,
    stem: Path,
) -> dict[str, float]:
    vectors, labels = vectors[: sizes.clustered], labels[: sizes.clustered]
    options = {"permutations": sizes.permutations, "seed": seed}
    rows, found = [], {}
    for name in CLUSTERED:
        own, permuted = purities(vectors, labels[name], **options)
        values = {"label": name, "purity": own, "permuted": permuted}
        rows.append(pd.DataFrame(values, index=labels.index).reset_index())
        for score, value in cluster_scores(vectors, labels[name], **options).items():
            found[f"{score}_{name}"] = round(value.value, 4)
            found[f"{score}_{name}_permuted_high"] = round(value.high, 4)
    write_rows(pd.concat(rows), stem.with_name(f"{stem.name}-clusters.csv"))
    return found


def _informed(
    vectors: np.ndarray,
    problems: Sequence[Problem],
    sizes: VectorSettings,
    seed: int,
    stem: Path,
) -> dict[str, float]:
    """Both splits together: the critic has a held-out half of its own."""
    chains, _ = chain_features(problems)
    rows = []
    for batch in sizes.batches:
        found = infonce(vectors, chains, replace(sizes.critic, batch=batch), seed)
        rows.append(
            {"batch": batch, **vars(found.value), "mixed": found.mixed.value,
             "mixed_high": found.mixed.high, "ceiling": found.ceiling}
        )  # fmt: skip
    write_rows(pd.DataFrame(rows), stem.with_name(f"{stem.name}-information.csv"))
    return {f"infonce_{r['batch']}": round(r["value"], 4) for r in rows}


def _bound(settings: LatentSettings, seed: int, n: int) -> dict[str, float]:
    """H(R) and L_recon of test chains, in nats: their difference bounds I(R; H)."""
    solver = _thinker(settings, THINKER, seed)
    test = evaluation_problems(replace(settings, eval_rows=n), "test")
    nats = reconstruction_nats(solver.model, solver.rows, test)
    entropy = clock_entropy(share=0.1)
    return {"entropy": round(entropy, 4), "recon": round(float(nats.mean()), 4)}


def _key(settings: LatentSettings, arm: str, seed: int) -> str:
    if arm in METHODS:
        return run_key(settings, latent_arms.ARMS[arm].method, seed)
    return fingerprint([run_key(settings, "LGR thinker", seed), arm], CODE)


def main() -> None:
    """The command line of this part of `make study`."""
    record_runs(__doc__, ARMS, TABLE, run_one)


if __name__ == "__main__":
    main()
