"""Everyday word problems: an amount, and 1 to 8 times plus, minus, times or divided by.

"Mia has 12 beads. Tom gives Mia 5 more beads. How many beads does Mia have now?" has
the one step <<12+5=17>>. Every division is exact and no amount is negative. There are
four kinds of story: what somebody *owns*, what is *inside* something, amounts of
*people* compared with one another, and amounts day by day (*days*). Among people,
"more" may mean minus: "Mia has 5 more beads than Tom" gives Tom's number from Mia's.

Here is how one problem is made and told; `lrkit.data.problems` deals them to splits.
All numbers are digits, never words. Every word of the held-out sentences occurs in the
others, so that what they test is the wording and not words that were never trained.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

NAMES = (
    "Amy", "Ana", "Ben", "Eva", "Finn", "Hugo", "Ida", "Jan", "Lea", "Leo", "Lina",
    "Max", "Mia", "Nora", "Omar", "Paul", "Ruth", "Sam", "Tom", "Zoe",
)  # fmt: skip
THINGS = (
    "apples", "balls", "beads", "books", "buttons", "cards", "coins", "cookies", "eggs",
    "keys", "marbles", "nuts", "pencils", "plums", "shells", "stamps", "stickers",
    "stones",
)  # fmt: skip
PLACES = ("bag", "basket", "case", "crate", "drawer", "jar", "sack", "tin")
DEEDS = (
    ("bakes", "cakes"), ("paints", "pictures"), ("picks", "flowers"),
    ("plants", "trees"), ("reads", "pages"), ("sells", "tickets"), ("washes", "cars"),
    ("writes", "letters"),
)  # fmt: skip
# Kind -> slot -> sentences. {k} is the number of the slot, {things} what is counted;
# {last} had the amount so far and {next} has the new one, the same person but among
# people. {other} is somebody else.
Bank = dict[str, dict[str, tuple[str, ...]]]
SENTENCES: Bank = {
    "owns": {
        "start": (
            "{next} has {k} {things}.",
            "{next} starts with {k} {things}.",
            "In the morning {next} owns {k} {things}.",
        ),
        "+": (
            "{other} gives {next} {k} more {things}.",
            "Then {next} buys {k} {things}.",
            "{next} finds {k} {things} and keeps them.",
            "{next} gets {k} more from {other}.",
        ),
        "-": (
            "{next} gives {k} of them to {other}.",
            "Then {next} loses {k} {things}.",
            "{next} sells {k} of the {things}.",
            "{other} takes {k} {things} from {next}.",
        ),
        "*": (
            "Now {next} trades each of them for {k} other {things}.",
            "Then {next} collects until there are {k} times as many.",
            "After that the number of {things} grows to {k} times what it was.",
        ),
        "/": (
            "{next} splits the {things} into {k} equal parts and keeps a single part.",
            "Then {next} shares them in {k} equal parts and gets a single part.",
            "Now {next} has to trade every {k} of them for a single other.",
        ),
        "question": (
            "How many {things} does {next} have now?",
            "How many {things} does {next} own in the end?",
            "What is the number of {things} that {next} has?",
        ),
    },
    "inside": {
        "start": (
            "There are {k} {things} in a {place}.",
            "A {place} holds {k} {things}.",
            "{next} puts {k} {things} into a {place}.",
        ),
        "+": (
            "Then {k} {things} are added.",
            "{next} puts {k} more {things} into the {place}.",
            "{other} adds {k} {things}.",
            "After that {k} more are put in.",
        ),
        "-": (
            "Then {k} {things} are taken out.",
            "{next} takes {k} of the {things} from the {place}.",
            "{other} removes {k} {things}.",
            "After that there are {k} fewer in it.",
        ),
        "*": (
            "Now the {things} become {k} times as many.",
            "{other} trades each of the {things} for {k} others.",
            "Then the number of {things} in the {place} is multiplied by {k}.",
        ),
        "/": (
            "Then {next} shares them out into {k} {place}s and keeps a single {place}.",
            "Now the number of {things} in the {place} is divided by {k}.",
            "The {things} are split into {k} equal parts, and a single part stays in.",
        ),
        "question": (
            "How many {things} are in the {place} now?",
            "How many {things} does the {place} hold in the end?",
            "What is the number of {things} in the {place}?",
        ),
    },
    "people": {
        "start": (
            "{next} has {k} {things}.",
            "{next} owns {k} {things}.",
            "There are {k} {things} that belong to {next}.",
        ),
        "+": (
            "{next} has {k} more {things} than {last}.",
            "{last} has {k} fewer {things} than {next}.",
            "{next} owns as many as {last} and {k} more.",
            "With {k} more, {last} would have as many {things} as {next}.",
        ),
        "-": (
            "{next} has {k} fewer {things} than {last}.",
            "{last} has {k} more {things} than {next}.",
            "{next} owns as many as {last} but {k} fewer.",
            "With {k} more, {next} would have as many {things} as {last}.",
        ),
        "*": (
            "{next} has {k} times as many {things} as {last}.",
            "For each of the {things} of {last}, {next} has {k}.",
            "It takes {k} people like {last} to have as many {things} as {next}.",
        ),
        "/": (
            "{last} has {k} times as many {things} as {next}.",
            "For each of the {things} of {next}, {last} has {k}.",
            "It takes {k} people like {next} to have as many {things} as {last}.",
        ),
        "question": (
            "How many {things} does {next} have?",
            "How many {things} belong to {next}?",
            "What is the number of {things} that {next} owns?",
        ),
    },
    "days": {
        "start": (
            "On Monday {next} {does} {k} {things}.",
            "{next} {does} {k} {things} on Monday.",
            "It is Monday, and {next} {does} {k} {things}.",
        ),
        "+": (
            "The next day {next} {does} {k} {things} more than the day before.",
            "The day after, it is {k} more.",
            "A day later the number grows by {k}.",
        ),
        "-": (
            "The next day {next} {does} {k} {things} fewer than the day before.",
            "The day after, it is {k} fewer.",
            "A day later {k} must be taken from the number.",
        ),
        "*": (
            "The next day {next} {does} {k} times as many {things}.",
            "The day after, it is {k} times as many.",
            "A day later the number is multiplied by {k}.",
        ),
        "/": (
            "The next day the number of {things} is divided by {k}.",
            "The day after, {next} {does} a single part of {k} equal parts of that.",
            "A day later the number is split by {k}.",
        ),
        "question": (
            "How many {things} is it on the last day?",
            "What is the number of {things} on the last day?",
            "How many are the {things} of the last day?",
        ),
    },
}
HELD_OUT: Bank = {
    "owns": {
        "start": (
            "There are {k} {things} that {next} owns.",
            "{next} has {k} {things} in the morning.",
        ),
        "+": (
            "Then {next} finds {k} more.",
            "After that {other} gives {k} {things} to {next}.",
        ),
        "-": (
            "Then {other} gets {k} of the {things} from {next}.",
            "After that {next} loses {k} of them.",
        ),
        "*": (
            "Then {next} has {k} times as many.",
            "{next} gets {k} {things} for each of them in a trade.",
        ),
        "/": (
            "Then the {things} are split into {k} equal parts, {next} keeps a part.",
            "{next} gets a single other for every {k} of them in a trade.",
        ),
        "question": (
            "What number of {things} does {next} have in the end?",
            "Now how many {things} does {next} own?",
        ),
    },
    "inside": {
        "start": (
            "In a {place} there are {k} {things}.",
            "A {place} starts with {k} {things}.",
        ),
        "+": (
            "Now {k} more {things} are put into the {place}.",
            "Then {other} puts in {k} {things}.",
        ),
        "-": (
            "Now {k} of the {things} are taken from the {place}.",
            "Then {other} takes out {k} {things}.",
        ),
        "*": (
            "After that the {place} holds {k} times as many.",
            "Now the number of {things} grows to {k} times what it was.",
        ),
        "/": (
            "After that the number of {things} is divided by {k}.",
            "Then the {things} are split into {k} equal parts, and a part stays in it.",
        ),
        "question": (
            "In the end, how many {things} are in the {place}?",
            "What number of {things} does the {place} hold now?",
        ),
    },
    "people": {
        "start": (
            "The number of {things} that {next} has is {k}.",
            "There are {k} {things} that {next} has.",
        ),
        "+": (
            "{next} owns {k} {things} more than {last}.",
            "{last} owns as many {things} as {next} but {k} fewer.",
        ),
        "-": (
            "{next} owns {k} {things} fewer than {last}.",
            "{last} owns as many {things} as {next} and {k} more.",
        ),
        "*": (
            "{next} owns {k} {things} for each that {last} owns.",
            "What {last} has, multiplied by {k}, is what {next} has.",
        ),
        "/": (
            "{last} owns {k} {things} for each that {next} owns.",
            "What {last} has, divided by {k}, is what {next} has.",
        ),
        "question": (
            "What number of {things} does {next} own?",
            "How many are the {things} of {next}?",
        ),
    },
    "days": {
        "start": (
            "In the morning on Monday {next} {does} {k} {things}.",
            "The number of {things} that {next} {does} on Monday is {k}.",
        ),
        "+": (
            "Then there is a day with {k} more.",
            "The next day it is {k} {things} more.",
        ),
        "-": (
            "Then there is a day with {k} fewer.",
            "The next day it is {k} {things} fewer.",
        ),
        "*": (
            "Then there is a day with {k} times as many.",
            "The next day the number of {things} is multiplied by {k}.",
        ),
        "/": (
            "Then the number is divided by {k} for a day.",
            "The next day it is a single part of {k} equal parts.",
        ),
        "question": (
            "On the last day, how many {things} are there?",
            "What number of {things} is it on the last day?",
        ),
    },
}
# Sentences with a number that nothing asks for.
BESIDES = (
    "{other} is {k} years old.",
    "It takes {k} minutes to walk home.",
    "It is {k} degrees outside.",
)
BESIDES_HELD_OUT = ("To walk home takes {k} minutes.", "Outside it is {k} degrees.")


@dataclass(frozen=True)
class Options:
    """What can be chosen.

    Attributes:
        distractors: share of problems with a number that is not needed.

    Raises:
        ValueError: for a share that is not from 0 to 1.
    """

    distractors: float = 0.05

    def __post_init__(self) -> None:
        if not 0 <= self.distractors <= 1:
            raise ValueError(
                f"distractors is a share from 0 to 1, got {self.distractors}."
            )


def operands(amount: int, larger: bool) -> dict[str, list[int] | range]:
    """Operation -> the numbers that it may have, so that amounts stay in their range.

    Amounts are 0 to 99, and 2 to 99 is added or taken away; with `larger`, both are 100
    to 999. Factors and divisors are 2 to 9 in either case, divisions are exact, and
    nothing is done to 0 but adding.
    """
    low, high = (100, 999) if larger else (0, 99)
    least, factors = max(low, 2), range(2, 10) if amount else ()
    return {
        "+": range(least, high - amount + 1),
        "-": range(least, amount - low + 1),
        "*": [k for k in factors if amount * k <= high],
        "/": [k for k in factors if amount % k == 0 and amount // k >= low],
    }


def operations(
    rng: random.Random, n_steps: int, larger: bool, options: Options
) -> dict[str, Any]:
    """What happens to the amount: "start" and "operations", all possible ones alike."""
    amount = start = rng.randint(*((100, 999) if larger else (2, 99)))
    done: list[list[Any]] = []
    for _ in range(n_steps):
        possible = {op: ks for op, ks in operands(amount, larger).items() if ks}
        op = rng.choice(list(possible))
        done.append([op, rng.choice(possible[op])])
        amount = result(amount, *done[-1])
    return {"start": start, "operations": done}


def result(amount: int, op: str, k: int) -> int:
    """What an operation makes of an amount."""
    return {"+": amount + k, "-": amount - k, "*": amount * k, "/": amount // k}[op]


def steps(made: Mapping[str, Any]) -> tuple[str, ...]:
    """The equations of what `operations` made."""
    amount, equations = made["start"], []
    for op, k in made["operations"]:
        equations.append(f"<<{amount}{op}{k}={result(amount, op, k)}>>")
        amount = result(amount, op, k)
    return tuple(equations)


def question(
    rng: random.Random, made: Mapping[str, Any], held_out: bool, options: Options
) -> tuple[str, dict[str, Any]]:
    """What `operations` made, told as a story of one kind.

    Returns:
        The text, and what it was worded with: "kind", "templates" (the sentences before
        anything was filled in, the last of them the question), "names", "things", and
        "distractor", the number that is not needed, or None.
    """
    kind = rng.choice(list(SENTENCES))
    bank = (HELD_OUT if held_out else SENTENCES)[kind]
    told = [("start", made["start"]), *made["operations"], ("question", None)]
    templates = [rng.choice(bank[slot]) for slot, _ in told]
    numbers = [k for _, k in told]
    # Among people everyone has an amount, else the first name has them all;
    # it is the last amount that is asked for.
    names = rng.sample(NAMES, len(told))
    owners = names[:-1] if kind == "people" else names[:1] * (len(told) - 1)
    owners = [*owners, owners[-1]]
    others = names[-1:] if kind == "people" else names[1:]
    does, things = rng.choice(DEEDS)
    things = things if kind == "days" else rng.choice(THINGS)
    same = {"does": does, "things": things, "place": rng.choice(PLACES)}
    distractor = None
    if rng.random() < options.distractors:
        # At either end of the story: inside it, "them" and "it" would be unclear.
        at = rng.choice((0, len(told) - 1))
        distractor = rng.randint(2, 99)
        templates.insert(at, rng.choice(BESIDES_HELD_OUT if held_out else BESIDES))
        numbers.insert(at, distractor)
        owners.insert(at, owners[at])
    lasts = [owners[0], *owners[:-1]]
    sentences = [
        template.format(k=k, next=new, last=last, other=rng.choice(others), **same)
        for template, k, new, last in zip(
            templates, numbers, owners, lasts, strict=True
        )
    ]
    wording = {"kind": kind, "templates": templates, "names": names, "things": things}
    return " ".join(sentences), wording | {"distractor": distractor}
