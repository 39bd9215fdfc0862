"""Laws of the latent bench: equal results, honest counts, ratios that follow."""

import dataclasses
import json

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from lrkit.latent.codi import CodiModel
from lrkit.paths import results_dir
from lrkit.plots_latent import latent_speed
from lrkit.study.bench import latent, latent_measuring, latent_ways
from lrkit.study.bench.latent_measuring import (
    HEADLINE,
    LatentCase,
    compare_gradients,
    gradients,
    measure,
)
from lrkit.study.bench.latent_ways import (
    AGAIN,
    INFERENCE,
    LATENT_WAYS,
    OURS,
    TRAINING,
    LatentWay,
    Lengths,
    asked,
    batch_of,
)
from lrkit.study.bench.measuring import Disagreement

LENGTHS = Lengths(question=7, chain=5, answer=4)
TRAINERS = [way for way in LATENT_WAYS if way.task == TRAINING]
SOLVERS = [way for way in LATENT_WAYS if way.task == INFERENCE]


def tiny(kind: str) -> LatentCase:
    """Weights ten times the usual size: results depend on all that is read."""
    torch.manual_seed(0)
    if kind == "Llama":
        base = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=90, hidden_size=32, num_hidden_layers=2, pad_token_id=3,
                num_attention_heads=4, num_key_value_heads=2, intermediate_size=48,
                initializer_range=0.2, eos_token_id=5,
            )
        )  # fmt: skip
    else:
        base = GPT2LMHeadModel(
            GPT2Config(
                vocab_size=90, n_embd=32, n_layer=2, n_head=4, n_positions=64,
                initializer_range=0.2, bos_token_id=5, eos_token_id=5,
                resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
            )
        )  # fmt: skip
    counts = (1, 3, HEADLINE)
    return LatentCase(kind, CodiModel.wrap(base), 3, 4, counts, lengths=LENGTHS)


@pytest.fixture(scope="module", params=["Llama", "GPT-2"])
def case(request) -> LatentCase:
    return tiny(request.param)


@pytest.fixture(scope="module")
def measured() -> dict:
    results = {"device": "CPU", "threads": 1, "cases": [latent.bench(tiny("Llama"), 2)]}
    return json.loads(json.dumps(results, allow_nan=False))


def run(case: LatentCase, way: LatentWay, rows: int, n: int) -> torch.Tensor:
    inputs = batch_of(case.model, LENGTHS, rows, n)
    if way.task == TRAINING:
        return way.run(case.model.train(), inputs)
    with torch.inference_mode():
        return way.run(case.model.eval(), asked(inputs, LENGTHS), LENGTHS.answer)


# --- the same results -----------------------------------------------------------------
@pytest.mark.parametrize("n", [1, 2, HEADLINE])
def test_all_ways_to_train_give_one_loss(case, n):
    losses = [run(case, way, 3, n).item() for way in TRAINERS]
    assert losses == pytest.approx([losses[-1]] * len(TRAINERS), abs=1e-4)
    assert losses[-1] > 1


def test_all_ways_to_train_give_one_gradient_to_every_parameter(case):
    assert compare_gradients(case) < 1e-5
    naive, ours = gradients(case, TRAINERS[0]), gradients(case, TRAINERS[-1])
    for name, gradient in ours.items():
        torch.testing.assert_close(naive[name], gradient, rtol=1e-3, atol=1e-4)
        assert gradient.abs().max() > 0, name


@pytest.mark.parametrize("n", [1, 2, HEADLINE])
def test_all_ways_to_answer_give_the_same_tokens(case, n):
    answers = [run(case, way, 8, n) for way in SOLVERS]
    for found in answers:
        assert found.tolist() == answers[-1].tolist()
    assert answers[-1].shape == (8, LENGTHS.answer)
    assert len({tuple(row) for row in answers[-1].tolist()}) > 1


def test_an_answer_depends_on_the_latents_and_no_token_ends_it(case):
    few, many = (run(case, SOLVERS[-1], 8, n) for n in (1, 2))
    assert few.tolist() != many.tolist()
    model = case.model.eval()
    first = int(run(case, SOLVERS[-1], 1, 1)[0, 0])
    model.generation_config.eos_token_id = first
    assert run(case, SOLVERS[-1], 1, 1).shape == (1, LENGTHS.answer)


