"""Laws of the training: what is supervised, what moves, and that a killed run goes on.

Trainings are real ones, of a random 2-layer model in 4 bits. Spies look over the
trainer's shoulder through its own callbacks.
"""

import dataclasses
import json
import shutil
import weakref
from pathlib import Path

import pandas as pd
import pytest
import torch
from peft import get_peft_model
from safetensors.torch import load_file
from transformers import MistralConfig, MistralForCausalLM, TrainerCallback

from lrkit.answer import sft
from lrkit.answer.arms import ARMS, Arm, build_examples, shuffled_reasons, to_dataset
from lrkit.answer.classifier import OneTokenClassifier
from lrkit.answer.label_ids import LabelCollision
from lrkit.answer.last_position import last_position
from lrkit.answer.prompts import PromptBuilder, PromptTooLong
from lrkit.answer.sft import (
    answer_weighted_loss,
    lora_config,
    train,
    training_arguments,
)
from lrkit.data.conversations import BadRows
from lrkit.models import load_tokenizer
from lrkit.profiles import LORA_TARGETS, load_profile

STEPS = 6


def table(n=12):
    """Rows with prompts and reasons of different lengths."""
    rows = {
        "id": [f"r{i}" for i in range(n)],
        "running_message": [
            f"Customer: case {i}{' again' * (i % 5)}." for i in range(n)
        ],
        "label": ["yes", "no"] * (n // 2),
        "reason": [f"reason {i}" + " because" * (i % 7) for i in range(n)],
    }
    return pd.DataFrame(rows)


@pytest.fixture
def settings(tiny_llama):
    return tiny_settings(tiny_llama)


def tiny_settings(base, **changes):
    changes = {"lora_r": 4, "batch_size": 2, "max_steps": STEPS} | changes
    return load_profile("smoke", base=base, **changes).answer


def often(monkeypatch):
    """Log at every step and save at every second one."""
    usual = sft.training_arguments

    def arguments(*args, **kwargs):
        config = usual(*args, **kwargs)
        config.logging_steps, config.save_steps = 1, 2
        return config

    monkeypatch.setattr(sft, "training_arguments", arguments)


class Spy(TrainerCallback):
    """Keeps the weights before and after."""

    def on_train_begin(self, args, state, control, model, **_):
        self.before = snapshot(model)
        self.trainable = {n for n, p in model.named_parameters() if p.requires_grad}
        self.dtypes = {p.dtype for p in model.parameters() if p.requires_grad}

    def on_train_end(self, args, state, control, model, **_):
        self.after = snapshot(model)


class Kill(TrainerCallback):
    """Stops the process's work, as Ctrl-C would, once `step` is done."""

    def __init__(self, step):
        self.step = step

    def on_step_begin(self, args, state, control, **_):
        if state.global_step == self.step:
            raise KeyboardInterrupt


class Count(TrainerCallback):
    """Counts the steps that are really computed."""

    steps = 0

    def on_step_end(self, *_, **__):
        self.steps += 1


def snapshot(model):
    """A copy of every tensor by name, the packed 4-bit weights included."""
    return {n: t.detach().clone() for n, t in model.state_dict().items()}


def losses(log):
    """What is logged of each step, without the times."""
    keys = ("step", "loss", "grad_norm", "learning_rate")
    return [{k: row[k] for k in keys} for row in log if "loss" in row]


def adapter(folder):
    return load_file(Path(folder) / "adapter_model.safetensors")


def same(one, other):
    """Whether two dictionaries of tensors are equal bit by bit."""
    return one.keys() == other.keys() and all(
        torch.equal(one[k], other[k]) for k in one
    )


class Built(Exception):
    """Carries the trainer out of `train` before it begins."""


def built_trainer(monkeypatch, settings, folder, arm=ARMS["label + reason"]):
    """The trainer, with all that `train` hands to it, just before the first step."""

    def stop(trainer, **_):
        raise Built(trainer)

    monkeypatch.setattr(sft.AnswerTrainer, "train", stop)
    with pytest.raises(Built) as caught:
        train(table(), settings, folder, arm)
    return caught.value.args[0]


@pytest.fixture(scope="module")
def run(tiny_llama, tmp_path_factory):
    """One whole training: its folder, log and what the spy saw."""
    folder, spy = tmp_path_factory.mktemp("run"), Spy()
    with pytest.MonkeyPatch.context() as monkeypatch:
        often(monkeypatch)
        log = train(table(), tiny_settings(tiny_llama), folder, callbacks=[spy])
    return folder, log, spy


# --- what is supervised ---------------------------------------------------------------


def test_exactly_the_completion_is_supervised_in_the_trainers_own_batches(
    monkeypatch, settings, tmp_path
):
    trainer = built_trainer(monkeypatch, settings, tmp_path)
    builder = PromptBuilder(load_tokenizer(settings.base))
    expected = {}
    for e in build_examples(builder, table(), ARMS["label + reason"]):
        assert e.completion[-1] == builder.tokenizer.eos_token_id
        expected[tuple(e.prompt + e.completion)] = e.completion
    seen = 0
    for batch in trainer.get_train_dataloader():
        for ids, labels, mask in zip(
            batch["input_ids"], batch["labels"], batch["attention_mask"], strict=True
        ):
            row = ids[mask.bool()].tolist()
            completion = expected[tuple(row)]
            supervised = labels != -100
            assert supervised.sum() == len(completion)
            assert labels[supervised].tolist() == completion
            assert labels[mask.bool()][-len(completion) :].tolist() == completion
            seen += 1
    assert seen == len(table())


@pytest.mark.parametrize("name", ARMS)
def test_every_arm_writes_what_its_name_says(chatml, name):
    arm, builder, rows = ARMS[name], PromptBuilder(chatml), table(48)
    examples = build_examples(builder, rows, arm, seed=1)
    texts = [chatml.decode(e.completion[:-1]) for e in examples]
    reasons = rows["reason"].tolist()
    for i, (e, text, label) in enumerate(
        zip(examples, texts, rows["label"], strict=True)
    ):
        assert e.prompt == builder.prompt(rows["running_message"][i])
        if arm.order == "label":
            assert text == label
        elif arm.order == "reason_label":
            assert text == f"{reasons[i]}, so in the end, {label}"
        else:
            written = text.removeprefix(f"{label}, because in the end, ")
            assert written in reasons and (written != reasons[i]) == arm.shuffled


def test_arms_with_labels_alone_need_no_reasons(chatml):
    rows = table().drop(columns="reason")
    assert len(build_examples(PromptBuilder(chatml), rows, ARMS["label only"])) == 12


def test_padding_with_the_end_token_hides_no_real_end(gpt2):
    """Where the padding is the end token (GPT-2), the written end is still learned."""
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    examples = build_examples(PromptBuilder(gpt2), table(), ARMS["label + reason"])
    collate = DataCollatorForLanguageModeling(pad_token_id=gpt2.eos_token_id)
    batch = collate(to_dataset(examples).to_list())
    for e, labels in zip(examples, batch["labels"], strict=True):
        assert labels[labels != -100].tolist() == e.completion


# --- shuffled reasons -----------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 3, 15, 16, 17, 18, 33, 200])
@pytest.mark.parametrize("seed", [0, 1])
def test_shuffling_moves_every_reason_and_hardly_changes_lengths(n, seed):
    reasons = [str(i) for i in range(n)]
    lengths = [(i * 7919) % 97 for i in range(n)]
    shuffled = shuffled_reasons(reasons, lengths, seed)
    assert sorted(shuffled) == sorted(reasons), "each reason is used once"
    assert all(a != b for a, b in zip(reasons, shuffled, strict=True))
    assert shuffled == shuffled_reasons(reasons, lengths, seed)
    in_order = sorted(lengths)
    reach = max(
        in_order[min(i + 17, n) - 1] - in_order[i] for i in range(n)
    )  # the spread of lengths within one block
    got = [lengths[int(r)] for r in shuffled]
    assert all(abs(a - b) <= reach for a, b in zip(lengths, got, strict=True))


def test_shuffling_depends_on_the_seed_and_needs_two():
    reasons = [str(i) for i in range(50)]
    one, two = (shuffled_reasons(reasons, [1] * 50, seed) for seed in (0, 1))
    assert one != two
    with pytest.raises(ValueError, match="at least two"):
        shuffled_reasons(["one"], [1], 0)


def test_equal_reasons_still_change_places():
    """Nobody keeps his own by index, though the texts are the same."""
    assert shuffled_reasons(["same"] * 5, [4] * 5, 0) == ["same"] * 5


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


# --- what moves and what does not -----------------------------------------------------


def test_only_the_adapter_moves_and_all_of_it_does(run):
    spy = run[2]
    assert spy.before.keys() == spy.after.keys()
    moved = {n for n in spy.before if not torch.equal(spy.before[n], spy.after[n])}
    assert moved == spy.trainable
    assert all(".lora_A." in n or ".lora_B." in n for n in moved)
    for target in LORA_TARGETS:
        per_target = 2 if target == "lm_head" else 2 * 2  # A and B, in both layers
        assert sum(f".{target}." in n for n in moved) == per_target


def test_the_adapter_is_kept_in_full_precision(run):
    """In bfloat16 a step of 5e-5 is lost on weights above 0.01."""
    assert run[2].dtypes == {torch.float32}


def test_the_folder_holds_the_adapter_and_nothing_of_the_base(run):
    saved = adapter(run[0])
    assert len(saved) == 2 * (7 * 2 + 1)
    assert all(".lora_A." in n or ".lora_B." in n for n in saved)
    assert {t.dtype for t in saved.values()} == {torch.float32}


def test_the_lora_of_the_source_has_the_size_it_states():
    """85 M of 7.3 B, on the shape of Mistral-7B with two added tokens."""
    config = MistralConfig(
        vocab_size=32_002,
        hidden_size=4096,
        intermediate_size=14_336,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
        tie_word_embeddings=False,
    )
    with torch.device("meta"):
        model = MistralForCausalLM(config)
        model = get_peft_model(model, lora_config(load_profile("gpu").answer))
    assert model.get_nb_trainable_parameters() == (85_041_216, 7_326_789_696)
    assert {p.device.type for p in model.parameters()} == {"meta"}


def test_training_leaves_no_model_behind(settings, tmp_path):
    """A GPU that holds one model of 7 B holds no two."""
    seen = []

    class Watch(TrainerCallback):
        def on_train_end(self, args, state, control, model, **_):
            seen.extend([weakref.ref(model), weakref.ref(model.get_base_model())])

    settings = dataclasses.replace(settings, max_steps=1)
    train(table(), settings, tmp_path, callbacks=[Watch()])
    assert [reference() for reference in seen] == [None, None]


def test_noise_on_the_embeddings_changes_the_training(monkeypatch, settings, tmp_path):
    often(monkeypatch)
    settings = dataclasses.replace(
        settings, max_steps=2, lora_dropout=0.0, neftune_alpha=None
    )
    logs = {}
    for name in ("label + reason", "label + reason, NEFTune"):
        logs[name] = losses(train(table(), settings, tmp_path / name, ARMS[name]))
    again = train(table(), settings, tmp_path / "again", ARMS["label + reason"])
    off, on = logs.values()
    assert on[0]["loss"] != off[0]["loss"]
    assert losses(again) == off, "and nothing else does"


# --- killed, finished, changed --------------------------------------------------------


@pytest.mark.parametrize("killed_at", [2, 5])
def test_a_killed_run_goes_on_to_the_same_end(
    monkeypatch, run, settings, tmp_path, killed_at
):
    often(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        train(table(), settings, tmp_path, callbacks=[Kill(killed_at)])
    assert not (tmp_path / sft.CARD).exists()
    # A kill while a checkpoint is written leaves one that nobody can go on from.
    (tmp_path / "checkpoints" / "checkpoint-99").mkdir()
    count = Count()
    log = train(table(), settings, tmp_path, callbacks=[count])
    assert count.steps == STEPS - 2 * (killed_at // 2)
    assert losses(log) == losses(run[1])
    assert same(adapter(tmp_path), adapter(run[0]))


def test_a_finished_run_is_not_repeated(monkeypatch, run, settings):
    monkeypatch.delattr(sft, "load_model")
    monkeypatch.delattr(sft, "load_tokenizer")
    before = {p: p.stat().st_mtime_ns for p in run[0].rglob("*")}
    log = train(table(), settings, run[0])
    assert log == json.loads(json.dumps(run[1]))
    assert {p: p.stat().st_mtime_ns for p in run[0].rglob("*")} == before


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 1}, "seed"),
        ({"labels": ("no", "yes", "maybe")}, "labels"),
        ({"question": "Is it?"}, "question"),
        ({"arm": ARMS["label + shuffled reason"]}, "arm.name, arm.shuffled"),
        ({"rows": table(10)}, "rows"),
        ({"settings": {"learning_rate": 1.0}}, "settings.learning_rate"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_folder_of_another_run_is_left_alone(run, settings, change, named):
    change = dict(change)
    settings = dataclasses.replace(settings, **change.pop("settings", {}))
    rows = change.pop("rows", table())
    with pytest.raises(ValueError, match="another folder") as refusal:
        train(rows, settings, run[0], **change)
    assert f"({named})" in str(refusal.value)


def test_sizes_that_do_not_reach_the_training_may_change(run, settings):
    settings = dataclasses.replace(settings, n_explain=1, max_eval_rows=1)
    assert train(table(), settings, run[0]) == json.loads(json.dumps(run[1]))


# --- the folder is enough -------------------------------------------------------------


def test_a_saved_adapter_loads_again_as_the_trained_model(
    monkeypatch, settings, tmp_path
):
    prompts = [[5, 6, 7], [8] * 20]
    seen = {}
    monkeypatch.setattr(sft, "fast_bf16", lambda: False)  # autocast would round

    class Ask(TrainerCallback):
        def on_train_end(self, args, state, control, model, **_):
            seen["weights"] = snapshot(model)
            seen["logits"] = last_position(model, prompts, 0)[0]

    train(table(), settings, tmp_path, callbacks=[Ask()])
    loaded = OneTokenClassifier.load(tmp_path).model_
    assert same(snapshot(loaded), seen["weights"]), "bit by bit"
    logits = last_position(loaded, prompts, 0)[0]
    torch.testing.assert_close(logits, seen["logits"], rtol=0, atol=1e-5)
    untrained = OneTokenClassifier.from_base(settings).model_
    other = last_position(untrained, prompts, 0)[0]
    assert (other - seen["logits"]).abs().max() > 1e-3


def test_a_folder_can_be_moved(run, tmp_path):
    shutil.copytree(run[0], tmp_path / "moved")
    moved = OneTokenClassifier.load(tmp_path / "moved")
    here = OneTokenClassifier.load(run[0])
    messages = table()["running_message"].tolist()
    assert (moved.predict_proba(messages) == here.predict_proba(messages)).all()


# --- refused before a model is loaded -------------------------------------------------


def changed(column, value, row=3):
    rows = table()
    rows.loc[row, column] = value
    return rows


@pytest.mark.parametrize(
    ("rows", "arguments", "error", "message"),
    [
        (changed("label", "maybe"), {}, BadRows, r"row 4 \(id 'r3'\).*'maybe' is not"),
        (changed("running_message", " "), {}, BadRows, "'running_message': empty"),
        (changed("reason", ""), {}, BadRows, "'reason': empty"),
        (changed("id", "r0"), {}, BadRows, "already used in row 1"),
        (table().drop(columns="reason"), {}, BadRows, "'reason' is missing"),
        (table().drop(columns="label"), {}, BadRows, "'label' is missing"),
        (
            changed("running_message", "Customer: " + "on and on " * 600),
            {},
            PromptTooLong,
            r"1 row.*r3 \(\d+ tokens\)",
        ),
        (
            table().replace({"label": {"no": "Yes"}}),
            {"labels": ("yes", "Yes")},
            LabelCollision,
            "'Yes' and 'yes'",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_trained_is_refused_before_a_model_is_loaded(
    monkeypatch, settings, tmp_path, rows, arguments, error, message
):
    monkeypatch.delattr(sft, "load_model")
    with pytest.raises(error, match=message):
        train(rows, settings, tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()


# --- the knobs ------------------------------------------------------------------------


def test_the_gpu_profile_trains_with_the_numbers_of_the_source(monkeypatch, tmp_path):
    args = training_arguments(load_profile("gpu").answer, tmp_path, seed=3)
    assert args.per_device_train_batch_size == 1
    assert args.gradient_accumulation_steps == 8
    assert args.num_train_epochs == 2 and args.max_steps == -1
    assert args.learning_rate == 5e-5 and args.lr_scheduler_type == "constant"
    assert args.warmup_steps == 0 and args.weight_decay == 0
    assert args.neftune_noise_alpha == 5
    assert args.seed == args.data_seed == 3


def test_nothing_is_cut_packed_or_reported(tmp_path):
    args = training_arguments(load_profile("cpu").answer, tmp_path, 0)
    assert args.max_length is None and not args.packing
    assert args.neftune_noise_alpha is None
    assert args.report_to == [] and not args.gradient_checkpointing


@pytest.mark.parametrize("on_gpu", [False, True])
def test_paged_optimizers_are_for_gpus(monkeypatch, tmp_path, on_gpu):
    kind = torch.device("cuda" if on_gpu else "cpu")
    monkeypatch.setattr(sft, "device", lambda: kind)
    monkeypatch.setattr(sft, "fast_bf16", lambda: False)
    # The real class asks for a GPU when told to use half precision.
    monkeypatch.setattr(sft, "SFTConfig", dict)
    args = training_arguments(load_profile("gpu").answer, tmp_path, seed=0)
    assert args["optim"] == ("paged_adamw_8bit" if on_gpu else "adamw_torch")
    assert args["fp16"] == on_gpu and args["use_cpu"] != on_gpu
