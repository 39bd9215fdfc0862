"""Laws of training on damaged chains: what carries loss, and what is still written."""

import random

import torch
from latent_models import tiny_llama
from redundancy_models import PROBLEMS, reader_fixture  # noqa: F401 (fixtures)

from lrkit.latent.methods import MethodSettings, Training
from lrkit.latent.training import RunSettings
from lrkit.study.redundancy.damaged import as_written, damaged_chains, damaged_row
from lrkit.study.redundancy.reading import Reader


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
