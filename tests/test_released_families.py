"""Laws of the families: a checkpoint under its authors' names computes what their code
computes, and what does not belong to a family is refused."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from released_models import (
    QUESTIONS,
    Adaptive,
    Coconut,
    Codi,
    LatentSFT,
    save_tensors,
    save_torch,
)
from safetensors.torch import load_file
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer

from lrkit.latent.released import load_released

MORE = {"max_new_tokens": 6}


@pytest.fixture(scope="module")
def tied_llama(tiny_llama, tmp_path_factory):
    """The tiny Llama with one table for input and output, as Llama 3.2 has it."""
    folder = tmp_path_factory.mktemp("tied")
    model = AutoModelForCausalLM.from_pretrained(tiny_llama)
    model.config.tie_word_embeddings = True
    model.tie_weights()
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_llama).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def bases(tiny_gpt2, tiny_llama, tied_llama):
    return {"gpt2": tiny_gpt2, "llama": tiny_llama, "tied": tied_llama}


def texts(released):
    return [s.text for s in released.solver.solve(QUESTIONS)]


# --- what the authors' code computes ------------------------------------------------
@pytest.mark.parametrize("base", ["gpt2", "llama"])
@pytest.mark.parametrize(("family", "kind"), [("codi", Codi), ("coconut", Coconut)])
def test_a_batch_says_what_the_authors_say_one_by_one(
    family, kind, base, bases, tmp_path
):
    reference = kind(bases[base])
    folder = save_torch(reference.state_dict(), tmp_path)
    released = load_released(family, folder, bases[base], n_latents=3, **MORE)
    wanted = [reference.says(q, 3, 6) for q in QUESTIONS]
    assert texts(released) == wanted
    assert wanted != [reference.says(q, 2, 6) for q in QUESTIONS]


@pytest.mark.parametrize("base", ["llama", "tied"])
@pytest.mark.parametrize(("family", "kind"), [("adaptive", Adaptive),
                                              ("latent_sft", LatentSFT)])  # fmt: skip
def test_thoughts_are_as_long_as_the_authors_and_say_the_same(
    family, kind, base, bases, tmp_path
):
    reference = kind(bases[base])
    if base == "llama" and kind is LatentSFT:
        reference.end_after(QUESTIONS[0])
    released = load_released(family, reference.save(tmp_path), n_latents=5, **MORE)
    found = [(s.latent_steps, s.text) for s in released.solver.solve(QUESTIONS)]
    assert found == [reference.says(q, 5, 6) for q in QUESTIONS]
    if base == "llama":
        assert len({steps for steps, _ in found}) > 1


# --- there and back -----------------------------------------------------------------
PREFIX = {"codi": "codi.", "coconut": "base_causallm.", "adaptive": "_base_model.",
          "latent_sft": ""}  # fmt: skip
FILTER = "recurrent_filter"
BESIDE = {
    "codi": {"map.1": "prj.1", "map.3": "prj.3", "map.4": "prj.ln"},
    "adaptive": {
        "map.1": f"{FILTER}.input_layer",
        "map.3": f"{FILTER}.output_layer",
        "map.4": f"{FILTER}.norm",
    },
}


def exported(released):
    """Our weights under the authors' names, by hand."""
    family, out = released.family, {}
    state = {k: v.clone() for k, v in released.model.state_dict().items()}
    rows, head = state.pop("rows.weight"), state.pop("stop_head.weight", None)
    state.pop("stop_head.bias", None)
    added = rows[:3]
    if family == "adaptive":
        added = torch.cat([rows[:2], head])
        n = len(state["base.lm_head.weight"]) + 4
        added = torch.cat([added, torch.zeros(-n % 128, 64)])
    for name, value in state.items():
        whose, _, rest = name.partition(".")
        if whose == "base":
            if rest.endswith(("wte.weight", "embed_tokens.weight", "lm_head.weight")):
                value = torch.cat([value, added]) if PREFIX[family] else value
            out[PREFIX[family] + rest] = value
        else:
            layer, what = name.rsplit(".", 1)
            out[f"{BESIDE[family][layer]}.{what}"] = value
    return out


FAMILIES = [
    ("codi", Codi, "gpt2"),
    ("coconut", Coconut, "gpt2"),
    ("adaptive", Adaptive, "tied"),
    ("latent_sft", LatentSFT, "tied"),
]


def saved(reference, family, folder, save=save_tensors):
    """A reference's checkpoint with its base's configuration beside it."""
    if family in ("adaptive", "latent_sft"):
        return reference.save(folder)
    save(reference.state_dict(), folder)
    AutoModelForCausalLM.from_pretrained(reference.folder).config.save_pretrained(
        folder
    )
    reference.tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(("family", "kind", "base"), FAMILIES)
