"""Laws of graph problems, found by brute force in the text alone, and ProsQA's rows."""

import copy
import json
import os
import random
import re
import subprocess
import sys
from collections import Counter
from functools import cache
from itertools import combinations, pairwise, permutations
from statistics import mean

import pytest

from lrkit.data.conversations import BadRows
from lrkit.data.dags import Options, shape
from lrkit.data.graphs import (
    CONCEPTS,
    SPLITS,
    candidates,
    graph_problems,
    height,
    reachable,
)
from lrkit.data.prosqa import check, prosqa
from lrkit.paths import public_data_dir

FOLDER = public_data_dir()
public = pytest.mark.skipif(
    FOLDER is None, reason="ProsQA is not here: LRKIT_PUBLIC_DATA is unset"
)
OPTIONS = {"default": Options(), "small": Options.small()}
FACT = re.compile(r"(Every [a-z]+pus|[A-Z][a-z]+) is a ([a-z]+pus)\.")
ASKED = re.compile(r"Is ([A-Z][a-z]+) a ([a-z]+pus) or ([a-z]+pus)\?")


@cache
def drawn(which, split="train", n=120):
    return graph_problems(split, n, options=OPTIONS[which])


@pytest.fixture(params=OPTIONS)
def problems(request):
    return drawn(request.param)


def edge(sentence):
    """What a sentence says: (from, to)."""
    start, end = FACT.fullmatch(sentence).groups()
    return start.removeprefix("Every "), end


def told(question):
    """The edges in the order of the question, who is asked about, the two ends."""
    *facts, asked = re.findall(r"[^.?]+[.?]", question)
    root, *ends = ASKED.fullmatch(asked.strip()).groups()
    return [edge(fact.strip()) for fact in facts], root, ends


def walks(edges, start):
    """By number of edges, where all walks from a node end; () follow in the end."""
    ends, found = {start}, []
    while ends:
        found.append(ends)
        ends = {b for a, b in edges if a in ends}
    return found


def distance(edges, start, end):
    """On the shortest of all walks; None if there is none."""
    return next((n for n, ends in enumerate(walks(edges, start)) if end in ends), None)


# --- generated problems ---------------------------------------------------------------


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


def cue(problem):
    """How often counting sentences is right: 1 or 0, 0.5 if the ends are in as many."""
    ends = Counter(end for _, end in problem.made_from["edges"])
    target, other = (ends[problem.made_from[n]] for n in ("target", "neg_target"))
    return (target < other) + 0.5 * (target == other)


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


def test_graphs_have_the_same_shape_exactly_if_a_renumbering_makes_them_equal():
    def least(edges):
        """The smallest of all renumberings: what isomorphic graphs share."""
        return min(
            tuple(sorted((p[a], p[b]) for a, b in edges))
            for p in permutations(range(5))
        )

    rng = random.Random(0)
    every = list(combinations(range(5), 2))
    least_of = {}
    for _ in range(120):
        edges = rng.sample(every, rng.randint(2, 6))
        number = rng.sample(range(5), 5)
        edges = [[number[a], number[b]] for a, b in edges]
        found = shape({"nodes": [None] * 5, "edges": rng.sample(edges, len(edges))})
        least_of.setdefault(found, set()).add(least(edges))
    assert len(least_of) > 50 and all(len(same) == 1 for same in least_of.values())
    assert len(set().union(*least_of.values())) == len(least_of)


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


@pytest.mark.parametrize(
    "wrong, said",
    [
        ({"n_drawn": 41}, "n_drawn must be from 4 to 40, got 41"),
        ({"own": 0.6}, "own must be from 0 to 0.5"),
        ({"min_steps": 7}, "min_steps must be from 1 to 6"),
        ({"min_nodes": 29}, "min_nodes must be from 1 to 28"),
        ({"even": True}, "max_steps must be from 1 to 4, got 6"),
    ],
)
def test_options_out_of_range_are_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        Options(**wrong)


def test_unknown_splits_and_what_no_graph_meets_are_refused(monkeypatch):
    with pytest.raises(ValueError, match="no split 'dev': there are train, val"):
        graph_problems("dev", 1)
    with pytest.raises(ValueError, match="n must be 1 or more, got 0"):
        graph_problems("train", 0)
    monkeypatch.setattr("lrkit.data.dags.ATTEMPTS", 20)
    with pytest.raises(ValueError, match="none of 20 graphs for the split 'train'"):
        graph_problems("train", 1, options=Options(min_steps=20, max_steps=20))


