"""The bases that work problems out in steps: tokenizer, text, sizes, and the recipe."""

import json
import random
from dataclasses import replace
from itertools import islice, pairwise

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from lrkit.data import word_problems
from lrkit.data.chains import in_brackets, step_value
from lrkit.data.graphs import CONCEPTS, EDGE
from lrkit.data.problems import TASKS, part_of
from lrkit.latent.chain_rows import CUE, ChainRows
from lrkit.latent.slots import SlotModel
from lrkit.models import load_model, load_tokenizer
from lrkit.paths import root
from lrkit.pretrain import think
from lrkit.pretrain.think import (
    NUMBERS,
    SHAPES,
    build,
    pretraining_problems,
    with_walks,
)
from lrkit.profiles import load_profile


@pytest.fixture(scope="module")
def tokenizer():
    return think.train_tokenizer(n_problems=1500)


def test_every_number_is_one_token_wherever_it_stands(tokenizer):
    for n in NUMBERS:
        (bare,) = tokenizer(str(n))["input_ids"]
        (spaced,) = tokenizer(f" {n}")["input_ids"]
        for text in (f"<<{n}+{n}={n}>>", f"a{n}b"):
            assert bare in tokenizer(text)["input_ids"], text
        for text in (f"has {n} eggs.", f"The answer is: {n}", f"1 {n}, 2"):
            assert spaced in tokenizer(text)["input_ids"], text


def test_nothing_is_unknown_and_text_comes_back(tokenizer):
    for text in ("<<7+5=2>> <<2*3=6>>\n", "naïve 🙂 x-1\t|", "The answer is: -3.5"):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_the_text_is_of_the_training_part_and_no_row_answers_at_once():
    some = list(islice(pretraining_problems(), 400))
    assert {p.task for p in some} == set(TASKS)
    assert all(p.split == "train" and part_of(p.made_from) == "train" for p in some)
    assert all(p.steps for p in some)


def test_narrow_is_small_and_wide_is_wider_and_deeper(tokenizer):
    narrow, wide = SHAPES["think-narrow"], SHAPES["think-wide"]
    model = build(narrow, tokenizer)
    tables = model.get_input_embeddings(), model.get_output_embeddings()
    blocks = model.num_parameters() - sum(t.weight.numel() for t in tables)
    assert blocks <= 500_000 and model.num_parameters() <= 1_200_000
    assert narrow.layers in (2, 3)
    assert wide.layers > narrow.layers and wide.width > narrow.width


def test_the_recipe_leaves_a_base_and_a_card_of_what_it_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(think, "N_PROBLEMS", 64)
    monkeypatch.setattr(think, "chain_accuracy", lambda *_: {"clock": {"longer": 0.25}})
    wide = SHAPES["think-wide"]
    shape = replace(SHAPES["think-narrow"], readings=wide.readings)
    facts = think.pretrain(shape, tmp_path / "out", tmp_path / "work", max_steps=2)
    assert facts["tasks"] == ["clock", "words"]
    assert [r["rows"] for r in facts["readings"]] == [2 * 64] * len(wide.readings)
    assert [(r["whole"], r["bare"]) for r in facts["readings"]] \
        == [(r.whole, r.bare) for r in wide.readings]  # fmt: skip
    assert think.pretrain(shape, tmp_path / "out", tmp_path / "work", max_steps=2) \
        == facts, "what was trained is found again"  # fmt: skip
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert model.config.vocab_size == len(tokenizer) == 2560
    assert (tmp_path / "out" / "model.safetensors").is_file()
    record = json.loads((tmp_path / "out" / "pretraining.json").read_text())
    card = (tmp_path / "out" / "README.md").read_text()
    assert think.card(record) == card and "| clock | 25.0 % |" in card


def test_graphs_have_a_tokenizer_of_their_own_words_and_chains_in_both_forms():
    tokenizer = think.train_tokenizer(("small graphs",), 400)
    assert len(tokenizer) < 500
    for word in CONCEPTS:
        assert len(tokenizer(f" {word}")["input_ids"]) == 1
    model = SlotModel.wrap(build(SHAPES["think-graphs"], tokenizer))
    assert model.base.config.vocab_size == len(tokenizer)
    rows, rng = ChainRows.of(model, tokenizer), random.Random(0)
    for p in islice(pretraining_problems(("small graphs",)), 60):
        assert (p.task, p.split) == ("graphs", "train")
        chain, _, answer = tokenizer.decode(rows.mixed(p, rng).rest).partition(CUE)
        whole = [step for step in p.steps if step in chain]
        short = p.steps[: p.n_steps - len(whole)]
        assert chain.startswith(in_brackets(short)) and whole == [
            *p.steps[len(short) :]
        ]
        assert answer.removesuffix(tokenizer.eos_token).strip() == p.answer
        assert p.answer == step_value(p.steps[-1])


def test_walks_are_edges_of_the_graph_and_go_on_where_they_can():
    for p in islice(pretraining_problems(("small graphs",)), 40):
        walked = with_walks(p)
        assert walked == with_walks(p) and len(walked.steps) == 12
        assert walked.question == p.question
        facts = set(p.question.split("Is ")[0].strip().replace(". ", ".|").split("|"))
        assert set(walked.steps) <= facts
        starts = {EDGE.fullmatch(f)[1] for f in facts}
        ends = [EDGE.fullmatch(step).groups() for step in walked.steps]
        for (_, at), (then, _) in pairwise(ends):
            assert then == at or at not in starts
        assert walked.answer == ends[-1][1]
    assert len({with_walks(replace(p, id=str(n))).steps for n in range(5)}) > 1


