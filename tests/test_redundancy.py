"""Laws of damaged chains as their model reads them, on tiny random models."""

import json
import random
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from latent_models import lively, problem, tiny_llama
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from lrkit.data.conversations import BadRows
from lrkit.data.problem_sets import evaluation_problems
from lrkit.latent.chain_rows import CUE, ChainRows, TooLong
from lrkit.latent.methods import MethodSettings, Training
from lrkit.latent.slots import SlotModel
from lrkit.latent.solvers import SlotSolver
from lrkit.latent.trained import load_base
from lrkit.latent.training import RunSettings
from lrkit.models import load_tokenizer
from lrkit.paths import root
from lrkit.plots_redundancy import redundancy_curves
from lrkit.profiles import load_profile
from lrkit.study.redundancy.curves import by_leak, curve
from lrkit.study.redundancy.damaged import as_written, damaged_chains, damaged_row
from lrkit.study.redundancy.masking import masked_answers, masked_logits
from lrkit.study.redundancy.measuring import (
    ANOTHER,
    KINDS,
    NOTHING,
    RANDOM,
    SHUFFLED,
    Damage,
    WrittenChain,
    damaged_ids,
    every_damage,
    measure,
    own_chains,
    read_chains,
)
from lrkit.study.redundancy.reading import ChatTemplate, Reader
from lrkit.study.redundancy.splitting import terse
from lrkit.study.scoreboard import evaluate, same_answer

PROBLEMS = [problem(k, question=f"Question {k}, what is it?") for k in (1, 2, 3, 4)]
CHAINS = [WrittenChain(p.id, p.question, " ".join(p.steps) + "\n", p.answer)
          for p in PROBLEMS]  # fmt: skip


def random_gpt2(vocab):
    """With learned positions: a prompt that is read at others shows."""
    torch.manual_seed(0)
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=vocab, n_embd=32, n_layer=2, n_head=2, n_positions=256,
            initializer_range=0.3, bos_token_id=None,
        )
    )  # fmt: skip


@pytest.fixture(params=["llama", "gpt2"])
def reader(request, chatml):
    model = random_gpt2(len(chatml)) if request.param == "gpt2" else lively(chatml).base
    return Reader.of_model(model.eval(), chatml, max_answer=4, max_chain=12)


def ids_of(reader, chain, kind, p=0.0, seed=0, other=None):
    damage = Damage(kind, p, seed)
    return damaged_ids(reader.template.encode, terse, chain, damage, other)


# --- what is read ---------------------------------------------------------------------
def test_a_prompt_is_question_chain_and_cue_as_in_training(reader):
    rows = reader.template
    for chain, one in zip(CHAINS, PROBLEMS, strict=True):
        row = rows.chain(one)
        whole = reader.prompt(one.question, rows.encode(chain.chain))
        answer = len(rows.answer(one.answer).ids) - len(rows.cue())
        assert whole == [*row.before, *row.rest][:-answer]


def test_an_answer_is_what_the_model_writes_for_that_prompt_alone(reader):
    prompts = [reader.prompt(c.question, ids_of(reader, c, "tokens", 0.4))
               for c in CHAINS]  # fmt: skip
    by_hand = []
    for ids in prompts:
        row = torch.tensor([ids])
        for _ in range(reader.max_answer):
            with torch.no_grad():
                row = torch.cat([row, reader.model(row).logits[:, -1:].argmax(-1)], 1)
        new = row[0, len(ids) :].tolist()
        end = reader.template.tokenizer.eos_token_id
        new = new[: new.index(end)] if end in new else new
        text = reader.template.tokenizer.decode(new).strip()
        by_hand.append((text.splitlines() or [""])[0].strip())
    assert reader.answers(prompts) == by_hand
    assert replace(reader, batch_size=1).answers(prompts) == by_hand


def test_prompts_that_are_the_same_are_answered_once(reader, monkeypatch):
    seen = []
    batch = Reader._batch
    monkeypatch.setattr(
        Reader, "_batch", lambda self, ids, n: seen.extend(ids) or batch(self, ids, n)
    )
    one, two = (reader.prompt(c.question, []) for c in CHAINS[:2])
    found = reader.answers([one, two, one])
    assert len(seen) == 2 and found[0] == found[2]


def test_a_chain_ends_before_the_cue(reader, monkeypatch):
    said = [f"( 2 6 ){CUE} 6", f"<<1+1=2>>\n{CUE}", "no cue", CUE]
    monkeypatch.setattr(Reader, "_written", lambda self, ids, n: said[: len(ids)])
    found = [c.chain for c in own_chains(reader, PROBLEMS)]
    assert found == ["( 2 6 )", "<<1+1=2>>\n", "no cue", ""]


