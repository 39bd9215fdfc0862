"""Does a latent search breadth-first? Where the next written step would stand.

COCONUT's claim (arXiv 2412.06769, section 5): trained on graphs, a latent holds several
next nodes at once, and the wrong ones are left out later, the sooner the nearer they
are to a dead end. As there, thinking is interrupted after k latents and the model made
to write its next step: "Every ...". The probability of each node's name behind these
words says where the model thinks that it stands; a search that goes k edges deep has it
on the nodes at depth k. Of the curriculum a model has read such rows: k latents, and
the steps that are left as text.

The same question is put to fillers that cannot hold anything (`pause`): what they show
comes from the passes over the question alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from lrkit.data.graphs import GraphProblem, distances, height
from lrkit.latent.curriculum import paused
from lrkit.latent.layout import SlotRow
from lrkit.latent.solvers import SlotSolver

OPENING = "Every"


def node_masses(
    solver: SlotSolver, problems: Sequence[GraphProblem], n_latents: Sequence[int]
) -> pd.DataFrame:
    """How probable each node is as the next one that is written.

    Args:
        solver: of a method with latents or pauses, trained on graphs by a curriculum.
        problems: on graphs.
        n_latents: numbers of latents, each 1 or more, after which thinking is cut.

    Returns:
        A row for each problem, number of latents and node that has an edge to it: `id`,
        `n_steps`, `latents`, `node`, `depth` (edges from the root; NaN where the root
        does not lead there), `height` (edges to the nearest leaf), `on_path`, and
        `probability` of the whole name.

    Raises:
        ValueError: for a number of latents below 1: the first step begins with a name.
    """
    if min(n_latents, default=1) < 1:
        raise ValueError(
            "thinking is cut after 1 latent or more, not before the first."
        )
    parts = []
    for problem in problems:
        made = problem.made_from
        depth = distances(problem, made["nodes"][made["root"]])
        names = [made["nodes"][n] for n in sorted({end for _, end in made["edges"]})]
        path = {step.removesuffix(".").rpartition(" ")[2] for step in problem.steps}
        parts.append(
            pd.DataFrame(
                {
                    "id": problem.id,
                    "n_steps": problem.n_steps,
                    "node": names,
                    "depth": [depth.get(name, np.nan) for name in names],
                    "height": [height(problem, name) for name in names],
                    "on_path": [name in path for name in names],
                }
            )
        )
    found = []
    for k in n_latents:
        said = _names_next(
            solver, k, [(p.question, list(t["node"])) for p, t in zip(
                problems, parts, strict=True)],
        )  # fmt: skip
        found += [
            table.assign(latents=k, probability=masses)
            for table, masses in zip(parts, said, strict=True)
        ]
    return pd.concat(found, ignore_index=True)


def breadth(masses: pd.DataFrame) -> pd.DataFrame:
    """How broad the search is: a row for each problem and number of latents k.

    Args:
        masses: of `node_masses`.

    Returns:
        `id`, `n_steps`, `latents`, and of the probability that falls on any node:
        `named`, how much that is; of it, as shares: `frontier`, on nodes at depth k;
        `path`, on the one that leads to the target; `nearer` and `deeper`, on other
        nodes that the root leads to; `unreachable`, on the rest. `chance` is what
        `frontier` would be if all nodes were alike, `nodes` how many are at depth k,
        and `effective` how many of those share the frontier's probability: the
        exponential of its entropy, from 1 (one path) to `nodes` (all alike).
        A problem without nodes at depth k has no row.
    """
    rows = []
    for (name, k), part in masses.groupby(["id", "latents"], sort=False):
        at = part["depth"] == k
        if not at.any():
            continue
        total = part["probability"].sum()
        share = part["probability"] / total
        among = share[at] / share[at].sum()
        rows.append(
            {
                "id": name,
                "n_steps": part["n_steps"].iloc[0],
                "latents": k,
                "named": total,
                "frontier": share[at].sum(),
                "path": share[at & part["on_path"]].sum(),
                "nearer": share[part["depth"] < k].sum(),
                "deeper": share[part["depth"] > k].sum(),
                "unreachable": share[part["depth"].isna()].sum(),
                "chance": at.mean(),
                "nodes": int(at.sum()),
                "effective": float(np.exp(-(among * np.log(among.clip(1e-30))).sum())),
            }
        )
    return pd.DataFrame(rows)


@torch.inference_mode()
def _names_next(
    solver: SlotSolver, n_latents: int, asked: Sequence[tuple[str, Sequence[str]]]
) -> list[list[float]]:
    """Probabilities of names behind "Every", for each (question, names).

    A name of several tokens has the product of their probabilities, each behind those
    before it; so a question is read once for each beginning that its names share.
    """
    rows, opening = solver.rows, solver.rows.encode(OPENING)
    cases: list[tuple[int, tuple[int, ...], SlotRow]] = []
    tokens = [[tuple(rows.encode(f" {name}")) for name in names] for _, names in asked]
    for i, ((question, _), names) in enumerate(zip(asked, tokens, strict=True)):
        row = rows.asked(question, n_latents, cue=False)
        if solver.pause:
            row = paused(row, rows.pause)
        for begun in sorted({ids[:j] for ids in names for j in range(len(ids))}):
            rest = [*row.rest, *opening, *begun]
            cases.append((i, begun, SlotRow(row.before, row.n_slots, rest)))
    known: dict[tuple[int, tuple[int, ...]], torch.Tensor] = {}
    for start in range(0, len(cases), solver.batch_size):
        batch = cases[start : start + solver.batch_size]
        lengths = torch.tensor([len(row.rest) for *_, row in batch])
        behind = lengths.max() - lengths  # columns of padding behind each row
        logits = solver.model.eval()(
            **solver.batch_of([row for *_, row in batch]),
            logits_to_keep=int(behind.max()) + 1,
        ).logits
        last = logits[torch.arange(len(batch)), -1 - behind].float()
        for (i, begun, _), scores in zip(batch, last.log_softmax(-1), strict=True):
            known[i, begun] = scores.cpu()
    return [
        [
            float(sum(known[i, ids[:j]][token] for j, token in enumerate(ids)).exp())
            for ids in names
        ]
        for i, names in enumerate(tokens)
    ]