# --- rows of a file -------------------------------------------------------------------

# Written for this test.
ROW = {
    "question": "Every nolpus is a divpus. Ida is a nolpus. Leo is a gekpus. "
    "Every nolpus is a gekpus. Leo is a banpus. Is Ida a banpus or gekpus?",
    "steps": ["Ida is a nolpus.", "Every nolpus is a gekpus."],
    "answer": "Ida is a gekpus.",
    "idx_to_symbol": ["Ida", "Leo", "nolpus", "gekpus", "banpus", "divpus"],
    "edges": [[0, 2], [1, 3], [2, 3], [1, 4], [2, 5]],
    "root": 0,
    "target": 3,
    "neg_target": 4,
}


def test_a_row_is_read_with_its_graph(tmp_path):
    path = tmp_path / "prosqa_valid.json"
    path.write_text(json.dumps([ROW, ROW]))
    found = prosqa(tmp_path, "validation")
    assert found == prosqa(path, "validation") and len(found) == 2
    second = found[1]
    assert second.id == "prosqa-validation-00002" and second.task == "prosqa"
    assert second.question == ROW["question"] and second.answer == ROW["answer"]
    assert second.steps == tuple(ROW["steps"]) and second.n_steps == 2
    made = dict(second.made_from)
    assert (made.pop("source"), made.pop("row")) == ("prosqa_valid.json", 2)
    assert made.pop("nodes") == ROW["idx_to_symbol"]
    assert made == {n: ROW[n] for n in ("edges", "root", "target", "neg_target")}


@pytest.mark.parametrize(
    "wrong, said",
    [
        ({"steps": ["Ida is a gekpus."]}, "steps: step 1, 'Ida is a gekpus.', is no"),
        ({"steps": ["Ida is a nolpus."]}, "steps: they do not lead from 'Ida' to 'gek"),
        ({"steps": ROW["steps"][::-1]}, "steps: they do not lead from 'Ida' to"),
        ({"steps": []}, "steps: they do not lead from 'Ida' to"),
        ({"steps": [3]}, "steps: str was expected, 3 is in it"),
        ({"answer": "Ida is a banpus."}, "answer: 'Ida is a banpus.', but the target"),
        ({"answer": " "}, "problem 'prosqa-test-00002' has an empty answer"),
        ({"root": 6}, "root: 6 is out of range, nodes are 0 to 5"),
        ({"root": "0"}, "root: int was expected, this is '0'"),
        ({"target": -1}, "target: -1 is out of range"),
        ({"target": 0}, "target: 'Ida' cannot be reached from 'Ida'"),
        ({"target": 4}, "target: 'banpus' cannot be reached from 'Ida'"),
        ({"neg_target": 5}, "neg_target: 'divpus' can be reached from 'Ida'"),
        ({"edges": [*ROW["edges"], [3, 2]]}, "edges: there is a cycle through '"),
        ({"edges": [*ROW["edges"], [3, 9]]}, r"edges: \[3, 9\] was found, two nodes"),
        ({"edges": [*ROW["edges"], [[3], 2]]}, r"edges: \[\[3\], 2\] was found, two"),
        ({"edges": ROW["edges"][:-1]}, "question: its sentences are not the edges"),
        ({"idx_to_symbol": ["Ida"] * 6}, "idx_to_symbol: 'Ida' is there more than"),
        (
            {"question": ROW["question"].replace(" or gekpus", " or divpus")},
            "question: it ends with 'Is Ida a banpus or divpus",
        ),
    ],
)
def test_a_bad_row_is_refused_with_its_number_its_field_and_a_reason(
    tmp_path, wrong, said
):
    path = tmp_path / "t.json"
    path.write_text(json.dumps([ROW, copy.deepcopy(ROW) | wrong, ROW]))
    with pytest.raises(BadRows, match=r"t\.json: 1 problem") as bad:
        prosqa(path)
    assert re.match(f"row 2: {said}", bad.value.problems[0])


