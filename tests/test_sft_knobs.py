"""The knobs: the source's numbers and sizes, nothing cut, and noise that tells."""

import dataclasses

import pytest
import torch
from peft import get_peft_model
from sft_runs import losses, often, table
from transformers import MistralConfig, MistralForCausalLM

from lrkit.answer import sft
from lrkit.answer.arms import ARMS
from lrkit.answer.sft import lora_config, train, training_arguments
from lrkit.profiles import load_profile


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
