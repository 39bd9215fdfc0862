"""Laws of masked states of a chain: hidden from the cue and from nothing else."""

from dataclasses import replace

import torch
from redundancy_models import CHAINS, reader_fixture  # noqa: F401 (fixtures)
from transformers import LlamaConfig, LlamaForCausalLM

from lrkit.study.redundancy.masking import masked_answers, masked_logits
from lrkit.study.redundancy.reading import Reader


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
