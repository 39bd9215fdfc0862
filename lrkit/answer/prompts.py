"""From a conversation to token ids: prompt and completion, in any chat template.

The customer's text is encoded apart from the template, so that no spelling of a
control token in it can become one, and a fence in it cannot close ours. This file
knows nothing about training or scoring.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

QUESTION = (
    "Is the Customer saying that all of their technical problems have been resolved?"
)

# The prompt of the source, for models that follow instructions.
FULL = """Take a deep breath and let's think step-by-step.
Answer "yes" or "no": {question}

1. Understand the customer's issues so that it's clear if their issues have been answered and resolved.
2. Analyze the customer's responses: Look for phrases like "it's working now", "problem solved", etc.
3. Identify keywords indicating problem resolution: Words like "resolved", "fixed", "working", "solved", etc.
4. Make a decision based on the analysis.
5. Document the reasoning and decision.

### NOTE:
- If the customer states that there is nothing else we can help with, answer: "yes"
- If the customer mentions completion of any intermediate step but not their entire problem, answer: "no"
- Usually, when a customer just answers "Thanks", "got it", "ok", that doesn't mean resolved → answer "no"

Transcript:
```
{transcript}
```

The answer is: """  # noqa: E501

# The same task for the small embedded base, where every token costs.
SHORT = """{question} {options}

