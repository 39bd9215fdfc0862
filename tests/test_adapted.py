"""Laws of slots over bases that are not saved with them."""

import pytest
import torch
from latent_models import problem
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from lrkit.latent.adapted import OWN, load_adapted, save_adapted
from lrkit.latent.chain_rows import ChainRows
from lrkit.latent.codi import CodiCollator, CodiModel, codi_row
from lrkit.latent.layout import collate
from lrkit.latent.slots import SLOT, SlotModel
from lrkit.models import load_model, load_tokenizer

PROBLEMS = [problem(3), problem(1), problem(4)]
LORA = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "down_proj"])


def lora(base, in_4bit=False):
    model = load_model(base, in_4bit)
    model.requires_grad_(False)
    return get_peft_model(model, LORA)


@pytest.fixture(params=[False, True], ids=["plain", "NF4"])
def in_4bit(request):
    return request.param


@pytest.fixture
def codi(tiny_llama, in_4bit):
    torch.manual_seed(0)
    return CodiModel.wrap(lora(tiny_llama, in_4bit), gamma=3.0, map={"kind": "mlp"})


def batch(model, tokenizer, kind="codi"):
    rows = ChainRows.of(model, tokenizer)
    if kind == "codi":
        return CodiCollator.of(model)([codi_row(rows, p, 3) for p in PROBLEMS])
    return collate([rows.latent(p, 2 + k) for k, p in enumerate(PROBLEMS)],
                   model.id_of(SLOT))  # fmt: skip


def test_rows_map_and_adapter_are_trained_and_the_base_is_not(codi, tiny_llama):
    codi.train()
    codi(**batch(codi, load_tokenizer(tiny_llama))).loss.backward()
    trained = {n for n, w in codi.named_parameters() if w.grad is not None}
    assert any(n.startswith("rows") for n in trained)
    assert any(n.startswith("map") for n in trained)
    assert any("lora_" in n for n in trained)
    assert not any(n.startswith("base") and "lora_" not in n for n in trained)


def test_wrapping_leaves_every_weight_of_the_base_as_it_is(tiny_llama, in_4bit):
    base = lora(tiny_llama, in_4bit)
    before = {n: w.clone() for n, w in base.state_dict().items()}
    after = SlotModel.wrap(base, map={"kind": "mlp"}).base.state_dict()
    assert all(torch.equal(before[n], after[n]) for n in before)
    assert all((after[n] == 0).all() for n in after if "lora_B" in n)


@torch.no_grad()
def test_saved_and_loaded_it_says_the_same_bit_for_bit(
    codi, tiny_llama, in_4bit, tmp_path
):
    for name, weight in codi.named_parameters():
        if "lora_B" in name:
            weight.normal_(std=0.05)
    inputs = batch(codi.eval(), load_tokenizer(tiny_llama), "latent")
    expected = codi(**inputs).logits
    save_adapted(codi, tmp_path, tiny_llama, in_4bit)
    again = load_adapted(CodiModel, tmp_path).eval()
    assert torch.equal(again(**inputs).logits, expected)
    assert again.config.gamma == 3.0 and again.config.map == {"kind": "mlp"}
    size = sum(f.stat().st_size for f in tmp_path.rglob("*.safetensors"))
    assert size < 400_000, "the base is not in it"


@torch.no_grad()
def test_a_row_does_not_depend_on_its_batch_under_lora_either(codi, tiny_llama):
    tokenizer = load_tokenizer(tiny_llama)
    rows = ChainRows.of(codi.eval(), tokenizer)
    some = [rows.latent(p, 2 + k) for k, p in enumerate(PROBLEMS)]
    together = codi(**collate(some, codi.id_of(SLOT)))
    for i, row in enumerate(some):
        alone = codi(**collate([row], codi.id_of(SLOT))).logits
        n = len(PROBLEMS[0].answer) + 3
        width = together.logits.shape[1]
        longest = max(len(r.rest) for r in some)
        end = width - (longest - len(row.rest))
        assert torch.allclose(
            together.logits[i, end - n : end], alone[0, -n:], atol=2e-4
        )


@torch.no_grad()
def test_in_bfloat16_slots_take_the_type_of_the_base(tiny_llama):
    model = SlotModel.wrap(load_model(tiny_llama).to(torch.bfloat16)).eval()
    out = model(**batch(model, load_tokenizer(tiny_llama), "latent"))
    assert out.logits.dtype == torch.bfloat16 and out.latents.dtype == torch.bfloat16
    assert torch.isfinite(out.loss)


def test_a_base_that_is_trained_itself_is_not_lost(tiny_llama, tmp_path):
    model = SlotModel.wrap(load_model(tiny_llama))
    with pytest.raises(ValueError, match="would be lost: use save_pretrained"):
        save_adapted(model, tmp_path, tiny_llama)


def test_another_base_and_missing_rows_are_refused(tiny_llama, tiny_gpt2, tmp_path):
    model = SlotModel.wrap(lora(tiny_llama))
    folder = save_adapted(model, tmp_path / "a", tiny_llama)
    about = folder / "slots.json"
    about.write_text(about.read_text().replace(tiny_llama, tiny_gpt2))
    with pytest.raises(ValueError, match="was trained on another"):
        load_adapted(SlotModel, folder)
    folder = save_adapted(model, tmp_path / "b", tiny_llama)
    state = load_file(folder / OWN)
    state["rows.weight"] = state["rows.weight"][:2].clone()
    save_file(state, folder / OWN)
    with pytest.raises(ValueError, match=r"do not fit: expected .*rows.weight"):
        load_adapted(SlotModel, folder)
    with pytest.raises(FileNotFoundError, match="holds no model with slots"):
        load_adapted(SlotModel, tmp_path)
