"""How slots are filled, as a configuration that is saved with a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import AutoConfig, PreTrainedConfig

ORDERS = ("given", "sequential", "rounds")
BOT, SLOT = "<bot>", "<slot>"
SPECIALS = (BOT, SLOT, "<eot>", "<pause>")


class SlotConfig(PreTrainedConfig):
    """How slots are filled.

    Args:
        base: configuration of the wrapped model.
        specials: names of the ids after the base's vocabulary, each with a trainable
            row; `"<slot>"` must be among them.
        order: "given", "sequential" or "rounds".
        rounds: T of the order "rounds".
        map: see `lrkit.latent.maps.build_map`.
    """

    model_type = "lrkit-slots"

    def __init__(
        self,
        base: PreTrainedConfig | dict | None = None,
        specials: Sequence[str] = SPECIALS,
        order: str = "sequential",
        rounds: int = 0,
        map: dict[str, Any] | None = None,
        **kwargs,
    ):
        if order not in ORDERS:
            raise ValueError(
                f"there is no order {order!r}: choose one of {', '.join(ORDERS)}."
            )
        if order == "rounds" and rounds < 1:
            raise ValueError(
                f"the order 'rounds' needs 1 or more rounds, not {rounds}."
            )
        if SLOT not in specials or len(set(specials)) != len(specials):
            raise ValueError(
                f"{SLOT!r} must be among {list(specials)}, each name once."
            )
        # As a dict: the library would adjust a nested configuration with this one.
        self.base = base.to_dict() if isinstance(base, PreTrainedConfig) else base
        if self.base is not None:  # where it lay on this machine is nobody's business
            self.base = {k: v for k, v in self.base.items() if k != "_name_or_path"}
        self.specials = list(specials)
        self.order = order
        self.rounds = rounds
        self.map = map or {"kind": "identity"}
        super().__init__(**kwargs)

    def get_text_config(self, *args, **kwargs) -> PreTrainedConfig:
        """The base's: what the library asks for layers, windows and vocabulary."""
        return self if self.base is None else AutoConfig.for_model(**self.base)
