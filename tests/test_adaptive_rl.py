"""Learning when to stop: what is paid, what is updated, what is kept, what is learned.

Random models are never right: where a reward is needed, answers are read for them.
"""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from latent_models import BASES, balanced, problem, rows_for, tiny_llama, undecided

from lrkit.divergence import GuardSettings
from lrkit.latent import adaptive_reward, adaptive_rl
from lrkit.latent.adaptive_reward import (
    AdaptiveReward,
    AdaptiveRLSettings,
    answer_in,
    answered,
)
from lrkit.latent.adaptive_rl import AdaptiveTrainer, adapt, held_out
from lrkit.latent.adaptive_solver import AdaptiveSolver
from lrkit.latent.chain_rows import TooLong
from lrkit.latent.grpo import GRPOSettings, grpo_trainer
from lrkit.latent.rewards import advantages, relative_length

PROBLEMS = [problem(k) for k in (1, 2, 3, 4)]
N_MAX = 4
RUN = GRPOSettings(6, 2, 4, 1e-3, temperature=0.8, max_completion=12, save_steps=2)
GUARD = GuardSettings(patience=1, window=4, metric_every=2, spike=50.0)
SETTINGS = AdaptiveRLSettings(RUN, N_MAX, decision_temperature=1.5, guard=GUARD)


def weights(model):
    return {name: weight.detach().clone() for name, weight in model.named_parameters()}


def made(chatml, make=tiny_llama):
    model = undecided(make(len(chatml)))
    rows = rows_for(model, chatml)
    questions = [p.question for p in PROBLEMS]
    return balanced(model, rows, questions, N_MAX, odds=-1.5), rows


@pytest.fixture
def model_and_rows(chatml):
    return made(chatml)


@pytest.fixture
def always_right(monkeypatch):
    """Whatever is written, the answer is read in it."""
    monkeypatch.setattr(adaptive_reward, "same_answer", lambda found, wanted: True)
    monkeypatch.setattr(adaptive_reward, "answer_in", lambda text: text)


# --- what is paid ---------------------------------------------------------------------
def test_a_text_is_the_cue_once_and_an_answer():
    assert answer_in("The answer is: 7") == "7"
    assert answer_in(" The answer is: -12") == "-12"
    assert answer_in("The answer is:") == ""
    for text in ("7", "", "( 2 ) The answer is: 7", "The answer is 7",
                 "The answer is: The answer is: 7"):  # fmt: skip
        assert answer_in(text) is None, text


def completion(rows, n, text):
    end = rows.tokenizer.eos_token_id
    return [rows.bot + 1] * n + [rows.eot, *rows.encode(text), end]


def paid(rows, samples, answers, settings=SETTINGS):
    """(rewards, what was logged) of samples (latents, text)."""
    ids = [completion(rows, n, text) for n, text in samples]
    log = {}
    found = AdaptiveReward(settings, rows)(ids, answers, log.__setitem__)
    return found, log


def test_the_reward_is_that_of_the_paper(model_and_rows):
    _, rows = model_and_rows
    right, wrong, other = "The answer is: 2", "The answer is: 3", "2 The answer is: 2"
    group = [(0, right), (4, right), (2, wrong), (3, other)]
    mastered = [(1, "The answer is: 5.0"), (1, "The answer is: 5"),
                (3, "The answer is: 5"), (3, " The answer is: 5")]  # fmt: skip
    found, log = paid(rows, group + mastered, ["2"] * 4 + ["5"] * 4)
    assert np.allclose(found[:4], [0.95, 1.05, 0, -1])
    assert np.allclose(found[4:], [1 + 5e-5, 1 + 5e-5, 1 - 5e-5, 1 - 5e-5], atol=1e-9)
    assert log == {
        "accuracy": 0.75, "formatted": 0.875, "latents": 17 / 8, "mastered": 0.5,
    }  # fmt: skip


