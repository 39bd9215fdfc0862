"""Laws of the problems that settings name: whose they are, and where they come from."""

import dataclasses

import pytest

from lrkit.data.problem_sets import evaluation_problems, splits_of, training_problems
from lrkit.paths import public_data_dir
from lrkit.profiles import load_profile


def test_problems_of_a_seed_are_its_own_and_evaluation_is_the_same_for_all():
    settings = load_profile("smoke", "latent").latent
    first, second = training_problems(settings, 0), training_problems(settings, 1)
    assert len(first) == settings.train_rows and first != second
    assert first == training_problems(settings, 0)
    test = evaluation_problems(settings, "test")
    assert {p.split for p in test} == {"test"} and len(test) == settings.eval_rows
    seen = {str(p.made_from["start"]) + str(p.made_from["operations"]) for p in first}
    asked = {str(p.made_from["start"]) + str(p.made_from["operations"]) for p in test}
    assert not seen & asked


def test_a_public_set_is_read_from_its_source(tmp_path):
    lines = ["A has 1 and gets 2.||<<1+2=3>> #### 3", "B has 4.||<<4*1=4>> #### 4"]
    (tmp_path / "train.txt").write_text("\n".join(lines) + "\n")
    (tmp_path / "test.txt").write_text(lines[0] + "\n")
    settings = dataclasses.replace(
        load_profile("gpu", "latent").latent, source=str(tmp_path), train_rows=1
    )
    (problem,) = training_problems(settings, 0)
    assert problem.steps == ("<<1+2=3>>",) and problem.answer == "3"
    assert [p.split for p in evaluation_problems(settings, "test")] == ["test"]
    assert splits_of(settings) == ("test",)
    assert "longer" in splits_of(load_profile("cpu", "latent").latent)


def test_graphs_are_a_task_with_answers_of_one_word():
    settings = dataclasses.replace(
        load_profile("smoke", "latent").latent, task="small graphs"
    )
    assert splits_of(settings) == ("validation", "test")
    test = evaluation_problems(settings, "test")
    assert len(test) == settings.eval_rows and test[:3] == evaluation_problems(
        dataclasses.replace(settings, eval_rows=3), "test"
    )
    for p in test:
        nodes = p.made_from["nodes"]
        assert p.answer == nodes[p.made_from["target"]] and p.answer in p.question
        assert len(nodes) <= 12
    larger = dataclasses.replace(settings, task="graphs", train_rows=4)
    assert all(len(p.made_from["nodes"]) >= 14 for p in training_problems(larger, 0))


@pytest.mark.public_data
@pytest.mark.skipif(public_data_dir() is None, reason="LRKIT_PUBLIC_DATA is unset")
def test_prosqa_is_a_public_set_like_others():
    settings = dataclasses.replace(
        load_profile("smoke", "latent").latent,
        task="prosqa",
        source=str(public_data_dir() / "prosqa"),
    )
    assert splits_of(settings) == ("validation", "test")
    assert all(p.answer.endswith("pus") for p in evaluation_problems(settings, "test"))
    pinned = dataclasses.replace(settings, source="some/id@main")
    with pytest.raises(ValueError, match="is read from a file or a folder"):
        evaluation_problems(pinned, "test")


def test_a_task_or_a_source_that_is_not_there_is_refused():
    settings = load_profile("smoke", "latent").latent
    public = dataclasses.replace(settings, task="gsm8k_aug")
    with pytest.raises(ValueError, match="set its source to a folder"):
        training_problems(public, 0)
    unknown = dataclasses.replace(settings, task="sums")
    with pytest.raises(ValueError, match="no task 'sums': choose one of clock"):
        evaluation_problems(unknown, "test")