def test_missing_fields_and_files_are_named(tmp_path):
    path = tmp_path / "t.json"
    path.write_text(json.dumps([{k: v for k, v in ROW.items() if k != "edges"}, 3]))
    with pytest.raises(BadRows) as bad:
        prosqa(path)
    assert bad.value.problems[0].startswith("row 1: edges: it is missing; found quest")
    assert bad.value.problems[1] == "row 2: an object was expected, this is 3"
    for text, said in (("{", "not JSON in UTF-8"), ("[]", "a list of rows was exp")):
        path.write_text(text)
        with pytest.raises(BadRows, match=said):
            prosqa(path)
    with pytest.raises(FileNotFoundError, match=r"prosqa_test\.json is not there"):
        prosqa(tmp_path)
    with pytest.raises(ValueError, match="no split 'dev'"):
        prosqa(tmp_path, "dev")


def test_generated_problems_pass_the_check_of_rows_from_outside(problems):
    for problem in problems:
        check(problem)


# --- the public files -----------------------------------------------------------------


@cache
def real():
    return {split: prosqa(FOLDER / "prosqa", split) for split in SPLITS[1:]}


def numbers(problem):
    """What real and generated rows are compared by."""
    edges, root, ends = told(problem.question)
    nodes = problem.made_from["nodes"]
    target = edge(problem.steps[-1])[1]
    (other,) = set(ends) - {target}
    persons = [name for name in nodes if name.istitle()]
    (own,) = {*nodes[:2]} - {root}
    parents = Counter(end for _, end in edges)
    return {
        **{f"{n} steps": problem.n_steps == n for n in (3, 4, 5, 6)},
        "steps": problem.n_steps,
        "nodes": len(nodes),
        "sentences": len(edges),
        "persons": len(persons),
        "share of persons": len(persons) / len(nodes),
        "leaves": len(set(nodes) - {start for start, _ in edges}),
        "edges of the root": sum(start == root for start, _ in edges),
        "reached from the root": len(set().union(*walks(edges, root)[1:])),
        "steps to neg_target": distance(edges, own, other),
        "parents of target": parents[target],
        "parents of neg_target": parents[other],
        "cue": cue(problem),
    }


def means(problems):
    rows = [numbers(problem) for problem in problems]
    return {name: mean(row[name] for row in rows) for name in rows[0]}


@public
@pytest.mark.public_data
def test_every_row_of_prosqa_is_read():
    assert [len(real()[split]) for split in ("validation", "test")] == [300, 500]
    rows = [problem for rows in real().values() for problem in rows]
    assert len({problem.id for problem in rows}) == 800
    for problem in rows:
        edges, root, _ = told(problem.question)
        target = edge(problem.steps[-1])[1]
        assert distance(edges, root, target) == problem.n_steps in range(3, 7)


@public
@pytest.mark.public_data
def test_our_concepts_are_not_those_of_prosqa():
    rows = [problem for rows in real().values() for problem in rows]
    names = {name for problem in rows for name in problem.made_from["nodes"]}
    assert len(names) == 55 and not names & set(CONCEPTS)


# By how much the means of 500 generated rows may differ from those of the 800 real
# ones: a little more than the largest difference that eight seeds had. The real means
# are 3.77 steps, 22.8 nodes, 36.0 sentences, 2.56 persons, and 0.66 for the cue.
TOLERANCES = {
    "3 steps": 0.06,
    "4 steps": 0.06,
    "5 steps": 0.04,
    "6 steps": 0.02,
    "steps": 0.09,
    "nodes": 0.4,
    "sentences": 0.6,
    "persons": 0.17,
    "share of persons": 0.01,
    "leaves": 0.25,
    "edges of the root": 0.15,
    "reached from the root": 0.4,
    "steps to neg_target": 0.13,
    "parents of target": 0.11,
    "parents of neg_target": 0.13,
    "cue": 0.04,
}


@public
@pytest.mark.public_data
def test_generated_rows_resemble_the_real_ones():
    rows = [problem for rows in real().values() for problem in rows]
    ours, theirs = means(drawn("default", n=500)), means(rows)
    assert set(TOLERANCES) == set(theirs)
    far = {
        name: (ours[name], theirs[name])
        for name, tolerance in TOLERANCES.items()
        if abs(ours[name] - theirs[name]) > tolerance
    }
    assert not far
