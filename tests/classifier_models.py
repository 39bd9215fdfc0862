"""Messages and untrained classifiers that the tests of reading one token share.

Models are random, of 2 layers, in 32 bits unless a test trains one: what they answer
means nothing, how they answer means everything. The fixtures are loaded by
`conftest.py` in every run: what takes long to import is imported where it is needed.
"""

import pytest

from lrkit.profiles import load_profile

MESSAGES = [
    "Customer: It works now, thank you!",
    "Customer: no",
    "Support Agent: Is it on?\nCustomer: It is.\nSupport Agent: And now?\nCustomer: ok",
    "x",
    "Customer: " + "still nothing, and again nothing; " * 12,
    "Customer: thanks 👍",
]


def settings_of(base, **changes):
    return load_profile(
        "smoke", **{"base": base, "load_in_4bit": False, "lora_r": 4} | changes
    ).answer


def untrained(settings):
    from lrkit.answer.classifier import OneTokenClassifier

    return OneTokenClassifier.from_base(settings)


@pytest.fixture(scope="module")
def llama(tiny_llama):
    return untrained(settings_of(tiny_llama))


@pytest.fixture(scope="module")
def gpt(tiny_gpt2):
    return untrained(settings_of(tiny_gpt2))


@pytest.fixture(scope="module")
def llama_4bit(tiny_llama):
    settings = settings_of(tiny_llama, load_in_4bit=True)
    return untrained(settings)


@pytest.fixture(name="model", params=["llama", "gpt", "llama_4bit"])
def each_model(request):
    return request.getfixturevalue(request.param)


def logits_of(model, prompts, batch_tokens=4096):
    from lrkit.answer.last_position import last_position

    pad = model.tokenizer_.pad_token_id
    return last_position(model.model_, prompts, pad, batch_tokens)[0]
