"""Load a causal language model, embedded or real, in the precision the device likes.

One table decides the dtype:

| device                         | dtype    |
|--------------------------------|----------|
| CUDA, compute capability >= 8  | bfloat16 |
| CUDA, older (T4)               | float16  |
| CPU                            | float32  |

(`fast_bf16` says whether bf16 autocast pays in training; only CPUs with AMX or
AVX-512-BF16 and newer GPUs do it fast.) No remote code, safetensors only.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import torch
from bitsandbytes.nn import Linear4bit
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from lrkit.paths import root

EMBEDDED = ("talk", "think-graphs", "think-narrow", "think-wide")
MEBIBYTE = 2**20


def device() -> torch.device:
    """CUDA if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@cache
def fast_bf16() -> bool:
    """Whether this device multiplies bf16 matrices faster than fp32 ones."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_capability()[0] >= 8
    try:
        flags = Path("/proc/cpuinfo").read_text().split()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def compute_dtype() -> torch.dtype:
    """The dtype for weights and activations; see the table above."""
    if not torch.cuda.is_available():
        return torch.float32
    return torch.bfloat16 if fast_bf16() else torch.float16


def model_path(name: str) -> str:
    """Where a base lies: an embedded name, a local folder, or a hub id as it is.

    Raises:
        FileNotFoundError: for an embedded name whose weights are not there.
    """
    if name in EMBEDDED:
        folder = root() / "models" / name
        if not (folder / "model.safetensors").is_file():
            raise FileNotFoundError(
                f"the embedded base {name!r} is not in {folder.name}/: run `make "
                "pretrain`, or check that the clone is complete."
            )
        return str(folder)
    return name


def weights_digest(name: str) -> str:
    """12 hex digits that tell the weights of a base from others; "" for a hub id.

    Of each safetensors file the name, the size and the first and last mebibyte: the
    files of a large model are not read whole.
    """
    folder = Path(model_path(name))
    files = sorted(folder.glob("*.safetensors")) if folder.is_dir() else []
    digest = hashlib.sha256()
    for file in files:
        size = file.stat().st_size
        digest.update(f"{file.name} {size}".encode())
        with file.open("rb") as f:
            digest.update(f.read(MEBIBYTE))
            f.seek(max(0, size - MEBIBYTE))
            digest.update(f.read(MEBIBYTE))
    return digest.hexdigest()[:12] if files else ""


def quantization(load_in_4bit: bool) -> BitsAndBytesConfig | None:
    """NF4 without double quantization (the source's setting), or None."""
    if not load_in_4bit:
        return None
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=compute_dtype(),
        bnb_4bit_use_double_quant=False,
    )


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """The tokenizer of a base; pads on the left, as scoring the last position needs.

    Raises:
        ValueError: when the tokenizer has neither a padding nor an end token.
    """
    tokenizer = AutoTokenizer.from_pretrained(model_path(name))
    tokenizer.padding_side = "left"
    if tokenizer.pad_token is None:
        if tokenizer.eos_token is None:
            raise ValueError(
                f"the tokenizer of {name!r} has neither a pad nor an eos token: set "
                "tokenizer.pad_token before you use it."
            )
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_model(name: str, load_in_4bit: bool = False) -> PreTrainedModel:
    """A causal LM on this machine's device, in its dtype or in 4 bits (NF4)."""
    model = AutoModelForCausalLM.from_pretrained(
        model_path(name),
        quantization_config=quantization(load_in_4bit),
        dtype=compute_dtype(),
        device_map={"": device()},
        use_safetensors=True,
        trust_remote_code=False,
    )
    for module in model.modules():
        if isinstance(module, Linear4bit):
            # On CPUs with fast bf16, bitsandbytes repacks the weights at the first
            # scoring: from then on results are rounded to bf16, depend on the batch and
            # on the machine, and no gradient flows any more.
            module.support_avx512bf16_for_cpu = False
    return model