def test_start_and_stop_count_in_a_length_and_change_nothing(
    model_and_rows, monkeypatch
):
    _, rows = model_and_rows
    seen = []

    def spy(correct, lengths, *coefficients):
        seen.append((correct.tolist(), lengths.tolist(), coefficients))
        return relative_length(correct, lengths, *coefficients)

    monkeypatch.setattr(adaptive_reward, "relative_length", spy)
    settings = AdaptiveRLSettings(
        RUN, N_MAX, lambda_penalty=0.3, lambda_reward=0.2, p_cutoff=0.4
    )
    samples = [(0, "The answer is: 2"), (3, "no"), (4, "The answer is: 2"), (1, "2")]
    found, _ = paid(rows, samples, ["2"] * 4, settings)
    expected = [[True, False, True, False]], [[2, 5, 6, 3]], (0.3, 0.2, 0.4)
    assert seen == [expected]
    assert np.allclose(found, [1.15, -1, 0.85, -1])


def test_no_group_gains_by_its_lengths(model_and_rows):
    """All wrong, all alike: nothing; and lengths never change what a group gets."""
    _, rows = model_and_rows
    rng = np.random.default_rng(0)
    reward = AdaptiveReward(SETTINGS, rows)
    formatted = rng.random((200, 4)) < 0.8
    correct = formatted & (rng.random((200, 4)) < 0.5)
    lengths = rng.integers(2, 7, (200, 4))
    found = reward.rewards(correct, formatted, lengths)
    assert np.allclose(found.sum(1), correct.sum(1) - (~formatted).sum(1))
    assert (found[~formatted] == -1).all() and (found[formatted] >= 0).all()
    no_length = reward.rewards(correct, formatted, np.full_like(lengths, 3))
    assert np.array_equal(no_length, correct - 1.0 * ~formatted)


# --- what is updated ------------------------------------------------------------------
def test_trl_makes_of_the_rewards_what_is_said(model_and_rows, monkeypatch, tmp_path):
    model, rows = model_and_rows
    texts = ["The answer is: 2", "The answer is: 2", "The answer is: 3", "2"]
    samples = [completion(rows, n, t) for n, t in zip((0, 3, 1, 4), texts, strict=True)]
    prompts = []

    def scripted(model, input_ids, attention_mask, actions):
        real = zip(input_ids, attention_mask.bool(), strict=True)
        prompts.append([row[mask].tolist() for row, mask in real])
        found, _ = adaptive_rl.score(
            model, *as_trl_pads(input_ids, attention_mask, samples), actions
        )
        rounded = [
            row[: len(s)].tolist() for row, s in zip(found, samples, strict=True)
        ]
        return samples, rounded

    monkeypatch.setattr(adaptive_rl, "draw", scripted)
    run = GRPOSettings(1, 1, 4, max_completion=20, save_steps=0)
    settings = AdaptiveRLSettings(run, N_MAX)
    reward = AdaptiveReward(settings, rows)
    trainer = grpo_trainer(
        model, rows, PROBLEMS[:1], reward, run, tmp_path, kind=AdaptiveTrainer
    )
    trainer.actions = settings.actions(rows)
    trainer.train()
    assert prompts == [[[*rows.question(PROBLEMS[0].question), rows.bot]] * 4]
    expected = [0.95, 1.05, 0, -1]
    assert np.allclose(trainer._logs["rewards"]["AdaptiveReward"], expected)
    found = advantages([expected])[0]
    assert np.allclose(trainer._logs["advantages"], found, atol=1e-5)
    log = trainer.state.log_history[0]
    assert (log["accuracy"], log["latents"], log["formatted"]) == (0.5, 2.0, 0.75)
    assert log["logprob_gap"] < 1e-5


def as_trl_pads(ids, mask, completions):
    width = max(map(len, completions))
    padded = torch.tensor([row + [1] * (width - len(row)) for row in completions])
    real = torch.tensor(
        [[1] * len(row) + [0] * (width - len(row)) for row in completions]
    )
    return torch.cat([ids, padded], 1), torch.cat([mask, real], 1), width