def test_rows_are_of_one_length_and_the_same_for_every_number_of_latents(case):
    few, many = (batch_of(case.model, LENGTHS, 3, n) for n in (1, 5))
    for inputs in (few, many):
        assert inputs["attention_mask"].all()
        assert inputs["teacher_attention_mask"].all()
        assert inputs["input_ids"][0, inputs["cue"][0] + 1 :].tolist() \
            == inputs["teacher_input_ids"][0, inputs["teacher_cue"][0] + 1 :].tolist() \
            != []  # fmt: skip
    assert few["input_ids"].shape == (3, 7 + 1 + 1 + 1 + 4)
    assert many["input_ids"].shape == (3, 7 + 1 + 5 + 1 + 4)
    assert torch.equal(few["teacher_input_ids"], many["teacher_input_ids"])
    assert torch.equal(few["input_ids"][:, :7], many["input_ids"][:, :7])


# --- disagreement ---------------------------------------------------------------------
def wrong(way: LatentWay, change) -> LatentWay:
    return dataclasses.replace(
        way, name="wrong", run=lambda *args: change(way.run(*args))
    )


@pytest.mark.parametrize("off", [2 * latent_measuring.TOLERANCE, float("nan")])
def test_another_loss_is_refused(off):
    ways = [*TRAINERS[:1], wrong(TRAINERS[-1], lambda loss: loss + off), *SOLVERS]
    with pytest.raises(Disagreement, match=r"'wrong' differs from 'all again'.*loss"):
        measure(tiny("Llama"), 1, ways=ways)


def test_another_answer_is_refused():
    bad = wrong(SOLVERS[-1], lambda tokens: tokens.clone().fill_(1))
    with pytest.raises(Disagreement, match=r"'wrong' and 'all again' answer . of 4"):
        measure(tiny("Llama"), 1, ways=[*TRAINERS, *SOLVERS[:1], bad])


def test_another_gradient_is_refused_though_the_loss_is_the_same():
    cut = wrong(TRAINERS[-1], lambda loss: 0.99 * loss + 0.01 * loss.detach())
    with pytest.raises(Disagreement, match="the gradient of"):
        compare_gradients(tiny("Llama"), [*TRAINERS[:1], cut])


def test_a_bench_without_agreement_writes_nothing(monkeypatch, tmp_path):
    right = latent_ways.distillation_loss
    monkeypatch.setattr(
        latent_ways, "distillation_loss", lambda *states: 1.01 * right(*states)
    )
    monkeypatch.setattr(latent, "CASES", {"tiny": lambda: tiny("Llama")})
    monkeypatch.setattr("sys.argv", ["bench", "--out", str(tmp_path / "x.json")])
    with pytest.raises(Disagreement):
        latent.main()
    assert not list(tmp_path.iterdir())


# --- counts ---------------------------------------------------------------------------
@pytest.mark.parametrize("way", LATENT_WAYS, ids=lambda way: f"{way.task}-{way.name}")
@pytest.mark.parametrize("n", [1, 4])
def test_counted_positions_are_those_that_the_base_computes(way, n):
    case = tiny("Llama")
    forward, backward = [], []

    def note(module, args, kwargs):
        rows, columns = kwargs["inputs_embeds"].shape[:2]
        forward.append(rows * columns)
        if torch.is_grad_enabled():
            backward.append(rows * columns)

    case.model.base.register_forward_pre_hook(note, with_kwargs=True)
    run(case, way, 2, n)
    expected = sum(forward) / 2, sum(backward) / 2
    assert way.positions(LENGTHS, n) == expected
    assert way.passes(LENGTHS, n) == len(forward)


def test_positions_at_the_size_that_the_aims_speak_of():
    found = {
        (way.task, way.name): way.positions(Lengths(), HEADLINE) for way in LATENT_WAYS
    }
    latents = 65 + 66 + 67 + 68 + 69 + 70
    assert found[INFERENCE, AGAIN] == (latents + 72 + 73 + 74 + 75 + 76 + 77, 0)
    assert found[INFERENCE, OURS] == (65 + 6 + 1 + 5, 0)
    student, teacher = 65 + 6 + 1 + 6, 64 + 24 + 6
    assert found[TRAINING, OURS] == (student + teacher, student + teacher)
    again = latents + student + teacher
    assert found[TRAINING, AGAIN] == (again + teacher, again)


# --- times and claims -----------------------------------------------------------------
def made_up(task, way, n, seconds, rows=2, positions=10):
    return {
        "task": task, "way": way, "rows": rows, "n_latents": n, "seconds": seconds,
        "forward_positions": positions, "backward_positions": 0,
    }  # fmt: skip


