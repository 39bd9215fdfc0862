"""What two chats have in common, whatever the casing: shared by tests of the data."""

import re

from lrkit.data import banks
from lrkit.data.build import customer_lines


def normalised(text: str) -> str:
    """Lower case, letters and single spaces only: casing and emoji are no news."""
    return " ".join(re.findall("[a-z]+", re.sub("['’]", "", text.lower())))


def messages(texts) -> set[str]:
    """The customers' messages of more than two words, normalised."""
    said = {normalised(m) for text in texts for m in customer_lines(text)}
    return {m for m in said if len(m.split()) > 2}


def held_out_messages(rows, split: str, *others) -> set[str]:
    """The messages of a split; none of them is in the training part of any table."""
    held_out = messages(rows[rows.split == split].running_message)
    for table in (rows, *others):
        in_train = messages(table[table.split == "train"].running_message)
        assert not held_out & in_train
    return held_out


def scenario_lines(scenario):
    """All that customers or agents may say of a scenario."""
    yield from (*scenario.lost.report, *scenario.lost.look, *scenario.locate)
    for problem in scenario.problems:
        yield from (*problem.report, *problem.works, *problem.broken)
        for step in problem.steps:
            yield from (step.do, *step.done)


def bank_lines(split: str):
    """All that may be said in one split of the gold standard, or in pretraining."""
    bank = banks.bank(split)
    yield from (text for family in bank.forms.values() for _, text in family)
    for scenario in bank.scenarios:
        yield from scenario_lines(scenario)


def extent(chats) -> list[str]:
    """How long chats are, as the data cards say it."""
    words, turns = chats.str.split().str.len(), chats.str.count("\n") + 1
    return [
        f"{n.median():.0f} {what} or fewer ({n.min()} to {n.max()})"
        for n, what in ((words, "words"), (turns, "turns"))
    ]
