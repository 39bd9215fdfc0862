"""Where a published checkpoint lies, and its tensors as a dictionary.

Nothing is downloaded unless that is asked for. Tensors are read from safetensors, or
from files of `torch.save` with `weights_only=True`, which runs no code of the file.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from pathlib import Path

import torch
from httpx import HTTPError
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError
from safetensors.torch import load_file

SMALL = ("*.json", "*.model", "*.txt", "*.jinja")  # configuration and tokenizer
# What trainers leave beside the weights.
BESIDE = ("training_args", "optimizer", "scheduler", "scaler", "rng_state")


def located(
    source: str | Path, download: bool = False, only: Sequence[str] | None = None
) -> Path:
    """The local file or folder of a checkpoint.

    Args:
        source: a file, a folder, or a hub id such as "zen-E/CODI-gpt2", with
            "@commit" behind it for one revision.
        download: whether the hub may be asked; else a hub id is looked for in the
            local cache alone.
        only: patterns of the files that are needed; None: all.

    Raises:
        FileNotFoundError: for what is not there; it says how to get it.
    """
    path = Path(source).expanduser()
    if path.exists():
        return path
    name, _, revision = str(source).partition("@")
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise FileNotFoundError(f"{source} is not there.")
    try:
        folder = snapshot_download(
            name,
            revision=revision or None,
            local_files_only=not download,
            allow_patterns=list(only) if only else None,
        )
    # A missing cache entry and a switched-off hub are OSErrors; a gated or unknown
    # model and a lost network are HTTPErrors.
    except (OSError, HTTPError, HFValidationError) as why:
        asked = "could not be had from the hub" if download else "is not in the cache"
        raise FileNotFoundError(
            f"{source!r} is no local file or folder and {asked} "
            f"({type(why).__name__}). Pass download=True (--download) where there is a "
            f"network; or run `hf download {name}` on a machine that has one, copy the "
            "folder, and give its path."
        ) from why
    return Path(folder)


def weight_file(folder: Path, name: str | None = None) -> Path:
    """The file with the weights, or the index of its shards.

    Args:
        folder: of the checkpoint; a file is taken as it is.
        name: of the file within it, where there are several.

    Raises:
        FileNotFoundError: when there is none, or no way to tell which.
    """
    if folder.is_file():
        return folder
    if name is not None:
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder} has no {name}.")
        return folder / name
    for pattern in ("*.safetensors.index.json", "*.safetensors", "*.bin.index.json",
                    "*.bin", "*.pt", "*.pth", "checkpoint_*"):  # fmt: skip
        found = [
            path
            for path in sorted(folder.glob(pattern))
            if path.is_file() and not path.name.startswith(BESIDE)
        ]
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(path.name for path in found[:6])
            raise FileNotFoundError(
                f"{folder} has {len(found)} files of weights ({names}): name one "
                "(file=..., --file). Shards need their index beside them."
            )
    raise FileNotFoundError(f"{folder} has no weights, neither safetensors nor torch.")


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a file, or of all shards of an index, on the CPU.

    Raises:
        FileNotFoundError: for a shard that is missing.
        ValueError: for a file with something else than named tensors, or shards that
            do not hold what their index says.
    """
    if not path.name.endswith(".index.json"):
        return _read(path)
    promised: dict[str, str] = json.loads(path.read_text())["weight_map"]
    tensors: dict[str, torch.Tensor] = {}
    for shard in sorted(set(promised.values())):
        if not (path.parent / shard).is_file():
            raise FileNotFoundError(f"{path.name} names {shard}, which is missing.")
        part = _read(path.parent / shard)
        wanted = {name for name, where in promised.items() if where == shard}
        if wrong := sorted(wanted ^ set(part)):
            raise ValueError(
                f"{shard} and {path.name} differ in {len(wrong)} tensors, such as "
                f"{wrong[0]}."
            )
        tensors |= part
    return tensors


def _read(path: Path) -> dict[str, torch.Tensor]:
    if path.suffix == ".safetensors":
        return load_file(path)
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, EOFError, RuntimeError) as why:
        raise ValueError(
            f"{path.name} is no file of tensors alone, and it is not read otherwise: a "
            "pickle can run any code. Convert it to safetensors where you trust it."
        ) from why
    if not isinstance(found, dict) or not all(
        isinstance(name, str) and torch.is_tensor(value)
        for name, value in found.items()
    ):
        raise ValueError(f"{path.name} holds no dictionary of named tensors.")
    return found
