"""Tokenizers and tiny models that several test files share; all made on the spot."""

import json
import os

import pytest

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@pytest.fixture(scope="session")
def chatml():
    """The tokenizer of the embedded base; where that is not at hand, a quick likeness."""
    from transformers import AutoTokenizer

    from lrkit.paths import root
    from lrkit.pretrain import train_tokenizer

    folder = root() / "models" / "talk"
    if (folder / "tokenizer.json").is_file():
        return AutoTokenizer.from_pretrained(folder)
    return train_tokenizer(n_documents=300)


@pytest.fixture(scope="session")
def mistral():
    """The real SentencePiece tokenizer of Mistral-7B with the two ChatML tokens that
    Mistral-7B-OpenOrca adds: 32,002 in all."""
    from importlib.resources import files

    from sentencepiece import SentencePieceProcessor
    from transformers import LlamaTokenizer
    from transformers.convert_slow_tokenizer import generate_merges

    from lrkit.pretrain import CHATML

    model = files("mistral_common") / "data" / "tokenizer.model.v1"
    pieces = SentencePieceProcessor(model_proto=model.read_bytes())
    ids = range(pieces.vocab_size())
    vocab = {pieces.id_to_piece(i): i for i in ids}
    merges = generate_merges(vocab, {pieces.id_to_piece(i): pieces.get_score(i) for i in ids})
    return LlamaTokenizer(
        vocab=vocab,
        merges=merges,
        legacy=True,
        add_bos_token=True,
        eos_token="<|im_end|>",
        additional_special_tokens=["<|im_start|>", "</s>"],
        chat_template=CHATML,
    )


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
