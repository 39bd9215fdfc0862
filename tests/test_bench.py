"""Laws of the bench: equal answers, honest counts, ratios that follow from times."""

import dataclasses
import json

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from lrkit.answer.engine import common_prefix
from lrkit.paths import results_dir
from lrkit.plots import speed
from lrkit.study.bench import __main__ as command
from lrkit.study.bench import cases, ways
from lrkit.study.bench.cases import Case, Sizes, Unavailable, middle, spread_by_length
from lrkit.study.bench.measuring import (
    Disagreement,
    computed_tokens,
    floor_seconds,
    matrix_rate,
    measure,
)
from lrkit.study.bench.report import aims, bench, provenance
from lrkit.study.bench.ways import Way, all_ways, engine, engine_batch

HEAD = list(range(20, 40))
TAILS = [[7], [9, 8, 7], [5] * 30, [6, 6], [200, 201], list(range(60, 75))]
LENGTHS = (2, 4, 5)
SHARES = (0.0, 0.5, 0.9)
RATE = "lrkit.study.bench.measuring.matrix_rate"
SIZES = Sizes(6, 6, 5, 6, chain_alone=2, few=(1, 3), share=4)


def tiny(**settings) -> LlamaForCausalLM:
    """Weights ten times the usual size: its logits depend on all that it reads."""
    torch.manual_seed(0)
    shape = dict(
        vocab_size=300, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=2, initializer_range=0.2, tie_word_embeddings=False,
    )  # fmt: skip
    return LlamaForCausalLM(LlamaConfig(**shape | settings)).eval()


@pytest.fixture(scope="module")
def case() -> Case:
    prompts = spread_by_length([HEAD + tail for tail in TAILS])
    return Case("tiny", tiny(), 0, prompts, SIZES)


@pytest.fixture(scope="module")
def measured(case) -> dict:
    table = all_ways(case, LENGTHS, SHARES)
    fast = pytest.MonkeyPatch()
    fast.setattr(RATE, lambda *_: 1e9)
    found = provenance(2) | {"cases": [bench(case, table, 2)]}
    fast.undo()
    return json.loads(json.dumps(found, allow_nan=False))


def named(case: Case, name: str) -> Way:
    (way,) = [w for w in all_ways(case, LENGTHS, SHARES) if w.name == name]
    return way


# --- ways -----------------------------------------------------------------------------
def test_every_way_gives_the_logits_of_a_plain_forward_pass(case):
    compared = [w for w in all_ways(case) if w.tolerance is not None]
    assert [w.name for w in compared if w.table == "one token"] == [
        ways.SNIPPET, ways.BATCHED, ways.PLAIN, ways.OURS, ways.BF16
    ]  # fmt: skip
    for way in compared:
        logits, seconds = way.run(case, way.rows)
        with torch.inference_mode():
            plain = [case.model(torch.tensor([r])).logits[0, -1] for r in way.rows]
        expected = torch.stack(plain)
        assert expected.std() > 0.1 and set(seconds) == {1}
        loose = way.dtype == torch.bfloat16
        atol = 0.2 * expected.std().item() if loose else ways.TOLERANCE
        torch.testing.assert_close(logits, expected, rtol=0, atol=atol)
        assert loose == (not torch.allclose(logits, expected, atol=1e-4))


def test_times_of_ways_that_disagree_are_refused(case, monkeypatch):
    monkeypatch.setattr(RATE, lambda *_: 1e9)
    snippet, ours = named(case, ways.SNIPPET), named(case, ways.OURS)
    for wrong in (2 * ways.TOLERANCE, float("nan")):

        def run(case, rows, wrong=wrong):
            logits, seconds = engine(True)(case, rows)
            logits[1, 3] += wrong
            return logits, seconds

        bad = dataclasses.replace(ours, run=run)
        with pytest.raises(Disagreement, match=r"shared prefix.*differs"):
            measure(case, [snippet, bad], 1)


