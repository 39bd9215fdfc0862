"""Tokenizers and tiny models that several test files share; all made on the spot."""

import json
import os

import pytest
from classifier_models import each_model, gpt, llama, llama_4bit  # noqa: F401
from fault_server import big_model, client, first, messages, rows, server  # noqa: F401
from labelling_store import store  # noqa: F401

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# On every machine the tests compute the same: on the CPU, unless told otherwise.
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")


@pytest.fixture(scope="session")
def chatml():
    """The tokenizer of the embedded base; where that is missing, a quick likeness."""
    from transformers import AutoTokenizer

    from lrkit.paths import root
    from lrkit.pretrain.corpus import train_tokenizer

    folder = root() / "models" / "talk"
    if (folder / "tokenizer.json").is_file():
        return AutoTokenizer.from_pretrained(folder)
    return train_tokenizer(n_documents=300)


@pytest.fixture(scope="session")
def mistral():
    """The real SentencePiece tokenizer of Mistral-7B with the two ChatML tokens that
    Mistral-7B-OpenOrca adds: 32,002 in all."""
    from lrkit.study.bench.cases import mistral_tokenizer

    return mistral_tokenizer()


@pytest.fixture(scope="session")
def gpt2(chatml):
    """A byte-level tokenizer in the manner of GPT-2: one special token for everything,
    no padding token, no chat template."""
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    state = json.loads(chatml.backend_tokenizer.to_str())
    end = "<|endoftext|>"
    state["added_tokens"] = [t for t in state["added_tokens"] if t["content"] == end]
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(state)),
        bos_token=end,
        eos_token=end,
        unk_token=end,
        model_max_length=1024,
    )


@pytest.fixture(params=["chatml", "mistral", "gpt2"])
def tokenizer(request):
    """Each of the three tokenizers in turn."""
    return request.getfixturevalue(request.param)


def save_base(model, tokenizer, folder):
    """A random model as a local snapshot, as a hub id would be downloaded."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def tiny_llama(chatml, tmp_path_factory):
    """Folder of a random Llama of 2 layers, width 64, with the ChatML tokenizer.

    Its weights are ten times the usual size, so that its answers depend strongly on
    all that it reads: a mask or a position that is wrong shows.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(chatml),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=768,
        initializer_range=0.2,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=chatml.eos_token_id,
        pad_token_id=chatml.pad_token_id,
    )
    folder = tmp_path_factory.mktemp("tiny-llama")
    return save_base(LlamaForCausalLM(config), chatml, folder)


@pytest.fixture(scope="session")
def tiny_gpt2(gpt2, tmp_path_factory):
    """Folder of a random GPT-2 of 2 layers, width 64: learned positions, tied head."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(gpt2),
        n_embd=64,
        n_layer=2,
        n_head=2,
        n_positions=1024,
        initializer_range=0.2,
        bos_token_id=gpt2.bos_token_id,
        eos_token_id=gpt2.eos_token_id,
    )
    folder = tmp_path_factory.mktemp("tiny-gpt2")
    return save_base(GPT2LMHeadModel(config), gpt2, folder)


@pytest.fixture
def tiny_base(chatml, tmp_path, monkeypatch):
    """A folder with a random base and its tokenizer; runs are kept beside it."""
    from latent_models import tiny_llama

    tiny_llama(len(chatml)).save_pretrained(tmp_path / "base")
    chatml.save_pretrained(tmp_path / "base")
    monkeypatch.setattr("lrkit.cache.build_dir", lambda: tmp_path / "build")
    return str(tmp_path / "base")


@pytest.fixture
def settings(tiny_llama):
    """Settings for a few steps of training; many files have others of their own."""
    from sft_runs import tiny_settings

    return tiny_settings(tiny_llama)
