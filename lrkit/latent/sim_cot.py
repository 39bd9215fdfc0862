"""SIM-CoT: latents are supervised step by step (arXiv 2509.20317), on top of CODI.

A second causal LM, the *step decoder*, begins as a copy of the base. It is given the
latents of one step as a prefix and nothing else of the problem, and writes the step:

    z_k | mark | <<7+5=2>> | end token

So each latent has to hold its own step, and latents cannot all become alike. Answering
needs no decoder: it can be dropped, or kept as a reader of latents (`read_steps`).

The loss is the mean over the supervised tokens of a batch, text and end, as those of
chain and answer are. Latents beyond the steps of a problem are left alone, and so are
steps beyond the latents. The mark is what the base has seen before a step: a line break
before an equation, "(" before a result. Without a teacher's row the loss is that of
SIM-CoT on COCONUT.

What the reference does otherwise, as far as its forks show: it takes one mean over the
first steps of a batch, one over the second ones, ..., and the mean of these, so that a
late step weighs more the fewer rows have it; it cuts the steps out of the teacher's
row, which lacks the last one; it gives a step to the state behind the last latent,
which is never written; and it looks up the decoder's tokens in the base's table.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from lrkit.data.chains import step_value
from lrkit.latent.chain_rows import ChainRows
from lrkit.latent.codi import CodiConfig, CodiModel, CodiOutput
from lrkit.latent.layout import IGNORED
from lrkit.latent.slots import SlotOutput, mean_loss

# What the decoder writes of a step: (the mark before it, its text).
STEP_TEXTS: dict[str, tuple[str, Callable[[str], str]]] = {
    "equation": ("\n", str),
    "result": ("(", lambda step: f" {step_value(step)}"),
}


class SimCotConfig(CodiConfig):
    """`CodiConfig` with what concerns the step decoder.

    Args:
        delta: weight of its loss.
        per_step: c, latents that it is given for a step.
        step_text: what it writes of a step, one of `STEP_TEXTS`.
        supervise: whether its gradient reaches the latents. If not, it learns to read
            what they hold anyway: a probe, and the control of this method.
        has_decoder: false once it was dropped.
        args, kwargs: see `CodiConfig`.

    Raises:
        ValueError: for another step text, or less than one latent for a step.
    """

    model_type = "lrkit-sim-cot"

    def __init__(
        self,
        *args,
        delta: float = 1.0,
        per_step: int = 1,
        step_text: str = "equation",
        supervise: bool = True,
        has_decoder: bool = True,
        **kwargs,
    ):
        if step_text not in STEP_TEXTS:
            known = ", ".join(STEP_TEXTS)
            raise ValueError(f"no step text {step_text!r}: choose one of {known}.")
        if per_step < 1:
            raise ValueError(f"a step needs 1 or more latents, not {per_step}.")
        super().__init__(*args, **kwargs)
        self.delta = delta
        self.per_step = per_step
        self.step_text = step_text
        self.supervise = supervise
        self.has_decoder = has_decoder


@dataclass
class SimCotOutput(CodiOutput):
    """`CodiOutput` with the decoder's loss, detached."""

    ce_steps: torch.Tensor | None = None