def test_a_chain_is_written_to_its_end_though_a_row_would_stop(case):
    passes = []
    model = tiny()
    first = model.generate(torch.tensor([case.prompts[0]]), max_new_tokens=1)[0, -1]
    model.generation_config.eos_token_id = int(first)  # what it would write at once
    model.register_forward_hook(lambda *_: passes.append(1))
    eager = dataclasses.replace(case, model=model)
    logits, seconds = ways.chain(1, LENGTHS)(eager, case.prompts[:2])
    assert logits is None and len(passes) == 2 * max(LENGTHS)
    assert list(seconds) == list(LENGTHS)
    assert 0 < seconds[2] < seconds[4] < seconds[5]


def test_the_chain_runs_in_the_batches_of_the_engine(case, monkeypatch):
    assert engine_batch(case.prompts) == len(TAILS)
    monkeypatch.setattr(ways, "BATCH_TOKENS", 30)
    # Own lengths 1, 2, 2, 3, 15, 30 within 30 padded tokens: batches of 4, 1 and 1.
    assert engine_batch(case.prompts) == 1
    monkeypatch.setattr(ways, "BATCH_TOKENS", 60)
    # Batches of 4 (five of 15 tokens would be 75) and 2.
    assert engine_batch(case.prompts) == 3
    together = named(case, "chain, same batch")
    assert together.rows_per_batch == len(together.rows) == 3


# --- counts and floors ----------------------------------------------------------------
def test_the_floor_is_what_one_counts_by_hand():
    model = tiny(
        vocab_size=10, hidden_size=8, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=1,
    )  # fmt: skip
    case = Case("small", model, 0, [[1]], SIZES)
    # q and o 8x8, k and v 8x4, three 8x16 in the MLP; the head is 8x10.
    assert case.block_parameters == 2 * 64 + 2 * 32 + 3 * 128 == 576
    assert case.head_parameters == 80
    seconds = floor_seconds(case, tokens=100, heads=5, rate=1000.0)
    assert seconds == pytest.approx(2 * (576 * 100 + 80 * 5) / 1000)


def test_counted_tokens_are_those_that_the_model_computes(case):
    """On prompts of one length, where nothing is padded."""
    rows = [HEAD + [i] * 5 for i in range(4)]
    seen = []
    hook = case.model.get_input_embeddings().register_forward_hook(
        lambda module, inputs, output: seen.append(inputs[0].numel())
    )
    for name, written in (
        (ways.SNIPPET, 1), (ways.BATCHED, 1), (ways.PLAIN, 1), (ways.OURS, 1),
        ("chain, alone", 5), ("chain, same batch", 5),
    ):  # fmt: skip
        seen.clear()
        way = dataclasses.replace(named(case, name), rows=rows)
        way.run(case, rows)
        assert computed_tokens(way, written) == sum(seen), name
    hook.remove()
    ours = dataclasses.replace(named(case, ways.OURS), rows=rows)
    assert computed_tokens(ours, 1) == 20 + 4 * 5
    # A row alone shares nothing; a very short beginning is not worth a cache.
    assert computed_tokens(dataclasses.replace(ours, rows=rows[:1]), 1) == 25
    short = [[1, 2, 3, i] for i in range(4)]
    assert computed_tokens(dataclasses.replace(ours, rows=short), 1) == 16


def test_the_matrix_rate_is_positive_in_both_precisions():
    for dtype in (torch.float32, torch.bfloat16):
        assert matrix_rate(torch.device("cpu"), dtype, seconds=0) > 1e8


@pytest.mark.parametrize("n", [1, 2, 7, 64, 100])
def test_the_first_few_prompts_are_of_typical_lengths(n):
    rng = np.random.default_rng(0)
    prompts = [[i] * k for i, k in enumerate(rng.integers(50, 400, n))]
    found = spread_by_length(prompts)
    assert sorted(found) == sorted(prompts)
    mean = np.mean([len(p) for p in prompts])
    for few in (15, 31):
        if few < n:
            assert np.mean([len(p) for p in found[:few]]) == pytest.approx(mean, 0.04)


def test_the_middle_is_around_the_median():
    prompts = [[0] * k for k in (9, 1, 5, 3, 7)]
    assert [len(p) for p in middle(prompts, 3)] == [3, 5, 7]
    assert [len(p) for p in middle(prompts, 1)] == [5]


