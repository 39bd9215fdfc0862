"""The text that the embedded base `talk` learns to read from.

Documents in ChatML: a support chat, then one of four answers.

* A *note* says for each problem what the customer has said of it.
* A *log* says of every message what it does ("asks if it works", "says no").
* *Next*: the next message of the chat.
* An *echo* repeats a chat, often of words thrown together at random.

Chats use the training split's scenarios and forms, and further ones of their own, and
are cut at random places. In most of them the content words are replaced by others, the
same throughout a chat and its answer (they are *delexicalised*): what is gone and what
is open must then be read from the frame ("still", "no longer", "again"), and what is
quoted must be copied. Without echoes and replaced words a model of this size learns the
chats by heart and reads nothing: it copied 0 of 349 quotes in notes on unseen chats,
and after echoes alone 29 of 378. The workbook's own question is never asked and its
answer never given: the base learns to follow a chat, not the task.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache

from lrkit.data import endings, histories
from lrkit.data.banks import bank
from lrkit.data.story import AGENT, CUSTOMER, Story, quote

ASK_NOTE = (
    "Write a note on each problem of this chat.",
    "What did the customer say of each problem?",
    "Sum up this chat for the next agent.",
)
ASK_LOG = (
    "Say of each message of this chat what it does.",
    "What happens in this chat, message by message?",
)
ASK_NEXT = ("Write the next message of this chat.", "How does this chat go on?")
FENCE = "```"
WORD = re.compile(r"[A-Za-z]+(?:'[A-Za-z]+)*")

# What a message does, by the family of the form (or line of a scenario) it is made of.
ACTS = {
    "a_anything_else": "asks if anything else is needed",
    "a_ask": "asks for details",
    "a_check_broken": "asks if it still fails",
    "a_check_done": "asks if the step is done",
    "a_check_works": "asks if it works",
    "a_check_x_works": "asks if it works",
    "a_chore": "asks for a last favour",
    "a_claim": "claims a repair",
    "a_glad": "is glad",
    "a_greeting": "greets",
    "a_instructions": "points to a guide",
    "a_look": "asks to look somewhere",
    "a_next": "turns to another problem",
    "a_noted": "takes note",
    "a_sorry": "is sorry",
    "a_step": "asks for a step",
    "a_wait": "promises help",
    "ack": "takes note",
    "all_works": "says that everything works",
    "broken": "says that it still fails",
    "bye": "says goodbye",
    "c_greeting": "greets",
    "chitchat": "makes small talk",
    "contact_again": "may write again",
    "found": "says that it is found",
    "give_up": "gives up",
    "hedge": "is not sure",
    "later": "puts it off",
    "new_problem": "brings up another problem",
    "no_more": "needs nothing else",
    "no_word": "says no",
    "no_word_bare": "says no",
    "partial": "says that a part works",
    "praise": "praises",
    "report": "reports a problem",
    "sarcasm": "complains",
    "step_done": "says that the step is done",
    "used_to_work": "says how it was before",
    "works": "says that it works",
    "x_broken": "says that it still fails",
    "x_works": "says that it works",
    "yes_word": "says yes",
}


def _history(rng: random.Random) -> Story:
    """A chat of the training split, ended or cut at a random scene."""
    b = bank("pretraining")
    if rng.random() < 0.5:
        family = rng.choice(list(endings.PAIRS))
        return rng.choice(endings.pair_stories(b, rng, family))[0]
    if rng.random() < 0.6:
        return endings.single_story(b, rng, rng.choice(list(endings.SINGLES)))[0]
    scenes = (
        histories.all_solved,
        histories.all_but_last_solved,
        histories.something_open,
        histories.first_left_open,
    )
    s = endings.start(b, rng, rng.choice((2, 2, 3)))
    rng.choice(scenes)(s)
    return s


def note(s: Story) -> str:
    """What the customer last said of each problem, in the customer's words."""
    lines = []
    for noun, status in s.status.items():
        state = "gone" if status.fixed else "open"
        said = f", the customer said {quote(status.words)}" if status.words else ""
        lines.append(f"{noun}: {state}{said}.")
    last = s.turns[-1]
    who = "customer" if last[0] == CUSTOMER else "agent"
    asked = ""
    if who == "customer" and len(s.turns) > 1:
        asked = f" in answer to {quote(s.turns[-2][1].split('. ')[-1], 12)}"
    lines.append(f"Last, the {who} wrote {quote(last[1])}{asked}.")
    return "\n".join(lines)


