"""What is predicted of memory is what real runs of small models need."""

import dataclasses

import pytest
import torch
from bitsandbytes.nn import Linear4bit
from peft import LoraConfig, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    PreTrainedModel,
)

from lrkit import memory
from lrkit.memory import OPTIMIZERS, estimate, kept_for_backward, weight_bytes
from lrkit.models import load_model
from lrkit.profiles import load_profile

LLAMA = LlamaConfig(
    vocab_size=500, hidden_size=64, intermediate_size=160, num_hidden_layers=3,
    num_attention_heads=4, num_key_value_heads=2,
)  # fmt: skip
GPT2 = GPT2Config(
    vocab_size=500, n_embd=64, n_layer=2, n_head=4, n_positions=256, resid_pdrop=0.0,
    embd_pdrop=0.0, attn_pdrop=0.0,
)  # fmt: skip


def settings(**changes):
    base = load_profile("cpu").answer
    changes = {"batch_size": 2, "load_in_4bit": False, "lora_r": 4} | changes
    return dataclasses.replace(base, **changes)


def adapted(base: PreTrainedModel, chosen) -> PreTrainedModel:
    lora = LoraConfig(
        r=chosen.lora_r, lora_alpha=8, lora_dropout=0.0, task_type="CAUSAL_LM",
        target_modules=list(chosen.lora_targets),
    )  # fmt: skip
    return get_peft_model(base, lora)


def kept_in_a_run(model, tokens: int) -> int:
    """Bytes that a real forward pass over two rows keeps, one of them padded."""
    ids = torch.zeros(2, tokens, dtype=torch.long)
    mask = torch.ones_like(ids)
    mask[0, :3] = 0
    with kept_for_backward(model) as kept:
        out = model.train()(
            input_ids=ids, labels=ids, attention_mask=mask, use_cache=False
        )
    return sum(kept.values()) + out.logits.untyped_storage().nbytes()


@pytest.mark.parametrize("tokens", [16, 96])
@pytest.mark.parametrize(
    ("config", "targets"),
    [(LLAMA, None), (GPT2, ("c_attn", "c_proj", "c_fc"))],
    ids=["llama", "gpt2"],
)
def test_activations_are_what_a_real_pass_keeps(config, targets, tokens):
    chosen = settings(**({"lora_targets": targets} if targets else {}))
    found = estimate(config, chosen, tokens, torch.float32)
    model = adapted(AutoModelForCausalLM.from_config(config), chosen)
    assert found.activations == kept_in_a_run(model, tokens)
    assert found.adapter == 4 * model.num_parameters(only_trainable=True)
    assert found.gradients == found.adapter


def test_with_checkpointing_the_inputs_of_blocks_are_kept_and_one_block():
    chosen = settings(gradient_checkpointing=True)
    plain = estimate(LLAMA, settings(), 96, torch.float32).activations
    found = estimate(LLAMA, chosen, 96, torch.float32).activations
    base = AutoModelForCausalLM.from_config(LLAMA)
    base.gradient_checkpointing_enable({"use_reentrant": False})
    base.enable_input_require_grads()
    inputs = kept_in_a_run(adapted(base, chosen), 96)
    assert found == inputs + plain // 3 and found < plain


def test_weights_in_4_bits_are_what_bitsandbytes_makes_of_them(tmp_path):
    base = AutoModelForCausalLM.from_config(LLAMA)
    base.save_pretrained(tmp_path)
    packed = load_model(str(tmp_path), load_in_4bit=True)
    real = 0
    for name, weight in packed.named_parameters():
        owner = packed.get_submodule(name.rpartition(".")[0])
        real += weight.nbytes
        if isinstance(owner, Linear4bit):
            real += weight.quant_state.absmax.nbytes
    assert weight_bytes(base, True, torch.float32) == real
    whole = weight_bytes(base, False, torch.float32)
    assert whole == sum(w.nbytes for w in base.parameters())


def test_the_optimizer_is_what_its_moments_take():
    model = adapted(AutoModelForCausalLM.from_config(LLAMA), settings())
    weights = [w for w in model.parameters() if w.requires_grad]
    optimizer = torch.optim.AdamW(weights)
    sum(w.sum() for w in weights).backward()
    optimizer.step()
    real = sum(
        value.nbytes
        for state in optimizer.state.values()
        for name, value in state.items()
        if name != "step"
    )
    assert estimate(LLAMA, settings(), 8).optimizer == real
    with pytest.raises(ValueError, match="optimizer 'sgd' is none of"):
        estimate(LLAMA, settings(optimizer="sgd"), 8)
    assert OPTIMIZERS["paged_adamw_8bit"] < OPTIMIZERS["adamw_torch"] / 3


def test_the_recipe_of_the_source_needs_what_the_source_says():
    """85 M trained weights of a model of 7B, within the 13 GB that it names."""
    config = MistralConfig(vocab_size=32_002)
    found = estimate(config, load_profile("gpu").answer, tokens=1024)
    assert found.adapter / 4 == pytest.approx(85e6, rel=0.01)
    assert 4e9 < found.weights < 5e9 and found.total < 13e9
    assert "GiB" in str(found) and "total" in str(found)


def test_the_command_says_what_a_base_needs(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["memory", "talk", "--profile", "cpu"])
    memory.main()
    said = capsys.readouterr().out
    assert "activations" in said and "with gradient checkpointing" in said
    assert "one row at a time" in said and "without it" not in said
