"""The recorded experiment of Latent Reasoning Tuning, its controls, and its two modes.

Latents come from a network beside a frozen base; constants in the same slots and a LoRA
of equal size are its controls, the base's own modes the ends of what it can do.
`python -m lrkit.study.lrt_arms` (a part of `make study`) appends one row for each arm
and random seed to `results/lrt_arms.csv`; what a run leaves beside it says
`lrkit.study.lrt_records`.

Reinforcement learning begins from arms that were trained in half of the words for each
operation, see `lrkit.data.other_words`: so its gain in and out of the domain can be
told apart, on the same questions.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields, replace
from itertools import islice
from pathlib import Path
from typing import Any

from lrkit.cache import fingerprint, run_folder
from lrkit.data.other_words import TRAINED, in_words
from lrkit.data.problem_sets import TRAIN_SEED, endless, training_problems
from lrkit.data.problems import Question
from lrkit.latent.budget_forcing import BudgetSolver
from lrkit.latent.families import modules_of
from lrkit.latent.grpo import GRPOSettings
from lrkit.latent.lrt import FrozenSlotModel
from lrkit.latent.lrt_grpo import reinforce
from lrkit.latent.lrt_methods import no_thinking, thinking, trainable
from lrkit.latent.methods import Training
from lrkit.latent.prefilled import EQUATIONS, PrefilledSolver
from lrkit.latent.solvers import SlotSolver
from lrkit.latent.trained import load_base, method_settings, run_key, trained
from lrkit.models import load_tokenizer, model_path
from lrkit.profiles import LatentSettings, Profile
from lrkit.study import lrt_records
from lrkit.study.recording import record_runs, slug

FOLDER = "lrt_arms"
TABLE = f"{FOLDER}.csv"
N_LATENTS = 4  # what a thought costs; see the arms with others
OTHERS = 500  # random seeds of what reinforcement learning reads begin here
GRPO = GRPOSettings(60, 16, 8, 1e-4, max_completion=4, save_steps=20)
CODE = (*modules_of("LRT"), "lrkit.latent.grpo", "lrkit.latent.lrt_grpo")
BASE_MODULES = (
    "lrkit.latent.chain_rows", "lrkit.latent.slots", "lrkit.latent.solvers",
    "lrkit.latent.budget_forcing", "lrkit.latent.prefilled",
)  # fmt: skip


@dataclass(frozen=True)
class LrtArm:
    """One arm.

    Attributes:
        method: one of `lrkit.latent.lrt_methods.TUNED`; "": the base as it is.
        changes: what is set otherwise than in the profile.
        half_the_words: whether it is trained in the words `TRAINED` alone.
        grpo: the second stage; None: there is none.
        longest: steps of a question that the second stage reads, at most. On longer
            ones such networks guess, and a lucky guess is paid like an insight.
        budget: of the base as it is: its chain is closed after so many tokens, 0: it
            does not think; None: it writes until it ends.
        begun: of the base as it is: first words of its chain.
    """

    method: str = "LRT"
    changes: dict[str, Any] = field(default_factory=dict)
    half_the_words: bool = False
    grpo: GRPOSettings | None = None
    longest: int = 1
    budget: int | None = None
    begun: str = ""


SWEPT = (1, 2, 8, 16, 32)
SHORT = {"steps": 150}  # a start that has left something to be gained
ARMS: dict[str, LrtArm] = (
    {
        "LRT": LrtArm(),
        "soft prompt": LrtArm("soft prompt"),
        "LoRA No-CoT": LrtArm("LoRA No-CoT"),
        "no thinking": LrtArm("", budget=0),
        "thinking": LrtArm(""),
        "thinking, equations": LrtArm("", begun=EQUATIONS),
        "thinking, 4 tokens": LrtArm("", budget=4),
        "thinking, 8 tokens": LrtArm("", budget=8),
        "half the words": LrtArm(half_the_words=True),
        "half the words + GRPO": LrtArm(half_the_words=True, grpo=GRPO),
        "half the words, short": LrtArm(changes=SHORT, half_the_words=True),
        "half the words, short + GRPO": LrtArm(
            changes=SHORT, half_the_words=True, grpo=GRPO
        ),
        "half the words, short + GRPO, every length": LrtArm(
            changes=SHORT, half_the_words=True, grpo=GRPO, longest=5
        ),
        "LRT, pooled": LrtArm("LRT, pooled"),
        "LRT, small network": LrtArm("LRT, small network"),
        "LRT, large network": LrtArm("LRT, large network"),
    }
    | {f"LRT, latents: {n}": LrtArm(changes={"n_latents": n}) for n in SWEPT}
    | {"LRT, 4 times the steps": LrtArm(changes={"steps": 2400})}
    | {
        f"LRT, wide base, latents: {n}": LrtArm(
            changes={"n_latents": n, "base": "think-wide"}
        )
        for n in (1, 4, 16)
    }
)


def settings_of(profile: Profile, arm: LrtArm) -> LatentSettings:
    """The profile's settings, with the changes of an arm."""
    return replace(profile.latent, **{"n_latents": N_LATENTS} | arm.changes)


