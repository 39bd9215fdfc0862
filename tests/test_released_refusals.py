"""Laws of the families: what does not belong to one is refused with a sentence."""

import json

import pytest
import torch
from released_models import Adaptive, Coconut, Codi, save_torch

from lrkit.latent.released import load_released


def test_a_table_with_other_rows_is_an_error(tiny_gpt2, tmp_path):
    reference = Coconut(tiny_gpt2)
    reference.base[0].resize_token_embeddings(reference.vocabulary + 2)
    folder = save_torch(reference.state_dict(), tmp_path)
    with pytest.raises(ValueError, match="is it another base"):
        load_released("coconut", folder, tiny_gpt2)


def test_codi_needs_its_base_and_one_rank_and_leaves_a_step_decoder(
    tiny_gpt2, tmp_path
):
    tensors = Codi(tiny_gpt2).state_dict()
    step = {"decoder.h.0.ln_1.weight": torch.ones(3)}
    folder = save_torch(tensors | step, tmp_path)
    with pytest.raises(ValueError, match="name the base"):
        load_released("codi", folder)
    (folder / "config.json").write_text("{}")  # as one of them is published
    with pytest.raises(ValueError, match="name the base"):
        load_released("codi", folder)
    released = load_released("codi", folder, tiny_gpt2)
    assert sum(released.report.left.values()) == 1
    key = next(k for k in tensors if "lora_A" in k)
    save_torch(tensors | {key: torch.zeros(5, tensors[key].shape[1])}, folder)
    with pytest.raises(ValueError, match=r"ranks \[4, 5\]"):
        load_released("codi", folder, tiny_gpt2)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"lora_mode": True}, "lora_mode is set"),
        ({"add_latent_to_end": True}, "add_latent_to_end is set"),
        ({"recurrent_filter_mode": "SRE"}, "no map for the filter 'SRE'"),
        ({"recurrent_filter_mode": None}, r"recurrent_filter.*is not known"),
    ],
)
def test_adaptive_models_of_another_kind_are_refused(
    settings, said, tiny_llama, tmp_path
):
    folder = Adaptive(tiny_llama).save(tmp_path, **settings)
    with pytest.raises(ValueError, match=said):
        load_released("adaptive", folder)
    config = json.loads((folder / "config.json").read_text())
    del config["_inserted_LatentThinkingModelSettings"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="no model of this family"):
        load_released("adaptive", folder)


def test_an_unknown_family_is_named_beside_the_known(tmp_path):
    with pytest.raises(ValueError, match="codi, coconut, adaptive, latent_sft"):
        load_released("icot", tmp_path)
