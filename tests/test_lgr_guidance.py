"""Laws of guidance in a file: made once, right for each question, refused if stale."""

import copy
from dataclasses import replace

import pytest
import torch
from lgr_models import (
    QUESTIONS,
    WIDE,
    K,
    thinker,
)

from lrkit.latent import lgr_guidance as module
from lrkit.latent.lgr_guidance import (
    guidance_of,
    load_guidance,
    save_guidance,
    stored_guidance,
    think,
    thinker_digest,
)


def test_each_question_has_the_guidance_that_it_has_alone(chatml):
    model, rows = thinker(chatml)
    for size in (1, 2, 64):
        known = guidance_of(model, rows, [*QUESTIONS, QUESTIONS[0]], size)
        assert len(known) == len(QUESTIONS) and known.vectors.shape[1:] == (K, WIDE)
        for question in QUESTIONS:
            alone = think(model, rows, [question])[0]
            assert torch.allclose(known.of(question), alone, atol=1e-4)
    with pytest.raises(KeyError, match="no guidance is stored for 'What"):
        known.of("What else?")
    with pytest.raises(ValueError, match="no questions to be guided"):
        guidance_of(model, rows, [])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_what_was_written_is_read_again(chatml, tmp_path, dtype):
    known = guidance_of(*thinker(chatml), QUESTIONS)
    file = tmp_path / "made" / "guidance.safetensors"
    save_guidance(known, file, dtype)
    again = load_guidance(file, known.thinker)
    assert again.places == known.places
    assert torch.equal(again.vectors, known.vectors.to(dtype).float())
    assert [p.name for p in file.parent.iterdir()] == [file.name]


def test_guidance_is_made_once_and_that_of_another_thinker_is_refused(
    chatml, tmp_path, monkeypatch
):
    model, rows = thinker(chatml)
    file = tmp_path / "guidance.safetensors"
    first = stored_guidance(model, rows, QUESTIONS, file)
    monkeypatch.setattr(module, "guidance_of", None)  # a second time would fail
    again = stored_guidance(model, rows, QUESTIONS, file)
    assert torch.equal(again.vectors, first.vectors)
    model.rows.weight.data += 1e-4
    with pytest.raises(ValueError, match=r"is of thinker \w+, not of \w+: compute it"):
        stored_guidance(model, rows, QUESTIONS, file)
    with pytest.raises(FileNotFoundError, match="no guidance in nowhere"):
        load_guidance(tmp_path / "nowhere", first.thinker)


def test_what_a_file_lacks_is_added_to_it(chatml, tmp_path):
    model, rows = thinker(chatml)
    file = tmp_path / "guidance.safetensors"
    first = stored_guidance(model, rows, QUESTIONS[:2], file)
    more = stored_guidance(model, rows, QUESTIONS[1:], file)
    again = load_guidance(file, first.thinker)
    assert len(first) == 2 and len(more) == len(again) == len(QUESTIONS)
    whole = guidance_of(model, rows, QUESTIONS)
    for question in QUESTIONS:
        assert torch.equal(again.of(question), more.of(question))
        assert torch.allclose(again.of(question), whole.of(question), atol=1e-4)


def test_whatever_changes_guidance_changes_the_digest(chatml, gpt2):
    model, rows = thinker(chatml)
    first = thinker_digest(model, rows)
    assert thinker_digest(copy.deepcopy(model), rows) == first
    found = {first, thinker_digest(model, replace(rows, thoughts=(1, 2, 3)))}
    for name in ("base.transformer.h.0.ln_1", "rows"):
        twin = copy.deepcopy(model)
        next(twin.get_submodule(name).parameters()).data.flatten()[0] += 0.5
        found.add(thinker_digest(twin, rows))
    other = copy.deepcopy(rows.tokenizer)
    other.add_tokens(["bead"])
    found.add(thinker_digest(model, replace(rows, tokenizer=other)))
    assert len(found) == 5
