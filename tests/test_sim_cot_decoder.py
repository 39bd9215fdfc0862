"""Laws of SIM-CoT's decoder: what it is, how it is saved, and what it reads."""

import pytest
import torch
from sim_cot_models import (  # noqa: F401 (fixtures)
    PROBLEMS,
    WIDTH,
    base_fixture,
    batch,
    latents_for,
    model_fixture,
    rows_fixture,
    wrapped,
)

from lrkit.latent.sim_cot import SimCotConfig, SimCotModel, read_steps


def test_the_decoder_begins_as_the_base_with_weights_of_its_own(base):
    model = wrapped(base)
    ours, theirs = model.step_decoder.state_dict(), base.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    taken = {weight.data_ptr() for weight in base.parameters()}
    assert not taken & {w.data_ptr() for w in model.step_decoder.parameters()}
    drawn = SimCotModel(SimCotConfig(base.config))
    ours, theirs = drawn.step_decoder.state_dict(), drawn.base.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_saved_and_loaded_it_is_the_same_with_its_decoder_and_without(
    model, rows, tmp_path
):
    inputs, latents = batch(model, rows, PROBLEMS), latents_for(PROBLEMS)
    model.config.step_text = "result"
    model.save_pretrained(tmp_path / "whole")
    again = SimCotModel.from_pretrained(tmp_path / "whole").eval()
    assert again.state_dict().keys() == model.state_dict().keys()
    for name, weight in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], weight), name
    with torch.no_grad():
        expected, found = model(**inputs), again(**inputs)
    assert torch.equal(found.loss, expected.loss)
    assert torch.equal(found.logits, expected.logits)
    assert again.config.step_text == "result"
    texts = read_steps(model, latents, rows)
    assert read_steps(again, latents, rows) == texts

    again.drop_decoder()
    again.save_pretrained(tmp_path / "dropped")
    small = SimCotModel.from_pretrained(tmp_path / "dropped").eval()
    assert not any("step_decoder" in name for name in small.state_dict())
    size = {f: (tmp_path / f / "model.safetensors").stat().st_size
            for f in ("whole", "dropped")}  # fmt: skip
    assert size["dropped"] < 0.6 * size["whole"]
    plain = {k: v for k, v in inputs.items() if not k.startswith("step_")}
    with torch.no_grad():
        assert torch.equal(small(**plain).logits, expected.logits)
    with pytest.raises(ValueError, match="step decoder of this model was dropped"):
        small(**inputs)
    with pytest.raises(ValueError, match="nothing can read its latents"):
        read_steps(small, latents, rows)


def test_answering_does_not_run_the_decoder(model, rows, monkeypatch):
    asked = batch(model, rows, PROBLEMS)
    ids, mask = asked["input_ids"], asked["attention_mask"]
    expected = model(input_ids=ids, attention_mask=mask).logits
    monkeypatch.setattr(model, "step_decoder", None)
    assert torch.equal(model(input_ids=ids, attention_mask=mask).logits, expected)


@torch.no_grad()
def test_reading_is_taking_the_likeliest_token_again_and_again(model, rows):
    model.config.per_step = 2
    latents = 5 * latents_for(PROBLEMS, 4)
    decoder, tokenizer = model.step_decoder, rows.tokenizer
    texts = read_steps(model, latents, rows, max_new_tokens=6)
    for i, k in ((0, 0), (1, 1), (2, 0)):
        ids = rows.encode("\n")
        for _ in range(6):
            read = decoder.get_input_embeddings()(torch.tensor(ids))
            vectors = torch.cat([latents[i, 2 * k : 2 * k + 2], read])
            ids.append(int(decoder(inputs_embeds=vectors[None]).logits[0, -1].argmax()))
            if ids[-1] == tokenizer.eos_token_id:
                break
        written = ids[len(rows.encode("\n")) :]
        assert texts[i][k] == tokenizer.decode(
            written, skip_special_tokens=True
        ).strip()  # fmt: skip


def test_no_latents_are_no_texts(model, rows):
    assert read_steps(model, torch.zeros(2, 0, WIDTH), rows) == [[], []]
    assert read_steps(model, torch.zeros(0, 3, WIDTH), rows) == []
