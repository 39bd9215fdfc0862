"""Laws of Latent-SFT from a base to a solver, and of what is measured on it."""

import dataclasses
from functools import partial

import numpy as np
import pytest
import torch
from latent_sft_models import BASES, batch_of

from lrkit.data.any_order import any_order_stream
from lrkit.data.problems import problems
from lrkit.latent.latent_sft_solver import SuperpositionSolver
from lrkit.latent.latent_sft_training import (
    LABELS,
    LatentSFTSettings,
    encoder_and_decoder,
    labels_of,
    latent_sft,
    student,
    thought_rows,
)
from lrkit.latent.methods import MethodSettings, Training
from lrkit.latent.training import RunSettings
from lrkit.study.latent_sft_ceiling import encoded_answers
from lrkit.study.latent_thoughts import (
    latent_table,
    path_table,
    segment_latents,
    thoughts_of,
)
from lrkit.study.parallelism import segments
from lrkit.study.thought_controls import zeroed

FEW = problems("clock", "train", 12)


def runs(steps, **options):
    return RunSettings(steps=steps, batch_size=4, warmup=0, **options)


def settings(steps=2, **options):
    return LatentSFTSettings(
        stage_one=(runs(steps),) * 3, student=runs(steps), n_max=5, piece=7, **options
    )


def training_in(folder, tokenizer, family="llama", given=FEW):
    return Training(
        lambda: BASES[family](len(tokenizer)), tokenizer, given,
        MethodSettings(run=runs(1), context=256), folder,
    )  # fmt: skip


@pytest.fixture(scope="module")
def trained(chatml, tmp_path_factory):
    """(training, settings, stage 1, solver), of a few steps."""
    training = training_in(tmp_path_factory.mktemp("latent-sft"), chatml)
    model = encoder_and_decoder(training, settings())
    return training, settings(), model, student(training, settings(), model)


def same(ours, theirs):
    ours, theirs = ours.state_dict(), theirs.state_dict()
    return all(torch.equal(ours[k], theirs[k]) for k in theirs)


# --- both stages ----------------------------------------------------------------------
def test_what_has_ended_is_only_loaded(trained, chatml):
    training, its, model, solver = trained
    logs = training.logs()
    assert list(logs) == [
        f"latent-sft-{name}" for name in ("encoder", "decoder", "both", "student")
    ]
    written = (training.folder / LABELS).stat().st_mtime_ns
    again = encoder_and_decoder(training, its)
    assert same(again, model)
    assert same(student(training, its, again).model, solver.model)
    assert (training.folder / LABELS).stat().st_mtime_ns == written


def test_a_killed_run_goes_on_to_the_same_weights(trained, chatml, tmp_path):
    _, its, _, solver = trained
    training = training_in(tmp_path, chatml)
    train, calls = Training.keep, []

    class Killed(Exception):
        pass

    def killed(self, name, log):
        calls.append(name)
        if name.endswith("both") and calls.count(name) == 1:
            raise Killed
        train(self, name, log)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Training, "keep", killed)
        with pytest.raises(Killed):
            latent_sft(training, its)
        resumed = latent_sft(training, its)
    assert same(resumed.model, solver.model)


def test_a_student_begins_as_the_decoder_or_as_the_base(trained, chatml, tmp_path):
    training, its, model, _ = trained
    still = dataclasses.replace(
        its, student=runs(1, learning_rate=0.0, save_steps=0), from_decoder=True
    )
    own = dataclasses.replace(training, folder=tmp_path)
    begun = student(own, still, model).model.base
    assert same(begun, model.decoder)
    base = student(own, dataclasses.replace(still, from_decoder=False), model)
    assert same(base.model.base, training.load_base())
    assert begun.get_input_embeddings() is not model.decoder.get_input_embeddings()


def test_labels_of_another_encoder_stop_a_student(trained):
    training, its, model, _ = trained
    labels = labels_of(training, its, model)
    assert len(labels) == len({(p.question, p.steps) for p in FEW})
    model.encoder.rows.weight.data += 1e-3
    try:
        with pytest.raises(ValueError, match="are of encoder"):
            student(training, its, model)
    finally:
        model.encoder.rows.weight.data -= 1e-3


def test_every_setting_arrives(trained, chatml, tmp_path):
    its = settings(
        1, kind="mixture", k=4, mixture_temperature=0.5, table="output",
        induction=False, supervision="open", weight=0.3, noise=0.5,
        noise_temperature=2.0,
    )  # fmt: skip
    training = training_in(tmp_path, chatml, "gpt2")
    model = encoder_and_decoder(training, its)
    c = model.config
    assert (c.kind, c.k, c.mixture_temperature, c.table) == (
        "mixture",
        4,
        0.5,
        "output",
    )
    assert (c.induction, c.supervision) == (False, "open")
    assert model.encoder.base.config.model_type == "gpt2"
    solver = student(training, its, model)
    c = solver.model.config
    assert (c.k, c.mixture_temperature, c.weight) == (4, 0.5, 0.3)
    assert (c.noise, c.noise_temperature, c.end) == (0.5, 2.0, thought_rows(
        training, its).end)  # fmt: skip
    with pytest.raises(ValueError, match="three runs, encoder, decoder, both, not 1"):
        LatentSFTSettings((runs(1),), runs(1), 3)


def test_hidden_states_take_the_same_way(chatml, tmp_path):
    its = settings(1, kind="state", scale=0.1)
    solver = latent_sft(training_in(tmp_path, chatml), its)
    (thought,) = thoughts_of(solver, [FEW[0].question])
    assert np.allclose(thought.latents, 0.1 * thought.read, atol=1e-6)


