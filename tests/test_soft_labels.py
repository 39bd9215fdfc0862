"""Laws of soft labels: written once, read by the right student alone."""

import copy
import dataclasses

import pytest
import torch
from latent_models import problem
from latent_sft_models import PROBLEMS, batch_of, stage_one

from lrkit.latent import soft_labels as module
from lrkit.latent.latent_sft_rows import ThoughtRows
from lrkit.latent.soft_labels import (
    encode_problems,
    encoder_digest,
    load_labels,
    save_labels,
    soft_labels,
)


@pytest.fixture(scope="module")
def made(chatml):
    return stage_one("llama", chatml)


@pytest.fixture(scope="module", params=["mixture", "state"])
def model(request, made):
    twin = copy.deepcopy(made[0])
    twin.config.kind = request.param
    return twin


@pytest.fixture(scope="module")
def rows(made):
    return made[1]


@torch.no_grad()
def test_each_problem_has_the_labels_that_it_has_alone(model, rows):
    for size in (1, 2, 128):
        labels = encode_problems(model, rows, PROBLEMS, size)
        for p in PROBLEMS:
            batch = batch_of(model, rows, [p])
            alone = model.encode(batch["encoder_ids"], batch["encoder_mask"])
            found = labels.of(p)
            assert found.keys() == alone.keys()
            for name, part in alone.items():
                assert len(found[name]) == len(rows.row(p).pieces)
                if name == "ids":
                    assert torch.equal(found[name], part)
                else:
                    assert torch.allclose(found[name], part, atol=1e-5)


def test_a_problem_is_known_by_what_it_says_and_encoded_once(model, rows):
    again = dataclasses.replace(PROBLEMS[0], id="another name")
    labels = encode_problems(model, rows, [*PROBLEMS, again])
    assert len(labels) == len(PROBLEMS)
    same, other = labels.of(again), labels.of(PROBLEMS[0])
    assert all(torch.equal(same[k], other[k]) for k in same)
    reordered = dataclasses.replace(PROBLEMS[0], steps=PROBLEMS[0].steps[::-1])
    for unknown in (problem(4), reordered):
        with pytest.raises(KeyError, match="has no soft labels: encode the problems"):
            labels.of(unknown)


def test_what_was_written_is_read_again(model, rows, tmp_path):
    labels = encode_problems(model, rows, PROBLEMS)
    file = tmp_path / "made" / "labels.safetensors"
    save_labels(labels, file, "abc")
    again = load_labels(file, "abc")
    assert again.places == labels.places
    assert torch.equal(again.offsets, labels.offsets)
    assert all(torch.equal(again.labels[k], v) for k, v in labels.labels.items())
    assert [p.name for p in file.parent.iterdir()] == [file.name]


def test_labels_are_made_once_and_those_of_another_encoder_refused(
    model, rows, tmp_path, monkeypatch
):
    file = tmp_path / "labels.safetensors"
    first = soft_labels(model, rows, PROBLEMS, file)
    monkeypatch.setattr(module, "encode_problems", None)  # a second time would fail
    again = soft_labels(model, rows, PROBLEMS, file)
    assert all(torch.equal(again.labels[k], v) for k, v in first.labels.items())
    other = copy.deepcopy(model)
    other.encoder.rows.weight.data += 1e-4
    with pytest.raises(ValueError, match=r"are of encoder \w+, not of \w+: encode the"):
        soft_labels(other, rows, PROBLEMS, file)
    with pytest.raises(FileNotFoundError, match="no soft labels in nowhere"):
        load_labels(tmp_path / "nowhere", "abc")


def test_whatever_changes_a_label_changes_the_digest_and_nothing_else_does(made):
    model, rows = made
    first = encoder_digest(model, rows)
    assert encoder_digest(copy.deepcopy(model), rows) == first

    def changed(**config):
        twin = copy.deepcopy(model)
        for name, value in config.items():
            setattr(twin.config, name, value)
        return twin

    others = [
        changed(kind="state"), changed(k=3), changed(mixture_temperature=0.5),
        changed(table="output"), changed(induction=False), changed(end=3),
    ]  # fmt: skip
    for part in ("encoder.base", "encoder.rows", "decoder.model.embed_tokens"):
        twin = changed()
        next(twin.get_submodule(part).parameters()).data.flatten()[0] += 0.5
        others.append(twin)
    found = [encoder_digest(other, rows) for other in others]
    found.append(encoder_digest(model, ThoughtRows(rows.rows, 5)))
    assert len({first, *found}) == len(found) + 1
    same = changed(supervision="causal")
    same.decoder.model.layers[0].mlp.up_proj.weight.data += 1
    assert encoder_digest(same, rows) == first, "the decoder writes no label"


def test_no_problems_have_no_labels(model, rows):
    with pytest.raises(ValueError, match="no problems to encode"):
        encode_problems(model, rows, [])
