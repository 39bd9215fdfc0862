"""Chats scored 0-9: how content does the customer sound by the end?

The rubric counts what the customer says. From 5: +2 for every problem that is gone, -2
for every one still open; -1 each time a step has not helped; +1 for praise; -2 for
sarcasm and for giving up; within 0-9. Chats, lines and splits are those of the gold
standard's generator, so the score is known from how a chat was made.
"""

from __future__ import annotations

import random
from collections import Counter

from lrkit.data.banks import SPLITS, bank
from lrkit.data.endings import PAIRS, SINGLES, pair_stories, single_story
from lrkit.data.story import CUSTOMER, Story

QUESTION = "How content does the Customer sound by the end, from 0 to 9?"
QUOTAS = {"train": 420, "validation": 60, "calibration": 80, "test": 160}
COLUMNS = ("id", "running_message", "label", "reason", "pattern", "pair", "split")
FAILED = ("broken", "x_broken")
LEFT = ("sarcasm", "give_up")


def score(s: Story) -> tuple[int, str]:
    """The rubric's score of a story, and the sum as words."""
    acts = Counter(
        act
        for (speaker, _), doing in zip(s.turns, s.acts, strict=True)
        if speaker == CUSTOMER
        for act in doing
    )
    gone = sum(status.fixed for status in s.status.values())
    parts = {
        "gone": 2 * gone,
        "still open": -2 * (len(s.status) - gone),
        "for steps that failed": -sum(acts[a] for a in FAILED),
        "for praise": acts["praise"],
        "for sarcasm or giving up": -2 * sum(acts[a] for a in LEFT),
    }
    said = ", ".join(f"{n:+d} {what}" for what, n in parts.items() if n)
    return min(9, max(0, 5 + sum(parts.values()))), f"5 {said}"


def satisfaction(seed: int = 0) -> list[dict[str, str]]:
    """All rows, split by split, no transcript twice."""
    seen: set[str] = set()
    rows: list[dict[str, str]] = []
    for k, split in enumerate(SPLITS):
        rng, b = random.Random(seed * 100 + 70 + k), bank(split)
        part: list[dict[str, str]] = []
        while len(part) < QUOTAS[split]:
            if rng.random() < 0.6:
                told = pair_stories(b, rng, rng.choice(list(PAIRS)))
            else:
                told = (single_story(b, rng, rng.choice(list(SINGLES))),)
            pair = f"{split[:2]}{len(part):03d}" if len(told) > 1 else ""
            for s, family, *_ in told:
                if s.text() in seen:
                    continue
                seen.add(s.text())
                value, reason = score(s)
                part.append(
                    {
                        "running_message": s.text(),
                        "label": str(value),
                        "reason": reason,
                        "pattern": family,
                        "pair": pair,
                        "split": split,
                    }
                )
        rows += part[: QUOTAS[split]]
    return [{"id": f"sf-{i:04d}", **row} for i, row in enumerate(rows, 1)]
