"""Read a label and its probability off one token: a scikit-learn style classifier.

`OneTokenClassifier` scores a conversation with a single forward pass at the last
position. It trains through `lrkit.answer.sft`, scores through `lrkit.answer.engine`,
writes reasons through `lrkit.answer.explain`, saves and loads a folder. It decides
nothing about thresholds or routing.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from peft import PeftModel
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.utils.validation import check_is_fitted
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lrkit.answer.arms import ARMS
from lrkit.answer.engine import Engine
from lrkit.answer.explain import explain
from lrkit.answer.label_ids import LabelCollision, LabelIds, label_probabilities
from lrkit.answer.last_position import last_position
from lrkit.answer.prompts import QUESTION, Example, PromptBuilder
from lrkit.answer.run_folder import CARD
from lrkit.answer.sft import train
from lrkit.answer.whole_labels import WholeLabels
from lrkit.base_weights import check_base
from lrkit.models import (
    compute_dtype,
    load_model,
    load_tokenizer,
)
from lrkit.profiles import AnswerSettings, load_profile


def label_reader(
    tokenizer: PreTrainedTokenizerBase, labels: Sequence[str], collisions: str = "raise"
) -> LabelIds | WholeLabels:
    """First tokens of the labels, or whole labels where these cannot tell them apart.

    Raises:
        LabelCollision: when two labels begin alike and `collisions` is "raise".
        ValueError: for another `collisions` than "raise" and "whole".
    """
    if collisions not in ("raise", "whole"):
        raise ValueError(f"collisions must be 'raise' or 'whole', not {collisions!r}.")
    try:
        return LabelIds(tokenizer, list(labels))
    except LabelCollision as error:
        if collisions == "raise":
            raise
        warnings.warn(f"{error} Whole labels are scored here.", stacklevel=2)
        return WholeLabels(tokenizer, list(labels))


class OneTokenClassifier(ClassifierMixin, BaseEstimator):
    """Answer-then-reason classifier: trained on "yes, because ...", reads one token.

    Args:
        settings: sizes and hyper-parameters; None: those of the `cpu` profile.
        labels: label words; `classes_` holds them sorted, as scikit-learn does.
        question: what is asked of each conversation.
        arm: name of the training arm, see `lrkit.answer.arms.ARMS`.
        folder: where the adapter goes; None: a temporary one for each `fit`, as
            cross-validation needs (`save` keeps it).
        seed: random seed of the training.
        batch_tokens: padded tokens per forward pass.
        collisions: what to do with labels that begin with the same token: "raise"
            (before anything is trained), or "whole": score whole label strings, which
            takes a second forward pass per row.

    After `fit` or `load`: `classes_`, `model_`, `tokenizer_`, `label_ids_`, `engine_`,
    `folder_`.
    """

    def __init__(
        self,
        settings: AnswerSettings | None = None,
        labels: Sequence[str] = ("yes", "no"),
        question: str = QUESTION,
        arm: str = "label + reason",
        folder: str | Path | None = None,
        seed: int = 0,
        batch_tokens: int = 4096,
        collisions: str = "raise",
    ):
        self.settings = settings
        self.labels = labels
        self.question = question
        self.arm = arm
        self.folder = folder
        self.seed = seed
        self.batch_tokens = batch_tokens
        self.collisions = collisions

    # --- fitting, loading ----------------------------------------------------------
    def fit(
        self, messages: Sequence[str], y: Sequence[str], reasons=None, **train_args
    ):
        """Train an adapter on conversations, labels and (unless the arm has none)
        reasons; see `lrkit.answer.sft.train` for what is raised.

        Args:
            messages: conversations.
            y: labels.
            reasons: one per conversation; None trains on labels only.
        """
        if isinstance(messages, str):
            raise TypeError("fit takes a list of conversations, not one string.")
        columns = {"running_message": list(messages), "label": list(y)}
        if reasons is not None:
            columns["reason"] = list(reasons)
        rows = pd.DataFrame(columns)
        rows.insert(0, "id", [f"row-{i}" for i in range(len(rows))])
        arm = ARMS[self.arm] if reasons is not None else ARMS["label only"]
        settings = self.settings or load_profile("cpu").answer
        folder = self.folder
        if folder is None:
            self.temporary_ = tempfile.TemporaryDirectory()  # gone with this object
            folder = self.temporary_.name
        self.log_ = train(
            rows, settings, folder, arm, tuple(self.labels), self.question,
            self.seed, whole_labels=self.collisions == "whole", **train_args,
        )  # fmt: skip
        return self._open(Path(folder))

    @classmethod
    def load(cls, folder: str | Path, batch_tokens: int = 4096) -> OneTokenClassifier:
        """A fitted classifier from a folder that `fit` or `save` wrote.

        Raises:
            FileNotFoundError: when the folder holds no finished adapter.
            ValueError: when the base has other weights than the one it was trained on.
        """
        folder = Path(folder)
        if not (folder / CARD).is_file():
            raise FileNotFoundError(
                f"{folder} holds no finished adapter ({CARD} is missing): train one, "
                "or check the path."
            )
        card = json.loads((folder / CARD).read_text())
        self = cls(
            labels=tuple(card["labels"]), question=card["question"], arm=card["arm"],
            folder=folder, seed=card["seed"], batch_tokens=batch_tokens,
            collisions=card["collisions"],
        )  # fmt: skip
        return self._open(folder)

    def _open(self, folder: Path) -> OneTokenClassifier:
        card = json.loads((folder / CARD).read_text())
        check_base("the adapter", folder, card["base"], card["base_weights"])
        tokenizer = load_tokenizer(str(folder))
        base = load_model(card["base"], card["load_in_4bit"])
        model = PeftModel.from_pretrained(base, str(folder))
        self._attach(model, tokenizer, card["prompt"], card["max_tokens"])
        self.card_, self.folder_ = card, folder
        return self

    @classmethod
    def from_base(
        cls, settings: AnswerSettings, labels: Sequence[str] = ("yes", "no"), **args
    ) -> OneTokenClassifier:
        """The untrained base in the same prompt: what it knows before any training."""
        self = cls(settings, labels, **args)
        self._attach(
            load_model(settings.base, settings.load_in_4bit),
            load_tokenizer(settings.base),
            settings.prompt,
            settings.max_tokens,
        )
        return self

    def _attach(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        prompt: str,
        max_tokens: int,
    ) -> None:
        self.model_, self.tokenizer_ = model.eval(), tokenizer
        self.builder_ = PromptBuilder(
            tokenizer, self.question, prompt, max_tokens, tuple(self.labels)
        )
        self.classes_ = np.array(sorted(self.labels))
        self.label_ids_ = label_reader(tokenizer, self.classes_, self.collisions)
        self.engine_ = Engine(self.model_, tokenizer.pad_token_id, self.batch_tokens)

    def save(self, folder: str | Path) -> Path:
        """Copy the adapter and all that loading needs to another folder."""
        check_is_fitted(self, "card_")
        source, target = self.folder_, Path(folder)
        shutil.copytree(
            source, target, ignore=shutil.ignore_patterns("checkpoints"),
            dirs_exist_ok=True,
        )  # fmt: skip
        return target

    def merged(self) -> OneTokenClassifier:
        """The same classifier with its adapter, and 4-bit weights, folded into plain
        ones: more memory, faster, equal answers up to rounding.

        Raises:
            ValueError: when the output layer is adapted and tied to the embedding,
                which merging would change too.
        """
        check_is_fitted(self, "card_")
        base = load_model(self.card_["base"], self.card_["load_in_4bit"])
        if self.card_["load_in_4bit"]:
            base = base.dequantize(dtype=compute_dtype())
        model = PeftModel.from_pretrained(base, str(self.folder_))
        tied = getattr(base.config, "tie_word_embeddings", False)
        if tied and "lm_head" in model.peft_config["default"].target_modules:
            raise ValueError(
                "the output layer shares its weights with the embedding: merging the "
                "adapter of lm_head would change both. Keep the adapter."
            )
        twin = clone(self)
        settings = self.card_["prompt"], self.card_["max_tokens"]
        twin._attach(model.merge_and_unload(), self.tokenizer_, *settings)
        return twin

    # --- scoring ---------------------------------------------------------------------
    def prompts(self, messages: Sequence[str]) -> list[list[int]]:
        """Prompt ids of conversations, their lengths checked.

        Raises:
            TypeError: for a single string in place of a list.
            ValueError: for an empty list.
            PromptTooLong: naming the rows that exceed the context.
        """
        if isinstance(messages, str):
            raise TypeError(
                "expected a list of conversations, got one string: pass [text]."
            )
        prompts = [self.builder_.prompt(m) for m in messages]
        if not prompts:
            raise ValueError("expected at least one conversation, got none.")
        names = [f"row {i}" for i in range(len(prompts))]
        self.builder_.check_lengths(names, [Example(p, []) for p in prompts])
        return prompts

    def _checked(self, messages: Iterable[str]) -> Iterator[list[int]]:
        """Prompts of an iterator, their lengths checked as they come."""
        for i, message in enumerate(messages):
            prompt = self.builder_.prompt(message)
            self.builder_.check_lengths([f"row {i}"], [Example(prompt, [])])
            yield prompt

    def score_rows(
        self, messages: Iterable[str], progress: bool = False
    ) -> pd.DataFrame:
        """A row per conversation: `label`, `confidence`, `label_mass`, `p_<label>`.

        Args:
            messages: conversations; of an iterator only a part is held at a time.
            progress: whether to show a bar.
        """
        check_is_fitted(self, "model_")
        listed = isinstance(messages, (str, Sequence)) or hasattr(messages, "__len__")
        prompts = self.prompts(messages) if listed else self._checked(messages)
        self.engine_.batch_tokens = self.batch_tokens
        log_mass = self.label_ids_.score(self.engine_, prompts, progress)
        if not len(log_mass):
            raise ValueError("expected at least one conversation, got none.")
        proba, mass = label_probabilities(log_mass)
        best = proba.argmax(1)
        columns = {f"p_{c}": proba[:, k] for k, c in enumerate(self.classes_)}
        return pd.DataFrame(
            {"label": self.classes_[best], "confidence": proba.max(1)}
            | {"label_mass": mass}
            | columns
        )

    def predict_proba(self, messages: Sequence[str]) -> np.ndarray:
        """[rows, classes]: probabilities in the order of `classes_`."""
        return self.score_rows(messages)[[f"p_{c}" for c in self.classes_]].to_numpy()

    def predict(self, messages: Sequence[str]) -> np.ndarray:
        """The more probable label of each conversation."""
        return self.score_rows(messages)["label"].to_numpy()

    def expected_value(self, messages: Iterable[str]) -> np.ndarray:
        """[rows]: the mean of the labels taken as numbers, for scores such as 0-9.

        Raises:
            ValueError: when a label is no number.
        """
        try:
            values = self.classes_.astype(float)
        except ValueError:
            named = ", ".join(self.classes_)
            raise ValueError(f"an expected value needs numbers, not {named}.") from None
        return self.predict_proba(messages) @ values

    def hidden(self, messages: Sequence[str], layer: int = -1) -> np.ndarray:
        """[rows, width]: the hidden state at the answer position, for probes."""
        _, states = last_position(
            self.model_, self.prompts(messages), self.tokenizer_.pad_token_id,
            self.batch_tokens, hidden_layer=layer,
        )  # fmt: skip
        return states.numpy()

    def explain(
        self, message: str, label: str | None = None, max_new_tokens: int = 80
    ) -> dict[str, Any]:
        """The answer and the reason after it, see `lrkit.answer.explain`."""
        return explain(self, message, label, max_new_tokens)
