"""ProsQA, read into `GraphProblem` rows, and what is refused.

The set of COCONUT (Hao et al. 2024, arXiv:2412.06769): facebookresearch/coconut, MIT.
Nothing of it is part of this repository: name a file or a folder. A set is taken whole
or not at all: every row that is not as expected is named.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from lrkit.data.conversations import BadRows
from lrkit.data.dags import children_of, distances_from
from lrkit.data.graphs import GraphProblem, sentence

FILES = {
    "train": "prosqa_train.json",
    "validation": "prosqa_valid.json",
    "test": "prosqa_test.json",
}
FIELDS = {
    "question": str,
    "steps": list,
    "answer": str,
    "idx_to_symbol": list,
    "edges": list,
    "root": int,
    "target": int,
    "neg_target": int,
}


def _check_numbers(made: Mapping[str, Any]) -> None:
    """Refuse names that are there twice, and numbers that are no node's."""
    nodes = made["nodes"]
    if twice := [name for name in nodes if nodes.count(name) > 1]:
        raise ValueError(f"idx_to_symbol: {twice[0]!r} is there more than once")
    for name in ("root", "target", "neg_target"):
        if made[name] not in range(len(nodes)):
            raise ValueError(
                f"{name}: {made[name]} is out of range, nodes are 0 to {len(nodes) - 1}"
            )
    for edge in made["edges"]:
        good = [type(i) is int and i in range(len(nodes)) for i in edge]
        if good != [True, True]:
            raise ValueError(
                f"edges: {edge} was found, two nodes were expected, each of them 0 to "
                f"{len(nodes) - 1}"
            )


def _check_graph(made: Mapping[str, Any]) -> None:
    """Refuse cycles, a target out of reach and a neg_target within reach."""
    nodes, children = made["nodes"], children_of(made)
    for start, end in made["edges"]:
        if start in distances_from(children, end):
            raise ValueError(f"edges: there is a cycle through {nodes[start]!r}")
    found = distances_from(children, made["root"])
    root = nodes[made["root"]]
    if not found.get(made["target"]):  # 0 is the root itself
        end = nodes[made["target"]]
        raise ValueError(f"target: {end!r} cannot be reached from {root!r}")
    if made["neg_target"] in found:
        end = nodes[made["neg_target"]]
        raise ValueError(f"neg_target: {end!r} can be reached from {root!r}")


def _check_text(problem: GraphProblem) -> None:
    """Refuse steps, an answer or a question that say something else than the graph."""
    made, nodes = problem.made_from, problem.made_from["nodes"]
    root, *ends = (nodes[made[name]] for name in ("root", "target", "neg_target"))
    told = {sentence(nodes, edge): edge for edge in made["edges"]}
    for n, step in enumerate(problem.steps, 1):
        if step not in told:
            raise ValueError(f"steps: step {n}, {step!r}, is no edge of the graph")
    # A root before the first edge and a target behind the last: all must join.
    path = [(None, made["root"]), *(told[s] for s in problem.steps)]
    if any(one[1] != other[0] for one, other in pairwise([*path, (made["target"],)])):
        raise ValueError(f"steps: they do not lead from {root!r} to {ends[0]!r}")
    if problem.answer != (expected := f"{root} is a {ends[0]}."):
        raise ValueError(f"answer: {problem.answer!r}, but the target is {expected!r}")
    *facts, asked = problem.question.split(". ")
    if sorted(f"{fact}." for fact in facts) != sorted(
        sentence(nodes, edge) for edge in made["edges"]
    ):
        raise ValueError("question: its sentences are not the edges, each told once")
    if asked not in {f"Is {root} a {a} or {b}?" for a, b in (ends, ends[::-1])}:
        raise ValueError(
            f"question: it ends with {asked!r}, but root and ends are {root!r}, "
            f"{ends[0]!r}, {ends[1]!r}"
        )


def check(problem: GraphProblem) -> None:
    """Refuse a problem whose question, steps, answer and graph do not agree.

    Raises:
        ValueError: for the first thing that is wrong; the message begins with the name
            of its field in ProsQA's files.
    """
    _check_numbers(problem.made_from)
    _check_graph(problem.made_from)
    _check_text(problem)


def _fields(row: Any) -> dict[str, Any]:
    """The row's fields if all are there and of their types."""
    if not isinstance(row, dict):
        raise ValueError(f"an object was expected, this is {row!r:.60}")
    for name, kind in FIELDS.items():
        if name not in row:
            raise ValueError(f"{name}: it is missing; found {', '.join(row)}")
        if type(row[name]) is not kind:
            raise ValueError(
                f"{name}: {kind.__name__} was expected, this is {row[name]!r:.60}"
            )
    for name, kind in (("steps", str), ("idx_to_symbol", str), ("edges", list)):
        if bad := [item for item in row[name] if type(item) is not kind]:
            raise ValueError(
                f"{name}: {kind.__name__} was expected, {bad[0]!r:.60} is in it"
            )
    return row


def _problem(row: Any, n: int, source: str, split: str) -> GraphProblem:
    row = _fields(row)
    ends = {name: row[name] for name in ("root", "target", "neg_target")}
    graph = {"nodes": row["idx_to_symbol"], "edges": row["edges"], **ends}
    problem = GraphProblem(
        id=f"prosqa-{split}-{n:05d}",
        question=row["question"],
        steps=tuple(row["steps"]),
        answer=row["answer"],
        task="prosqa",
        split=split,
        made_from=graph | {"source": source, "row": n},
    )
    check(problem)
    return problem


def _rows(path: Path) -> list[Any]:
    """What the file holds, a list with something in it."""
    try:
        rows = json.loads(path.read_text("utf-8"))
    except ValueError as e:
        raise BadRows(path.name, [f"not JSON in UTF-8 ({e})"]) from None
    if not isinstance(rows, list) or not rows:
        raise BadRows(path.name, ["a list of rows was expected"])
    return rows


def prosqa(source: str | Path, split: str = "test") -> list[GraphProblem]:
    """ProsQA: a graph, a question about it, and a shortest way to the answer.

    Args:
        source: a JSON file with the fields `question`, `steps`, `answer`,
            `idx_to_symbol`, `edges`, `root`, `target`, `neg_target`; a folder with
            `prosqa_train.json`, `prosqa_valid.json` or `prosqa_test.json`.
        split: "train", "validation" or "test"; of a file only what its problems are
            called.

    Returns:
        Problems; `made_from` has the graph, "source" and "row" as well.

    Raises:
        BadRows: every row that is refused, with its number, field and reason.
        FileNotFoundError: for a file that is not there.
        ValueError: for a folder and another split.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        if split not in FILES:
            raise ValueError(f"no split {split!r}: there are {', '.join(FILES)}.")
        path /= FILES[split]
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there.")
    problems, wrong = [], []
    for n, row in enumerate(_rows(path), 1):
        try:
            problems.append(_problem(row, n, path.name, split))
        except ValueError as why:
            wrong.append(f"row {n}: {why}")
    if wrong:
        raise BadRows(path.name, wrong)
    return problems