def test_a_prompt_beyond_the_context_is_refused(reader):
    with pytest.raises(TooLong, match=r"and 4 behind it do not fit into 256: 'Why\?"):
        reader.answers([reader.prompt("Why?", [5] * 250)])
    with pytest.raises(TooLong, match="and 255 behind it do not fit into 256"):
        replace(reader, max_chain=255).chains(["Why?"])
    long = WrittenChain("q", "Why?", "1 " * 300, "7")
    with pytest.raises(TooLong, match="behind it do not fit into 256"):
        masked_answers(reader, [long], 0.5)


def test_a_tokenizer_without_padding_is_refused(gpt2, reader):
    with pytest.raises(ValueError, match="needs a padding and an end token"):
        Reader.of_model(reader.model, gpt2)


def test_a_solver_without_chains_has_none_to_damage(chatml):
    model = SlotModel.wrap(tiny_llama(len(chatml)))
    rows = ChainRows.of(model, chatml)
    with pytest.raises(ValueError, match="writes no chain"):
        Reader.of(SlotSolver(model, rows, 2))
    assert Reader.of(SlotSolver(model, rows, writes_chain=True)).model is model.base


def test_a_chat_template_marks_its_turns_and_the_question_cannot(chatml):
    template = ChatTemplate(chatml, "<think>\n", "\n</think>\n", 512)
    end = chatml.convert_tokens_to_ids("<|im_end|>")
    plain, odd = (template.question(q) for q in ("2 + 2?", "2 <|im_end|> 2?"))
    assert plain.count(end) == odd.count(end) > 0
    text = chatml.decode(plain)
    assert text.endswith("<|im_start|>assistant\n<think>\n") and "2 + 2?" in text
    assert chatml.decode(template.cue()) == "\n</think>\n"
    reader = Reader(lively(chatml).base, template, "</think>", 3, 6)
    assert len(reader.chains(["2 + 2?"])) == 1
    with pytest.raises(TooLong, match="does not fit into 10"):
        replace(template, context=10).question("2 + 2?")


# --- what is done to chains -----------------------------------------------------------
def test_no_damage_is_the_chain_and_all_of_it_is_nothing(reader):
    encode = reader.template.encode
    for chain in CHAINS:
        for kind in ("tokens", "steps", "beginning kept", "end kept"):
            assert ids_of(reader, chain, kind) == encode(chain.chain)
            assert ids_of(reader, chain, kind, 1.0) == []
        assert ids_of(reader, chain, NOTHING) == []
        assert ids_of(reader, chain, ANOTHER, other=CHAINS[0]) == encode(
            CHAINS[0].chain
        )


def test_tokens_and_steps_that_are_left_are_in_their_order(reader):
    chain = CHAINS[3]
    whole = reader.template.encode(chain.chain)
    for seed in range(20):
        rest = iter(whole)
        assert all(i in rest for i in ids_of(reader, chain, "tokens", 0.5, seed))
        text = reader.template.tokenizer.decode(
            ids_of(reader, chain, "steps", 0.5, seed)
        )
        steps = iter(PROBLEMS[3].steps)
        assert all(step in steps for step in text.split())
        moved = reader.template.tokenizer.decode(
            ids_of(reader, chain, SHUFFLED, 0, seed)
        ).split()
        assert sorted(moved) == sorted(PROBLEMS[3].steps) != moved


def test_the_damage_of_a_question_does_not_depend_on_the_others(reader):
    some = [Damage("tokens", 0.5, 1), Damage("steps", 0.5, 1)]
    together = measure(reader, CHAINS, some, terse)
    alone = pd.concat([measure(reader, [c], some, terse) for c in CHAINS])
    columns = ["kind", "id", "kept", "leaked", "answer"]
    sort = lambda t: t[columns].sort_values(["kind", "id"]).to_numpy().tolist()  # noqa: E731
    assert sort(together) == sort(alone)


def test_where_the_answer_was_removed_it_is_not_read(reader):
    kinds = [k for k in RANDOM if k.endswith("removed")]
    table = measure(reader, CHAINS, [Damage(k) for k in kinds], terse)
    assert not table["leaked"].any() and (table["kept"] < 1).all()
    whole = measure(reader, CHAINS, [Damage("tokens")], terse)
    assert whole["leaked"].all() and (whole["kept"] == 1).all()


def test_every_kind_gives_a_row_for_each_question_and_seed(reader):
    some = every_damage((0.0, 0.5), (0, 1))
    table = measure(reader, CHAINS, some, terse)
    assert set(table["kind"]) == set(KINDS) and len(table) == len(some) * len(CHAINS)
    assert not table.duplicated(["id", "kind", "p", "seed"]).any()
    assert (table[table["kind"] == NOTHING]["kept"] == 0).all()
    assert (table[table["kind"] == ANOTHER]["kept"] == 0).all()
    wanted = {c.id: c.answer for c in CHAINS}
    right = [same_answer(a, wanted[i]) for i, a in table[["id", "answer"]].to_numpy()]
    assert table["correct"].tolist() == right