def test_a_few_problems_are_learned_by_heart(chatml, tmp_path):
    """Both stages together: from no idea to every answer, each thought as long as its
    chain."""
    given, by_heart = FEW[:4], partial(runs, learning_rate=1e-2, save_steps=0)
    its = LatentSFTSettings(
        stage_one=tuple(by_heart(n) for n in (5, 5, 150)), student=by_heart(120),
        n_max=6, piece=0,
    )  # fmt: skip
    training = training_in(tmp_path, chatml, given=given)
    model = encoder_and_decoder(training, its)
    answers = encoded_answers(model, thought_rows(training, its), given)
    assert answers["correct"].all()
    solver = student(training, its, model)
    solutions = solver.solve([p.question for p in given])
    assert [s.answer for s in solutions] == [p.answer for p in given]
    assert [s.latent_steps for s in solutions] == [p.n_steps for p in given]


# --- the ceiling ----------------------------------------------------------------------
@torch.no_grad()
def test_the_decoder_answers_what_it_says_behind_its_latents(trained):
    training, its, model, _ = trained
    rows = thought_rows(training, its)
    found = encoded_answers(model.eval(), rows, FEW, max_new_tokens=1, batch_size=5)
    for p, row in zip(FEW, found.to_dict("records"), strict=True):
        logits = model(**batch_of(model, rows, [p])).logits[0]
        n = len(rows.row(p).rest) - len(rows.asked(p.question).rest)
        token = logits[-n - 1].argmax()
        assert row["answer"] == rows.rows.tokenizer.decode(token).strip()
        assert row["latents"] == len(rows.row(p).pieces)


def test_without_its_latents_a_decoder_answers_otherwise(trained):
    training, its, model, _ = trained
    rows = thought_rows(training, its)
    for weight in model.decoder.parameters():
        weight.data *= 4  # what it says hangs on all that it reads
    try:
        plain, nothing = (
            encoded_answers(model, rows, FEW, change) for change in (None, zeroed)
        )
    finally:
        for weight in model.decoder.parameters():
            weight.data /= 4
    assert (plain["answer"] != nothing["answer"]).any()


# --- what is measured -----------------------------------------------------------------
@pytest.fixture(scope="module")
def thinking(trained):
    """A solver whose thoughts do not end before their limit."""
    _, _, _, solver = trained
    rows = dataclasses.replace(
        solver.thought, rows=dataclasses.replace(solver.thought.rows, eot=3)
    )
    return SuperpositionSolver(solver.model, rows, n_max=3, batch_size=5)


def test_thoughts_come_in_the_order_of_their_questions(thinking):
    questions = [p.question for p in FEW]
    together = thoughts_of(thinking, questions)
    for question, thought in zip(questions, together, strict=True):
        (alone,) = thoughts_of(thinking, [question])
        assert np.allclose(alone.probabilities, thought.probabilities, atol=1e-5)
        assert np.allclose(thought.probabilities.sum(1), 1, atol=1e-4)
        assert len(thought.latents) == len(thought.read) == 3


def test_a_latent_is_held_against_its_own_piece(thinking):
    found = latent_table(thinking, FEW, k=10)
    counts = [min(3, len(thinking.thought.pieces(p.steps))) for p in FEW]
    assert len(found) == sum(counts)
    row = found[found["id"] == FEW[0].id].iloc[-1]
    piece = thinking.thought.pieces(FEW[0].steps)[int(row["latent"])]
    assert row["distinct"] == len(set(piece))
    (thought,) = thoughts_of(thinking, [FEW[0].question])
    likeliest = np.argsort(-thought.probabilities[int(row["latent"])])[:10]
    assert row["found"] == len(set(piece) & set(likeliest.tolist()))
    silent = dataclasses.replace(thinking, n_max=0)
    with pytest.raises(ValueError, match="there is no latent to measure"):
        latent_table(silent, FEW)


def test_segments_are_encoded_as_a_chain_of_such_pieces_is(trained, thinking):
    training, its, model, _ = trained
    rows = thought_rows(training, its)
    p = next(any_order_stream("train", least=2))
    path = [t for piece in rows.pieces(p.steps) for t in piece]
    n = p.n_steps
    (found,) = segment_latents(model, rows, p, [path], n)
    if segments(path, n) == rows.pieces(p.steps):
        labels = labels_of_one(model, rows, p)
        assert np.allclose(found, labels, atol=1e-5)
    two = segment_latents(model, rows, p, [path, path[::-1]], n)
    assert np.allclose(two[0], found, atol=1e-5)
    assert not np.allclose(two[1], found, atol=1e-5)


def labels_of_one(model, rows, problem):
    batch = batch_of(model, rows, [problem])
    with torch.no_grad():
        return model(**batch).vectors.numpy()


def test_a_thought_is_held_against_its_own_chains_and_those_of_another(
    trained, thinking
):
    stream = any_order_stream("validation", least=2)
    some = [next(stream) for _ in range(4)]
    for encoder in (None, trained[2]):
        found = path_table(thinking, some, encoder)
        assert len(found) == 8 and set(found["chains"]) == {"own", "another question's"}
        own = found[found["chains"] == "own"].reset_index()
        other = found[found["chains"] != "own"].reset_index()
        assert other["paths"].tolist() == [*own["paths"][1:], own["paths"][0]]
        assert found["n_eff"].ge(1).all() and found["n_eff"].le(found["paths"]).all()
        assert (found["best"] >= found["mean"]).all()
    with pytest.raises(ValueError, match="two problems are needed"):
        path_table(thinking, some[:1])