def test_a_task_that_is_named_twice_is_read_twice_as_often_and_no_problem_twice():
    some = list(islice(pretraining_problems(("words", "words", "clock")), 60))
    assert [p.task for p in some[:3]] == ["words", "words", "clock"]
    assert len({p.id for p in some}) == 60


def test_rows_of_a_later_reading_may_be_whole(tokenizer):
    model = SlotModel.wrap(build(SHAPES["think-narrow"], tokenizer))
    rows, rng = ChainRows.of(model, tokenizer), random.Random(0)
    some = list(islice(pretraining_problems(("clock",)), 200))
    whole = [rows.mixed(p, rng, 0.75) == rows.chain(p) for p in some]
    assert 0.7 < sum(whole) / len(whole) < 0.95
    assert all(rows.mixed(p, rng, 1.0) == rows.chain(p) for p in some)


def test_a_card_says_what_kind_of_problems_it_is_about():
    facts = {
        "name": "x", "parameters": 1000, "shape": "s", "vocabulary": 406,
        "context": 384,
        "numbers": False,
        "readings": [
            {"tasks": ["small graphs"], "problems": 5, "rows": 5, "whole": 0.0,
             "bare": False},
        ],
        "tasks": ["small graphs"], "seconds": 1.0, "threads": 2, "torch": "2",
        "loss_curve": [(1, 2.0)],
        "chain_accuracy": {"small graphs": {"validation": 0.5}},
    }  # fmt: skip
    card = think.card(facts)
    assert (
        "dolpus" in card and "999" not in card and "| small graphs | 50.0 % |" in card
    )
    assert "999" in think.card(facts | {"numbers": True})
    assert "1. 5 rows: small graphs\n" in card
    later = {
        "tasks": ["words", "words", "clock"], "problems": 7, "rows": 9, "whole": 0.75,
        "bare": True,
    }  # fmt: skip
    card = think.card(facts | {"readings": [*facts["readings"], later]})
    assert "14 rows were read" in card and "12 generated" in card
    assert "2. 9 rows: 2 of 3 words, 1 of 3 clock; questions without" in card
    assert "75 % of the rows without any bracket" in card


def test_a_question_without_its_story_asks_for_the_same():
    for p in islice(pretraining_problems(("words",)), 50):
        bare = think.without_story(p)
        assert (bare.steps, bare.answer) == (p.steps, p.answer)
        start, *done = bare.question.removesuffix(" = ?").split(", ")
        amount = int(start)
        for operation, number in (one.split() for one in done):
            amount = word_problems.result(amount, operation, int(number))
        assert str(amount) == p.answer


def test_first_steps_are_in_brackets_and_no_row_is_without_a_chain(tokenizer):
    model = SlotModel.wrap(build(SHAPES["think-narrow"], tokenizer))
    rows = ChainRows.of(model, tokenizer)
    rng, alone, whole = random.Random(0), 0, 0
    for p in islice(pretraining_problems(("clock",)), 400):
        row = rows.mixed(p, rng)
        said = tokenizer.decode(row.rest)
        chain, _, answer = said.partition(CUE)
        n = chain.count("=")
        assert chain == in_brackets(p.steps[: p.n_steps - n]) + (
            " ".join(p.steps[p.n_steps - n :]) + "\n" if n else ""
        )
        assert answer.startswith(f" {p.answer}")
        alone += n == 0
        whole += n == p.n_steps
        if not n:
            assert len(rows.encode(chain)) == p.n_steps + 2, "a token a step"
    assert 160 < alone < 240 and 60 < whole < 130


# --- what is shipped ------------------------------------------------------------------
SHIPPED = [name for name in SHAPES if (root() / "models" / name).is_dir()]


def test_the_base_of_the_profiles_is_shipped():
    assert load_profile("cpu").latent.base in SHIPPED


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_base_has_its_shape_and_does_what_its_card_says(name):
    folder, shape = root() / "models" / name, SHAPES[name]
    record = json.loads((folder / "pretraining.json").read_text())
    assert (folder / "README.md").read_text() == think.card(record)
    assert [reading["rows"] for reading in record["readings"]] == [
        reading.run.steps * reading.run.batch_size for reading in shape.readings
    ]
    base = load_model(name).float()
    config = base.config
    found = (config.n_layer, config.n_embd, config.n_head, config.n_inner)
    assert found == (shape.layers, shape.width, shape.heads, shape.mlp)
    assert base.num_parameters() == record["parameters"]
    model = SlotModel.wrap(base).eval()
    rows = ChainRows.of(model, load_tokenizer(name), think.CONTEXT)
    again = think.chain_accuracy(model, rows, shape.tasks, n=60)
    for task, said in record["chain_accuracy"].items():
        expected = said["validation"]
        error = (expected * (1 - expected) / 60) ** 0.5
        found = again[task]["validation"]
        assert found == pytest.approx(expected, abs=4 * error + 0.02), task