@pytest.mark.parametrize("make", BASES.values(), ids=BASES)
def test_after_every_update_actions_are_still_as_likely_as_they_were_drawn(
    make, chatml, always_right, tmp_path
):
    """Samples of mixed lengths, prompts of mixed lengths, temperatures; and all weights
    move that a sample hangs on."""
    model, rows = made(chatml, make)
    before = weights(model)
    run = replace(RUN, learning_rate=3e-4)
    settings = replace(SETTINGS, run=run)
    found = adapt(model, rows, PROBLEMS, PROBLEMS[:2], settings, tmp_path)
    steps = [row for row in found.log if "logprob_gap" in row]
    assert [row["step"] for row in steps] == [1, 2, 3, 4, 5, 6]
    assert all(0 <= row["logprob_gap"] < 1e-4 for row in steps)
    assert any(row["logprob_gap"] > 0 for row in steps), "two ways of computing it"
    assert all(0 < row["latents"] < N_MAX for row in steps[:3]), "of mixed lengths"
    assert found.best["step"] > 0, "the weights have moved"
    assert not {n for n, w in weights(model).items() if torch.equal(w, before[n])}
    twin = copy.deepcopy(model)
    for weight in twin.parameters():
        weight.data.zero_()
    assert not twin(torch.tensor([[1, 2]])).logits.any(), "a copy has its own weights"


def test_a_run_that_was_killed_goes_on_to_the_same_curve(
    chatml, always_right, monkeypatch, tmp_path
):
    def run(folder):
        model, rows = made(chatml)
        return model, adapt(
            model, rows, PROBLEMS[:3], PROBLEMS, SETTINGS, tmp_path / folder, 3
        )

    whole, expected = run("whole")

    class Kill(Exception):
        pass

    step = AdaptiveTrainer.training_step

    def stop(self, *args, **kwargs):
        if self.state.global_step == 5:
            raise Kill
        return step(self, *args, **kwargs)

    with monkeypatch.context() as patch, pytest.raises(Kill):
        patch.setattr(AdaptiveTrainer, "training_step", stop)
        run("killed")
    for _ in range(2):  # gone on, and found finished
        resumed, found = run("killed")
        theirs = weights(resumed)
        assert all(torch.equal(w, theirs[n]) for n, w in weights(whole).items())
        assert found.validation == expected.validation
        assert found.best == expected.best
        names = ("step", "reward", "latents", "loss", "logprob_gap")
        ours, curve = (
            [[row[name] for name in names] for row in log if "reward" in row]
            for log in (found.log, expected.log)
        )
        assert ours == curve and len(curve) == 6


# --- what is kept ---------------------------------------------------------------------
def test_the_model_ends_with_the_weights_that_answered_best(
    chatml, always_right, monkeypatch, tmp_path
):
    """The most accurate ones, and among those the ones that think least."""
    model, rows = made(chatml)
    seen = []
    scripted = [(0.5, 1.0), (0.75, 3.0), (0.75, 2.0), (0.7, 0.0)]

    def answers(solver, problems):
        accuracy, latents = scripted[len(seen)]
        seen.append(weights(solver.model))
        return {"accuracy": accuracy, "latents": latents}

    monkeypatch.setattr(adaptive_rl, "answered", answers)
    found = adapt(model, rows, PROBLEMS, PROBLEMS, SETTINGS, tmp_path)
    assert [row["step"] for row in found.validation] == [0, 2, 4, 6]
    assert found.best == {"step": 4, "accuracy": 0.75, "latents": 2.0}
    assert all(torch.equal(w, seen[2][n]) for n, w in weights(model).items())
    assert not torch.equal(seen[3]["rows.weight"], seen[2]["rows.weight"])


@pytest.mark.parametrize(
    ("tolerance", "kept"),
    [
        (0.0, (1.0, 4.0)),  # the source: accuracy, and then latents
        (0.01, (0.99, 2.0)),  # 2.9 latents were enough, and 2.0 are better
        (0.02, (0.98, 1.0)),  # its turn comes before 1.0, and its accuracy is enough
        (1.0, (0.2, 0.0)),
    ],
)
def test_fewer_latents_win_among_what_is_accurate_enough(tolerance, kept):
    seen = [(0.98, 5.0), (0.99, 2.9), (1.0, 4.0), (0.98, 1.0), (0.99, 2.0), (0.2, 0.0)]
    rows = [{"accuracy": a, "latents": n} for a, n in seen]
    best = rows[0]
    for k, row in enumerate(rows[1:], 1):
        if adaptive_rl.better(tolerance, row, best, rows[:k]):
            best = row
    assert (best["accuracy"], best["latents"]) == kept


