"""How one customer types: casing, typos, punctuation, emoji, chattiness.

A `Persona` renders plain lines of the phrase banks into what that customer would
send. It knows nothing of labels: the same persona writes both sides of a
contrastive pair, so that style never tells which is which.
"""

from __future__ import annotations

import random
import string
from dataclasses import dataclass

EMOJI = ("🙂", "😊", "👍", "🙏", "😅", "🤔", "😬", "😉", "✌️", "🤷")
SHORTHAND = {
    "you": "u",
    "please": "pls",
    "thanks": "thx",
    "because": "cuz",
    "okay": "ok",
    "are": "r",
    "though": "tho",
}
NEIGHBOURS = {
    "a": "s", "b": "v", "c": "x", "d": "f", "e": "r", "f": "g", "g": "h", "h": "j",
    "i": "o", "j": "k", "k": "l", "l": "k", "m": "n", "n": "m", "o": "p", "p": "o",
    "q": "w", "r": "t", "s": "d", "t": "y", "u": "i", "v": "b", "w": "e", "x": "c",
    "y": "u", "z": "x",
}  # fmt: skip


@dataclass(frozen=True)
class Persona:
    """One customer's way of writing; probabilities are per word or per message."""

    casing: str  # "lower" | "sentence" | "upper"
    typo: float
    shorthand: float
    emoji: float
    full_stop: float
    chatty: float

    @staticmethod
    def draw(rng: random.Random) -> Persona:
        """Draw a customer: most write in plain lower or sentence case."""
        return Persona(
            casing=rng.choices(("lower", "sentence", "upper"), (55, 41, 4))[0],
            typo=rng.choice((0.0, 0.0, 0.0, 0.01, 0.02, 0.05)),
            shorthand=rng.choice((0.0, 0.0, 0.0, 0.5)),
            emoji=rng.choice((0.0, 0.0, 0.0, 0.0, 0.15, 0.4)),
            full_stop=rng.choice((0.0, 0.3, 0.9)),
            chatty=rng.choice((0.0, 0.0, 0.2, 0.5)),
        )

    def render(self, parts: list[str], rng: random.Random) -> str:
        """Join plain sentences into one message as this customer would type it."""
        sentences = [self._sentence(p, rng) for p in parts]
        text = sentences[0]
        for sentence in sentences[1:]:
            glue = " " if text[-1] in ".!?,:;" else rng.choice((". ", ", ", " - "))
            text += glue + sentence
        if self.full_stop > rng.random() and text[-1] not in ".!?":
            text += rng.choice((".", ".", "!"))
        if self.emoji > rng.random():
            text += " " + rng.choice(EMOJI)
        return text.upper() if self.casing == "upper" else text

    def _sentence(self, plain: str, rng: random.Random) -> str:
        words = [self._word(w, rng) for w in plain.strip().split(" ")]
        text = " ".join(words)
        if self.casing == "sentence":
            text = text[0].upper() + text[1:]
            text = " ".join("I" + w[1:] if _is_i(w) else w for w in text.split(" "))
        elif self.casing == "lower":
            text = text.lower()
        return text

    def _word(self, word: str, rng: random.Random) -> str:
        if self.shorthand > rng.random() and word.lower() in SHORTHAND:
            return SHORTHAND[word.lower()]
        if len(word) > 3 and self.typo > rng.random():
            return _typo(word, rng)
        return word


def _is_i(word: str) -> bool:
    return word[:1] == "i" and (len(word) == 1 or word[1] in "'" + string.punctuation)


def _typo(word: str, rng: random.Random) -> str:
    """Swap, drop, double or mis-hit one inner letter."""
    i = rng.randrange(1, len(word) - 1)
    kind = rng.randrange(4)
    if kind == 0:
        return word[:i] + word[i + 1] + word[i] + word[i + 2 :]
    if kind == 1:
        return word[:i] + word[i + 1 :]
    if kind == 2:
        return word[: i + 1] + word[i:]
    return word[:i] + NEIGHBOURS.get(word[i].lower(), word[i]) + word[i + 1 :]