def test_ratios_and_aims_follow_from_made_up_times():
    records = [
        made_up(TRAINING, AGAIN, HEADLINE, [4.0, 6.0, 9.0], positions=60),
        made_up(TRAINING, OURS, HEADLINE, [1.0, 2.0, 9.0], positions=20),
        made_up(INFERENCE, AGAIN, HEADLINE, [3.9, 3.9]),
        made_up(INFERENCE, "answer again", HEADLINE, [9.0, 9.0]),
        made_up(INFERENCE, OURS, HEADLINE, [1.0, 1.0]),
        made_up(INFERENCE, AGAIN, 2, [50.0, 50.0]),
        made_up(INFERENCE, OURS, 2, [1.0, 1.0]),
    ]
    made = latent.comparisons(records)
    assert [(r["slower"], r["min"], r["median"], r["max"]) for r in made] == [
        (AGAIN, 1.0, 3.0, 4.0), (AGAIN, 3.9, 3.9, 3.9), ("answer again", 9.0, 9.0, 9.0)
    ]  # fmt: skip
    assert made[0]["by_positions"] == 3
    grown = [{"task": TRAINING, "way": way, "r2": 0.9} for way in (AGAIN, OURS)]
    found = latent.aims(made, grown)
    assert [(a["wanted"], a["median"], a["met"]) for a in found] == [
        (2.0, 3.0, True), (4.0, 3.9, False), (0.95, 0.9, False)
    ]  # fmt: skip


def test_a_backward_position_counts_as_two():
    record = {"forward_positions": 7, "backward_positions": 5}
    assert latent.work(record) == 17


def test_the_line_is_found_again_and_a_bend_shows():
    n = [1, 2, 4, 6, 8, 12]
    straight = latent.line(n, [0.5 + 0.25 * k for k in n])
    assert straight == pytest.approx(
        {"seconds_per_latent": 0.25, "seconds_at_none": 0.5, "r2": 1.0}
    )
    assert latent.line(n, [2.0**k for k in n])["r2"] < 0.8


def test_growth_is_over_the_medians_and_needs_three_points():
    records = [
        made_up(TRAINING, OURS, n, [9.0, 1.0 + n, 0.1]) for n in (6, 1, 3)
    ] + [made_up(INFERENCE, OURS, n, [1.0]) for n in (1, 2)]  # fmt: skip
    (row,) = latent.growth(records)
    assert row["n_latents"] == [1, 3, 6]
    assert [s["median"] for s in row["seconds"]] == [2.0, 4.0, 7.0]
    assert row["seconds_per_latent"] == pytest.approx(1)
    assert row["r2"] == pytest.approx(1)


def check_case(case: dict) -> None:
    """Every number that is claimed follows from times and counts in the same file."""
    named = {(r["task"], r["rows"], r["n_latents"], r["way"]): r for r in case["ways"]}
    assert len(named) == len(case["ways"])
    lengths = Lengths(**case["tokens"])
    ways = {(way.task, way.name): way for way in LATENT_WAYS}
    for (task, rows, n, name), record in named.items():
        assert len(record["seconds"]) == case["repeats"] and min(record["seconds"]) > 0
        assert 0 <= record["largest_difference"] <= latent_measuring.TOLERANCE
        way = ways[task, name]
        found = record["forward_positions"], record["backward_positions"]
        assert found == tuple(rows * k for k in way.positions(lengths, n))
        assert record["passes"] == way.passes(lengths, n)
    assert 0 <= case["largest_difference_of_gradients"] <= latent_measuring.TOLERANCE
    for row in case["comparisons"]:
        at = row["task"], row["rows"], row["n_latents"]
        a, b = named[*at, row["faster"]], named[*at, row["slower"]]
        ratios = np.divide(b["seconds"], a["seconds"])
        assert row["faster"] == OURS and row["n_latents"] == HEADLINE
        assert row["min"] == pytest.approx(min(ratios))
        assert row["median"] == pytest.approx(np.median(ratios))
        assert row["max"] == pytest.approx(max(ratios))
        assert row["by_positions"] == pytest.approx(latent.work(b) / latent.work(a))
    for row in case["growth"]:
        records = [
            named[row["task"], row["rows"], n, row["way"]] for n in row["n_latents"]
        ]
        medians = [np.median(r["seconds"]) for r in records]
        fitted = latent.line(row["n_latents"], medians)
        assert {key: row[key] for key in fitted} == pytest.approx(fitted)
    for aim in case["aims"]:
        assert aim["met"] == (aim["median"] >= aim["wanted"])


