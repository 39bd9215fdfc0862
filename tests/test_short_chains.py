"""GRPO on explicit chains: TRL reads, scores and updates what we mean, and they shrink.

Most tests sample from tiny random models, or have the samples written for them.
"""

import copy
from itertools import islice
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from latent_models import problem, rows_for, tiny_llama
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from lrkit.data.problems import stream
from lrkit.latent import short_chains as sc
from lrkit.latent.chain_rows import TooLong
from lrkit.latent.grpo import ChainTrainer, GRPOSettings, grpo_trainer
from lrkit.latent.methods import MethodSettings, Training
from lrkit.latent.rewards import kimi_length
from lrkit.latent.short_chains import (
    ChainReward,
    ShortChainSettings,
    read,
    short_chains,
    shorten,
)
from lrkit.latent.slots import SlotModel
from lrkit.latent.solvers import SlotSolver
from lrkit.latent.training import RunSettings
from lrkit.models import load_tokenizer, model_path
from lrkit.paths import root

PROBLEMS = [problem(k) for k in (1, 2, 3, 4)]
RUN = GRPOSettings(6, 2, 4, 1e-3, max_completion=8, save_steps=3)
SETTINGS = ShortChainSettings(RUN)


def weights(model):
    return {name: weight.detach().clone() for name, weight in model.named_parameters()}


@pytest.fixture
def model(chatml):
    return tiny_llama(len(chatml))


@pytest.fixture
def rows(model, chatml):
    return rows_for(SlotModel.wrap(model), chatml)


@pytest.fixture
def by_its_ids(monkeypatch):
    """A random model is never right nor done: let a length be drawn from the ids."""
    monkeypatch.setattr(sc, "read", lambda tokenizer, ids: ("", sum(ids) % 7))


def padded(ids, pad):
    width = max(map(len, ids))
    return torch.tensor([row + [pad] * (width - len(row)) for row in ids])


def scripted(monkeypatch, model, completions, pad):
    """Let the samples of a model be these; returns the inputs that it was given."""
    seen = []

    def generate(self, input_ids, attention_mask, **kwargs):
        real = zip(input_ids, attention_mask.bool(), strict=True)
        seen.append([row[mask].tolist() for row, mask in real])
        return torch.cat([input_ids, padded(completions, pad)], 1)

    monkeypatch.setattr(type(model), "generate", generate)
    return seen


# --- what is read ---------------------------------------------------------------------
def test_the_length_of_a_chain_ends_at_the_last_cue(chatml, rows):
    chain, end = rows.encode("( 2 6 )\n"), chatml.eos_token_id
    answer = rows.answer("12").ids
    assert read(chatml, chain + answer) == ("12", len(chain))
    assert read(chatml, chain + answer[:-1]) == ("12", len(chain)), "no end token"
    assert read(chatml, answer) == ("12", 0)
    twice = answer[:-1] + chain
    assert read(chatml, twice + answer) == ("12", len(twice))
    assert read(chatml, [*chain, end]) == ("", len(chain) + 1)
    assert read(chatml, [*rows.cue(), end]) == ("", 0)


def test_an_answer_is_read_as_the_solver_reads_it(chatml, model, rows):
    texts = ["( 2 )The answer is: 2", "2", "The answer is: 1 The answer is: 02.", "é\n"]
    ids = [[*rows.encode(text), chatml.eos_token_id] for text in texts]

    class Canned(SlotSolver):
        def decode(self, inputs):
            return torch.cat([inputs["input_ids"], padded(ids, chatml.pad_token_id)], 1)

    solver = Canned(SlotModel.wrap(model), rows, writes_chain=True)
    solved = solver.solve(["The same question?"] * len(texts))
    assert [s.answer for s in solved] == [read(chatml, i)[0] for i in ids]
    assert [s.answer for s in solved] == ["2", "", "02.", ""]


def test_the_prompts_are_the_ids_of_the_rows(
    chatml, model, rows, monkeypatch, tmp_path
):
    odd = problem(2, question=f"What does {chatml.eos_token} add to 1?")
    assert chatml(odd.question + "\n")["input_ids"] != rows.question(odd.question)
    asked = [PROBLEMS[0], odd]
    seen = scripted(monkeypatch, model, [[5], [6]] * 4, chatml.pad_token_id)
    run = GRPOSettings(1, 2, 4, max_completion=2)
    shorten(model, rows, asked, ShortChainSettings(run), tmp_path)
    expected = [rows.question(p.question) for p in asked for _ in range(4)]
    assert seen == [expected]


