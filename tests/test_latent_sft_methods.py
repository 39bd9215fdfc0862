"""Laws of Latent-SFT as a method: what is found again, what each variant changes."""

import dataclasses
from dataclasses import replace

import pytest
import torch
from latent_models import problem, tiny_llama
from safetensors import safe_open

from lrkit.latent import families
from lrkit.latent import latent_sft_methods as methods
from lrkit.latent.families import FAMILIES, family_of
from lrkit.latent.latent_sft_methods import (
    LATENT_SFT,
    SHARES,
    STEP_SHARES,
    latent_sft_settings,
)
from lrkit.latent.latent_sft_rows import ThoughtRows, decoder_columns, encoder_columns
from lrkit.latent.latent_sft_training import LABELS, encoder_and_decoder
from lrkit.latent.layout import IGNORED
from lrkit.latent.methods import MethodSettings, Training
from lrkit.latent.soft_labels import DIGEST, KEYS, encoder_digest, key_of
from lrkit.latent.trained import run_key, stage_one, trained
from lrkit.latent.training import RunSettings
from lrkit.profiles import load_profile

GIVEN = [problem(k) for k in (1, 2, 3, 4, 5, 6, 7)]
PLAIN = "Latent-SFT"
# What a variant changes of the settings of "Latent-SFT", by name.
CHANGED = {
    "Latent-SFT, 4 tokens a latent": {"piece", "n_max"},
    "Latent-SFT, a latent a step": {"piece", "n_max", "stage_one"},
    "Latent-SFT, hidden states": {"kind", "scale"},
    "Latent-SFT, hidden states, a latent a step": {
        "kind", "scale", "piece", "n_max", "stage_one",
    },
    "Latent-SFT, no induction mask": {"induction"},
    "Latent-SFT, no supervision mask": {"supervision"},
    "Latent-SFT, open supervision mask": {"supervision"},
    "Latent-SFT, input table": {"table"},
    "Latent-SFT, fresh latent row": {"begins_as"},
    "Latent-SFT, student of the decoder": {"from_decoder"},
    "Latent-SFT, noise": {"noise"},
}  # fmt: skip


@pytest.fixture
def settings(tiny_base):
    return load_profile(
        "smoke", "latent", base=tiny_base, steps=2, batch_size=2, context=256
    ).latent


def settings_given(method, settings, monkeypatch):
    """The settings that a variant arrives with at stage 1."""
    found = []

    class Seen(Exception):
        pass

    def seen(training, given):
        found.append(given)
        raise Seen

    monkeypatch.setattr(methods, "encoder_and_decoder", seen)
    with pytest.raises(Seen):
        trained(settings, method, 0, GIVEN)
    return dataclasses.asdict(found[0])


def test_every_variant_changes_what_its_name_says_and_nothing_else(
    settings, monkeypatch
):
    plain = settings_given(PLAIN, settings, monkeypatch)
    assert set(LATENT_SFT) == {PLAIN, *CHANGED}
    for method, wanted in CHANGED.items():
        own = settings_given(method, settings, monkeypatch)
        assert {key for key in plain if own[key] != plain[key]} == wanted, method


def test_stage_one_takes_its_shares_of_the_students_steps():
    run = RunSettings(steps=40, batch_size=8, learning_rate=2e-3)
    found, of_steps = latent_sft_settings(run, 4), latent_sft_settings(run, 0)
    assert [part.steps for part in found.stage_one] == [round(40 * s) for s in SHARES]
    wanted = [round(40 * s) for s in STEP_SHARES]
    assert [part.steps for part in of_steps.stage_one] == wanted
    assert found.student.steps == 40 and found.piece == 4
    same = {(r.batch_size, r.learning_rate) for r in (*found.stage_one, found.student)}
    assert same == {(8, 2e-3)}
    assert min(p.steps for p in latent_sft_settings(RunSettings(1), 4).stage_one) == 1
    with pytest.raises(ValueError, match="one of 0, 1, 2, 4, 7 tokens, not 3"):
        latent_sft_settings(run, 3)