def test_all_that_is_measured_is_compared_and_its_growth_shown(measured):
    (case,) = measured["cases"]
    check_case(case)
    shown = [(r["task"], r["rows"], r["slower"]) for r in case["comparisons"]]
    others = [way.name for way in SOLVERS[:-1]]
    assert shown == [
        *[(TRAINING, 3, way.name) for way in TRAINERS[:-1]],
        *[(INFERENCE, 4, name) for name in others],
        *[(INFERENCE, 1, name) for name in others],
    ]
    grown = [(r["task"], r["way"], r["n_latents"]) for r in case["growth"]]
    assert sorted(grown) == sorted(
        (task, way, [1, 3, HEADLINE])
        for task in (TRAINING, INFERENCE)
        for way in (AGAIN, OURS)
    )
    assert len(case["aims"]) == 1 + 2 * 2 + 2


def test_the_weights_are_those_of_before(measured):
    case = tiny("GPT-2")
    before = {name: w.clone() for name, w in case.model.state_dict().items()}
    measure(case, 1)
    for name, weight in case.model.state_dict().items():
        assert torch.equal(weight, before[name]), name


# --- figure, cases, command -----------------------------------------------------------
def test_the_figure_names_its_axes_and_units(measured):
    skipped = {"case": "other", "skipped": "no weights"}
    figure = latent_speed(measured | {"cases": [*measured["cases"], skipped]})
    assert [ax.get_xlabel() for ax in figure.axes] == [
        "times as fast as this way", "latents", "latents"
    ]  # fmt: skip
    assert [ax.get_ylabel() for ax in figure.axes[1:]] == [
        "seconds per step", "seconds per batch"
    ]  # fmt: skip
    assert all(ax.get_title() and ax.get_legend() for ax in figure.axes)
    plt.close(figure)


def test_the_large_case_is_in_the_shape_of_gpt2_without_dropout(monkeypatch):
    seen = []
    monkeypatch.setattr(latent_measuring, "GPT2LMHeadModel", seen.append)
    monkeypatch.setattr(latent_measuring.CodiModel, "wrap", lambda base: base)
    case = latent_measuring.large_case()
    (config,) = seen
    assert (config.n_layer, config.n_embd, config.vocab_size) == (12, 768, 50257)
    assert config.resid_pdrop == config.embd_pdrop == config.attn_pdrop == 0
    assert HEADLINE in case.counts and case.lengths == Lengths(64, 24, 6)


def test_the_command_writes_results_and_figure_and_says_what_it_skips(
    monkeypatch, tmp_path, capsys
):
    def missing():
        raise FileNotFoundError("run make pretrain")

    monkeypatch.setattr(
        latent, "CASES", {"gone": missing, "tiny": lambda: tiny("Llama")}
    )
    out = tmp_path / "latent.json"
    arguments = ["bench", "--small", "--repeats", "1", "--out", str(out)]
    monkeypatch.setattr("sys.argv", arguments)
    latent.main()
    results = json.loads(out.read_text("utf-8"))
    gone, case = results["cases"]
    assert gone == {"case": "gone", "skipped": "run make pretrain"}
    check_case(case)
    assert {row["rows"] for row in case["ways"]} == {1, 2}
    assert "batch_tokens" not in results and len(results["notes"]) == len(latent.NOTES)
    assert out.with_suffix(".png").stat().st_size > 10_000
    said = capsys.readouterr()
    assert "gone: skipped" in said.err and "aim 4.0" in said.out


def test_a_bench_needs_a_repeat(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["bench", "--repeats", "0"])
    with pytest.raises(SystemExit):
        latent.main()
    assert "a repeat" in capsys.readouterr().err


def test_the_recorded_results_follow_from_their_own_times():
    path = results_dir() / latent.NAME
    if not path.is_file():
        pytest.skip("no bench has been recorded")
    results = json.loads(path.read_text("utf-8"))
    measured = [case for case in results["cases"] if "skipped" not in case]
    assert results["repeats"] >= 3 and len(measured) == 2
    for case in measured:
        check_case(case)
        assert case["tokens"]["question"] == 64
        headline = {row["n_latents"] for row in case["comparisons"]}
        assert headline == {6} and case["aims"]