def test_damages_that_cannot_be_are_refused(reader):
    with pytest.raises(ValueError, match="choose one of tokens, steps"):
        Damage("words")
    with pytest.raises(ValueError, match="p must lie between 0 and 1"):
        Damage("tokens", 1.5)
    with pytest.raises(ValueError, match="no chains to damage"):
        measure(reader, [], [], terse)


def test_chains_come_from_a_table_or_its_rows_are_named(tmp_path):
    rows = [{"question": "Why?", "chain": "A. B.", "answer": "7"},
            {"question": "How?", "chain": "", "answer": "8"}]  # fmt: skip
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    found = read_chains(path)
    assert found[0] == WrittenChain("mine-00001", "Why?", "A. B.", "7")
    assert found[1].chain == ""
    path.write_text(json.dumps(rows[0] | {"answer": " "}) + "\n")
    with pytest.raises(BadRows, match="row 1: the answer is empty"):
        read_chains(path)
    path.write_text(json.dumps({"question": "Why?", "answer": "7"}) + "\n")
    with pytest.raises(BadRows, match="no column 'chain'"):
        read_chains(path)


# --- tables and the figure ------------------------------------------------------------
@pytest.fixture
def scored():
    """Rows whose accuracy is known: whole 1.0, half dropped 0.75, of which leaked 1."""
    ids = [f"q{k}" for k in range(40)]
    rows = [
        {
            "id": i,
            "kind": "tokens",
            "p": 0.0,
            "seed": s,
            "kept": 1.0,
            "leaked": True,
            "correct": True,
        }
        for i in ids
        for s in (0, 1)
    ]
    rows += [
        {
            "id": i,
            "kind": "tokens",
            "p": 0.5,
            "seed": s,
            "kept": 0.5,
            "leaked": k % 2 == 0,
            "correct": k % 4 != 1,
        }
        for k, i in enumerate(ids)
        for s in (0, 1)
    ]
    rows += [{"id": i, "kind": NOTHING, "p": 1.0, "seed": 0, "kept": 0.0,
              "leaked": False, "correct": False} for i in ids]  # fmt: skip
    return pd.DataFrame(rows)


def test_a_curve_counts_questions_and_pairs_them_with_the_whole_chain(scored):
    table = curve(scored)
    half = table.loc[("tokens", 0.5)]
    assert (half["n"], half["seeds"], half["accuracy"]) == (40, 2, 0.75)
    assert half["low"] < 0.75 < half["high"] and half["kept"] == half["leaked"] == 0.5
    assert half["change"] == -0.25 and half["change_high"] < 0
    whole = table.loc[("tokens", 0.0)]
    assert whole["accuracy"] == 1 and whole["change"] == whole["change_low"] == 0
    # Two seeds that agree are no more questions: the interval is that of 40.
    error = 1.96 * np.sqrt(0.75 * 0.25 / 40)
    assert half["high"] - half["low"] == pytest.approx(2 * error, rel=0.15)


def test_accuracy_is_split_by_whether_the_answer_was_still_there(scored):
    table = by_leak(scored)
    assert table.loc[("tokens", 0.5, True), "accuracy"] == 1
    assert table.loc[("tokens", 0.5, False), "accuracy"] == 0.5
    assert table.loc[("tokens", 0.5, False), "rows"] == 40


def test_questions_that_are_missing_are_no_curve(scored):
    with pytest.raises(ValueError, match="different questions"):
        curve(scored.iloc[1:])


def test_the_figure_shows_what_is_in_the_table(scored):
    ideal = {"ideal reader": ([0, 1], [1, 0])}
    figure = redundancy_curves(curve(scored), ["tokens"], [NOTHING], ideal, "title")
    (ax,) = figure.axes
    bars = ax.containers[0].lines[0]
    assert np.allclose(bars.get_xydata(), [[0, 100], [50, 75]])
    assert NOTHING in [text.get_text() for text in ax.texts]
    assert np.allclose(ax.lines[-1].get_xydata(), [[0, 100], [100, 0]])
    assert "n = 40" in ax.get_ylabel()
    plt.close(figure)


# --- the other test: masked states ----------------------------------------------------
def test_with_nothing_masked_the_answers_are_those_of_the_whole_chain(reader):
    prompts = [reader.prompt(c.question, reader.template.encode(c.chain))
               for c in CHAINS]  # fmt: skip
    assert masked_answers(reader, CHAINS, 0.0) == reader.answers(prompts)
    assert masked_answers(replace(reader, batch_size=1), CHAINS, 0.6, 2) == (
        masked_answers(reader, CHAINS, 0.6, 2)
    )


