"""The reasoning network of Latent Reasoning Tuning: states of a question to latents.

    z = f_out(G_phi(f_in(H_X) (.) [r_1 .. r_t]))                        (eq. 5 of LRT)

H_X are the last hidden states of a frozen base over the question, r_1 .. r_t learned
queries, f_in and f_out linear maps between the widths, and G_phi a small transformer
without an embedding layer. All t latents come out of one pass.

The equation multiplies n states with t queries and does not say how. Two readings, both
ours: *appended*, where the queries follow the states as further columns and attention
does the mixing; *pooled*, where the last state is multiplied into every query.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, LlamaConfig, PreTrainedConfig

READINGS = ("appended", "pooled")
ATTENTIONS = ("causal", "bidirectional")


def small_body(width: int, layers: int = 2, heads: int = 4) -> LlamaConfig:
    """The shape of a G_phi as wide as the base, where no other is asked for."""
    return LlamaConfig(
        hidden_size=width, intermediate_size=3 * width, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=heads, vocab_size=1,
        max_position_embeddings=65_536, bos_token_id=None, eos_token_id=None,
    )  # fmt: skip


class ReasoningNetwork(nn.Module):
    """f_out(G_phi(...)), see the module's docstring.

    Args:
        width: of the base.
        n_latents: t.
        body: configuration of G_phi as a dict: any decoder of transformers that takes
            `inputs_embeds`.
        reading: one of `READINGS`.
        attention: one of `ATTENTIONS`, of G_phi. The paper's body is causal, so that a
            latent sees the question and the latents before it.

    Raises:
        ValueError: for fewer than one latent, an unknown reading or attention.
    """

    def __init__(
        self,
        width: int,
        n_latents: int,
        body: dict[str, Any],
        reading: str = "appended",
        attention: str = "causal",
    ):
        super().__init__()
        for what, value, known in (
            ("reading", reading, READINGS),
            ("attention", attention, ATTENTIONS),
        ):
            if value not in known:
                raise ValueError(
                    f"there is no {what} {value!r}: choose one of {', '.join(known)}."
                )
        if n_latents < 1:
            raise ValueError(f"a network of {n_latents} latents cannot be: 1 or more.")
        config: PreTrainedConfig = AutoConfig.for_model(**body)
        self.reading, self.attention = reading, attention
        self.body = AutoModel.from_config(config)
        self.body.set_input_embeddings(nn.Identity())  # vectors come in, not tokens
        inner = config.hidden_size
        self.longest = getattr(config, "max_position_embeddings", None)
        self.f_in = nn.Linear(width, inner)
        self.f_out = nn.Linear(inner, width)
        spread = getattr(config, "initializer_range", 0.02)
        self.queries = nn.Parameter(torch.randn(n_latents, inner) * spread)

    @torch.no_grad()
    def begin_as_long_as(self, embeddings: torch.Tensor) -> None:
        """Let latents begin about as long as these embeddings, [vocabulary, width].

        A frozen base has never read anything much longer or shorter. G_phi ends in a
        norm, so that what f_out reads has entries of about 1.
        """
        spread = embeddings.float().std() / self.f_out.in_features**0.5
        self.f_out.weight.normal_(std=float(spread))
        self.f_out.bias.zero_()

    def forward(
        self, states: torch.Tensor, mask: torch.Tensor, active: torch.Tensor
    ) -> torch.Tensor:
        """The latents of each row.

        Args:
            states: [batch, columns, width], H_X; the last column is real in every row.
            mask: [batch, columns], 0 where a column is padding.
            active: [batch, n], false where a row has fewer than n slots; n is t, or
                less: then the first n queries are asked.

        Returns:
            [batch, n, width].

        Raises:
            ValueError: for more slots than queries, or more columns than G_phi takes.
        """
        n = active.shape[1]
        if n > len(self.queries):
            raise ValueError(
                f"{n} slots cannot be filled by {len(self.queries)} queries: use as "
                "many slots as the network was made for, or fewer."
            )
        dtype = self.f_in.weight.dtype
        queries = self.queries[:n].expand(len(states), -1, -1)
        if self.reading == "pooled":
            vectors = self.f_in(states[:, -1:].to(dtype)) * queries
            real = active.long()
        else:
            vectors = torch.cat([self.f_in(states.to(dtype)), queries], 1)
            real = torch.cat([mask.long(), active.long()], 1)
        if self.longest is not None and vectors.shape[1] > self.longest:
            raise ValueError(
                f"{vectors.shape[1]} columns are more than the {self.longest} that the "
                "reasoning network takes: shorten the question or widen its body."
            )
        hidden = self.body(
            inputs_embeds=vectors,
            attention_mask=self._seen(real, dtype),
            position_ids=(real.cumsum(1) - 1).clamp(min=0),
            use_cache=False,
        ).last_hidden_state
        return self.f_out(hidden[:, -n:])

    def _seen(self, real: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """The mask of G_phi: [batch, columns], or [batch, 1, columns, columns] added to
        the scores where every column sees every real one."""
        if self.attention == "causal":
            return real
        n = real.shape[1]
        hidden = (real == 0)[:, None, None, :].expand(-1, 1, n, n)
        zeros = torch.zeros(hidden.shape, dtype=dtype, device=real.device)
        return zeros.masked_fill(hidden, torch.finfo(dtype).min)

    def flops(self, columns: int, n: int) -> float:
        """2 * (parameters * the columns that they are applied to), for one row.

        Args:
            columns: of the question.
            n: of the latents.
        """
        f_in, f_out, body = (
            sum(p.numel() for p in module.parameters())
            for module in (self.f_in, self.f_out, self.body)
        )
        read = columns if self.reading == "appended" else 1
        return 2.0 * (
            f_in * read
            + body * (read + n if self.reading == "appended" else n)
            + f_out * n
        )