def test_shares_are_of_prompts_of_one_length(case):
    table = list(ways.share_ways(case, SHARES))
    width = {len(row) for way in table for row in way.rows}
    assert len(width) == 1
    n = width.pop()
    assert [len(common_prefix(w.rows)) for w in table] == [
        round(share * n) for share in SHARES
    ]


# --- tables and claims ----------------------------------------------------------------
def spread(values) -> dict:
    return {"min": min(values), "median": np.median(values), "max": max(values)}


def check_case(case: dict, repeats: int) -> None:
    """Every number that is claimed follows from times and counts in the same file."""
    named = {record["way"]: record for record in case["ways"]}
    assert len(named) == len(case["ways"])
    for record in named.values():
        n, seconds = record["rows_measured"], record["seconds"]
        assert len(seconds) == repeats and min(seconds) > 0
        rates = record["matrix_rate"]
        shared, written = record["shared_prefix"], record["tokens_written"]
        tokens = record["prompt_tokens"] + n * (written - 1) - shared * (n - 1)
        assert record["computed_tokens"] == tokens
        products = case["block_parameters"] * tokens
        products += case["head_parameters"] * n * written
        floors = [2 * products / rate for rate in rates]
        assert record["floor_seconds"] == pytest.approx(floors)
        assert record["rows_per_second"] == pytest.approx(
            spread([n / s for s in seconds])
        )
        assert record["share_of_floor"] == pytest.approx(
            spread([f / s for f, s in zip(floors, seconds, strict=True)])
        )
        one_token = record["table"] in ("one token", "rows")
        assert (record["largest_difference"] is not None) == one_token
        if one_token and record["precision"] == "float32":
            assert 0 <= record["largest_difference"] <= ways.TOLERANCE
    tables = ("comparisons", "by_rows", "by_share", "by_chain_length")
    for row in [row for table in tables for row in case[table]]:
        a, b = named[row["faster"]], named[row["slower"]]
        ratios = [
            (a["rows_measured"] / s) / (b["rows_measured"] / t)
            for s, t in zip(a["seconds"], b["seconds"], strict=True)
        ]
        found = {key: row[key] for key in ("min", "median", "max")}
        assert found == pytest.approx(spread(ratios))
        per_row = [r["computed_tokens"] / r["rows_measured"] for r in (a, b)]
        assert row["by_tokens"] == pytest.approx(per_row[1] / per_row[0])
    for aim in case["aims"]:
        assert aim["met"] == (aim["median"] >= aim["wanted"])


def test_ratios_follow_from_the_times(measured):
    check_case(measured["cases"][0], repeats=2)


def test_growth_is_shown_over_rows_share_and_chain_length(measured):
    (case,) = measured["cases"]
    assert [row["rows"] for row in case["by_rows"]] == [1, 3, 6]
    shares = [row["share"] for row in case["by_share"]]
    assert shares == pytest.approx(SHARES, abs=0.02)
    first = case["by_share"][0]
    assert first["min"] == first["max"] == first["by_tokens"] == 1
    # Four rows: of the common part, a quarter is left to compute.
    last = case["by_share"][-1]
    assert last["by_tokens"] == pytest.approx(1 / (1 - 0.75 * shares[-1]))
    chains = [(row["tokens"], row["batch"]) for row in case["by_chain_length"]]
    both = ("alone", "same batch")
    assert chains == [(n, batch) for batch in both for n in LENGTHS]


def test_aims_name_what_was_wanted_and_whether_it_came(measured):
    (case,) = measured["cases"]
    made = {"comparisons": [{"median": 2.0, "by_tokens": 2.4}]}
    rows = [("alone", 128, 31.0), ("same batch", 128, 11.0), ("alone", 32, 9.0)]
    made["by_chain_length"] = [
        {"batch": batch, "tokens": n, "median": x} for batch, n, x in rows
    ]
    of_talk = aims(cases.EMBEDDED, case["ways"], made)
    met = [(a["wanted"], a["met"]) for a in of_talk]
    assert met == [(10, False), (30, True), (12, False)]
    of_large = aims(cases.LARGE, case["ways"], made)
    assert [a["wanted"] for a in of_large] == [0.8, 0.6, 30, 12]
    assert of_large[0]["median"] == pytest.approx(2 / 2.4) and of_large[0]["met"]