```
{transcript}
```"""

STYLES = {"full": FULL, "short": SHORT}
MOST_NAMED = 20  # more labels than these are not listed in the prompt
# Control words that the templates of Llama 2 and Mistral write as plain text.
WRITTEN_MARKERS = ("[INST]", "[/INST]", "<<SYS>>", "<</SYS>>")
BRIDGE = ", because in the end, "
_SLOT = "\u2e28transcript\u2e29"  # occurs in no template; marks where the text goes


class PromptTooLong(ValueError):
    """Rows that exceed the context; nothing is cut."""


@dataclass(frozen=True)
class Example:
    """Token ids of one row.

    Attributes:
        prompt: ids up to and including the cue for the answer.
        completion: ids of answer, reason and end token; empty at inference.
    """

    prompt: list[int]
    completion: list[int]


def neutralize(text: str, tokenizer: PreTrainedTokenizerBase) -> str:
    """The text with fences and spelled-out control tokens broken up.

    "```" becomes "'''", and every added token of the tokenizer, or control word that
    some templates write as plain text, that is spelled in the text gets a space after
    its first character ("<|im_end|>" -> "< |im_end|>"). Characters that Python cannot
    encode (lone surrogates) are replaced.
    """
    text = text.encode("utf-8", "replace").decode("utf-8").replace("```", "'''")
    spelled = sorted(
        {t.content for t in tokenizer.added_tokens_decoder.values()}
        | set(WRITTEN_MARKERS),
        key=len,
        reverse=True,
    )
    for token in spelled:
        if len(token) > 1 and not token.isspace():
            text = text.replace(token, f"{token[0]} {token[1:]}")
    return text


def encode_inner(
    tokenizer: PreTrainedTokenizerBase, text: str, anchor: str = "\n"
) -> list[int]:
    """Ids of a text as it is encoded after `anchor`, none of them a special token.

    Encoding it behind an anchor keeps SentencePiece tokenizers from adding a leading
    space that the running text would not have.
    """
    options = {"add_special_tokens": False, "split_special_tokens": True}
    head = tokenizer(anchor, **options)["input_ids"]
    both = tokenizer(anchor + text, **options)["input_ids"]
    if both[: len(head)] == head:
        return both[len(head) :]
    return tokenizer(text, **options)["input_ids"]


def options(labels: Sequence[str]) -> str:
    """What may be answered, as a sentence: "Answer yes or no.".

    The order in which the labels were given makes no difference.
    """
    if len(labels) > MOST_NAMED:
        return "Answer with one label."
    *others, last = ("yes", "no") if {*labels} == {"yes", "no"} else sorted(labels)
    return f"Answer {', '.join(others)} or {last}."


def _template(
    tokenizer: PreTrainedTokenizerBase,
    question: str,
    style: str,
    labels: Sequence[str],
) -> tuple[str, str]:
    if style not in STYLES:
        raise ValueError(f"no prompt {style!r}: choose 'short' or 'full'.")
    if style == "full" and {*labels} != {"yes", "no"}:
        raise ValueError(
            f"the full prompt asks for yes or no, not for {', '.join(labels)}: choose "
            "'short'."
        )
    content = STYLES[style].format(
        question=question, options=options(labels), transcript=_SLOT
    )
    if tokenizer.chat_template is None:
        text = content + "\n"
    else:
        text = None
        for role in ("system", "user"):  # some templates accept no lone system turn
            try:
                text = tokenizer.apply_chat_template(
                    [{"role": role, "content": content}],
                    tokenize=False,
                    add_generation_prompt=True,
                )
            except Exception as error:  # jinja raises whatever the template asks for
                refused = error
                continue
            if _SLOT in text:
                break
        if text is None or _SLOT not in text:
            raise ValueError(
                "the chat template of this tokenizer takes neither a system nor a user "
                f"message: {refused if text is None else 'the text was dropped'}."
            )
    before, after = text.split(_SLOT)
    return before, after


class PromptBuilder:
    """Builds `Example`s for one tokenizer, question and prompt style.

    Args:
        tokenizer: any tokenizer of transformers; its own chat template is used.
        question: what is asked of the transcript.
        style: "full" (the source's prompt) or "short".
        max_tokens: longest prompt plus completion, within the tokenizer's limit; None:
            that limit.
        labels: what may be answered; the short prompt names up to `MOST_NAMED`.

    Raises:
        ValueError: for an unknown style, a chat template that takes no message, or the
            full prompt with other labels than yes and no.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        question: str = QUESTION,
        style: str = "short",
        max_tokens: int | None = None,
        labels: Sequence[str] = ("yes", "no"),
    ):
        self.tokenizer = tokenizer
        self.question = question
        self.style = style
        # A setting cannot make the context of the model longer.
        context = tokenizer.model_max_length
        self.max_tokens = min(max_tokens, context) if max_tokens else context
        before, after = _template(tokenizer, question, style, labels)
        bos = tokenizer.bos_token
        add_bos = tokenizer("x")["input_ids"][:1] == [tokenizer.bos_token_id]
        if add_bos and bos and not before.startswith(bos):
            before = bos + before
        self.before, self.after = before, after
        self._head = tokenizer(before, add_special_tokens=False)["input_ids"]
        # Behind a letter, so that SentencePiece adds no leading space to the newline
        # that ends the transcript.
        anchor = tokenizer("x", add_special_tokens=False)["input_ids"]
        tail = tokenizer("x" + after, add_special_tokens=False)["input_ids"]
        self._tail = tail[len(anchor) :]
        # A character that the tokenizer does not know may honestly become `unk`, unless
        # that is also the token which ends or begins a text (GPT-2).
        control = {tokenizer.bos_token_id, tokenizer.eos_token_id}
        unknown = {tokenizer.unk_token_id} - control
        self._forbidden = set(tokenizer.all_special_ids) - unknown

    def prompt(self, running_message: str) -> list[int]:
        """Ids of the prompt up to the cue; the transcript holds no control token."""
        text = neutralize(running_message.strip(), self.tokenizer)
        inner = encode_inner(self.tokenizer, text)
        if self._forbidden & set(inner):  # pragma: no cover - by construction
            raise AssertionError("a control token appeared inside a transcript")
        return self._head + inner + self._tail

    def completion(self, label: str, reason: str | None = None) -> list[int]:
        """Ids of `label[, because in the end, reason]` and the end token."""
        text = label if reason is None else label + BRIDGE + reason
        text = neutralize(text, self.tokenizer)
        return [*encode_inner(self.tokenizer, text), self.tokenizer.eos_token_id]

    def reason_first(self, label: str, reason: str) -> list[int]:
        """The other order, for comparison: reason, then the label last."""
        text = neutralize(f"{reason}, so in the end, {label}", self.tokenizer)
        return [*encode_inner(self.tokenizer, text), self.tokenizer.eos_token_id]

    def check_lengths(self, ids: Sequence[str], examples: Sequence[Example]) -> None:
        """Refuse rows that do not fit.

        Raises:
            PromptTooLong: naming the rows, their tokens and the limit.
        """
        over = [
            (i, len(e.prompt) + len(e.completion))
            for i, e in zip(ids, examples, strict=True)
            if len(e.prompt) + len(e.completion) > self.max_tokens
        ]
        if over:
            rows = ", ".join(f"{i} ({n} tokens)" for i, n in over[:10])
            more = f" and {len(over) - 10} more" if len(over) > 10 else ""
            raise PromptTooLong(
                f"{len(over)} row(s) are longer than the limit of {self.max_tokens} "
                f"tokens: {rows}{more}. Nothing was cut: raise max_tokens, choose a "
                "model with a longer context, or shorten these transcripts yourself."
            )
