"""Probabilities of whole label strings, for labels that one token cannot tell apart.

With 77 intents many labels begin alike ("card arrival", "card linking"). Then the
probability of a label is the product over its tokens, and of ending there. It costs a
second forward pass per row, over all labels at once, from the cached prompt.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from tqdm.auto import tqdm
from transformers import PreTrainedTokenizerBase

from lrkit.answer.engine import Engine
from lrkit.answer.prompts import BRIDGE, encode_inner
from lrkit.kv_cache import fork


class WholeLabels:
    """Labels as token strings; same results as `LabelIds`, from a whole model.

    Args:
        tokenizer: any tokenizer of transformers.
        labels: two or more different labels.

    Attributes:
        ids: label -> its token ids.
        ends: ids that may follow a label: the end token, or the bridge to a reason.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, labels: Sequence[str]):
        self.labels = tuple(labels)
        self.ids = {label: encode_inner(tokenizer, label) for label in labels}
        if len(set(map(tuple, self.ids.values()))) < len(self.ids):
            raise ValueError("two labels are spelled with the same tokens.")
        bridge = encode_inner(tokenizer, BRIDGE, anchor=labels[0])[0]
        self.ends = sorted({tokenizer.eos_token_id, bridge})

    @torch.inference_mode()
    def score(
        self, engine: Engine, prompts: Iterable[list[int]], progress: bool = False
    ) -> torch.Tensor:
        """Log-probability of each whole label after each prompt.

        Args:
            engine: holds the model; its `batch_tokens` bounds the labels per pass.
            prompts: token ids per row.
            progress: whether to show a bar.

        Returns:
            [rows, labels], float32, not normalised over labels.
        """
        bar = tqdm(prompts, disable=not progress, unit="row")
        rows = [self._row(engine, prompt) for prompt in bar]
        return torch.stack(rows) if rows else torch.empty(0, len(self.labels))

    def _row(self, engine: Engine, prompt: list[int]) -> torch.Tensor:
        model = engine.model.eval()
        device = model.device
        with engine.precision():
            out = model(
                input_ids=torch.tensor([prompt], device=device),
                use_cache=True,
                logits_to_keep=1,
            )
        first = out.logits[0, -1].float().log_softmax(-1)
        names = [self.ids[label] for label in self.labels]
        width = max(map(len, names))
        step = max(1, engine.batch_tokens // width)
        found = []
        for k in range(0, len(names), step):
            part = names[k : k + step]
            # Padded on the right: a causal model does not see what follows a label.
            ids = torch.full((len(part), width), engine.pad_id, device=device)
            for row, name in enumerate(part):
                ids[row, : len(name)] = torch.tensor(name, device=device)
            with engine.precision():
                logits = model(
                    input_ids=ids, past_key_values=fork(out.past_key_values, len(part))
                ).logits
            logprobs = logits.float().log_softmax(-1)
            for row, name in enumerate(part):
                inner = logprobs[row, range(len(name) - 1), name[1:]].sum()
                end = logprobs[row, len(name) - 1, self.ends].logsumexp(-1)
                found.append(first[name[0]] + inner + end)
        return torch.stack(found).cpu()
