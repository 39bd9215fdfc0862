"""A trained solver for a method, settings and random seed: made once, found again.

Whoever asks with the same settings gets the same weights; a change of the settings, of
the base's weights or of the code gives others. A run that was killed goes on.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import torch
from filelock import FileLock
from transformers import AutoModelForCausalLM, PreTrainedModel

from lrkit.cache import fingerprint, run_folder
from lrkit.data.problem_sets import training_problems
from lrkit.data.problems import Question
from lrkit.latent.adaptive import AdaptiveModel
from lrkit.latent.adaptive_sft import ADAPTIVE
from lrkit.latent.adaptive_solver import AdaptiveSolver
from lrkit.latent.chain_rows import ChainRows
from lrkit.latent.codi import CodiModel
from lrkit.latent.curriculum import Curriculum
from lrkit.latent.methods import METHODS, MethodSettings, Training
from lrkit.latent.sim_cot import SimCotModel
from lrkit.latent.slots import SlotModel
from lrkit.latent.solvers import SlotSolver
from lrkit.latent.training import RunSettings
from lrkit.models import device, load_tokenizer, model_path
from lrkit.profiles import LatentSettings

# The code that trained weights depend on; what only evaluates them is not among it.
MODULES = (
    "lrkit.divergence",
    "lrkit.guard",
    "lrkit.data.chains",
    "lrkit.data.clock",
    "lrkit.data.dags",
    "lrkit.data.graphs",
    "lrkit.data.word_problems",
    "lrkit.data.problems",
    "lrkit.latent.chain_rows",
    "lrkit.latent.codi",
    "lrkit.latent.curriculum",
    "lrkit.latent.layout",
    "lrkit.latent.maps",
    "lrkit.latent.methods",
    "lrkit.latent.passes",
    "lrkit.latent.sim_cot",
    "lrkit.latent.sim_cot_rows",
    "lrkit.latent.slot_config",
    "lrkit.latent.slots",
    "lrkit.latent.superposition",
    "lrkit.latent.training",
)
# And what those of adaptive length depend on beside it.
ADAPTIVE_MODULES = (
    "lrkit.latent.adaptive",
    "lrkit.latent.adaptive_sft",
    "lrkit.latent.stop_schedule",
)
MODEL, SOLVER = "model", "solver.json"
ALL_METHODS = METHODS | ADAPTIVE
KINDS = {
    kind.config_class.model_type: kind
    for kind in (SlotModel, CodiModel, SimCotModel, AdaptiveModel)
}
# What is kept of a solver beside its model.
KEPT = {
    SlotSolver: ("n_latents", "writes_chain", "pause"),
    AdaptiveSolver: ("n_max", "n_min", "writes_chain"),
}


def method_settings(settings: LatentSettings) -> MethodSettings:
    """The settings of a profile as the methods take them."""
    return MethodSettings(
        run=RunSettings(
            steps=settings.steps,
            batch_size=settings.batch_size,
            accumulation=settings.accumulation,
            learning_rate=settings.learning_rate,
        ),
        n_latents=settings.n_latents,
        gamma=settings.gamma,
        keep_last_step=settings.keep_last_step,
        codi_map=settings.codi_map,
        codi_targets=settings.codi_targets,
        codi_blocks=settings.codi_blocks,
        codi_chain=settings.codi_chain,
        codi_rounds=settings.codi_rounds,
        curriculum=Curriculum(
            settings.latents_per_step, settings.stages, settings.mixing
        ),
        last_stage=settings.last_stage,
        context=settings.context,
        scale=settings.scale,
    )


def load_base(settings: LatentSettings) -> PreTrainedModel:
    """The base in float32, as training in full needs it."""
    base = AutoModelForCausalLM.from_pretrained(
        model_path(settings.base),
        dtype=torch.float32,
        use_safetensors=True,
        trust_remote_code=False,
    )
    return base.to(device())


def run_key(
    settings: LatentSettings,
    method: str,
    seed: int,
    given: list[Question] | None = None,
) -> str:
    """Fingerprint of one run: code, settings, base weights, and the problems
    themselves where code and settings do not decide them."""
    weights = Path(model_path(settings.base)) / "model.safetensors"
    params = {"settings": settings, "method": method, "seed": seed}
    if given is None and settings.source:
        given = training_problems(settings, seed)
    params["problems"] = [repr(p) for p in given or []]
    modules = (*MODULES, *ADAPTIVE_MODULES) if method in ADAPTIVE else MODULES
    return fingerprint(params, modules, [weights] if weights.is_file() else [])


def trained(
    settings: LatentSettings,
    method: str,
    seed: int = 0,
    given: list[Question] | None = None,
) -> tuple[SlotSolver | AdaptiveSolver, dict[str, list[dict]]]:
    """A method's solver, trained now or found, and the logs of its runs by name.

    Args:
        settings: of a profile, see `lrkit.profiles.LatentSettings`.
        method: one of `lrkit.latent.methods.METHODS`, or of
            `lrkit.latent.adaptive_sft.ADAPTIVE`.
        seed: random seed of training problems, rows and map.
        given: problems to train on; None: generated ones of the task.

    Raises:
        ValueError: for an unknown method or task.
    """
    if method not in ALL_METHODS:
        known = ", ".join(ALL_METHODS)
        raise ValueError(f"there is no method {method!r}: choose one of {known}.")
    folder = run_folder("latent", run_key(settings, method, seed, given))
    training = Training(
        load_base=lambda: load_base(settings),
        tokenizer=load_tokenizer(settings.base),
        problems=given or (),
        settings=method_settings(settings),
        folder=folder,
        seed=seed,
    )
    with FileLock(f"{folder}.lock"):  # two notebooks may ask at the same time
        if not (folder / SOLVER).is_file():
            if given is None:
                problems = training_problems(settings, seed)
                training = replace(training, problems=problems)
            _save(ALL_METHODS[method](training), folder)
            for checkpoint in folder.glob("*/checkpoint-*"):
                shutil.rmtree(checkpoint)
    return _load(training), training.logs()


def _save(solver: SlotSolver | AdaptiveSolver, folder: Path) -> None:
    """The solver's file is written last: without it the training is not done."""
    solver.model.save_pretrained(folder / MODEL)
    about = {name: getattr(solver, name) for name in KEPT[type(solver)]}
    (folder / SOLVER).write_text(json.dumps(about) + "\n")


def _load(training: Training) -> SlotSolver | AdaptiveSolver:
    folder = training.folder
    config = json.loads((folder / MODEL / "config.json").read_text())
    kind = KINDS[config["model_type"]]
    model = kind.from_pretrained(folder / MODEL, dtype=torch.float32).to(device())
    rows = ChainRows.of(model, training.tokenizer, training.settings.context)
    about = json.loads((folder / SOLVER).read_text())
    solver = AdaptiveSolver if kind is AdaptiveModel else SlotSolver
    return solver(model, rows, **about)
