"""The core: vectors are read from a model and written into it at named slots.

A *slot* is an ordinary placeholder id in `input_ids` whose embedding is computed, not
looked up. `SlotModel` wraps any causal LM of transformers through its public interface
and fills the slots in one of three orders:

* `given`: the caller passes the vectors; one forward pass;
* `sequential`: slot k holds the mapped last hidden state of the position before it, so
  that n slots take n + 2 passes over a growing cache;
* `rounds`: all slots at once, T times over, each from the round before (Jacobi).

Columns of a batch are [beginning, padded left][slots][rest, padded right]; a row with
fewer slots has masked columns among them. A row's result does not depend on the others.
What is trained, and on what loss, is the business of the methods beside this file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    DynamicCache,
    GenerationMixin,
    PreTrainedModel,
)
from transformers.modeling_outputs import CausalLMOutputWithPast

from lrkit.latent.maps import build_map
from lrkit.latent.passes import Passes
from lrkit.latent.slot_config import BOT, SLOT, SlotConfig

Write = Callable[[torch.Tensor, slice], torch.Tensor]


@dataclass
class SlotOutput(CausalLMOutputWithPast):
    """What a forward pass gives.

    Attributes:
        logits: [batch, kept columns, base vocabulary], see `SlotModel.forward`.
        latents: [batch, slots, width], what was written; zero where a row has no slot.
        read: [batch, slots, width], the hidden states it was computed from; None where
            the vectors were given.
        after: [batch, width], the hidden state at each row's last slot, or at the token
            before the slots where a row has none; in a batch without any, at `<bot>`.
            So a row of n slots has its n + 1 states in `read[:, :n]` and here. None
            but for the order "sequential".
    """

    latents: torch.Tensor | None = None
    read: torch.Tensor | None = None
    after: torch.Tensor | None = None


class SlotModel(PreTrainedModel, GenerationMixin):
    """A causal LM with slots; see the module's docstring.

    Args:
        config: how slots are filled.
        base: the model to wrap; None: one of random weights by `config.base`.
    """

    config_class = SlotConfig
    main_input_name = "input_ids"
    supports_gradient_checkpointing = False  # it would empty the cache between passes
    _supports_sdpa = True
    _supports_flash_attn = True

    def __init__(self, config: SlotConfig, base: PreTrainedModel | None = None):
        super().__init__(config)
        if base is None:
            base = AutoModelForCausalLM.from_config(config.get_text_config())
        else:  # `post_init` would draw a fresh adapter of PEFT again, its zeros too
            for module in base.modules():
                module._is_hf_initialized = True
        self.base = base
        table = self.base.get_input_embeddings()
        self.first_special = table.num_embeddings
        self.rows = nn.Embedding(len(config.specials), table.embedding_dim)
        self.map = build_map(config.map, table.embedding_dim)
        if hasattr(self.map, "bind"):
            self.map.bind(self.base)
        self._written: Write = lambda vectors, which: vectors
        self.post_init()

    @classmethod
    def wrap(cls, base: PreTrainedModel, **config) -> SlotModel:
        """Wrap a loaded model; its weights are used, not copied.

        The rows of the specials start at the mean of the base's embeddings, with noise
        of a tenth of their spread that tells them apart.

        Args:
            base: any causal LM, also in 4 bits or under PEFT.
            config: arguments of the class's configuration.
        """
        model = cls(cls.config_class(base=base.config, **config), base=base)
        table = base.get_input_embeddings().weight.detach().float()
        noise = torch.randn_like(model.rows.weight) * table.std() / 10
        model.rows.weight.data = (table.mean(0) + noise).to(model.rows.weight)
        model.own_to(table.device)
        return model

    def own_to(self, device: torch.device) -> None:
        """Move all that stands beside the base: rows, map, and what a method adds."""
        for name, part in self.named_children():
            if name != "base":
                part.to(device)
        for weight in self.parameters(recurse=False):
            weight.data = weight.data.to(device)

    def _init_weights(self, module: nn.Module) -> None:
        """Rows and map start as torch starts them; the base has its own way."""

    def id_of(self, name: str) -> int:
        """The id of a special token.

        Raises:
            ValueError: for a name that the configuration does not list.
        """
        if name not in self.config.specials:
            known = ", ".join(self.config.specials)
            raise ValueError(f"there is no special token {name!r}: there are {known}.")
        return self.first_special + self.config.specials.index(name)

    def copy_row(self, name: str, token: int) -> None:
        """Let a special begin as a token of the base, by its id."""
        row = self.base.get_input_embeddings().weight[token].detach()
        which = self.config.specials.index(name)
        self.rows.weight.data[which] = row.to(self.rows.weight)

    def get_input_embeddings(self) -> nn.Module:
        """The base's table; rows of specials are not in it, see `embed`."""
        return self.base.get_input_embeddings()

    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        """[..., width]: rows of the base's table, or of the specials'."""
        vectors = self.base.get_input_embeddings()(
            ids.clamp(max=self.first_special - 1)
        )
        special = ids >= self.first_special
        if not special.any():
            return vectors
        rows = self.rows((ids - self.first_special).clamp(min=0))
        return torch.where(special[..., None], rows.to(vectors.dtype), vectors)

    @contextmanager
    def writing(self, change: Write) -> Iterator[None]:
        """Change what is written, for as long as the context lasts.

        Args:
            change: takes vectors [batch, n, width] and the slice of slot numbers that
                they belong to, and returns what to write instead.
        """
        before, self._written = self._written, change
        try:
            yield
        finally:
            self._written = before

    def latent(self, before: torch.Tensor, k: int) -> torch.Tensor:
        """[batch, 1, width]: what is written into slot k behind states [batch, width].

        Of the order "sequential".
        """
        vector = self.map(before)[:, None].to(before.dtype)
        return self._written(vector, slice(k, k + 1))

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: DynamicCache | None = None,
        labels: torch.Tensor | None = None,
        latents: torch.Tensor | None = None,
        use_cache: bool | None = None,
        output_hidden_states: bool | None = None,
        logits_to_keep: int = 0,
        num_items_in_batch: torch.Tensor | None = None,
        **kwargs,
    ) -> SlotOutput:
        """Fill the slots and score the rest.

        Args:
            input_ids: [batch, columns]; ids from the base's size on are specials.
            attention_mask: [batch, cached + columns]; None: nothing is masked.
            position_ids: [batch, columns]; None: counted over real columns.
            past_key_values: cache of earlier columns; it is grown.
            labels: [batch, columns], -100 where nothing is supervised.
            latents: [batch, slots, width], for the order "given".
            use_cache: whether the cache is returned.
            output_hidden_states: return those of all columns, embeddings first.
            logits_to_keep: the last so many columns; 0: all, or with labels those that
                the loss needs.
            num_items_in_batch: supervised tokens of all micro-batches, from `Trainer`.

        Raises:
            ValueError: where slots do not share columns, where nothing stands before
                the first of them, or for vectors that do not fit.
        """
        n_columns = input_ids.shape[1]
        cached = 0 if past_key_values is None else past_key_values.get_seq_length()
        if attention_mask is None:
            attention_mask = input_ids.new_ones(len(input_ids), cached + n_columns)
        if position_ids is None:
            position_ids = (attention_mask.cumsum(1) - 1).clamp(min=0)[:, -n_columns:]
        keep_from = n_columns - logits_to_keep if logits_to_keep else 0
        if labels is not None and not logits_to_keep:
            supervised = (labels != -100).any(0).nonzero()
            keep_from = (
                max(int(supervised[0]) - 1, 0) if len(supervised) else n_columns - 1
            )
        slot_columns = self._slot_columns(input_ids, attention_mask[:, cached:])
        if slot_columns is not None and past_key_values is None:
            past_key_values = DynamicCache(config=self.base.config)
        run = Passes(
            self.base, attention_mask, position_ids, past_key_values,
            bool(output_hidden_states), keep_from, cached,
        )  # fmt: skip
        filled = read = after = None
        if slot_columns is None:
            after = self._at_bot(input_ids, run.forward(self.embed(input_ids)))
        else:
            start, end = slot_columns
            is_slot = input_ids[:, start:end] == self.id_of(SLOT)
            before = run.forward(self.embed(input_ids[:, :start]))[:, -1]
            filled, read, after = self._fill(run, is_slot, before, latents)
            if end < n_columns:
                run.forward(self.embed(input_ids[:, end:]))
        logits = torch.cat(run.logits, 1)
        loss = None
        if labels is not None:
            targets = labels[:, n_columns - logits.shape[1] + 1 :]
            loss = mean_loss(logits[:, :-1], targets, num_items_in_batch)
        hidden = tuple(torch.cat(layer, 1) for layer in zip(*run.hidden, strict=True))
        return SlotOutput(
            loss=loss,
            logits=logits,
            past_key_values=past_key_values if use_cache is not False else None,
            hidden_states=hidden or None,
            latents=filled,
            read=read,
            after=after,
        )

    def _at_bot(
        self, input_ids: torch.Tensor, states: torch.Tensor
    ) -> torch.Tensor | None:
        """[batch, width]: of states [batch, columns, width] those at `<bot>`; None
        where a row has none."""
        if self.config.order != "sequential" or BOT not in self.config.specials:
            return None
        is_bot = input_ids == self.id_of(BOT)
        if not is_bot.any(1).all():
            return None
        return states[torch.arange(len(states)), is_bot.int().argmax(1)]

    def _slot_columns(
        self, input_ids: torch.Tensor, mask: torch.Tensor
    ) -> tuple[int, int] | None:
        """Where slots begin and end; None without slots."""
        is_slot = input_ids == self.id_of(SLOT)
        columns = is_slot.any(0).nonzero().flatten()
        if not len(columns):
            return None
        if self.training and any(
            getattr(module, "gradient_checkpointing", False)
            for module in self.base.modules()
        ):
            raise ValueError(
                "gradient checkpointing empties the cache between the passes that fill "
                "slots: switch it off (gradient_checkpointing=False)."
            )
        start, end = int(columns[0]), int(columns[-1]) + 1
        if not (is_slot | (mask == 0))[:, start:end].all():
            raise ValueError(
                "slots must stand in the same columns in all rows, with masked columns "
                "where a row has fewer: see lrkit.latent.layout.SlotCollator."
            )
        if not (start and mask[:, start - 1].all()):
            raise ValueError(
                "a latent is read from the position before it: in every row a token "
                "must stand right before the first slot (pad on the left)."
            )
        return start, end

    def _fill(
        self,
        run: Passes,
        is_slot: torch.Tensor,
        before: torch.Tensor,
        given: torch.Tensor | None,
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        """Write all slots and run over them; (what was written, what was read, the
        states after the last)."""
        n = is_slot.shape[1]
        active = is_slot[..., None]
        if self.config.order == "given":
            if given is None or given.shape != (len(is_slot), n, before.shape[-1]):
                found = "none" if given is None else list(given.shape)
                wanted = [len(is_slot), n, before.shape[-1]]
                raise ValueError(f"latents must be of shape {wanted}, got {found}.")
            vectors = self._written(given.to(before.dtype), slice(0, n)) * active
            run.forward(vectors)
            return vectors, None, None
        if self.config.order == "rounds":
            vectors = self.embed(
                torch.full_like(is_slot, self.id_of(SLOT), dtype=torch.long)
            )
            for _ in range(self.config.rounds):
                hidden = run.aside(vectors)
                read = torch.cat([before[:, None], hidden[:, :-1]], 1)
                vectors = (
                    self._written(self.map(read).to(read.dtype), slice(0, n)) * active
                )
            run.forward(vectors)
            return vectors, read, None
        written, read = [], []
        for k in range(n):
            read.append(before)
            vector = self.latent(before, k) * active[:, k : k + 1]
            written.append(vector)
            after = run.forward(vector)[:, -1]
            before = torch.where(active[:, k], after, before)
        return torch.cat(written, 1), torch.stack(read, 1), before


def mean_loss(
    logits: torch.Tensor, targets: torch.Tensor, n_items: torch.Tensor | None = None
) -> torch.Tensor:
    """Cross-entropy over supervised tokens; their sum over `n_items` where it is given.

    Args:
        logits: [batch, columns, vocabulary].
        targets: [batch, columns], the token that each column predicts; -100: none.
        n_items: supervised tokens of all micro-batches of a step.
    """
    flat = logits.flatten(0, 1).float(), targets.flatten()
    if n_items is None:
        return nn.functional.cross_entropy(*flat, ignore_index=-100)
    total = nn.functional.cross_entropy(*flat, ignore_index=-100, reduction="sum")
    return total / n_items
