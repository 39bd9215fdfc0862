"""The first line of every notebook: profile, device, precision, seed, versions."""

from __future__ import annotations

import torch
import transformers

import lrkit
from lrkit.models import compute_dtype, device, fast_bf16
from lrkit.profiles import Profile, load_profile
from lrkit.quiet import hush


def start(
    profile_name: str, seed: int, base: str = "", topic: str = "answer"
) -> Profile:
    """Check the parameters, make the session reproducible and say what it runs on.

    Args:
        profile_name: "smoke", "cpu", "gpu" or "study".
        seed: the random seed of what this notebook trains.
        base: another base model (hub id or folder); "" keeps the profile's.
        topic: whose settings the notebook uses, "answer" or "latent".

    Raises:
        ValueError: for a profile, seed or base that cannot be used.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ValueError(f"SEED must be a whole number, 0 or more, not {seed!r}.")
    hush()
    profile = load_profile(profile_name, topic, base=base or None)
    transformers.set_seed(seed)
    where = "cpu"
    if device().type == "cuda":
        where = torch.cuda.get_device_name()
    autocast = ", bf16 autocast in training" if fast_bf16() else ""
    print(
        f"profile {profile.name} | base {getattr(profile, topic).base} | {where}, "
        f"{str(compute_dtype()).removeprefix('torch.')}{autocast} | seed {seed} | "
        f"lrkit {lrkit.__version__}, torch {torch.__version__.split('+')[0]}, "
        f"transformers {transformers.__version__}"
    )
    return profile