def read_by(settings: LatentSettings, arm: LrtArm, seed: int) -> list[Question]:
    """What an arm is trained on, in its first stage."""
    problems = training_problems(settings, seed)
    return [in_words(p, TRAINED) for p in problems] if arm.half_the_words else problems


def rewarded(arm: LrtArm, settings: LatentSettings, seed: int) -> list[Question]:
    """What an arm's second stage reads: other problems, no longer than it says."""
    made = endless(settings.task, "train", TRAIN_SEED + OTHERS + seed)
    short = (p for p in made if p.n_steps <= arm.longest)
    n = arm.grpo.steps * arm.grpo.questions
    return [in_words(p, TRAINED) for p in islice(short, n)]


def untrained(
    settings: LatentSettings, budget: int | None = None, begun: str = ""
) -> SlotSolver:
    """The base as it is: thinking, thinking within a budget, or not at all.

    Args:
        settings: of the base and its rows.
        budget: longest chain in tokens, 0: none; None: it writes until it ends.
        begun: first words of a chain without a budget, see `lrkit.latent.prefilled`.
    """
    training = Training(
        lambda: load_base(settings), load_tokenizer(settings.base), (),
        method_settings(settings), Path(),
    )  # fmt: skip
    if budget == 0:
        return no_thinking(training)
    solver = thinking(training)
    own = {f.name: getattr(solver, f.name) for f in fields(SlotSolver)}
    if begun:
        return PrefilledSolver(**own, begun=begun)
    return solver if budget is None else BudgetSolver(**own, budget=budget)


def solver_of(
    settings: LatentSettings, arm: LrtArm, seed: int
) -> tuple[SlotSolver, dict[str, list[dict]], str]:
    """The solver of an arm, the logs of its runs, and the key of the last of them."""
    if not arm.method:
        weights = Path(model_path(settings.base)) / "model.safetensors"
        key = fingerprint({"settings": settings, "arm": arm}, BASE_MODULES, [weights])
        return untrained(settings, arm.budget, arm.begun), {}, key
    given = read_by(settings, arm, seed) if arm.half_the_words else None
    solver, logs = trained(settings, arm.method, seed, given)
    key = run_key(settings, arm.method, seed, given)
    if arm.grpo is None:
        return solver, logs, key
    second = {"start": key, "grpo": arm.grpo, "longest": arm.longest, "seed": seed}
    key = fingerprint(second, CODE)
    rest = rewarded(arm, settings, seed)
    folder = run_folder("lrt-grpo", key)
    log = reinforce(solver.model, solver.rows, rest, arm.grpo, folder, seed)
    return solver, logs | {"grpo": log}, key


def run_one(profile: Profile, arm: str, seed: int, out: Path) -> dict:
    """Train and evaluate one (arm, random seed); the row of the table."""
    about = ARMS[arm]
    settings = settings_of(profile, about)
    solver, logs, key = solver_of(settings, about, seed)
    folder, name = out / FOLDER, f"{slug(arm)}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    accuracy = lrt_records.answers(solver, settings, folder / name)
    if solver.n_latents:
        lrt_records.latents(solver, settings, folder / name)
    if arm == "LRT":
        others = {
            name: untrained(settings, other.budget, other.begun)
            for name, other in ARMS.items()
            if not other.method
        }
        lrt_records.timed({arm: solver} | others, settings, folder / name)
    if logs:
        (folder / f"{name}-log.json").write_text(json.dumps(brief(logs)) + "\n")
    frozen = isinstance(solver.model, FrozenSlotModel)
    return {
        "arm": arm, "seed": seed, "steps": settings.steps if about.method else 0,
        "grpo_steps": about.grpo.steps if about.grpo else 0,
        "weights": trainable(solver.model) if frozen else "",
        **accuracy, "key": key,
    }  # fmt: skip


def brief(logs: dict[str, list[dict]]) -> dict[str, list[dict]]:
    """Of each run what is drawn later: losses, or shares of right samples, by step."""
    kept = ("step", "loss", "accuracy")
    return {
        name: [
            {k: round(row[k], 4) for k in kept if k in row}
            for row in log
            if "accuracy" in row or "loss" in row
        ]
        for name, log in logs.items()
    }


def main() -> None:
    """The command line of this part of `make study`."""
    record_runs(__doc__, ARMS, TABLE, run_one)


if __name__ == "__main__":
    main()
