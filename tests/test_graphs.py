"""Laws of generated graph problems, found by brute force in the text alone."""

import os
import random
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from itertools import islice, pairwise
from statistics import mean

import pytest
from graph_words import OPTIONS, cue, distance, drawn, edge, told, walks

from lrkit.data.dags import Options, shape
from lrkit.data.graphs import (
    CONCEPTS,
    SPLITS,
    candidates,
    graph_problems,
    graph_stream,
    height,
    reachable,
    short_answer,
)


@pytest.fixture(params=OPTIONS)
def problems(request):
    return drawn(request.param)


def test_the_steps_are_a_shortest_way_through_the_words_to_the_answer(problems):
    for problem in problems:
        edges, root, ends = told(problem.question)
        path = [edge(step) for step in problem.steps]
        assert set(path) <= set(edges) and path[0][0] == root
        assert all(one[1] == other[0] for one, other in pairwise(path))
        target = path[-1][1]
        assert target in ends and problem.answer == f"{root} is a {target}."
        assert distance(edges, root, target) == problem.n_steps == len(path)
        (other,) = set(ends) - {target}
        assert distance(edges, root, other) is None


def test_both_ends_are_leaves_and_somebody_else_leads_to_the_other(problems):
    for problem in problems:
        edges, root, ends = told(problem.question)
        assert not set(ends) & {a for a, _ in edges}
        nodes = problem.made_from["nodes"]
        other = nodes[problem.made_from["neg_target"]]
        persons = [name for name in nodes if name.istitle() and name != root]
        assert any(distance(edges, name, other) for name in persons)


def test_a_question_tells_every_edge_once_and_in_no_order(problems):
    places, forward = [], []
    for problem in problems:
        made = problem.made_from
        edges, _, _ = told(problem.question)
        named = [tuple(made["nodes"][i] for i in one) for one in made["edges"]]
        assert Counter(edges) == Counter(named) and max(Counter(edges).values()) == 1
        assert edges != named
        steps = [edges.index(edge(step)) for step in problem.steps]
        places += [place / (len(edges) - 1) for place in steps]
        forward += [one < other for one, other in pairwise(steps)]
    assert mean(places) == pytest.approx(0.5, abs=0.06)
    assert mean(forward) == pytest.approx(0.5, abs=0.12)


def test_the_answer_is_as_often_the_first_as_the_second_option():
    rows = [p for seed in range(8) for p in graph_problems("train", 100, seed)]
    first = [f" a {p.answer.split()[-1][:-1]} or " in p.question for p in rows]
    assert mean(first) == pytest.approx(0.5, abs=0.06)  # 3.4 standard errors


def test_persons_are_those_that_nothing_leads_to(problems):
    for problem in problems:
        edges, _, _ = told(problem.question)
        names = problem.made_from["nodes"]
        assert set(names) == {name for one in edges for name in one}
        assert {n for n in names if n.istitle()} == set(names) - {b for _, b in edges}
        assert len(set(names)) == len(names)


def test_numbers_stay_within_the_options():
    for which, options in OPTIONS.items():
        rows = drawn(which)
        sizes = {len(p.made_from["nodes"]) for p in rows}
        assert options.min_nodes <= min(sizes) and max(sizes) <= options.max_nodes
        lengths = {p.n_steps for p in rows}
        assert lengths == set(range(options.min_steps, options.max_steps + 1))
    share = mean(p.n_steps == 3 for p in drawn("small"))
    assert share == pytest.approx(0.5, abs=0.15)
    assert len(CONCEPTS) == len(set(CONCEPTS)) == 40


def test_even_ends_are_equally_far_and_in_equally_many_sentences():
    for problem in drawn("small"):
        edges, root, ends = told(problem.question)
        assert cue(problem) == 0.5
        people = [n for n in problem.made_from["nodes"][:2] if n != root]
        away = {distance(edges, name, end) for name in (root, *people) for end in ends}
        assert away == {problem.n_steps, None}


def test_candidates_heights_and_reach_are_those_of_all_walks(problems):
    for problem in problems[:40]:
        edges, root, _ = told(problem.question)
        nodes = problem.made_from["nodes"]
        leaves = set(nodes) - {a for a, _ in edges}
        away = {name: distance(edges, root, name) for name in nodes}
        for depth in range(1, len(nodes)):
            exactly = {name for name in nodes if away[name] == depth}
            near = {name for name in nodes if away[name] and away[name] <= depth}
            assert candidates(problem, depth) == exactly
            assert candidates(problem, depth, at_most=True) == near
        for name in nodes:
            reached = walks(edges, name)
            assert reachable(problem, name) == set().union(*reached[1:])
            nearest = next(n for n, ends in enumerate(reached) if ends & leaves)
            assert height(problem, name) == nearest


def test_what_is_not_in_the_graph_is_refused():
    (problem,) = graph_problems("train", 1)
    for ask in (height, reachable):
        with pytest.raises(ValueError, match="has no node 'unicorn'"):
            ask(problem, "unicorn")
    with pytest.raises(ValueError, match="depth must be 1 or more, got 0"):
        candidates(problem, 0)


def test_no_graph_is_in_two_splits_however_it_is_numbered():
    # So small that graphs come again: 300 rows a split would share some by chance.
    tiny = Options(n_drawn=8, min_steps=2, max_steps=3, min_nodes=5, max_nodes=7)
    rng, shapes = random.Random(0), {}
    for split in SPLITS:
        for problem in graph_problems(split, 300, options=tiny):
            made = problem.made_from
            number = rng.sample(range(len(made["nodes"])), len(made["nodes"]))
            edges = [[number[a], number[b]] for a, b in made["edges"]]
            found = shape({"nodes": made["nodes"], "edges": edges})
            shapes.setdefault(found, set()).add(split)
    assert all(len(splits) == 1 for splits in shapes.values())
    assert len(shapes) < 600 and len({s for (s,) in shapes.values()}) == 3


def test_problems_are_the_same_in_every_process_and_for_every_larger_n():
    code = (
        "from lrkit.data.graphs import graph_problems\n"
        "print(repr(graph_problems('test', 6, seed=3)))"
    )
    rows = graph_problems("test", 9, seed=3)
    for hash_seed in ("1", "2"):
        env = os.environ | {"PYTHONHASHSEED": hash_seed}
        run = [sys.executable, "-c", code]
        found = subprocess.run(run, env=env, capture_output=True, text=True, check=True)
        assert found.stdout.strip() == repr(rows[:6])
    others = {p.question for p in graph_problems("test", 9, seed=4)}
    assert not others & {p.question for p in rows}


def test_unknown_splits_and_what_no_graph_meets_are_refused(monkeypatch):
    with pytest.raises(ValueError, match="no split 'dev': there are train, val"):
        graph_problems("dev", 1)
    with pytest.raises(ValueError, match="n must be 1 or more, got 0"):
        graph_problems("train", 0)
    monkeypatch.setattr("lrkit.data.dags.ATTEMPTS", 20)
    with pytest.raises(ValueError, match="none of 20 graphs for the split 'train'"):
        graph_problems("train", 1, options=Options(min_steps=20, max_steps=20))


def test_a_short_answer_is_the_word_that_decides(problems):
    for problem in problems[:20]:
        short = short_answer(problem)
        assert problem.answer.split()[-1] == f"{short.answer}."
        assert replace(short, answer=problem.answer) == problem


def test_a_stream_begins_with_the_problems_and_refuses_at_once():
    first = list(islice(graph_stream("test", 3), 4))
    assert first == graph_problems("test", 4, seed=3)
    with pytest.raises(ValueError, match="no split 'dev'"):
        graph_stream("dev")
