"""Laws of damaged chains: what each kind of damage leaves of a chain."""

import json

import pandas as pd
import pytest
from redundancy_models import (  # noqa: F401 (fixtures)
    CHAINS,
    PROBLEMS,
    ids_of,
    reader_fixture,
)

from lrkit.data.conversations import BadRows
from lrkit.study.redundancy.measuring import (
    ANOTHER,
    KINDS,
    NOTHING,
    RANDOM,
    SHUFFLED,
    Damage,
    WrittenChain,
    every_damage,
    measure,
    read_chains,
)
from lrkit.study.redundancy.splitting import terse
from lrkit.study.scoreboard import same_answer


def test_no_damage_is_the_chain_and_all_of_it_is_nothing(reader):
    encode = reader.template.encode
    for chain in CHAINS:
        for kind in ("tokens", "steps", "beginning kept", "end kept"):
            assert ids_of(reader, chain, kind) == encode(chain.chain)
            assert ids_of(reader, chain, kind, 1.0) == []
        assert ids_of(reader, chain, NOTHING) == []
        assert ids_of(reader, chain, ANOTHER, other=CHAINS[0]) == encode(
            CHAINS[0].chain
        )


def test_tokens_and_steps_that_are_left_are_in_their_order(reader):
    chain = CHAINS[3]
    whole = reader.template.encode(chain.chain)
    for seed in range(20):
        rest = iter(whole)
        assert all(i in rest for i in ids_of(reader, chain, "tokens", 0.5, seed))
        text = reader.template.tokenizer.decode(
            ids_of(reader, chain, "steps", 0.5, seed)
        )
        steps = iter(PROBLEMS[3].steps)
        assert all(step in steps for step in text.split())
        moved = reader.template.tokenizer.decode(
            ids_of(reader, chain, SHUFFLED, 0, seed)
        ).split()
        assert sorted(moved) == sorted(PROBLEMS[3].steps) != moved


def test_the_damage_of_a_question_does_not_depend_on_the_others(reader):
    some = [Damage("tokens", 0.5, 1), Damage("steps", 0.5, 1)]
    together = measure(reader, CHAINS, some, terse)
    alone = pd.concat([measure(reader, [c], some, terse) for c in CHAINS])
    columns = ["kind", "id", "kept", "leaked", "answer"]
    sort = lambda t: t[columns].sort_values(["kind", "id"]).to_numpy().tolist()  # noqa: E731
    assert sort(together) == sort(alone)


def test_where_the_answer_was_removed_it_is_not_read(reader):
    kinds = [k for k in RANDOM if k.endswith("removed")]
    table = measure(reader, CHAINS, [Damage(k) for k in kinds], terse)
    assert not table["leaked"].any() and (table["kept"] < 1).all()
    whole = measure(reader, CHAINS, [Damage("tokens")], terse)
    assert whole["leaked"].all() and (whole["kept"] == 1).all()


def test_every_kind_gives_a_row_for_each_question_and_seed(reader):
    some = every_damage((0.0, 0.5), (0, 1))
    table = measure(reader, CHAINS, some, terse)
    assert set(table["kind"]) == set(KINDS) and len(table) == len(some) * len(CHAINS)
    assert not table.duplicated(["id", "kind", "p", "seed"]).any()
    assert (table[table["kind"] == NOTHING]["kept"] == 0).all()
    assert (table[table["kind"] == ANOTHER]["kept"] == 0).all()
    wanted = {c.id: c.answer for c in CHAINS}
    right = [same_answer(a, wanted[i]) for i, a in table[["id", "answer"]].to_numpy()]
    assert table["correct"].tolist() == right


def test_damages_that_cannot_be_are_refused(reader):
    with pytest.raises(ValueError, match="choose one of tokens, steps"):
        Damage("words")
    with pytest.raises(ValueError, match="p must lie between 0 and 1"):
        Damage("tokens", 1.5)
    with pytest.raises(ValueError, match="no chains to damage"):
        measure(reader, [], [], terse)


def test_chains_come_from_a_table_or_its_rows_are_named(tmp_path):
    rows = [{"question": "Why?", "chain": "A. B.", "answer": "7"},
            {"question": "How?", "chain": "", "answer": "8"}]  # fmt: skip
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    found = read_chains(path)
    assert found[0] == WrittenChain("mine-00001", "Why?", "A. B.", "7")
    assert found[1].chain == ""
    path.write_text(json.dumps(rows[0] | {"answer": " "}) + "\n")
    with pytest.raises(BadRows, match="row 1: the answer is empty"):
        read_chains(path)
    path.write_text(json.dumps({"question": "Why?", "answer": "7"}) + "\n")
    with pytest.raises(BadRows, match="no column 'chain'"):
        read_chains(path)