def test_the_figure_names_its_axes_and_units(measured):
    skipped = {"case": "other", "skipped": "no tokenizer"}
    figure = speed(measured | {"cases": [*measured["cases"], skipped]})
    labels = [ax.get_xlabel() for ax in figure.axes]
    assert labels == [
        "rows per second", "rows scored together",
        "share of the prompt that is common", "tokens of the chain",
    ]  # fmt: skip
    assert all(ax.get_ylabel() for ax in figure.axes[1:])
    assert all(ax.get_title() for ax in figure.axes)
    ticks = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    assert ticks[0] == ways.SNIPPET and ticks[-1] == "chain of 5, same batch"
    plt.close(figure)


# --- cases and the command ------------------------------------------------------------
def test_the_large_case_is_the_sources_prompt_on_a_hundred_million_parameters(
    mistral, monkeypatch
):
    monkeypatch.setattr(cases, "device", lambda: torch.device("meta"))
    case = cases.large_case(mistral, cap=4)
    assert 95e6 < case.model.num_parameters() < 105e6
    assert len(case.prompts) == 4 and len(common_prefix(case.prompts)) > 200
    text = mistral.decode(case.prompts[0])
    assert "<|im_start|>" in text and "step-by-step" in text
    assert case.head_parameters == 640 * 32002


def test_a_cap_holds_for_every_way_and_keeps_smaller_sizes():
    capped = cases.SIZES[cases.LARGE].capped(8)
    assert dataclasses.asdict(capped) == {
        "ours": 8, "bf16": 8, "snippet": 8, "plain": 8, "chain_alone": 1,
        "few": (1, 4), "share": 6,
    }  # fmt: skip


def test_another_tokenizer_is_not_taken_for_mistrals(chatml, tmp_path):
    chatml.save_pretrained(tmp_path)
    with pytest.raises(Unavailable, match="another tokenizer"):
        cases.mistral_tokenizer(tmp_path)


def test_a_case_without_its_tokenizer_is_skipped_and_says_so(
    case, monkeypatch, tmp_path, capsys
):
    def gone(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(cases, "files", gone)
    monkeypatch.setattr(command, "embedded_case", lambda cap: case)
    monkeypatch.setattr(command, "all_ways", lambda c: all_ways(c, LENGTHS, SHARES))
    monkeypatch.setattr(RATE, lambda *_: 1e9)
    out = tmp_path / "speed.json"
    arguments = ["bench", "--out", str(out), "--repeats", "1"]
    monkeypatch.setattr("sys.argv", arguments)
    command.main()
    talk, large = json.loads(out.read_text("utf-8"))["cases"]
    assert talk["case"] == "tiny" and large.keys() == {"case", "skipped"}
    assert "mistral-common" in large["skipped"]
    assert large["skipped"] in capsys.readouterr().err
    assert out.with_suffix(".png").stat().st_size > 10_000


def test_the_recorded_results_follow_from_their_own_times():
    path = results_dir() / "bench_one_token.json"
    if not path.is_file():
        pytest.skip("no bench has been recorded")
    results = json.loads(path.read_text("utf-8"))
    assert results["repeats"] >= 3 and results["threads"] >= 1
    assert "hosted" in " ".join(results["notes"])
    measured = [case for case in results["cases"] if "skipped" not in case]
    assert [case["case"] for case in results["cases"]] == [cases.EMBEDDED, cases.LARGE]
    for case in measured:
        check_case(case, results["repeats"])
        assert case["prompts"]["rows"] == 512
        assert [row["rows"] for row in case["by_rows"]][-1] == 512
        lengths = [row["tokens"] for row in case["by_chain_length"]]
        assert min(lengths) == 32 and max(lengths) == 150 and case["aims"]
