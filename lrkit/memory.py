"""What a QLoRA run needs of a device's memory, told before anything is downloaded.

Nothing is loaded: the model is built from its configuration on torch's *meta* device,
where tensors have shapes and dtypes and no numbers, the adapter is put on it, and a
forward pass runs. Weights, adapter, optimizer and what the backward pass would keep are
counted. So a 7B model is reckoned in seconds on a laptop.

    python -m lrkit.memory teknium/OpenHermes-2.5-Mistral-7B --tokens 1024

Rows are taken to be padded, so that attention keeps a mask.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
)

from lrkit.models import model_path
from lrkit.profiles import AnswerSettings, load_profile
from lrkit.quiet import hush

BLOCK = 64  # values that share a scale in NF4
# Bytes for each trained value, moments and, in 8 bits, their scales.
OPTIMIZERS = {
    "adamw_torch": 8.0,
    "adamw_torch_fused": 8.0,
    "adamw_8bit": 2.0 + 8.0 / 256,
    "paged_adamw_8bit": 2.0 + 8.0 / 256,
    "paged_adamw_32bit": 8.0,
}


@dataclass(frozen=True)
class Memory:
    """Bytes, by what they hold.

    Attributes:
        weights: of the frozen base.
        adapter: of what is trained, in float32.
        gradients: of what is trained.
        optimizer: its moments; a paged optimizer moves them to the host when the
            device is full.
        activations: kept for the backward pass, logits and their gradient included.
    """

    weights: int
    adapter: int
    gradients: int
    optimizer: int
    activations: int

    @property
    def total(self) -> int:
        """All of it; the device needs half a gigabyte more for itself and its kernels,
        and some for pieces that lie scattered."""
        return sum(getattr(self, f.name) for f in fields(self))

    def __str__(self) -> str:
        lines = [
            f"{f.name:>12}  {self.said(getattr(self, f.name))}" for f in fields(self)
        ]
        return "\n".join([*lines, f"{'total':>12}  {self.said(self.total)}"])

    @staticmethod
    def said(n: int) -> str:
        return f"{n / 2**30:8.2f} GiB" if n >= 2**27 else f"{n / 2**20:8.2f} MiB"


def weight_bytes(model: PreTrainedModel, load_in_4bit: bool, dtype: torch.dtype) -> int:
    """Bytes of a base: in 4 bits every linear layer but the output layer, and the rest
    in `dtype`.

    A weight in NF4 takes half a byte, and each block of 64 a scale in float32.
    """
    head = model.get_output_embeddings()
    packed = {
        id(module.weight)
        for module in model.modules()
        if load_in_4bit and isinstance(module, nn.Linear) and module is not head
    }
    size = torch.empty((), dtype=dtype, device="meta").element_size()
    total = 0
    for weight in model.parameters():
        n = weight.numel()
        if id(weight) in packed:
            total += math.ceil(n / 2) + 4 * math.ceil(n / BLOCK)
        else:
            total += size * n
    return total


@contextmanager
def kept_for_backward(model: nn.Module) -> Iterator[dict[int, int]]:
    """Bytes by storage that autograd keeps inside the block, weights left out."""
    weights = [*model.parameters(), *model.buffers()]
    own = {w.untyped_storage()._cdata for w in weights}
    found: dict[int, int] = {}
    alive = []  # or a storage's address is given to the next one

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            alive.append(tensor)
            found[storage._cdata] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield found


def _stand_in(model: nn.Module) -> None:
    """Put tensors of the mode that is active in the place of those on *meta*, where
    attention is computed in another way than on a real device."""
    known: dict[int, torch.Tensor] = {}
    for module in model.modules():
        for group in (module._parameters, module._buffers):
            for name, old in group.items():
                if old is None:
                    continue
                if id(old) not in known:  # a tied table stays tied
                    new = torch.empty(old.shape, dtype=old.dtype, device="cpu")
                    if isinstance(old, nn.Parameter):
                        new = nn.Parameter(new, requires_grad=old.requires_grad)
                    known[id(old)] = new
                group[name] = known[id(old)]


def _activations(model: nn.Module, rows: int, tokens: int) -> int:
    """Bytes that a forward pass keeps, and the gradient of its logits."""
    with FakeTensorMode():
        _stand_in(model)
        ids = torch.zeros(rows, tokens, dtype=torch.long)
        with kept_for_backward(model) as kept:
            out = model.train()(input_ids=ids, labels=ids, use_cache=False)
        return sum(kept.values()) + out.logits.untyped_storage().nbytes()


def estimate(
    config: PreTrainedConfig,
    settings: AnswerSettings,
    tokens: int | None = None,
    dtype: torch.dtype = torch.bfloat16,
) -> Memory:
    """What one training step of `lrkit.answer` needs.

    Args:
        config: of the base.
        settings: adapter, batch, optimizer, 4-bit, gradient checkpointing.
        tokens: of each row of a batch; None: the longest that the settings accept.
        dtype: the base is computed in; the T4's is `torch.float16`.

    Raises:
        ValueError: for an optimizer that is not in `OPTIMIZERS`.
    """
    if settings.optimizer not in OPTIMIZERS:
        known = ", ".join(OPTIMIZERS)
        raise ValueError(f"optimizer {settings.optimizer!r} is none of {known}.")
    lora = LoraConfig(
        r=settings.lora_r, lora_alpha=settings.lora_alpha, lora_dropout=0.0,
        target_modules=list(settings.lora_targets), task_type="CAUSAL_LM",
    )  # fmt: skip
    rows, tokens = settings.batch_size, tokens or settings.max_tokens

    def built() -> PreTrainedModel:
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(config, dtype=dtype)

    def adapted(base: PreTrainedModel) -> PeftModel:
        with torch.device("meta"):
            return get_peft_model(base, lora)

    base = built()
    weights = weight_bytes(base, settings.load_in_4bit, dtype)
    model = adapted(base)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    activations = _activations(model, rows, tokens)
    if settings.gradient_checkpointing:
        # What the blocks' inputs take, and one block, which is computed again.
        block = activations // config.num_hidden_layers
        base = built()
        base.gradient_checkpointing_enable({"use_reentrant": False})
        base.enable_input_require_grads()
        activations = block + _activations(adapted(base), rows, tokens)
    return Memory(
        weights=weights,
        adapter=4 * trained,
        gradients=4 * trained,
        optimizer=round(OPTIMIZERS[settings.optimizer] * trained),
        activations=activations,
    )


def main() -> None:
    """Print what a base needs with the settings of a profile, and what helps."""
    parser = argparse.ArgumentParser(prog="python -m lrkit.memory")
    parser.add_argument("base", help="a hub id, a local folder or an embedded base")
    parser.add_argument("--profile", default="gpu")
    parser.add_argument("--tokens", type=int, default=None, help="of each row")
    args = parser.parse_args()
    hush()
    settings = load_profile(args.profile).answer
    config = AutoConfig.from_pretrained(model_path(args.base))
    print(estimate(config, settings, args.tokens))
    for said, changes in {
        "with gradient checkpointing": {"gradient_checkpointing": True},
        "without it": {"gradient_checkpointing": False},
        "rank 8": {"lora_r": 8},
        "one row at a time": {"batch_size": 1},
    }.items():
        other = dataclasses.replace(settings, **changes)
        if other != settings:
            total = estimate(config, other, args.tokens).total
            print(f"{said:>28}  {Memory.said(total)}")


if __name__ == "__main__":
    main()
