"""The families whose published weights can be loaded, and the one way to load them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lrkit.latent.released import adaptive, coconut, codi, latent_sft
from lrkit.latent.released.checkpoint import Checkpoint
from lrkit.latent.released.release import Released

GPT2 = "openai-community/gpt2"


@dataclass(frozen=True)
class Family:
    """What is known of a family.

    Attributes:
        release: makes a `Released` of an opened checkpoint.
        published: hub ids, each with the id of its base where its folder does not say
            what it is, else "", and with the name of its weights where there are
            several.
    """

    release: Callable[..., Released]
    published: dict[str, tuple[str, str]]


_ADAPTIVE = "Lapisbird/Llama-adaLR-model-latent-6"
FAMILIES = {
    "codi": Family(
        codi.release,
        {
            "zen-E/CODI-gpt2": (GPT2, ""),
            "zen-E/CODI-llama3.2-1b-Instruct": ("", ""),
            "internlm/SIM_COT-GPT2-CODI": (GPT2, ""),
        },
    ),
    "coconut": Family(
        coconut.release,
        {
            "connordilgren/gpt2-gsm8k-coconut": (GPT2, "checkpoint_33"),
            "connordilgren/gpt2-prosqa-coconut": (GPT2, "checkpoint_40"),
            "bmarti44/coconut-curriculum-checkpoints": (
                GPT2,
                "coconut/checkpoint_best",
            ),
        },
    ),
    "adaptive": Family(
        adaptive.release,
        {f"{_ADAPTIVE}{kind}": ("", "") for kind in ("", "_rl", "-by-1", "-by-1_rl")},
    ),
    "latent_sft": Family(
        latent_sft.release,
        {
            "DJCheng/LLaMA3.2-1B-Instruct-Latent-SFT-Top10": ("", ""),
            "DJCheng/Qwen2.5-Math-7B-Latent-SFT-4k-Top10": ("", ""),
        },
    ),
}


def load_released(
    family: str,
    source: str | Path,
    base: str | Path | None = None,
    file: str | None = None,
    download: bool = False,
    dtype: torch.dtype | None = None,
    **options: Any,
) -> Released:
    """A published model, loaded strictly, with its solver and its controls.

    Args:
        family: one of `FAMILIES`.
        source: a file, a folder, or a hub id, with "@commit" behind it for one
            revision.
        base: where configuration and tokenizer lie, if not beside the weights; for the
            hub ids of `FAMILIES` it is known.
        file: name of the weights in a folder with several; likewise.
        download: whether the hub may be asked; nothing is downloaded else.
        dtype: of the model; None: that of the device, see `lrkit.models`.
        options: of the family's `release`, such as `n_latents` and `batch_size`.

    Raises:
        FileNotFoundError: for what is not there, and how to get it.
        ValueError: for an unknown family, or a file that does not fit its key map.
    """
    if family not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise ValueError(f"there is no family {family!r}: choose one of {known}.")
    name = str(source).partition("@")[0]
    own_base, own_file = FAMILIES[family].published.get(name, ("", ""))
    checkpoint = Checkpoint.open(
        source, base or own_base or None, file or own_file or None, download, dtype
    )
    return FAMILIES[family].release(checkpoint, **options)