class SimCotModel(CodiModel):
    """`CodiModel` whose latents are also read by a step decoder; it begins with the
    weights that the base has here, and is trained where the base is."""

    config_class = SimCotConfig

    def __init__(self, config: SimCotConfig, base: PreTrainedModel | None = None):
        super().__init__(config, base)
        self.step_decoder = copy.deepcopy(self.base) if config.has_decoder else None
        self.post_init()  # once more: now with the tied weights of the decoder

    def drop_decoder(self) -> None:
        """Let the decoder go: what is saved from here on is as large as CODI's."""
        self.step_decoder = None
        self.config.has_decoder = False

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        step_ids: torch.Tensor | None = None,
        step_labels: torch.Tensor | None = None,
        logits_to_keep: int = 0,  # by name, as in CODI
        **kwargs,
    ) -> SlotOutput:
        """CODI's loss + delta * CE_steps; without steps the plain `CodiModel.forward`.

        Args:
            input_ids, attention_mask, labels: the student's, [batch, columns].
            step_ids, step_labels: see `step_loss`.
            kwargs: the teacher's, see `CodiModel.forward`.
        """
        out = super().forward(
            input_ids,
            attention_mask,
            labels=labels,
            logits_to_keep=logits_to_keep,
            **kwargs,
        )
        if step_ids is None:
            return out
        ce_steps = self.step_loss(out.latents, step_ids, step_labels)
        loss = out.loss + self.config.delta * ce_steps
        parts = dict(out) | {"loss": loss, "ce_steps": ce_steps.detach()}
        return SimCotOutput(**parts)

    def step_loss(
        self,
        latents: torch.Tensor | None,
        step_ids: torch.Tensor,
        step_labels: torch.Tensor,
    ) -> torch.Tensor:
        """CE_steps: nats per token, the mean over all supervised tokens, a scalar.

        Args:
            latents: [batch, latents, width], as written; None: there are none.
            step_ids: [batch, steps, tokens], mark, text and end, padded on the right.
            step_labels: the same, -100 for the mark and for padding.

        Returns:
            Zero where there is no step.

        Raises:
            ValueError: for more steps than there are latents for, or without a decoder.
        """
        exists = (step_labels != IGNORED).any(-1)
        if not exists.any():
            return self.rows.weight.new_zeros(())
        n = 0 if latents is None else latents.shape[1]
        c, n_steps = self.config.per_step, step_ids.shape[1]
        if n_steps * c > n:
            raise ValueError(
                f"{n_steps} steps need {n_steps * c} latents, {c} for each: there "
                f"are {n}."
            )
        if not self.config.supervise:
            latents = latents.detach()
        prefixes = self.prefixes(latents)[:, :n_steps][exists]
        # Padding stands behind all that is scored: causal attention needs no mask.
        logits = self.step_decoder(
            inputs_embeds=self._behind(prefixes, step_ids[exists]), use_cache=False
        ).logits
        return mean_loss(logits[:, c - 1 : -1], step_labels[exists])

    def prefixes(self, latents: torch.Tensor) -> torch.Tensor:
        """[batch, steps, c, width]: the latents of each step.

        Raises:
            ValueError: for latents that do not fit, or without a decoder.
        """
        c = self.config.per_step
        width = self.get_input_embeddings().embedding_dim
        if self.step_decoder is None:
            raise ValueError(
                "the step decoder of this model was dropped: nothing can read its "
                "latents or supervise them."
            )
        if latents.ndim != 3 or latents.shape[1] % c or latents.shape[2] != width:
            raise ValueError(
                f"latents must be of shape [batch, a multiple of {c}, {width}], got "
                f"{list(latents.shape)}."
            )
        return latents.unflatten(1, (latents.shape[1] // c, c))

    def _behind(self, prefixes: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        """[n, c + tokens, width]: tokens [n, tokens] behind prefixes [n, c, width]."""
        vectors = self.step_decoder.get_input_embeddings()(ids)
        return torch.cat([prefixes.to(vectors.dtype), vectors], 1)


@torch.inference_mode()
def read_steps(
    model: SimCotModel, latents: torch.Tensor, rows: ChainRows, max_new_tokens: int = 32
) -> list[list[str]]:
    """What the step decoder writes of latents, greedily, all of them in one batch.

    Args:
        model: trained, with its decoder; it is put into evaluation mode.
        latents: [batch, n, width], as in `SlotOutput.latents`.
        rows: of the model.
        max_new_tokens: longest step.

    Returns:
        For each question n / c texts. A latent that stood for no step in training has
        a text, too, and it means nothing.

    Raises:
        ValueError: for latents that do not fit, or without a decoder.
    """
    prefixes, tokenizer = model.prefixes(latents), rows.tokenizer
    n_steps, prefixes = prefixes.shape[1], prefixes.flatten(0, 1)
    if not len(prefixes):
        return [[] for _ in latents]
    mark = torch.tensor(rows.encode(STEP_TEXTS[model.config.step_text][0]))
    mark = mark.to(prefixes.device).expand(len(prefixes), -1)
    vectors = model.eval()._behind(prefixes, mark)
    written = model.step_decoder.generate(
        inputs_embeds=vectors,
        attention_mask=vectors.new_ones(vectors.shape[:2], dtype=torch.long),
        max_new_tokens=max_new_tokens,
        do_sample=False,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.eos_token_id,  # some tokenizers have no padding
    )
    texts = tokenizer.batch_decode(written, skip_special_tokens=True)
    return [
        [text.strip() for text in texts[k : k + n_steps]]
        for k in range(0, len(texts), n_steps)
    ]