def test_a_run_whose_answers_collapse_is_taken_back(
    chatml, always_right, monkeypatch, tmp_path
):
    model, rows = made(chatml)
    seen = []

    def answers(solver, problems):
        seen.append(None)
        return {"accuracy": 0.1 if len(seen) == 4 else 0.9, "latents": 1.0}

    monkeypatch.setattr(adaptive_rl, "answered", answers)
    with pytest.warns(UserWarning, match=r"metric is 0\.1, at best it was 0\.9"):
        found = adapt(model, rows, PROBLEMS, PROBLEMS, SETTINGS, tmp_path)
    (row,) = [row for row in found.log if "restoration" in row]
    assert (row["diverged_at"], row["new_rate"]) == (6, RUN.learning_rate / 2)
    assert row["restored_to"] == 2
    assert [row["step"] for row in found.validation] == [0, 2, 4, 6]
    assert all(row["accuracy"] == 0.9 for row in found.validation)


def test_what_is_answered_badly_formed_is_wrong(model_and_rows, monkeypatch):
    model, rows = model_and_rows
    texts = ["The answer is: 2", "2", "so The answer is: 4", "The answer is: 7"]
    solver = AdaptiveSolver(model, rows, N_MAX, writes_chain=True)

    def decode(self, inputs):
        end = rows.tokenizer.eos_token_id
        new = [[*rows.encode(t), end] for t in texts]
        width = max(map(len, new))
        new = torch.tensor([row + [end] * (width - len(row)) for row in new])
        return torch.cat([inputs["input_ids"], new], 1)

    monkeypatch.setattr(AdaptiveSolver, "decode", decode)
    asked = [problem(k, question="All of one length.") for k in (1, 1, 3, 4)]
    found = answered(solver, asked)
    assert found["accuracy"] == 0.25
    lengths = [s.latent_steps for s in solver.solve([p.question for p in asked])]
    assert found["latents"] == np.mean(lengths)


def test_problems_are_held_out_with_all_their_copies():
    many = [problem(k % 40 + 1) for k in range(120)]
    first, second = held_out(many)
    questions = [{p.question for p in part} for part in (first, second)]
    assert not questions[0] & questions[1]
    assert len(questions[1]) == round(0.15 * 40) and len(first) + len(second) == 120
    assert [p for p in many if p in second] == second, "in their order"
    assert held_out(many[::-1])[1] == second[::-1], "the order decides nothing"
    assert held_out(many, seed=1)[1] != second
    assert held_out(many, 0.0) == (many, []) and held_out(many, 1.0) == ([], many)
    with pytest.raises(ValueError, match="a share lies between 0 and 1"):
        held_out(many, 1.5)


def test_what_cannot_be_is_refused(model_and_rows, tmp_path):
    model, rows = model_and_rows
    short = AdaptiveRLSettings(GRPOSettings(1, max_completion=9), N_MAX)
    with pytest.raises(ValueError, match="leaves 4 tokens behind 4 latents"):
        short.actions(rows)
    with pytest.raises(ValueError, match="no problems to train on"):
        adapt(model, rows, [], PROBLEMS, SETTINGS, tmp_path)
    with pytest.raises(ValueError, match="no problems to validate on"):
        adapt(model, rows, PROBLEMS, [], SETTINGS, tmp_path)
    long = AdaptiveRLSettings(GRPOSettings(1, max_completion=250), N_MAX)
    with pytest.raises(TooLong, match="lower max_completion"):
        adapt(model, rows, PROBLEMS, PROBLEMS, long, tmp_path)


# --- what is learned ------------------------------------------------------------------
@pytest.mark.slow
@pytest.mark.parametrize("penalty", [0.1, 0.0])
def test_what_is_mastered_is_thought_about_less_where_that_is_paid_for(
    penalty, chatml, always_right, tmp_path
):
    model, rows = made(chatml)
    run = GRPOSettings(8, 4, 8, 3e-4, max_completion=12, save_steps=8)
    guard = replace(GUARD, metric_every=8)
    settings = AdaptiveRLSettings(run, N_MAX, lambda_penalty=penalty, guard=guard)
    log = adapt(model, rows, PROBLEMS, PROBLEMS[:1], settings, tmp_path).log
    latents = [row["latents"] for row in log if "latents" in row]
    before, after = np.mean(latents[:2]), np.mean(latents[-2:])
    assert before > 1
    assert after < 0.3 * before if penalty else after > 0.7 * before
