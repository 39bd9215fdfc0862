"""Laws of loading: which dtype, which padding, from where, and what is refused."""

import json
import os
import shutil

import pytest
import torch
from bitsandbytes.functional import dequantize_4bit
from bitsandbytes.nn import Linear4bit

from lrkit import models
from lrkit.models import (
    compute_dtype,
    fast_bf16,
    load_model,
    load_tokenizer,
    model_path,
    quantization,
)


@pytest.fixture
def pretend(monkeypatch):
    """Set what torch says of the GPU: None, or a compute capability."""

    def set_gpu(capability):
        fast_bf16.cache_clear()
        monkeypatch.setattr(torch.cuda, "is_available", lambda: capability is not None)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)

    yield set_gpu
    fast_bf16.cache_clear()


@pytest.mark.parametrize(
    ("capability", "dtype"),
    [
        (None, torch.float32),
        ((7, 5), torch.float16),
        ((8, 0), torch.bfloat16),
        ((9, 0), torch.bfloat16),
    ],
)
def test_the_dtype_follows_the_table(pretend, capability, dtype):
    pretend(capability)
    assert compute_dtype() == dtype
    assert models.device().type == ("cpu" if capability is None else "cuda")
    if capability is not None:
        assert fast_bf16() == (dtype == torch.bfloat16)


def test_a_machine_that_cannot_be_asked_has_no_fast_bf16(pretend, monkeypatch):
    pretend(None)

    def unreadable(*_args, **_kwargs):
        raise OSError

    monkeypatch.setattr(models.Path, "read_text", unreadable)
    assert not fast_bf16()


def test_an_embedded_name_is_a_folder_and_any_other_stays(tmp_path, monkeypatch):
    monkeypatch.setenv("LRKIT_ROOT", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="make pretrain"):
        model_path("talk")
    (tmp_path / "models" / "talk").mkdir(parents=True)
    (tmp_path / "models" / "talk" / "model.safetensors").touch()
    assert model_path("talk") == str(tmp_path / "models" / "talk")
    for name in ("someone/a-model", "./somewhere", str(tmp_path)):
        assert model_path(name) == name


def test_four_bits_are_the_setting_of_the_source():
    assert quantization(False) is None
    config = quantization(True)
    assert config.load_in_4bit and config.bnb_4bit_quant_type == "nf4"
    assert not config.bnb_4bit_use_double_quant
    assert config.bnb_4bit_compute_dtype == compute_dtype()


def test_every_linear_layer_but_the_head_is_in_four_bits(tiny_llama):
    model = load_model(tiny_llama, load_in_4bit=True)
    linear = {n: m for n, m in model.named_modules() if isinstance(m, torch.nn.Linear)}
    four_bit = {n for n, m in linear.items() if isinstance(m, Linear4bit)}
    assert set(linear) - four_bit == {"lm_head"} and len(four_bit) == 2 * 7
    plain = load_model(tiny_llama)
    assert not any(isinstance(m, Linear4bit) for m in plain.modules())
    assert {p.dtype for p in plain.parameters()} == {compute_dtype()}


def test_four_bit_layers_compute_in_full_precision_before_and_after_scoring(tiny_llama):
    model = load_model(tiny_llama, load_in_4bit=True)
    plain = load_model(tiny_llama)
    for name, module in model.named_modules():
        if isinstance(module, Linear4bit):
            weight = dequantize_4bit(module.weight.data, module.weight.quant_state)
            linear = torch.nn.Linear(*weight.shape[::-1], bias=False)
            linear.weight.data = weight.float()
            parent, _, child = name.rpartition(".")
            setattr(plain.get_submodule(parent), child, linear)
    ids = torch.arange(30).view(2, 15)
    with torch.inference_mode():
        expected = plain.eval()(ids).logits
        assert expected.std() > 1
        torch.testing.assert_close(model.eval()(ids).logits, expected)
    embeddings = model.get_input_embeddings()(ids).detach().requires_grad_()
    model.train()(inputs_embeds=embeddings).logits.sum().backward()
    assert embeddings.grad.abs().sum() > 0


def test_tokenizers_pad_on_the_left_with_a_token_that_is_there(tiny_llama, tiny_gpt2):
    llama, gpt2 = load_tokenizer(tiny_llama), load_tokenizer(tiny_gpt2)
    assert llama.padding_side == gpt2.padding_side == "left"
    assert llama.pad_token == "<|pad|>"
    assert gpt2.pad_token_id == gpt2.eos_token_id


def test_a_tokenizer_with_nothing_to_pad_with_is_refused(gpt2, tmp_path):
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer.from_str(gpt2.backend_tokenizer.to_str())
    PreTrainedTokenizerFast(tokenizer_object=backend).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="neither a pad nor an eos token"):
        load_tokenizer(str(tmp_path))


def test_pickled_weights_are_not_opened(tiny_llama, tmp_path):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "exploded"),)

    folder = tmp_path / "base"
    shutil.copytree(tiny_llama, folder)
    (folder / "model.safetensors").unlink()
    torch.save({"x": Bomb()}, folder / "pytorch_model.bin")
    with pytest.raises(OSError, match="safetensors"):
        load_model(str(folder))
    assert not (tmp_path / "exploded").exists()


def test_code_that_comes_with_a_model_does_not_run(tiny_llama, tmp_path):
    folder = tmp_path / "base"
    shutil.copytree(tiny_llama, folder)
    config = json.loads((folder / "config.json").read_text())
    config["model_type"] = "mine"
    config["auto_map"] = {
        "AutoConfig": "mine.Config",
        "AutoModelForCausalLM": "mine.Model",
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "mine.py").write_text(f"import os\nos.mkdir({str(tmp_path / 'ran')!r})\n")
    with pytest.raises(ValueError, match="trust_remote_code"):
        load_model(str(folder))
    assert not (tmp_path / "ran").exists()
