"""The text that the embedded base `talk` learns to read from.

Documents in ChatML: a support chat, then one of these answers.

* A *note* says for each problem what the customer has said of it.
* A *log* quotes the first words of every message and says what it does ("asks if it
  works", "says no").
* A *commentary* goes along: message by message it says what the message does and how
  many problems are open after it; sometimes of messages that have nothing to do with
  each other.
* *Glances* are comments here and there only, and always at the end: between them the
  chat is bare, and what is open has to be read from it. Two in five look once, at a
  chat set in a fence.
* *States*: which problem is gone and which is open.
* *Questions*: up to six yes/no questions about single problems and about messages, the
  first before the chat.
* *Next*: the next message of the chat.
* An *echo* repeats a chat, often of words thrown together at random.

Chats use the training split's scenarios and forms, and further ones of their own, and
are cut at random places. In part of them the content words are replaced by others (they
are *delexicalised*): what is gone and what is open must then be read from the frame
("still", "no longer", "again"), and what is quoted must be copied. The workbook's own
question is never asked.
"""

from __future__ import annotations

import random
from bisect import bisect
from collections.abc import Iterator, Mapping
from itertools import accumulate

from lrkit.data import endings, histories
from lrkit.data.acts import ACTS
from lrkit.data.banks import bank
from lrkit.data.delexicalise import content_words, delexicalise
from lrkit.data.questions import questions
from lrkit.data.story import AGENT, CUSTOMER, Story, quote
from lrkit.data.style import Persona

ASK_NOTE = (
    "Write a note on each problem of this chat.",
    "What did the customer say of each problem?",
    "Sum up this chat for the next agent.",
)
ASK_LOG = (
    "Say of each message of this chat what it does.",
    "What happens in this chat, message by message?",
)
ASK_COMMENT = ("What does each message do?", "Comment on this chat as it goes.")
ASK_GLANCE = (
    "How many problems are open, and what does the last message do?",
    "How many of the customer's problems are still open?",
)
ASK_STATES = (
    "Which problems of this chat are gone?",
    "What is still open in this chat?",
)
ASK_NEXT = ("Write the next message of this chat.", "How does this chat go on?")
FENCE = "```"
FRAMED = 0.4  # share of the glances that look once, at a chat in a fence

SLOTTED = ("x_works", "x_broken", "a_next", "a_check_x_works")


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


def states(s: Story) -> str:
    """What is gone and what is open, one line a problem."""
    return "\n".join(
        f"{noun}: {'gone' if status.fixed else 'open'}."
        for noun, status in s.status.items()
    )


def commentary(s: Story) -> list[tuple[str, str]]:
    """(message, what it does[, and how many problems are open after it]) per turn."""
    comments, heard = [], False
    for (speaker, text), doing, n_open in zip(s.turns, s.acts, s.n_open, strict=True):
        heard = heard or speaker == CUSTOMER
        still = f" {n_open} open." if heard and s.status else ""
        comments.append((f"{speaker}: {text}", f"{_doing(doing)}.{still}"))
    return comments


def glances(s: Story, rng: random.Random) -> list[tuple[str, str]]:
    """(stretch of the chat, how many problems are open and what its last message does).

    How often a chat is looked at is drawn for each chat, down to once, at its end.
    """
    often = rng.choice((0.0, 0.1, 0.25, 0.5, 1.0))
    pairs, stretch, heard = [], [], False
    for i, ((speaker, text), doing, n_open) in enumerate(
        zip(s.turns, s.acts, s.n_open, strict=True)
    ):
        heard = heard or speaker == CUSTOMER
        stretch.append(f"{speaker}: {text}")
        if (heard and rng.random() < often) or i == len(s.turns) - 1:
            pairs.append(("\n".join(stretch), f"{n_open} open: {_doing(doing)}."))
            stretch = []
    return pairs


def glance(s: Story, rng: random.Random) -> tuple[str, str]:
    """(a chat up to its end or another message, what `glances` says of it)."""
    heard = next(i for i, (speaker, _) in enumerate(s.turns) if speaker == CUSTOMER)
    last = len(s.turns) - 1
    cut = last if rng.random() < 0.6 else rng.randint(heard, last)
    text = "\n".join(f"{speaker}: {t}" for speaker, t in s.turns[: cut + 1])
    return text, f"{s.n_open[cut]} open: {_doing(s.acts[cut])}."


def _doing(doing: list[str]) -> str:
    return ", ".join(dict.fromkeys(ACTS[a] for a in doing))


def log(s: Story) -> str:
    """What each message does, told by its first words: one line a message."""
    lines = []
    for (speaker, text), doing in zip(s.turns, s.acts, strict=True):
        first = " ".join(text.replace('"', "").split()[:3])
        lines.append(f'{speaker.split()[-1].lower()} "{first}" {_doing(doing)}.')
    return "\n".join(lines)


