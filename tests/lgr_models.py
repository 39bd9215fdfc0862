"""Tiny thinkers and executors that the test files of Latent-Guided Reasoning share."""

import copy
from dataclasses import replace

import torch
from latent_models import problem, tiny_gpt2, tiny_llama

from lrkit.latent.chain_rows import ChainRows
from lrkit.latent.lgr import ThinkerModel
from lrkit.latent.lgr_executor import ExecutorModel
from lrkit.latent.lgr_guidance import thinker_digest
from lrkit.latent.lgr_rows import ThinkerRows
from lrkit.latent.lgr_solver import LgrSolver
from lrkit.latent.methods import MethodSettings, Training
from lrkit.latent.training import RunSettings

K, WIDE = 3, 48
# Questions and chains of unlike lengths, and a problem without a chain.
PROBLEMS = [
    problem(k, answer=None if k else "1", question=f"Number {k}?" + " Well?" * k)
    for k in (1, 3, 2, 0, 5)
]
QUESTIONS = [p.question for p in PROBLEMS]
RUN = RunSettings(3, 2, warmup=0, save_steps=0, learning_rate=3e-3)


def padded(tokenizer):
    """The same tokenizer with padding, as `lrkit.models.load_tokenizer` gives it."""
    twin = copy.deepcopy(tokenizer)
    twin.pad_token = twin.eos_token
    return twin


def loud(model, times=6):
    """Weights so large that every mistake shows."""
    for weight in {id(w): w for w in model.parameters() if w.ndim == 2}.values():
        weight.data *= times
    return model


def thinker(tokenizer, family="gpt2", **config):
    """(model, its rows) in evaluation mode."""
    base = {"gpt2": tiny_gpt2, "llama": tiny_llama}[family]
    torch.manual_seed(0)
    model = ThinkerModel.wrap(
        loud(base(len(tokenizer), WIDE)), **{"n_thoughts": K, **config}
    ).eval()
    return model, ThinkerRows.of(model, tokenizer, 256)


def executor(tokenizer, thinker="", family="llama", **config):
    """(model, its rows) in evaluation mode; half as wide as the thinker."""
    base = {"gpt2": tiny_gpt2, "llama": tiny_llama}[family]
    torch.manual_seed(1)
    model = ExecutorModel.wrap(
        loud(base(len(tokenizer), 24)), thinker_width=WIDE, n_latents=K, inner=16,
        thinker=thinker, **config,
    )  # fmt: skip
    loud(model.projector, 3)
    return model.eval(), ChainRows.of(model, tokenizer, 256)


def solver(tokenizer, other=None, max_new_tokens=6):
    """Both behind one solver; the executor's tokenizer may be another one."""
    model, rows = thinker(tokenizer)
    small, small_rows = executor(other or tokenizer, thinker_digest(model, rows))
    return LgrSolver(
        model, rows, small, small_rows, max_new_tokens=max_new_tokens, batch_size=4
    )


def trainings(tokenizer, folder, other=None):
    """(of the thinker, of the executor), a few steps each."""
    settings = MethodSettings(RUN, context=256)
    large = Training(
        lambda: tiny_gpt2(len(tokenizer), WIDE), tokenizer, PROBLEMS, settings,
        folder / "large",
    )  # fmt: skip
    other = other or tokenizer
    small = replace(
        large,
        load_base=lambda: tiny_llama(len(other), 24),
        tokenizer=other,
        folder=folder / "small",
    )
    return large, small


def weights(model):
    return {name: weight.detach().clone() for name, weight in model.named_parameters()}