# --- what is paid ---------------------------------------------------------------------
def test_trl_sees_the_reward_that_is_worked_out_by_hand(
    chatml, model, rows, monkeypatch, tmp_path
):
    two, four = (rows.encode(text) for text in ("( 2 )", "( 2 3 4 5 )"))
    samples = [
        two + rows.answer("2").ids,  # right and short
        four + rows.answer("2.0").ids,  # right and long
        two + rows.answer("3").ids,  # wrong and short
        four + rows.answer("2").ids[1:],  # no cue: wrong, and the longest
    ]
    lengths = [len(two), len(four), len(two), len(samples[3])]
    scripted(monkeypatch, model, samples, chatml.pad_token_id)
    run = GRPOSettings(1, 1, 4, max_completion=40, save_steps=0)
    settings = ShortChainSettings(run, weight=0.5)
    reward = ChainReward(settings, chatml)
    trainer = grpo_trainer(model, rows, PROBLEMS[:1], reward, run, tmp_path)
    trainer.train()
    middle = 0.5 - (lengths[1] - lengths[0]) / (lengths[3] - lengths[0])
    expected = [1.25, 1 + 0.5 * middle, 0, -0.25]
    assert np.allclose(trainer._logs["rewards"]["ChainReward"], expected)
    advantages = (np.array(expected) - np.mean(expected)) / (
        np.std(expected, ddof=1) + 1e-4
    )
    assert np.allclose(trainer._logs["advantages"], advantages, atol=1e-5)
    log = trainer.state.log_history[0]
    assert (log["accuracy"], log["length"]) == (0.5, np.mean(lengths))
    assert np.isclose(log["reward"], np.mean(expected))


def test_each_term_pays_its_own_way():
    correct, lengths = np.array([[True, True, False]]), np.array([[2, 6, 2]])

    def paid(step=0, **settings):
        run = GRPOSettings(4)
        return ShortChainSettings(run, **settings).rewards(correct, lengths, step)[0]

    assert paid(length_term="none").tolist() == [1, 1, 0]
    kimi = correct + kimi_length(correct, lengths, 0.3)
    assert np.array_equal(paid(weight=0.3), kimi[0])
    pruned = {"length_term": "thinkprune", "limits": (6, 2)}
    assert [paid(step, **pruned).tolist() for step in (1, 2)] == [[1, 1, 0], [1, 0, 0]]
    relative = {"length_term": "relative", "lambda_reward": 0.2}
    assert paid(**relative).tolist() == [0.9, 1.1, 0]
    mastered = {"lambda_penalty": 0.4, "p_cutoff": 0.6}
    assert paid(**relative, **mastered).tolist() == [1.2, 0.8, 0]


def test_the_group_of_a_sample_is_its_question(chatml, rows):
    reward = ChainReward(ShortChainSettings(GRPOSettings(1, 2, 2)), chatml)
    long, short = (rows.encode(text) for text in ("( 1 2 3 )", "( 1 )"))
    ids = [c + rows.answer("7").ids for c in (short, long, long, long)]
    paid = reward(ids, ["7"] * 4, SimpleNamespace(global_step=0), lambda *_: None)
    assert paid == [1.5, 0.5, 1, 1]


# --- what is updated ------------------------------------------------------------------
def test_an_update_scores_samples_at_the_positions_they_were_drawn_at(
    chatml, rows, monkeypatch, tmp_path
):
    """Learned positions, prompts of several lengths, a temperature: as row by row."""
    torch.manual_seed(0)
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=len(chatml), n_embd=32, n_layer=2, n_head=2, n_positions=256,
            initializer_range=0.2, bos_token_id=None, eos_token_id=chatml.eos_token_id,
        )
    )  # fmt: skip
    asked = [problem(1, question="Short?"), problem(2)]
    per_token = ChainTrainer._get_per_token_logps_and_entropies
    differences = []

    def spy(self, model, ids, mask, keep, *args, **kwargs):
        found = per_token(self, model, ids, mask, keep, *args, **kwargs)
        for row, real, logprobs in zip(ids, mask.bool(), found[0], strict=True):
            alone = GPT2LMHeadModel.forward(model, row[real][None]).logits[0, :-1]
            chosen = (alone / 0.7).log_softmax(-1).gather(1, row[real][1:, None])
            n = int(real[-keep:].sum())
            differences.append((chosen[-n:, 0] - logprobs[:n]).abs().max().item())
        return found

    monkeypatch.setattr(ChainTrainer, "_get_per_token_logps_and_entropies", spy)
    run = GRPOSettings(2, 2, 2, temperature=0.7, max_completion=8, save_steps=0)
    shorten(model, rows, asked, ShortChainSettings(run), tmp_path)
    assert len(differences) == 8 and max(differences) < 1e-4


