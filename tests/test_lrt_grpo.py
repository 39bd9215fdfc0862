"""GRPO behind latents: what TRL samples, scores and updates is what we mean."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from latent_models import problem, tiny_llama
from transformers import GPT2Config, GPT2LMHeadModel

from lrkit.latent import lrt_grpo
from lrkit.latent.chain_rows import ChainRows, TooLong
from lrkit.latent.grpo import GRPOSettings, grpo_trainer
from lrkit.latent.lrt import LrtModel, SoftPromptModel
from lrkit.latent.lrt_grpo import AnswerReward, AnswerTrainer, reinforce
from lrkit.latent.lrt_methods import LrtSettings, lrt
from lrkit.latent.methods import MethodSettings, Training
from lrkit.latent.training import RunSettings

PROBLEMS = [problem(1, question="Short?"), problem(2), problem(3), problem(4)]
RUN = GRPOSettings(4, 2, 4, 3e-3, temperature=0.7, max_completion=5, save_steps=2)


def llama(vocab):
    model = tiny_llama(vocab)
    for weight in model.parameters():
        if weight.ndim == 2:
            weight.data *= 6
    return model


def gpt2(vocab):
    """With learned positions: samples that are scored at others show."""
    torch.manual_seed(0)
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=vocab, n_embd=32, n_layer=2, n_head=2, n_positions=256,
            initializer_range=0.2, bos_token_id=None,
        )
    )  # fmt: skip


def made(base, chatml, kind=LrtModel, n=3):
    torch.manual_seed(0)
    return kind.wrap(base(len(chatml)), n_latents=n)


@pytest.fixture(params=[llama, gpt2], ids=["llama", "gpt2"])
def model(request, chatml):
    return made(request.param, chatml)


@pytest.fixture
def rows(model, chatml):
    return ChainRows.of(model, chatml, 256)


@pytest.fixture
def by_its_ids(monkeypatch):
    """A random model is never right: let a reward be drawn from the ids."""
    monkeypatch.setattr(
        lrt_grpo, "same_answer", lambda text, wanted: len(text) % 3 == 0
    )


def weights(module):
    return {name: weight.detach().clone() for name, weight in module.named_parameters()}


def test_every_token_is_scored_as_it_was_sampled(
    model, rows, by_its_ids, monkeypatch, tmp_path
):
    """Log-probabilities of sampling, with cache and temperature, and of the update;
    prompts of several lengths. TRL shuffles samples: they are found by their tokens."""
    sampled, scored = {}, []
    generate = model.generate
    per_token = AnswerTrainer._get_per_token_logps_and_entropies

    def sampling(**kwargs):
        out = generate(**kwargs, return_dict_in_generate=True, output_logits=True)
        n = kwargs["input_ids"].shape[1]
        scores = (torch.stack(out.logits, 1).float() / 0.7).log_softmax(-1)
        drawn = scores.gather(2, out.sequences[:, n:, None])[..., 0]
        real = kwargs["attention_mask"].bool()
        for row, mask, logprobs in zip(out.sequences, real, drawn, strict=True):
            for k in range(1, len(logprobs) + 1):
                begun = (*row[:n][mask].tolist(), *row[n : n + k].tolist())
                sampled[len(scored), begun] = logprobs[:k]
        return out.sequences

    def scoring(self, model, ids, mask, keep, *args, **kwargs):
        found = per_token(self, model, ids, mask, keep, *args, **kwargs)
        assert found[0].requires_grad
        step = len(scored)
        for row, real, logprobs in zip(
            ids, mask.bool(), found[0].detach(), strict=True
        ):
            n = int(real[-keep:].sum())
            drawn = sampled[step, tuple(row[real].tolist())]
            scored.append((logprobs[:n] - drawn).abs().max().item())
            assert logprobs[:n].std() > 0.01, "a flat model would pass everything"
        scored[step:] = [max(scored[step:])]
        return found

    monkeypatch.setattr(model, "generate", sampling)
    monkeypatch.setattr(AnswerTrainer, "_get_per_token_logps_and_entropies", scoring)
    reinforce(model, rows, PROBLEMS, RUN, tmp_path)
    assert len(scored) == RUN.steps and max(scored) < 1e-4


def test_gradient_reaches_the_network_and_no_weight_of_the_base(
    model, rows, by_its_ids, tmp_path
):
    base, beside = weights(model.base), weights(model.network)
    special = model.rows.weight.detach().clone()
    log = reinforce(model, rows, PROBLEMS, RUN, tmp_path)
    assert all(torch.equal(base[n], w) for n, w in weights(model.base).items())
    assert torch.equal(special, model.rows.weight)
    assert all(w.grad is None for w in model.base.parameters())
    still = [n for n, w in weights(model.network).items() if torch.equal(beside[n], w)]
    assert still == []
    assert [row["step"] for row in log] == [1, 2, 3, 4]
    assert all(row["accuracy"] == pytest.approx(row["reward"]) for row in log)
    assert "forward" not in vars(model), "TRL's own forward is gone"


def test_nothing_moves_where_all_of_a_group_are_wrong(chatml, tmp_path, monkeypatch):
    model = made(llama, chatml)
    monkeypatch.setattr(lrt_grpo, "same_answer", lambda *_: False)
    before = weights(model)
    reinforce(model, ChainRows.of(model, chatml, 256), PROBLEMS, RUN, tmp_path)
    assert all(torch.equal(before[n], w) for n, w in weights(model).items())


def test_constants_are_reinforced_alike(chatml, by_its_ids, tmp_path):
    model = made(llama, chatml, SoftPromptModel)
    before = weights(model)
    reinforce(model, ChainRows.of(model, chatml, 256), PROBLEMS, RUN, tmp_path)
    moved = [n for n, w in weights(model).items() if not torch.equal(before[n], w)]
    assert moved == ["prompt"]


def test_a_sample_begins_with_question_slots_and_cue(model, rows):
    for one in PROBLEMS:
        row = rows.latent(one, 3)
        answer = len(rows.answer(one.answer).ids) - len(rows.cue())
        whole = [*row.before, *[model.id_of("<slot>")] * 3, *row.rest]
        assert AnswerTrainer.prompt(model, rows, one.question) == whole[:-answer]


def test_a_right_answer_earns_one_and_a_wrong_one_nothing(chatml, rows):
    texts = [" 12", " 12.0\n", " 13", "", " 12 or so", " 1,2"]
    ids = [[*rows.encode(t), chatml.eos_token_id] for t in texts]
    logged = {}
    earned = AnswerReward(chatml)(
        ids, ["12"] * len(ids), lambda name, value: logged.update({name: value}),
        trainer_state=SimpleNamespace(),
    )  # fmt: skip
    assert earned == [1, 1, 0, 0, 0, 1], "a comma in a number is no other number"
    assert logged == {"accuracy": np.mean(earned)}


def test_the_log_has_the_entropy_of_the_samples(model, rows, by_its_ids, tmp_path):
    reward = AnswerReward(rows.tokenizer)
    trainer = grpo_trainer(
        model, rows, PROBLEMS, reward, RUN, tmp_path, kind=AnswerTrainer
    )
    ids = torch.tensor([[*AnswerTrainer.prompt(model, rows, "Why?"), 5, 6]])
    found = trainer._get_per_token_logps_and_entropies(
        model, ids, torch.ones_like(ids), 2, compute_entropy=True
    )
    scores = (model(ids).logits[:, -3:-1] / 0.7).log_softmax(-1)
    entropy = -(scores.exp() * scores).sum(-1)
    assert torch.allclose(found[1], entropy, atol=1e-4)
    twice = trainer._get_per_token_logps_and_entropies(
        model, ids.repeat(3, 1), torch.ones_like(ids).repeat(3, 1), 2, batch_size=2
    )
    assert torch.allclose(twice[0], found[0].expand(3, -1), atol=1e-5)


def test_a_killed_run_goes_on_to_the_same_weights(chatml, by_its_ids, tmp_path):
    def run(folder):
        model = made(llama, chatml)
        rows = ChainRows.of(model, chatml, 256)
        reinforce(model, rows, PROBLEMS[:3], RUN, tmp_path / folder, 3)
        return weights(model)

    class Kill(Exception):
        pass

    step = AnswerTrainer.training_step

    def stop(self, *args, **kwargs):
        if self.state.global_step == 3:
            raise Kill
        return step(self, *args, **kwargs)

    whole = run("whole")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Kill):
        patch.setattr(AnswerTrainer, "training_step", stop)
        run("killed")
    resumed = run("killed")
    assert all(torch.equal(whole[n], resumed[n]) for n in whole)


def test_both_stages_leave_the_base_alone_and_a_log_each(chatml, by_its_ids, tmp_path):
    run = RunSettings(2, 4, warmup=0, save_steps=0)
    training = Training(
        lambda: llama(len(chatml)), chatml, PROBLEMS,
        MethodSettings(run, context=256), tmp_path,
    )  # fmt: skip
    solver = lrt(training, LrtSettings(3, grpo=RUN))
    fresh = llama(len(chatml)).state_dict()
    assert all(
        torch.equal(fresh[n], w) for n, w in solver.model.base.named_parameters()
    )
    logs = training.logs()
    assert set(logs) == {"lrt", "lrt-grpo"} and len(logs["lrt-grpo"]) == RUN.steps
    assert solver.solve([PROBLEMS[0].question])[0].latent_steps == 3


def test_a_prompt_that_leaves_no_room_is_refused(chatml, model, tmp_path):
    rows = ChainRows.of(model, chatml, 32)
    with pytest.raises(TooLong):
        reinforce(model, rows, PROBLEMS, GRPOSettings(1, max_completion=30), tmp_path)
