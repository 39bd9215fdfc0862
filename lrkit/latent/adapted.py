"""Slots over a base that is not saved with them: LoRA, or frozen, also in 4 bits.

What was trained is small: the rows of the specials, the map or what else stands beside
the base, the adapter. It is saved with the name of the base and a digest of its
weights, and loaded strictly. A base that was trained in full is saved whole by
`SlotModel.save_pretrained`.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file

from lrkit.base_weights import check_base
from lrkit.latent.slots import SlotModel
from lrkit.models import load_model, weights_digest

OWN, ABOUT, ADAPTER = "slots.safetensors", "slots.json", "adapter"


def _own(model: SlotModel) -> dict[str, torch.Tensor]:
    """All that is not the base, by name."""
    state = model.state_dict()
    return {k: v for k, v in state.items() if not k.startswith("base.")}


def save_adapted(
    model: SlotModel, folder: str | Path, base: str, load_in_4bit: bool = False
) -> Path:
    """Write rows, map and adapter; not the base.

    Args:
        model: over a base that is frozen, or a `PeftModel`.
        folder: made if missing.
        base: name of the base, as for `lrkit.models.load_model`.
        load_in_4bit: whether it was loaded so.

    Raises:
        ValueError: when weights of the base itself are trained: they would be lost.
    """
    adapted = isinstance(model.base, PeftModel)
    lost = [
        name
        for name, weight in model.base.named_parameters()
        if weight.requires_grad and not (adapted and "lora_" in name)
    ]
    if lost:
        raise ValueError(
            f"{len(lost)} weights of the base are trained ({lost[0]}, ...) and would "
            "be lost: use save_pretrained, or freeze them."
        )
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    own = {k: v.detach().cpu().contiguous() for k, v in _own(model).items()}
    save_file(own, folder / OWN)
    if adapted:
        model.base.save_pretrained(str(folder / ADAPTER))
    model.config.save_pretrained(folder)
    about = {
        "base": base,
        "base_weights": weights_digest(base),
        "load_in_4bit": load_in_4bit,
    }
    (folder / ABOUT).write_text(json.dumps(about, indent=1) + "\n")
    return folder


def load_adapted(
    kind: type[SlotModel], folder: str | Path, trainable: bool = False
) -> SlotModel:
    """The model that `save_adapted` wrote, over its base loaded again.

    Args:
        kind: the class that was saved, such as `CodiModel`.
        folder: what `save_adapted` wrote.
        trainable: whether the adapter is to be trained further.

    Raises:
        FileNotFoundError: when the folder holds no such model.
        ValueError: for a base with other weights, or rows that do not fit.
    """
    folder = Path(folder)
    if not (folder / ABOUT).is_file():
        raise FileNotFoundError(f"{folder} holds no model with slots ({ABOUT}).")
    about = json.loads((folder / ABOUT).read_text())
    check_base("the model", folder, about["base"], about["base_weights"])
    base = load_model(about["base"], about["load_in_4bit"])
    base.requires_grad_(False)
    if (folder / ADAPTER).is_dir():
        path = str(folder / ADAPTER)
        base = PeftModel.from_pretrained(base, path, is_trainable=trainable)
    model = kind(kind.config_class.from_pretrained(folder), base=base)
    state = load_file(folder / OWN)
    own = _own(model)
    shapes = {k: tuple(v.shape) for k, v in own.items()}
    if shapes != {k: tuple(v.shape) for k, v in state.items()}:
        missing = sorted(set(shapes) - set(state)) or sorted(set(state) - set(shapes))
        raise ValueError(
            f"rows and map in {folder} do not fit: expected {shapes}, and "
            f"{', '.join(missing) or 'the shapes'} differ."
        )
    model.load_state_dict(state, strict=False)
    model.own_to(base.get_input_embeddings().weight.device)
    return model