@torch.no_grad()
def test_masked_entries_are_hidden_from_the_cue_and_from_nothing_else(reader):
    """As one pass with a two-way mask: the chain's own columns see all of it."""
    rows, chain = reader.template, CHAINS[2]
    ids, question = rows.encode(chain.chain), rows.question(chain.question)
    kept = [0, 3, 4, len(ids) - 1]
    whole = [*question, *ids, *rows.cue()]
    allowed = torch.ones(len(whole), len(whole)).tril().bool()
    hidden = [len(question) + k for k in range(len(ids)) if k not in kept]
    allowed[len(question) + len(ids) :, hidden] = False
    mask = torch.zeros(allowed.shape).masked_fill(~allowed, torch.finfo().min)
    expected = reader.model(
        torch.tensor([whole]),
        attention_mask=mask[None, None],
        position_ids=torch.arange(len(whole))[None],
    ).logits
    found = masked_logits(reader, chain.question, ids, kept)
    assert torch.allclose(found, expected[0, -len(rows.cue()) :], atol=2e-4)


@torch.no_grad()
def test_masking_is_another_test_than_dropping_but_in_a_single_layer(chatml):
    """With one layer an entry knows its own token alone: both are the same, up to the
    positions. With two it has read the others."""
    for layers in (1, 2):
        torch.manual_seed(0)
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(chatml), hidden_size=32, num_hidden_layers=layers,
                num_attention_heads=4, num_key_value_heads=2, intermediate_size=48,
                initializer_range=0.3,
            )
        ).eval()  # fmt: skip
        reader = Reader.of_model(model, chatml, max_answer=4)
        rows, chain = reader.template, CHAINS[2]
        question, ids = rows.question(chain.question), rows.encode(chain.chain)
        kept = [1, 2, 5]
        at = [*range(len(question)), *(len(question) + k for k in kept)]
        at += [len(question) + len(ids) + k for k in range(len(rows.cue()))]
        prompt = [*question, *(ids[k] for k in kept), *rows.cue()]
        alone = model(torch.tensor([prompt]), position_ids=torch.tensor([at])).logits
        masked = masked_logits(reader, chain.question, ids, kept)
        same = torch.allclose(masked[-1], alone[0, -1], atol=1e-4)
        assert same == (layers == 1)


# --- training on damaged chains -------------------------------------------------------
def test_a_damaged_row_lacks_steps_and_its_answer_alone_carries_loss(reader):
    rows, one = reader.template, PROBLEMS[3]
    for seed in range(10):
        row = damaged_row(rows, one, random.Random(seed), 0.5, as_written)
        text = rows.tokenizer.decode(row.rest)
        left = [step for step in one.steps if step in text]
        assert row.rest == rows.chain(one, left).rest
        assert row.supervised == len(rows.answer(one.answer).ids)
    none = damaged_row(rows, one, random.Random(0), 1.0, as_written)
    assert none == rows.chain(one, ())


def test_a_reader_of_damaged_chains_still_writes_its_own(chatml, tmp_path):
    seen = []
    settings = MethodSettings(RunSettings(3, 8, warmup=0, save_steps=0), context=256)
    training = Training(
        lambda: tiny_llama(len(chatml)), chatml, PROBLEMS, settings, tmp_path
    )

    def said(problem):
        seen.append(problem.id)
        return as_written(problem)

    solver = damaged_chains(training, say=said)
    assert solver.writes_chain and len(seen) == 24
    fresh = tiny_llama(len(chatml)).get_input_embeddings().weight
    assert not torch.equal(Reader.of(solver).model.get_input_embeddings().weight, fresh)


# --- one real base --------------------------------------------------------------------
@pytest.mark.skipif(
    not (root() / "models" / "think-narrow" / "model.safetensors").is_file(),
    reason="the base is not made yet: make pretrain",
)
def test_a_base_reads_its_own_whole_chain_as_it_wrote_it():
    settings = replace(load_profile("study").latent, eval_rows=60)
    model = SlotModel.wrap(load_base(settings))
    rows = ChainRows.of(model, load_tokenizer(settings.base), settings.context)
    solver = SlotSolver(model, rows, writes_chain=True)
    asked = evaluation_problems(settings, "validation")
    reader = Reader.of(solver)
    chains = own_chains(reader, asked)
    table = measure(reader, chains, [Damage("tokens"), Damage(NOTHING, 1.0)], terse)
    whole = table[table["kind"] == "tokens"]
    written = evaluate(solver, asked)
    assert whole["answer"].tolist() == written["answer"].tolist()
    none = table[table["kind"] == NOTHING]["correct"].mean()
    assert none < whole["correct"].mean() > 0.9
