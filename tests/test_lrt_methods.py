"""The methods: no weight of the base moves, and the answer alone carries loss."""

from dataclasses import replace

import pytest
import torch
from lrt_models import PROBLEMS, llama

from lrkit.latent.lrt import LrtModel, SoftPromptModel
from lrkit.latent.lrt_methods import (
    LrtSettings,
    answered,
    lora_no_cot,
    lrt,
    lrt_model,
    no_thinking,
    rank_for,
    soft_prompt,
    thinking,
    trainable,
    with_lora,
)
from lrkit.latent.methods import MethodSettings, Training
from lrkit.latent.training import RunSettings


def weights(module):
    return {name: weight.detach().clone() for name, weight in module.named_parameters()}


def same(before, module):
    return [n for n, w in module.named_parameters() if torch.equal(before[n], w)]


@pytest.fixture
def training(chatml, tmp_path):
    settings = MethodSettings(
        RunSettings(4, 4, warmup=0, save_steps=0, learning_rate=3e-3), context=256
    )

    def load_base():
        torch.manual_seed(0)
        return llama(len(chatml))

    return Training(load_base, chatml, PROBLEMS, settings, tmp_path)


SETTINGS = LrtSettings(3)
METHODS = {
    "lrt": lambda t: lrt(t, SETTINGS),
    "lrt, pooled": lambda t: lrt(t, LrtSettings(3, "pooled", "bidirectional")),
    "soft prompt": lambda t: soft_prompt(t, SETTINGS),
    "LoRA": lambda t: lora_no_cot(t, SETTINGS),
}


@pytest.mark.parametrize("name", METHODS)
def test_no_weight_of_the_base_moves_and_all_that_is_beside_it_does(name, training):
    solver = METHODS[name](training)
    fresh = training.load_base().state_dict()
    state = {
        n.removeprefix("base_model.model.").replace("base_layer.", ""): w
        for n, w in solver.model.base.state_dict().items()
        if "lora_" not in n
    }
    assert state.keys() == fresh.keys()
    assert all(torch.equal(fresh[n], w) for n, w in state.items())
    torch.manual_seed(0)
    kind = {"lrt": LrtModel, "soft prompt": SoftPromptModel}.get(name)
    if kind is not None:
        begun = training.wrapped(kind, n_latents=3)
        assert same(weights(begun), solver.model) == [
            n for n, w in solver.model.named_parameters() if not w.requires_grad
        ]
    if name == "LoRA":
        moved = [w.abs().max() > 0 for n, w in solver.model.named_parameters()
                 if "lora_B" in n]  # fmt: skip
        assert moved and all(moved), "lora_B begins at zero"


def test_the_chain_is_not_looked_at(training, chatml, tmp_path):
    without = [replace(p, steps=()) for p in PROBLEMS]
    other = replace(training, problems=without, folder=tmp_path / "other")
    a, b = (weights(lrt(t, SETTINGS).model.network) for t in (training, other))
    assert all(torch.equal(a[n], b[n]) for n in a)


def test_answer_and_end_alone_carry_loss(training, chatml):
    rows = training.rows(lrt_model(training, SETTINGS))
    for p in PROBLEMS:
        for row in (rows.latent(p, 3), rows.chain(p, ())):
            made = answered(rows, p, row)
            *said, end = made.rest[len(made.rest) - made.supervised :]
            assert chatml.decode(said).strip() == p.answer
            assert end == chatml.eos_token_id
            assert replace(made, supervised=row.supervised) == row


def test_a_lora_has_about_as_many_weights_as_the_network(training):
    n = trainable(lrt_model(training, SETTINGS))
    rank = rank_for(training.load_base, n)
    sizes = [trainable(with_lora(training.load_base(), r))
             for r in (rank - 1, rank, rank + 1)]  # fmt: skip
    assert abs(sizes[1] - n) <= min(abs(sizes[0] - n), abs(sizes[2] - n))
    assert trainable(lora_no_cot(training, SETTINGS).model) == sizes[1]
    assert rank_for(training.load_base, 1) == 1


def test_the_two_modes_of_the_base_train_nothing(training):
    solvers = {f: f(training) for f in (no_thinking, thinking)}
    fresh = training.load_base().state_dict()
    for solver in solvers.values():
        after = solver.model.base.state_dict()
        assert all(torch.equal(fresh[n], w) for n, w in after.items())
    assert solvers[thinking].writes_chain and not solvers[no_thinking].writes_chain