def test_all_weights_move_and_every_step_is_logged(
    chatml, model, rows, by_its_ids, tmp_path
):
    before = weights(model)
    same, log = shorten(model, rows, PROBLEMS, SETTINGS, tmp_path)
    assert same is model
    after = weights(model)
    assert all(not torch.equal(before[name], after[name]) for name in before)
    assert [row["step"] for row in log] == [1, 2, 3, 4, 5, 6]
    assert all(row["accuracy"] == 0 and 0 <= row["length"] <= 6 for row in log)
    assert not any(model.base_model._forward_pre_hooks)
    twin = copy.deepcopy(model)
    for weight in twin.parameters():
        weight.data.zero_()
    assert not twin(torch.tensor([[1, 2]])).logits.any(), "a copy has its own weights"


def test_nothing_moves_where_all_of_a_group_earn_the_same(
    chatml, model, rows, by_its_ids, tmp_path
):
    before = weights(model)
    shorten(model, rows, PROBLEMS, ShortChainSettings(RUN, "none"), tmp_path)
    assert all(torch.equal(before[n], w) for n, w in weights(model).items())


def test_a_run_that_was_killed_goes_on_to_the_same_weights(
    chatml, rows, by_its_ids, monkeypatch, tmp_path
):
    def run(folder):
        model = tiny_llama(len(chatml))
        return shorten(model, rows, PROBLEMS[:3], SETTINGS, tmp_path / folder, 3)

    whole, whole_log = run("whole")

    class Kill(Exception):
        pass

    step = ChainTrainer.training_step

    def stop(self, *args, **kwargs):
        if self.state.global_step == 4:
            raise Kill
        return step(self, *args, **kwargs)

    with monkeypatch.context() as patch, pytest.raises(Kill):
        patch.setattr(ChainTrainer, "training_step", stop)
        run("killed")
    for _ in range(2):  # gone on, and found finished
        resumed, log = run("killed")
        expected, got = weights(whole), weights(resumed)
        assert all(torch.equal(expected[n], got[n]) for n in expected)
        assert log == whole_log


def test_a_run_becomes_a_solver_that_writes_chains(chatml, by_its_ids, tmp_path):
    training = Training(
        lambda: tiny_llama(len(chatml)), chatml, PROBLEMS,
        MethodSettings(RunSettings(1), context=256), tmp_path,
    )  # fmt: skip
    solver = short_chains(training, SETTINGS)
    assert solver.writes_chain and solver.n_latents is None
    assert isinstance(solver.solve([PROBLEMS[0].question])[0].answer, str)
    fresh = tiny_llama(len(chatml)).get_input_embeddings().weight
    assert not torch.equal(solver.model.base.get_input_embeddings().weight, fresh)
    (log,) = training.logs().values()
    assert len(log) == 6 and set(log[0]) == {"step", "accuracy", "length", "reward"}


def test_what_cannot_be_is_refused(chatml, model, rows, tmp_path):
    with pytest.raises(ValueError, match="choose one of none, kimi"):
        ShortChainSettings(RUN, "shorter")
    for limits in ((), (4, 4), (4, 8)):
        with pytest.raises(ValueError, match="limits must fall"):
            ShortChainSettings(RUN, "thinkprune", limits=limits)
    with pytest.raises(ValueError, match="2 samples or more"):
        GRPOSettings(1, group_size=1)
    with pytest.raises(ValueError, match="no problems"):
        shorten(model, rows, [], SETTINGS, tmp_path)
    long = ShortChainSettings(GRPOSettings(1, max_completion=250))
    with pytest.raises(TooLong, match="lower max_completion"):
        shorten(model, rows, PROBLEMS, long, tmp_path)


# --- one real effect ------------------------------------------------------------------
@pytest.mark.slow
@pytest.mark.skipif(
    not (root() / "models" / "think-narrow" / "model.safetensors").is_file(),
    reason="the base is not made yet: make pretrain",
)
@pytest.mark.parametrize("term", ["kimi", "none"])
def test_chains_become_shorter_where_that_is_paid_for(term, tmp_path):
    """Half as long after 14 steps, and as long as before without the term; the same
    with the random seeds 0 and 2."""
    base = AutoModelForCausalLM.from_pretrained(
        model_path("think-narrow"), dtype=torch.float32
    )
    rows = rows_for(SlotModel.wrap(base), load_tokenizer("think-narrow"))
    many = list(islice(stream("clock", "train", 5), 400))
    by_length = [[p for p in many if p.n_steps == n] for n in (2, 3, 4, 5)]
    asked = [p for some in zip(*by_length, strict=False) for p in some]
    run = GRPOSettings(14, 4, 8, 3e-4, max_completion=48, save_steps=0)
    _, log = shorten(base, rows, asked, ShortChainSettings(run, term), tmp_path, 1)
    before, after = (
        {key: np.mean([row[key] for row in part]) for key in ("accuracy", "length")}
        for part in (log[:3], log[-3:])
    )
    assert before["accuracy"] > 0.9 and after["accuracy"] > 0.9
    ratio = after["length"] / before["length"]
    assert ratio < 0.7 if term == "kimi" else 0.8 < ratio < 1.25
