"""What encoder and decoder of Latent-SFT are, as a configuration that is saved with
them."""

from __future__ import annotations

from transformers import PreTrainedConfig

from lrkit.latent.slot_config import SLOT, SlotConfig

KINDS = ("mixture", "state")
SUPERVISION = ("strict", "open", "causal")
TABLES = ("input", "output")


class LatentSFTConfig(SlotConfig):
    """Of encoder and decoder, and of what a latent is.

    Args:
        base: configuration of either model.
        end: id of the token that ends a thought.
        kind: "mixture" of the vocabulary, or the hidden "state" itself: the ablation
            that the source finds worse.
        k: tokens of a mixture; 0: the whole vocabulary.
        mixture_temperature: of a mixture (`temperature` alone would be taken for
            that of `generate`).
        scale: what a hidden state is multiplied by where it is written; see
            `lrkit.latent.maps.identity`.
        table: the decoder's table that makes logits of the encoder's states: "input",
            as in the source, or "output". Tied, they are one.
        induction: the encoder's mask; false: an ablation, causal.
        supervision: the decoder's mask: "strict" as in the source's code, "open" as in
            its text, see `lrkit.latent.latent_masks`; "causal": an ablation.
        kwargs: see `SlotConfig`.

    Raises:
        ValueError: for an unknown kind, table or mask.
    """

    model_type = "lrkit-latent-sft"

    def __init__(
        self,
        base: PreTrainedConfig | dict | None = None,
        end: int = 0,
        kind: str = "mixture",
        k: int = 10,
        mixture_temperature: float = 1.0,
        scale: float = 1.0,
        table: str = "input",
        induction: bool = True,
        supervision: str = "strict",
        **kwargs,
    ):
        for what, value, known in (
            ("kind", kind, KINDS),
            ("table", table, TABLES),
            ("supervision", supervision, SUPERVISION),
        ):
            if value not in known:
                raise ValueError(
                    f"there is no {what} {value!r}: choose one of {', '.join(known)}."
                )
        super().__init__(base, **{"specials": [SLOT], "order": "given"} | kwargs)
        self.end = end
        self.kind = kind
        self.k = k
        self.mixture_temperature = mixture_temperature
        self.scale = scale
        self.table = table
        self.induction = induction
        self.supervision = supervision
