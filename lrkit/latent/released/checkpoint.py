"""A published checkpoint as it lies on the disk, and an empty model of its sizes.

What all families share: the configuration and the tokenizer of the base, the tables of
words with the authors' further rows behind them, and the device and dtype.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from peft import PeftConfig
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from lrkit.latent.released.files import SMALL, located, read_tensors, weight_file
from lrkit.latent.slots import SlotModel
from lrkit.models import compute_dtype, device, load_tokenizer

ADAPTER = "adapter_config.json"
TABLES = ("wte.weight", "embed_tokens.weight", "lm_head.weight")

AnyModel = TypeVar("AnyModel", bound=SlotModel)


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint brings.

    Attributes:
        name: what it was asked for by.
        folder: where it lies.
        tensors: by their names; of an adapter those of its base.
        config: of the base, as its authors published it.
        tokenizer: of the base.
        dtype: for the model.
    """

    name: str
    folder: Path
    tensors: Mapping[str, torch.Tensor]
    config: PreTrainedConfig
    tokenizer: PreTrainedTokenizerBase
    dtype: torch.dtype

    @classmethod
    def open(
        cls,
        source: str | Path,
        base: str | Path | None = None,
        file: str | None = None,
        download: bool = False,
        dtype: torch.dtype | None = None,
    ) -> Checkpoint:
        """Read it.

        Args:
            source: see `lrkit.latent.released.files.located`.
            base: the same for the model that it was trained from, of which only
                configuration and tokenizer are read, unless the checkpoint is an
                adapter; None: those that lie beside the weights.
            file: name of the weights within a folder with several.
            download: whether the hub may be asked.
            dtype: for the model; None: that of the device.

        Raises:
            FileNotFoundError: for what is missing.
            ValueError: without a base, where the checkpoint has no configuration.
        """
        only = [file, *SMALL] if file else None
        found = located(source, download, only)
        folder = found if found.is_dir() else found.parent
        adapter = (folder / ADAPTER).is_file()
        if adapter and base is None:
            base = PeftConfig.from_pretrained(str(folder)).base_model_name_or_path
        if base is not None:
            words = located(base, download, None if adapter else SMALL)
        elif _says_what_it_is(folder):
            words = folder
        else:
            raise ValueError(
                f"{source} has no config.json of a model: name the base that it was "
                'trained from (base="openai-community/gpt2", --base).'
            )
        own = folder if (folder / "tokenizer_config.json").is_file() else words
        return cls(
            name=str(source),
            folder=folder,
            tensors=read_tensors(weight_file(words if adapter else found, file)),
            config=AutoConfig.from_pretrained(words),
            tokenizer=load_tokenizer(str(own)),
            dtype=dtype or compute_dtype(),
        )

    @property
    def is_adapter(self) -> bool:
        """Whether it is an adapter of PEFT and no whole model."""
        return (self.folder / ADAPTER).is_file()

    def vocabulary(self, prefix: str, added: int = 0) -> int:
        """Rows of the base's own table of words.

        Args:
            prefix: of the base's names in the file.
            added: rows that the file's tables have behind them.

        Raises:
            ValueError: for no table, tables of different sizes, or of another size
                than the base's configuration says, with or without the added rows.
        """
        found = {
            name: len(tensor)
            for name, tensor in self.tensors.items()
            if name.startswith(prefix) and name.endswith(TABLES)
        }
        if len(set(found.values())) != 1:
            raise ValueError(
                f"{self.name} should have tables of words of one size under "
                f"{prefix!r}, found {found or 'none'}."
            )
        rows = next(iter(found.values()))
        if self.config.vocab_size not in (rows - added, rows):
            raise ValueError(
                f"{self.name} has tables of {rows} rows, {added} of them added, and "
                f"its base has {self.config.vocab_size} words: is it another base?"
            )
        return rows - added

    def empty_base(self, vocabulary: int) -> PreTrainedModel:
        """The base with random weights, without rows of added tokens.

        Args:
            vocabulary: its own rows.
        """
        config = copy.deepcopy(self.config)
        config.vocab_size = vocabulary
        config.use_cache = True  # some were saved with the setting of their training
        return AutoModelForCausalLM.from_config(config, dtype=self.dtype)

    def wrap(
        self, kind: type[AnyModel], base: PreTrainedModel, **config: Any
    ) -> AnyModel:
        """An empty model of ours over a base, in the dtype of the checkpoint."""
        model = kind.wrap(base, **config)
        model.rows.weight.data.zero_()
        model.map.to(self.dtype)
        model.rows.to(self.dtype)
        return model

    def ready(self, model: AnyModel, vocabulary: int) -> AnyModel:
        """A filled model on the device, in evaluation mode; the tokenizer gets a
        padding that is no added token."""
        pad = self.tokenizer.pad_token_id
        if pad is None or pad >= vocabulary:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        return model.requires_grad_(False).to(device()).eval()

    def context(self) -> int:
        """Positions that the base knows."""
        return self.config.max_position_embeddings


def _says_what_it_is(folder: Path) -> bool:
    """Whether a folder has a configuration that names a kind of model; some publish an
    empty one."""
    path = folder / "config.json"
    return path.is_file() and "model_type" in json.loads(path.read_text() or "{}")
