"""The loss: weighted as by hand, and through every adapter as the plain model's."""

import dataclasses

import pytest
import torch
from sft_runs import built_trainer, losses, often, table, tiny_settings

from lrkit.answer import sft
from lrkit.answer.arms import ARMS, Arm
from lrkit.answer.sft import answer_weighted_loss, train

# --- the weighted loss ----------------------------------------------------------------


@pytest.fixture
def batch():
    """Logits [3, 6, 11] and labels with 3, 1 and 2 supervised tokens."""
    logits = torch.randn(3, 6, 11, generator=torch.manual_seed(0), requires_grad=True)
    labels = torch.full((3, 6), -100)
    labels[0, 2:5] = torch.tensor([4, 7, 1])
    labels[1, 5] = 3
    labels[2, 1:3] = torch.tensor([9, 9])
    return logits, labels


@pytest.mark.parametrize("weight", [0.0, 0.3, 0.5, 1.0])
def test_the_weighted_loss_is_the_one_computed_by_hand(batch, weight):
    logits, labels = batch
    by_row = []
    for row in range(3):
        ce = [
            -logits[row, t - 1].log_softmax(-1)[labels[row, t]]
            for t in range(1, 6)
            if labels[row, t] != -100
        ]
        rest = torch.stack(ce[1:]).mean() if ce[1:] else torch.tensor(0.0)
        by_row.append(weight * ce[0] + (1 - weight) * rest)
    expected = torch.stack(by_row).mean()
    torch.testing.assert_close(answer_weighted_loss(logits, labels, weight), expected)


@pytest.mark.parametrize(
    ("weight", "positions"),
    [
        (1.0, {(0, 1), (1, 4), (2, 0)}),
        (0.0, {(0, 2), (0, 3), (2, 1)}),
        (0.5, {(0, 1), (0, 2), (0, 3), (1, 4), (2, 0), (2, 1)}),
    ],
)
def test_gradient_falls_only_on_the_positions_that_count(batch, weight, positions):
    logits, labels = batch
    answer_weighted_loss(logits, labels, weight).backward()
    touched = logits.grad.abs().sum(-1).nonzero().tolist()
    assert {tuple(p) for p in touched} == positions


def test_weight_one_ignores_the_rest_and_a_tokens_share_gives_the_mean(batch):
    logits, labels = batch
    other = labels.clone()
    other[0, 3:5] = torch.tensor([0, 0])
    one, same_one = (answer_weighted_loss(logits, y, 1.0) for y in (labels, other))
    assert one == same_one
    mean = torch.nn.functional.cross_entropy(logits[0, 1:4], labels[0, 2:5])
    third = answer_weighted_loss(logits[:1], labels[:1], 1 / 3)
    torch.testing.assert_close(third, mean)


# --- the trainer's loss goes through every adapter ------------------------------------


@pytest.mark.parametrize("weight", [None, 0.7])
def test_loss_and_gradient_are_those_of_the_plain_model(
    monkeypatch, settings, tmp_path, weight
):
    """TRL's fused loss reads `lm_head.weight` and would pass by the head's adapter."""
    settings = dataclasses.replace(settings, answer_weight=weight)
    arm = ARMS["label + reason"]
    trainer = built_trainer(monkeypatch, settings, tmp_path, arm)
    model = trainer.model.eval()
    torch.manual_seed(0)
    for name, p in model.named_parameters():
        if "lora_B" in name:  # zero at first, which would hide the adapter
            torch.nn.init.normal_(p, std=0.05)
    items = next(iter(trainer.get_train_dataloader()))
    count = (items["labels"] != -100).sum()

    def gradients(loss):
        model.zero_grad()
        loss.backward()
        return {n: p.grad for n, p in model.named_parameters() if p.requires_grad}

    trainer.current_gradient_accumulation_steps = 1
    loss = trainer.compute_loss(model, dict(items), num_items_in_batch=count)
    got = gradients(loss)
    logits = model(
        input_ids=items["input_ids"], attention_mask=items["attention_mask"]
    ).logits
    if weight is None:
        by_hand = torch.nn.functional.cross_entropy(
            logits[:, :-1].flatten(0, 1), items["labels"][:, 1:].flatten()
        )
    else:
        by_hand = answer_weighted_loss(logits, items["labels"], weight)
    torch.testing.assert_close(loss, by_hand)
    expected = gradients(by_hand)
    assert got.keys() == expected.keys()
    for name in got:
        assert got[name].abs().sum() > 0, name
        torch.testing.assert_close(got[name], expected[name], rtol=1e-3, atol=1e-6)


def test_the_weight_is_for_answers_that_come_first(monkeypatch, settings, tmp_path):
    settings = dataclasses.replace(settings, answer_weight=0.3)
    for name, expected in {
        "label + reason": 0.3,
        "label + reason, plain mean": None,
        "reason + label": None,
    }.items():
        trainer = built_trainer(monkeypatch, settings, tmp_path / name, ARMS[name])
        assert trainer.answer_weight == expected


@pytest.mark.parametrize("weight", [None, 0.5])
def test_accumulated_micro_batches_train_like_one_batch(
    monkeypatch, tiny_llama, tmp_path, weight
):
    arm = Arm("label only", order="label")
    often(monkeypatch)
    monkeypatch.setattr(sft, "fast_bf16", lambda: False)
    logs = []
    for size, accumulation in ((4, 1), (1, 4)):
        settings = dataclasses.replace(
            tiny_settings(tiny_llama, batch_size=size, max_steps=2),
            accumulation=accumulation,
            lora_dropout=0.0,
            neftune_alpha=None,
            answer_weight=weight,
        )
        logs.append(losses(train(table(), settings, tmp_path / str(size), arm)))
    for one, many in zip(*logs, strict=True):
        assert many["loss"] == pytest.approx(one["loss"], rel=1e-3)
        assert many["grad_norm"] == pytest.approx(one["grad_norm"], rel=1e-2)
