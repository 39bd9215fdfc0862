"""Laws of damaged chains: what their model is given to read, and what it answers."""

from dataclasses import replace

import pytest
import torch
from latent_models import lively, tiny_llama
from redundancy_models import (  # noqa: F401 (fixtures)
    CHAINS,
    PROBLEMS,
    ids_of,
    reader_fixture,
)

from lrkit.data.problem_sets import evaluation_problems
from lrkit.latent.chain_rows import CUE, ChainRows, TooLong
from lrkit.latent.slots import SlotModel
from lrkit.latent.solvers import SlotSolver
from lrkit.latent.trained import load_base
from lrkit.models import load_tokenizer
from lrkit.paths import root
from lrkit.profiles import load_profile
from lrkit.study.redundancy.masking import masked_answers
from lrkit.study.redundancy.measuring import (
    NOTHING,
    Damage,
    WrittenChain,
    measure,
    own_chains,
)
from lrkit.study.redundancy.reading import ChatTemplate, Reader
from lrkit.study.redundancy.splitting import terse
from lrkit.study.scoreboard import evaluate


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
