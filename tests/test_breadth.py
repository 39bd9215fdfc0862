"""Laws of the breadth-first measure: probabilities of names, and shares that add up."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from latent_models import lively, rows_for

from lrkit.data.dags import Options
from lrkit.data.graphs import distances, graph_problems, short_answer
from lrkit.latent.solvers import SlotSolver
from lrkit.study.breadth import OPENING, breadth, node_masses

PROBLEMS = [short_answer(p) for p in graph_problems("train", 3, 0, Options.small())]


@pytest.fixture(scope="module")
def solver(chatml):
    model = lively(chatml)
    return SlotSolver(model, rows_for(model, chatml), 3)


@pytest.fixture(scope="module", params=[False, True], ids=["latent", "pause"])
def masses(request, solver):
    one = SlotSolver(solver.model, solver.rows, 3, pause=request.param)
    return one, node_masses(one, PROBLEMS, (1, 2))


def test_a_probability_is_that_of_the_name_written_token_by_token(masses):
    solver, table = masses
    rows, slot = solver.rows, solver.model.id_of("<slot>")
    some = table.groupby(["id", "latents"]).sample(2, random_state=0)
    assert any(len(rows.encode(f" {name}")) > 1 for name in some["node"])
    questions = {p.id: p.question for p in PROBLEMS}
    for row in some.itertuples():
        thought = [rows.pause if solver.pause else slot] * row.latents
        begun = [*rows.question(questions[row.id]), rows.bot, *thought, rows.eot]
        begun += rows.encode(OPENING)
        name = rows.encode(f" {row.node}")
        with torch.no_grad():
            out = solver.model(torch.tensor([begun + name])).logits[0].log_softmax(-1)
        wanted = sum(out[len(begun) - 1 + j, id] for j, id in enumerate(name)).exp()
        assert row.probability == pytest.approx(float(wanted), rel=1e-3)


def test_every_node_that_can_come_next_has_a_row_with_its_place_in_the_graph(masses):
    table = masses[1]
    for problem in PROBLEMS:
        made = problem.made_from
        nodes, part = made["nodes"], table[table["id"] == problem.id]
        ends = {nodes[end] for _, end in made["edges"]}
        away = distances(problem, nodes[made["root"]])
        for _, one in part.groupby("latents"):
            assert set(one["node"]) == ends and len(one) == len(ends)
            assert one["on_path"].sum() == problem.n_steps
            for row in one.itertuples():
                assert math.isnan(row.depth) == (row.node not in away)
                assert math.isnan(row.depth) or row.depth == away[row.node]


def test_shares_add_up_and_the_frontier_is_what_lies_k_edges_deep(masses):
    table = breadth(masses[1])
    parts = table[["frontier", "nearer", "deeper", "unreachable"]].sum(axis=1)
    assert np.allclose(parts, 1) and (table["path"] <= table["frontier"] + 1e-9).all()
    assert table["effective"].between(1 - 1e-9, table["nodes"] + 1e-9).all()
    assert (table["named"] <= 1 + 1e-6).all()


def constructed(probability, depth=(1, 1, 2, np.nan), on_path=(1, 0, 1, 0)):
    return pd.DataFrame(
        {"id": "a", "n_steps": 2, "latents": 1, "node": list("wxyz"), "depth": depth,
         "height": 1, "on_path": np.array(on_path, bool), "probability": probability}
    )  # fmt: skip


def test_two_nodes_alike_are_two_effective_ones_and_one_alone_is_one():
    (both,) = breadth(constructed([0.2, 0.2, 0.0, 0.1])).to_dict("records")
    assert both["effective"] == pytest.approx(2) and both["nodes"] == 2
    assert both["frontier"] == pytest.approx(0.8) and both["path"] == pytest.approx(0.4)
    assert both["unreachable"] == pytest.approx(0.2) and both["chance"] == 0.5
    assert both["named"] == pytest.approx(0.5)
    (one,) = breadth(constructed([0.3, 0.0, 0.0, 0.1])).to_dict("records")
    assert one["effective"] == pytest.approx(1)
    assert one["path"] == pytest.approx(one["frontier"]) == pytest.approx(0.75)


def test_a_problem_without_a_node_so_deep_has_no_row():
    assert breadth(constructed([0.1] * 4).assign(latents=3)).empty


def test_thinking_is_cut_after_a_latent(solver):
    with pytest.raises(ValueError, match="1 latent or more"):
        node_masses(solver, PROBLEMS, (0, 1))
