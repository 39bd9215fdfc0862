"""Small bases of random weights, in folders: executors of any size.

The embedded bases have read chains already, and a ceiling hides what guidance is worth.
A fresh base is a folder like any other, so that `LatentSettings.base` can name it.
"""

from __future__ import annotations

import torch
from filelock import FileLock

from lrkit.cache import fingerprint, run_folder
from lrkit.models import load_tokenizer
from lrkit.pretrain.think import Shape, build


def fresh_base(
    layers: int,
    width: int,
    heads: int = 4,
    mlp: int | None = None,
    tokenizer: str = "think-wide",
    seed: int = 0,
) -> str:
    """The folder of a random GPT-2, made if missing.

    Args:
        layers, width, heads: of the network.
        mlp: its inner width; None: three times the width.
        tokenizer: of which base.
        seed: random seed of the weights.
    """
    mlp = 3 * width if mlp is None else mlp
    shape = Shape(f"fresh-{layers}x{width}", layers, width, heads, mlp, ())
    key = fingerprint([layers, width, heads, mlp, tokenizer, seed])
    folder = run_folder(shape.name, key)
    with FileLock(f"{folder}.lock"):  # two notebooks may ask at the same time
        if not (folder / "tokenizer.json").is_file():
            spoken = load_tokenizer(tokenizer)
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                build(shape, spoken).save_pretrained(folder)
            spoken.save_pretrained(folder)  # last: it is the mark
    return str(folder)