def test_the_kept_encoder_is_the_one_that_taught_the_student(settings, tmp_path):
    solver, _ = trained(settings, PLAIN, 0, GIVEN)
    encoder = stage_one(settings, PLAIN, 0, GIVEN)
    key = run_key(settings, PLAIN, 0, GIVEN)
    folder = tmp_path / "build" / "runs" / f"latent-{key}"
    with safe_open(folder / LABELS, "pt") as stored:
        about = stored.metadata()
    assert about[DIGEST] == encoder_digest(encoder, solver.thought)
    # 2 steps of 2 rows: the others are read by nobody, and not encoded.
    for p, read in zip(GIVEN, (True,) * 4 + (False,) * 3, strict=True):
        assert (key_of(p) in about[KEYS]) == read


def test_a_found_solver_thinks_as_the_trained_one(settings):
    first, _ = trained(settings, PLAIN, 0, GIVEN)
    again, _ = trained(settings, PLAIN, 0, GIVEN)
    assert (again.thought.piece, again.n_max) == (first.thought.piece, first.n_max)
    ours, theirs = (
        [(s.text, s.latent_steps) for s in one.solve([p.question for p in GIVEN])]
        for one in (first, again)
    )
    assert ours == theirs
    assert torch.equal(*(m.model.base.lm_head.weight for m in (first, again)))


def test_keys_of_other_methods_do_not_hang_on_latent_sft(settings, monkeypatch):
    names = ("CoT", "CODI", "Latent-6", PLAIN, "Latent-SFT, noise")
    before = {name: run_key(settings, name, 0) for name in names}
    own = family_of(PLAIN)
    others = [replace(f, modules=()) if f is own else f for f in FAMILIES]
    monkeypatch.setattr(families, "FAMILIES", others)
    after = {name: run_key(settings, name, 0) for name in names}
    changed = {name for name in names if before[name] != after[name]}
    assert changed == {PLAIN, "Latent-SFT, noise"}
    assert len(set(before.values())) == len(names)


def test_what_has_no_encoder_is_refused(settings):
    with pytest.raises(ValueError, match="'CODI' has no encoder: choose one of Latent"):
        stage_one(settings, "CODI")
    with pytest.raises(FileNotFoundError, match="no encoder was kept"):
        stage_one(settings, PLAIN, 5, GIVEN)


def test_a_thought_begins_with_its_own_ids_and_the_encoder_reads_a_plain_chain(chatml):
    plain, own = (ThoughtRows.of(chatml, 2, 256, think) for think in ("", "( ("))
    assert not plain.think and list(own.think) == plain.rows.encode("( (")
    p = problem(3)
    before, after = plain.row(p), own.row(p)
    assert encoder_columns(before, 9) == encoder_columns(after, 9)
    n = len(before.question)
    for part in (0, 1):  # ids, labels
        ids, longer = (decoder_columns(row, 9)[part] for row in (before, after))
        added = [own.think, [IGNORED] * len(own.think)][part]
        assert longer == [*ids[:n], *added, *ids[n:]]
    asked, student = own.asked(p.question), own.student(p)
    assert asked.before == student.before == [*before.question, *own.think]
    assert student.n_slots == len(before.pieces)


def test_a_latent_begins_as_the_token_that_is_asked_for(chatml, tmp_path):
    def begun(text):
        its = dataclasses.replace(
            latent_sft_settings(RunSettings(1, 2, learning_rate=0.0, warmup=0), 2),
            begins_as=text,
        )
        training = Training(
            lambda: tiny_llama(len(chatml)), chatml, GIVEN,
            MethodSettings(run=RunSettings(1), context=256), tmp_path / f"{len(text)}",
        )  # fmt: skip
        model = encoder_and_decoder(training, its)
        return model.encoder.rows.weight[0], model.encoder.base.get_input_embeddings()

    row, table = begun("<<")
    assert torch.equal(row, table.weight[chatml("<<")["input_ids"][0]])
    row, table = begun("")
    assert torch.allclose(row, table.weight.mean(0), atol=1e-6)