def test_there_and_back_every_weight_and_every_logit_is_the_same(
    family, kind, base, bases, tmp_path
):
    folder = saved(kind(bases[base]), family, tmp_path / "theirs")
    first = load_released(family, folder)
    for file in folder.glob("*.safetensors"):
        file.unlink()
    save_tensors(exported(first), folder)
    second = load_released(family, folder)
    ours, again = first.model.state_dict(), second.model.state_dict()
    assert ours.keys() == again.keys()
    assert all(torch.equal(ours[k], again[k]) for k in ours)
    row = first.solver.asked(QUESTIONS[0])
    batch = first.solver.batch_of([row])
    assert torch.equal(first.model(**batch).logits, second.model(**batch).logits)
    assert first.report.filled == second.report.filled
    assert first.report.values == second.report.values


@pytest.mark.parametrize("without", ["lm_head.weight", "embed_tokens.weight"])
def test_a_tied_table_may_be_saved_under_either_name(without, tied_llama, tmp_path):
    reference = Adaptive(tied_llama)
    whole = load_released("adaptive", reference.save(tmp_path / "two"), **MORE)
    one = reference.save(tmp_path / "one", without=(without,))
    part = load_released("adaptive", one, **MORE)
    assert (whole.report.twins, part.report.twins) == (1, 0)
    assert texts(whole) == texts(part)


def test_the_linear_filter_goes_where_it_belongs(tiny_llama, tmp_path):
    reference = Adaptive(tiny_llama)
    reference.recurrent_filter = nn.Sequential()
    reference.recurrent_filter.add_module("linear_layer", nn.Linear(64, 64))
    reference.recurrent_filter.add_module("norm", nn.LayerNorm(64))
    folder = reference.save(tmp_path, recurrent_filter_mode="linear_ln")
    released = load_released("adaptive", folder, n_latents=5, **MORE)
    found = [(s.latent_steps, s.text) for s in released.solver.solve(QUESTIONS)]
    assert found == [reference.says(q, 5, 6) for q in QUESTIONS]
    assert max(steps for steps, _ in found) > 1


# --- what is refused ----------------------------------------------------------------
@pytest.mark.parametrize(("family", "kind", "base"), FAMILIES)
def test_a_tensor_missing_extra_renamed_or_of_another_shape_is_an_error(
    family, kind, base, bases, tmp_path
):
    folder = saved(kind(bases[base]), family, tmp_path)
    file = folder / "model.safetensors"
    tensors = load_file(file)
    name = next(k for k in sorted(tensors) if "norm" in k or "ln_" in k)
    for change, said in (
        (lambda t: t.pop(name), "nothing in the file fills 64 rows"),
        (lambda t: t.update({name + "2": t[name]}), "does not have|not known"),
        (lambda t: t.update({f"x.{name}": t.pop(name)}), "does not have|not known"),
        (lambda t: t.update({name: t[name][:9]}), r"\[9\], and its place in"),
    ):
        broken = dict(tensors)
        change(broken)
        save_tensors(broken, folder)
        with pytest.raises(ValueError, match=said):
            load_released(family, folder)


# --- adapters and dtypes --------------------------------------------------------------
def test_an_adapter_is_read_by_peft_and_checked(tiny_llama, tmp_path):
    reference = LatentSFT(tiny_llama)
    (base,) = reference.base
    lora = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "up_proj"])
    adapted = get_peft_model(base, lora)
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            weight.data.normal_(std=0.1)
    adapted.save_pretrained(tmp_path)
    released = load_released("latent_sft", tmp_path, tiny_llama, n_latents=3, **MORE)
    found = [(s.latent_steps, s.text) for s in released.solver.solve(QUESTIONS)]
    assert found == [reference.says(q, 3, 6) for q in QUESTIONS]
    assert released.report.adapter == 8
    weights = load_file(tmp_path / "adapter_model.safetensors")
    weights.popitem()
    save_tensors(weights, tmp_path, "adapter_model.safetensors")
    with pytest.raises(ValueError, match="1 of its weights are missing"):
        load_released("latent_sft", tmp_path, tiny_llama)


@pytest.mark.parametrize(("family", "kind", "base"), FAMILIES)
def test_in_bfloat16_everything_that_computes_is_bfloat16(
    family, kind, base, bases, tmp_path
):
    folder = saved(kind(bases[base]), family, tmp_path)
    released = load_released(
        family, folder, dtype=torch.bfloat16, n_latents=2, max_new_tokens=3
    )
    beside = ("lora_", "stop_head")  # these cast what they are given
    kinds = {v.dtype for k, v in released.model.state_dict().items()
             if not any(part in k for part in beside)}  # fmt: skip
    assert kinds == {torch.bfloat16}
    assert len(texts(released)) == len(QUESTIONS)