def unrelated(rng: random.Random) -> Story:
    """Messages of all families thrown together: rare ones as often as common ones.

    Outcomes of steps ("works", "broken") come four times as often: what they say is
    the hardest to tell.
    """
    b = bank("pretraining")
    s = Story(b, rng.choice(b.scenarios), Persona.draw(rng), rng, [])
    families = sorted(b.forms)
    outcomes = ["works", "broken"] * 8 + ["step_done"] * 4 + ["report", "a_look"] * 2
    agent = rng.random() < 0.5
    for _ in range(rng.randint(6, 14)):
        agent = not agent  # two messages of one speaker would become one turn
        family = rng.choice(
            [f for f in families + outcomes if f.startswith("a_") == agent]
        )
        problem = rng.choice(rng.choice(b.scenarios).problems)
        step = rng.choice(problem.steps)
        own = {
            "works": problem.works,
            "broken": problem.broken,
            "report": problem.report,
            "step_done": step.done,
            "a_look": rng.choice(b.scenarios).locate,
        }.get(family)
        if own and (family not in b.forms or rng.random() < 0.7):
            text = s.line(family, own)
        else:
            slots = {"x": problem.short} if family in SLOTTED else {}
            slots = {"do": step.do} if family == "a_step" else slots
            text = s.form(family, **slots)
        if family.startswith("a_"):
            s.agent(text)
        else:
            s.customer(text)
    return s


def _nonsense(rng: random.Random, n_turns: int) -> list[tuple[str, str]]:
    return [
        (
            rng.choice((CUSTOMER, AGENT)),
            " ".join(rng.choices(content_words(), k=rng.randint(3, 12))),
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


KINDS: Mapping[str, float] = {"note": 0.5, "log": 0.42, "next": 0.08}


def documents(
    seed: int,
    echoes: float = 0.0,
    whole: float = 0.6,
    replaced: float = 0.0,
    kinds: Mapping[str, float] = KINDS,
) -> Iterator[list[dict[str, str]]]:
    """An endless stream of chats as `[{"role", "content"}, ...]`.

    Args:
        seed: random seed.
        echoes: share of documents that are echoes, 0 to 1.
        whole: share of the echoes that repeat a whole chat, see `echo`.
        replaced: share of the other documents that are delexicalised; a third of it
            where the answer is what the words mean.
        kinds: shares of the answers among what is no echo: "note", "log",
            "commentary", "unrelated" (a commentary on unrelated messages), "glances",
            "questions", "states", "next".
    """
    rng = random.Random(seed)
    names, bounds = list(kinds), list(accumulate(kinds.values()))
    while True:
        if rng.random() < echoes:
            yield _document(*echo(rng, whole))
            continue
        s = _history(rng)
        kind = names[min(bisect(bounds, rng.random()), len(names) - 1)]
        if kind == "questions":
            yield asked_about(s, rng)
            continue
        if kind == "glances" and rng.random() < FRAMED:
            pair = glance(s, rng)
            if rng.random() < replaced / 3:
                pair = delexicalise(rng, *pair)
            yield _document(rng.choice(ASK_GLANCE), *pair)
            continue
        if kind in ("commentary", "unrelated", "glances"):
            if kind == "glances":
                ask, comments = ASK_GLANCE, glances(s, rng)
            else:
                told = s if kind == "commentary" else unrelated(rng)
                ask, comments = ASK_COMMENT, commentary(told)
            if rng.random() < replaced / 3:
                comments = [delexicalise(rng, *pair) for pair in comments]
            yield _conversation(rng.choice(ask), comments)
            continue
        transcript = s.text()
        if kind == "note":
            ask, answer = rng.choice(ASK_NOTE), note(s)
        elif kind == "log":
            ask, answer = rng.choice(ASK_LOG), log(s)
        elif kind == "states":
            ask, answer = rng.choice(ASK_STATES), states(s)
        else:
            cut = rng.randrange(1, len(s.turns)) if len(s.turns) > 1 else 1
            lines = transcript.split("\n")
            ask, transcript = rng.choice(ASK_NEXT), "\n".join(lines[:cut])
            answer = lines[cut] if cut < len(lines) else s.form("a_ask")
        if rng.random() < (replaced / 3 if kind == "states" else replaced):
            transcript, answer = delexicalise(rng, transcript, answer)
        yield _document(ask, transcript, answer)


def asked_about(s: Story, rng: random.Random) -> list[dict[str, str]]:
    """A chat behind its first yes/no question, as prompts are; further ones follow."""
    messages: list[dict[str, str]] = []
    for ask, is_so in questions(s, rng, rng.randint(1, 6)):
        ask = f"{ask} Answer yes or no."
        if messages:
            messages.append({"role": "user", "content": ask})
        else:
            fenced = f"{ask}\n\n{FENCE}\n{s.text()}\n{FENCE}"
            messages.append({"role": "system", "content": fenced})
        messages.append({"role": "assistant", "content": "yes" if is_so else "no"})
    return messages


def _conversation(ask: str, pairs: list[tuple[str, str]]) -> list[dict[str, str]]:
    """System, then a user message and an assistant's comment in turn."""
    messages = [{"role": "system", "content": ask}]
    for message, comment in pairs:
        messages.append({"role": "user", "content": message})
        messages.append({"role": "assistant", "content": comment})
    return messages


def _document(ask: str, transcript: str, answer: str) -> list[dict[str, str]]:
    return [
        {"role": "system", "content": f"{ask}\n\n{FENCE}\n{transcript}\n{FENCE}"},
        {"role": "assistant", "content": answer},
    ]
