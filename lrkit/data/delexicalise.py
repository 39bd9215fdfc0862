"""Other content words for a chat: what is left to go by is the frame.

*Delexicalised* chats keep the commonest words of the phrase banks ("still", "again",
"no longer") and have the others replaced, the same by the same throughout.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from functools import cache

from lrkit.data.acts import ACTS
from lrkit.data.banks import bank

WORD = re.compile(r"[A-Za-z]+(?:'[A-Za-z]+)*")


def _spelt(text: str) -> list[str]:
    return WORD.findall(text.lower())


@cache
def frame_words(n: int = 500) -> frozenset[str]:
    """Words that are never replaced: the commonest of the forms and of outcomes.

    Args:
        n: how many of the commonest words count as frame.
    """
    b = bank("pretraining")
    counts: Counter[str] = Counter()
    for lines in b.forms.values():
        for _, line in lines:
            counts.update(_spelt(line))
    for scenario in b.scenarios:
        for p in scenario.problems:
            for line in (*p.works, *p.broken):
                counts.update(set(_spelt(line)))
    own = "customer support agent last wrote said answer in to gone open"
    own += " " + " ".join(ACTS.values())
    return frozenset(_spelt(own)) | {word for word, _ in counts.most_common(n)}


def _made_up(rng: random.Random) -> str:
    """A word that nobody has seen, as a new chat's words are: "brelvoti"."""
    syllables = rng.randint(1, 3)
    return "".join(
        rng.choice(
            [
                "b",
                "c",
                "d",
                "f",
                "g",
                "h",
                "k",
                "l",
                "m",
                "n",
                "p",
                "r",
                "s",
                "t",
                "v",
                "w",
                "br",
                "st",
                "tr",
                "ch",
            ]
        )
        + rng.choice(["a", "e", "i", "o", "u", "ai", "ee", "ou"])
        + rng.choice(("", "", "l", "n", "r", "s", "t"))
        for _ in range(syllables)
    )


def delexicalise(
    rng: random.Random, chat: str, answer: str, share: float = 0.6
) -> tuple[str, str]:
    """A chat and its answer with other content words, the same for the same throughout.

    Words of the answer that do not occur in the chat stay as they are.

    Args:
        rng: source of randomness.
        chat: the transcript.
        answer: what is to be written of it.
        share: of the words outside `frame_words` that are replaced, by other words of
            the bank or, one in four, by made-up ones.
    """
    mapped = {w: w for w in _spelt(answer)}
    for word in dict.fromkeys(_spelt(chat)):
        new = _made_up(rng) if rng.random() < 0.25 else rng.choice(content_words())
        replace = rng.random() < share and word not in frame_words()
        mapped[word] = new if replace else word

    def other(match: re.Match) -> str:
        found = match[0]
        new = mapped[found.lower()]
        if found.isupper() and len(found) > 1:
            return new.upper()
        return new.capitalize() if found[0].isupper() else new

    return WORD.sub(other, chat), WORD.sub(other, answer)


@cache
def content_words() -> tuple[str, ...]:
    """The words of the training and pretraining scenarios, sorted."""
    found: set[str] = set()
    for scenario in bank("pretraining").scenarios:
        for p in scenario.problems:
            for line in (*p.report, *p.works, *p.broken):
                found.update(_spelt(line))
    return tuple(sorted(found))
