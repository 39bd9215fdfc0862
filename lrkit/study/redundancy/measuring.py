"""Chains damaged in every way and read by their model: a row for each.

A chain is taken whole (the model's own, greedy, or one from a file), damaged, encoded
from scratch, closed, and the answer is read. What a figure of accuracy over p means
depends on the controls: whether the answer itself was still in the text, what no chain
at all gives, and what another question's chain gives.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from lrkit.data.conversations import BadRows, read_table
from lrkit.data.problems import Question
from lrkit.study.redundancy import dropping
from lrkit.study.redundancy.mentions import states, without
from lrkit.study.redundancy.reading import Reader
from lrkit.study.redundancy.splitting import Steps
from lrkit.study.scoreboard import same_answer

# p as in the paper, 10 to 50 %, and the whole way to nothing.
PS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.9)
RANDOM = ("tokens", "steps", "tokens, answer removed", "steps, answer removed")
SHARES = ("beginning kept", "end kept")
SHUFFLED, ANOTHER, NOTHING = "steps shuffled", "another question's chain", "no chain"
KINDS = (*RANDOM, *SHARES, SHUFFLED, ANOTHER, NOTHING)


@dataclass(frozen=True)
class WrittenChain:
    """A question with a chain to its answer.

    Attributes:
        id: of the question.
        question: as it is asked.
        chain: whole, as it was written.
        answer: the right one.
    """

    id: str
    question: str
    chain: str
    answer: str


@dataclass(frozen=True)
class Damage:
    """One way of damaging chains.

    Attributes:
        kind: one of `KINDS`.
        p: probability that a token or step goes; the share that goes where beginning or
            end are kept; 0 for the others.
        seed: random seed.

    Raises:
        ValueError: for an unknown kind, or a p outside of 0 to 1.
    """

    kind: str
    p: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            known = ", ".join(KINDS)
            raise ValueError(
                f"there is no damage {self.kind!r}: choose one of {known}."
            )
        if not 0 <= self.p <= 1:
            raise ValueError(f"p must lie between 0 and 1, got {self.p}.")


def every_damage(
    ps: Sequence[float] = PS, seeds: Sequence[int] = (0, 1, 2)
) -> list[Damage]:
    """All kinds at all p, with all random seeds where anything is random."""
    found = [Damage(kind, p, seed) for kind in RANDOM for p in ps for seed in seeds]
    found += [Damage(kind, p) for kind in SHARES for p in ps]
    found += [Damage(kind, 0.0, seed) for kind in (SHUFFLED, ANOTHER) for seed in seeds]
    return [*found, Damage(NOTHING, 1.0)]


def own_chains(reader: Reader, problems: Sequence[Question]) -> list[WrittenChain]:
    """The chains that a model writes itself, greedily; right or wrong."""
    written = reader.chains([p.question for p in problems])
    return [
        WrittenChain(p.id, p.question, chain, p.answer)
        for p, chain in zip(problems, written, strict=True)
    ]


def read_chains(path: str | Path) -> list[WrittenChain]:
    """Chains from a table with the columns `question`, `chain` and `answer`.

    Args:
        path: any table that `lrkit.data.conversations.read_table` reads.

    Raises:
        BadRows: for a column that is missing, or rows without question or answer.
    """
    path = Path(path)
    table = read_table(path)
    if missing := {"question", "chain", "answer"} - set(table.columns):
        raise BadRows(path.name, [f"no column {name!r}" for name in sorted(missing)])
    rows = table.to_dict("records")
    wrong = [
        f"row {n}: the {name} is empty"
        for n, row in enumerate(rows, 1)
        for name in ("question", "answer")
        if not str(row[name]).strip()
    ]
    if wrong:
        raise BadRows(path.name, wrong)
    return [
        WrittenChain(f"{path.stem}-{n:05d}", r["question"], r["chain"], r["answer"])
        for n, r in enumerate(rows, 1)
    ]


def write_chains(chains: Sequence[WrittenChain], path: str | Path) -> None:
    """A JSON-lines file that `read_chains` reads."""
    columns = ("question", "chain", "answer")
    rows = [{name: getattr(chain, name) for name in columns} for chain in chains]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    Path(path).write_text(lines, encoding="utf-8")


def damaged_ids(
    encode: Callable[[str], list[int]],
    split: Callable[[str], Steps],
    chain: WrittenChain,
    damage: Damage,
    other: WrittenChain | None = None,
) -> list[int]:
    """Token ids of a damaged chain.

    Dropped tokens are taken out of the ids; steps out of the text, which is encoded
    again. The random seed and the question decide what goes, see
    `lrkit.study.redundancy.dropping.dropped`.

    Args:
        encode: text to ids.
        split: one of `lrkit.study.redundancy.splitting.SPLITTERS`.
        chain: to damage.
        damage: what is done.
        other: whose chain is read instead, for that kind.
    """
    kind, text = damage.kind, chain.chain
    rng = random.Random(f"{damage.seed}/{kind.partition(',')[0]}/{chain.id}")
    if kind == NOTHING:
        return []
    if kind == ANOTHER:
        return encode(other.chain)
    if kind in SHARES:
        keep = dropping.first if kind == SHARES[0] else dropping.last
        return keep(encode(text), 1 - damage.p)
    if kind.endswith("answer removed"):
        text = without(text, chain.answer)
    if kind.startswith("tokens"):
        return dropping.dropped(encode(text), damage.p, rng)
    steps = split(text)
    order = range(len(steps))
    if kind == SHUFFLED:
        return encode(steps.text(dropping.shuffled(order, rng)))
    return encode(steps.text(dropping.dropped(order, damage.p, rng)))


def measure(
    reader: Reader,
    chains: Sequence[WrittenChain],
    damages: Sequence[Damage],
    split: Callable[[str], Steps],
) -> pd.DataFrame:
    """A row per question and damage.

    Args:
        reader: answers behind the damaged chains.
        chains: whole ones.
        damages: what is done to each of them.
        split: one of `lrkit.study.redundancy.splitting.SPLITTERS`.

    Returns:
        `id`, `kind`, `p`, `seed`; `kept`, tokens of the question's own chain that are
        left over those that there were (of an empty chain all are left); `leaked`,
        whether what was read still states the answer; `answer` and `correct`.

    Raises:
        ValueError: for no chains.
    """
    if not chains:
        raise ValueError("there are no chains to damage.")
    encode, decode = reader.template.encode, reader.template.tokenizer.decode
    lengths = [len(encode(chain.chain)) for chain in chains]
    rows, prompts = [], []
    for damage in damages:
        others: list[WrittenChain | None] = [None] * len(chains)
        if damage.kind == ANOTHER:
            rng = random.Random(f"{damage.seed}/{ANOTHER}")
            others = [chains[i] for i in dropping.partners(len(chains), rng)]
        for chain, other, length in zip(chains, others, lengths, strict=True):
            ids = damaged_ids(encode, split, chain, damage, other)
            own = 0 if damage.kind == ANOTHER else len(ids)
            prompts.append(reader.prompt(chain.question, ids))
            rows.append(
                {
                    "id": chain.id, "kind": damage.kind, "p": damage.p,
                    "seed": damage.seed, "kept": own / length if length else 1.0,
                    "leaked": states(decode(ids), chain.answer),
                    "wanted": chain.answer,
                }
            )  # fmt: skip
    table = pd.DataFrame(rows)
    table["answer"] = reader.answers(prompts)
    pairs = zip(table["answer"], table.pop("wanted"), strict=True)
    return table.assign(correct=[same_answer(*pair) for pair in pairs])
