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
from lrkit.latent.curriculum import Curriculum
from lrkit.latent.families import Family, family_of, modules_of
from lrkit.latent.latent_sft import LatentSFTModel
from lrkit.latent.latent_sft_methods import LATENT_SFT, load_stage_one
from lrkit.latent.methods import MethodSettings, Training
from lrkit.latent.solvers import BatchSolver
from lrkit.latent.training import RunSettings
from lrkit.models import device, load_tokenizer, model_path
from lrkit.profiles import LatentSettings

MODEL, SOLVER = "model", "solver.json"


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
    files = [weights] if weights.is_file() else []
    return fingerprint(params, modules_of(method), files)


def trained(
    settings: LatentSettings,
    method: str,
    seed: int = 0,
    given: list[Question] | None = None,
) -> tuple[BatchSolver, dict[str, list[dict]]]:
    """A method's solver, trained now or found, and the logs of its runs by name.

    Args:
        settings: of a profile, see `lrkit.profiles.LatentSettings`.
        method: of one of the families in `lrkit.latent.families`.
        seed: random seed of training problems, rows and map.
        given: problems to train on; None: generated ones of the task.

    Raises:
        ValueError: for an unknown method or task.
    """
    family = family_of(method)
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
            _save(family, family.methods[method](training), folder)
            for checkpoint in folder.glob("*/checkpoint-*"):
                shutil.rmtree(checkpoint)
    return _load(family, training), training.logs()


def stage_one(
    settings: LatentSettings,
    method: str,
    seed: int = 0,
    given: list[Question] | None = None,
) -> LatentSFTModel:
    """Encoder and decoder behind a student that `trained` gives for the same arguments.

    Args:
        settings, seed, given: see `trained`.
        method: one of `lrkit.latent.latent_sft_methods.LATENT_SFT`.

    Raises:
        ValueError: for another method.
        FileNotFoundError: where the method is not trained yet.
    """
    if method not in LATENT_SFT:
        known = ", ".join(LATENT_SFT)
        raise ValueError(f"{method!r} has no encoder: choose one of {known}.")
    folder = run_folder("latent", run_key(settings, method, seed, given))
    return load_stage_one(folder).to(device())


def _save(family: Family, solver: BatchSolver, folder: Path) -> None:
    """The solver's file is written last: without it the training is not done."""
    solver.model.save_pretrained(folder / MODEL)
    about = {name: getattr(solver, name) for name in family.kept}
    (folder / SOLVER).write_text(json.dumps(about) + "\n")


def _load(family: Family, training: Training) -> BatchSolver:
    folder = training.folder
    config = json.loads((folder / MODEL / "config.json").read_text())
    kinds = {kind.config_class.model_type: kind for kind in family.models}
    kind = kinds[config["model_type"]]
    model = kind.from_pretrained(folder / MODEL, dtype=torch.float32).to(device())
    about = json.loads((folder / SOLVER).read_text())
    return family.restored(model, training, about)
