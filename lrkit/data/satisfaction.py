"""Chats scored 0-9: how content does the customer sound by the end?

The rubric counts what the customer says. From 5: +2 for every problem that is gone, -2
for every one still open; -1 each time the customer says that something is (still or
again) broken; +1 for praise; -2 for sarcasm and for giving up; within 0-9. Chats, lines
and splits are those of the gold standard's generator, so the score is known from how a
chat was made.
"""

from __future__ import annotations

import random
from collections import Counter

from lrkit.data.banks import bank
from lrkit.data.endings import PAIRS, SINGLES, pair_stories, single_story
from lrkit.data.story import CUSTOMER, Story
from lrkit.data.tables import split_by_split

QUESTION = "How content does the Customer sound by the end, from 0 to 9?"
QUOTAS = {"train": 420, "validation": 60, "calibration": 80, "test": 160}
PAIRED = 0.6  # how often a pair is told rather than a chat that stands alone
COLUMNS = ("id", "running_message", "label", "reason", "pattern", "pair", "split")
FAILED = ("broken", "x_broken")
LEFT = ("sarcasm", "give_up")


def score(s: Story, evidence: str) -> tuple[int, str]:
    """The rubric's score of a story, and the sum as words.

    `evidence` is that of the ending: a bare "no" to "is it working?" says that it is
    broken, and no act of the message shows it.
    """
    acts = Counter(
        act
        for (speaker, _), doing in zip(s.turns, s.acts, strict=True)
        if speaker == CUSTOMER
        for act in doing
    )
    gone = sum(status.fixed for status in s.status.values())
    failed = sum(acts[a] for a in FAILED) + (evidence == "answer_broken")
    parts = {
        "gone": 2 * gone,
        "still open": -2 * (len(s.status) - gone),
        "for steps that failed": -failed,
        "for praise": acts["praise"],
        "for sarcasm or giving up": -2 * sum(acts[a] for a in LEFT),
    }
    said = ", ".join(f"{n:+d} {what}" for what, n in parts.items() if n)
    return min(9, max(0, 5 + sum(parts.values()))), f"5 {said}"


def make_split(split: str, rng: random.Random, seen: set[str]) -> list[dict[str, str]]:
    """Rows of one split up to its quota; none of `seen`, which they are added to."""
    b = bank(split)
    rows: list[dict[str, str]] = []
    while len(rows) < QUOTAS[split]:
        if rng.random() < PAIRED:
            told = pair_stories(b, rng, rng.choice(list(PAIRS)))
        else:
            told = (single_story(b, rng, rng.choice(list(SINGLES))),)
        texts = {s.text() for s, *_ in told}
        whole = len(texts) == len(told) <= QUOTAS[split] - len(rows)
        if not whole or texts & seen:  # a pair is taken with both sides or not at all
            continue
        seen |= texts
        pair = f"{split[:2]}{len(rows):03d}" if len(told) > 1 else ""
        for s, family, _, evidence, _ in told:
            value, reason = score(s, evidence)
            rows.append(
                {
                    "running_message": s.text(),
                    "label": str(value),
                    "reason": reason,
                    "pattern": family,
                    "pair": pair,
                    "split": split,
                }
            )
    return rows


def satisfaction(seed: int = 0) -> list[dict[str, str]]:
    """All rows, split by split, no transcript twice."""
    return split_by_split("sf", seed * 100 + 70, make_split)