def log(s: Story) -> str:
    """What each message does, told by its first words: one line a message."""
    lines = []
    for (speaker, text), acts in zip(s.turns, s.acts, strict=True):
        first = " ".join(text.replace('"', "").split()[:3])
        does = ", ".join(dict.fromkeys(ACTS[a] for a in acts))
        lines.append(f'{speaker.split()[-1].lower()} "{first}" {does}.')
    return "\n".join(lines)


@cache
def _words() -> tuple[str, ...]:
    """The words of the training and pretraining scenarios, for nonsense."""
    found: set[str] = set()
    for scenario in bank("pretraining").scenarios:
        for p in scenario.problems:
            for line in (*p.report, *p.works, *p.broken):
                found.update(_spelt(line))
    return tuple(sorted(found))


def _nonsense(rng: random.Random, n_turns: int) -> list[tuple[str, str]]:
    return [
        (
            rng.choice((CUSTOMER, AGENT)),
            " ".join(rng.choices(_words(), k=rng.randint(3, 12))),
        )
        for _ in range(n_turns)
    ]


def echo(rng: random.Random, whole: float = 0.6) -> tuple[str, str, str]:
    """(request, transcript, answer): repeat a chat of nonsense, or one message.

    Args:
        rng: source of randomness.
        whole: share in which all of a short chat is repeated; the rest asks for one
            message, half the time of nonsense and half of a real chat.
    """
    if all_of_it := rng.random() < whole:
        turns = _nonsense(rng, rng.randint(1, 3))
    elif rng.random() < 0.5:
        turns = _nonsense(rng, rng.randint(2, 6))
    else:
        turns = _history(rng).turns
    transcript = "\n".join(f"{speaker}: {text}" for speaker, text in turns)
    if all_of_it:
        return "Repeat this chat.", transcript, transcript
    if rng.random() < 0.5:
        k = rng.randrange(len(turns))
        return f"Repeat message {k + 1}.", transcript, turns[k][1]
    return "Repeat the last message.", transcript, turns[-1][1]


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
        new = _made_up(rng) if rng.random() < 0.25 else rng.choice(_words())
        replace = rng.random() < share and word not in frame_words()
        mapped[word] = new if replace else word

    def other(match: re.Match) -> str:
        found = match[0]
        new = mapped[found.lower()]
        if found.isupper() and len(found) > 1:
            return new.upper()
        return new.capitalize() if found[0].isupper() else new

    return WORD.sub(other, chat), WORD.sub(other, answer)


def documents(
    seed: int, echoes: float = 0.0, whole: float = 0.6, replaced: float = 0.0
) -> Iterator[list[dict[str, str]]]:
    """An endless stream of chats as `[{"role", "content"}, ...]`.

    Args:
        seed: random seed.
        echoes: share of documents that are echoes, 0 to 1.
        whole: share of the echoes that repeat a whole chat, see `echo`.
        replaced: share of the other documents that are delexicalised.
    """
    rng = random.Random(seed)
    while True:
        if rng.random() < echoes:
            yield _document(*echo(rng, whole))
            continue
        s = _history(rng)
        kind = rng.random()
        if kind < 0.5:
            ask, transcript, answer = rng.choice(ASK_NOTE), s.text(), note(s)
        elif kind < 0.92:
            ask, transcript, answer = rng.choice(ASK_LOG), s.text(), log(s)
        else:
            cut = rng.randrange(1, len(s.turns)) if len(s.turns) > 1 else 1
            lines = s.text().split("\n")
            ask, transcript = rng.choice(ASK_NEXT), "\n".join(lines[:cut])
            answer = lines[cut] if cut < len(lines) else s.form("a_ask")
        if rng.random() < replaced:
            transcript, answer = delexicalise(rng, transcript, answer)
        yield _document(ask, transcript, answer)


def _document(ask: str, transcript: str, answer: str) -> list[dict[str, str]]:
    return [
        {"role": "system", "content": f"{ask}\n\n{FENCE}\n{transcript}\n{FENCE}"},
        {"role": "assistant", "content": answer},
    ]
