"""Laws of the pictures of rows: every part of a row is a box, in its order."""

import random

import pandas as pd
import pytest
from latent_models import problem, rows_for, tiny_llama
from matplotlib import pyplot as plt

from lrkit.latent.curriculum import Curriculum
from lrkit.latent.slots import SlotModel
from lrkit.plots_latent import KINDS, accuracy_and_length, by_number, token_rows
from lrkit.study.row_pictures import boxes, place_of
from lrkit.study.stats import Estimate

PROBLEM = problem(3)


@pytest.fixture(scope="module")
def rows(chatml):
    return rows_for(SlotModel.wrap(tiny_llama(len(chatml))), chatml)


def kinds(shown):
    return [kind for _, kind in shown]


def test_a_chain_has_a_box_for_each_step(rows):
    shown = boxes(rows, rows.chain(PROBLEM))
    assert kinds(shown) == ["question", *["chain"] * 3, "cue", "answer"]
    assert [text for text, kind in shown if kind == "chain"] == list(PROBLEM.steps)
    assert shown[-1] == ("4", "answer") and shown[-2][0] == "The answer is:"
    n = len(rows.question(PROBLEM.question))
    assert shown[0][0] == f"question: {n} tokens"


def test_latents_and_pauses_stand_between_their_marks(rows):
    shown = boxes(rows, rows.latent(PROBLEM, 2, PROBLEM.steps[2:]))
    assert [text for text, _ in shown[1:6]] == [
        "<bot>", "z1", "z2", "<eot>", PROBLEM.steps[2],
    ]  # fmt: skip
    assert place_of(shown, "latent") == 2
    row = Curriculum(1, 3, filler="pause").row(rows, PROBLEM, 2, random.Random(0))
    texts = [text for text, _ in boxes(rows, row)]
    assert texts.count("<pause>") == 2 and "z1" not in texts


def test_a_row_that_only_asks_has_no_picture(rows):
    with pytest.raises(ValueError, match="no cue"):
        boxes(rows, rows.asked(PROBLEM.question, None, cue=False))


def test_every_box_is_drawn_within_the_figure(rows):
    shown = {
        "CoT": boxes(rows, rows.chain(PROBLEM)),
        "CODI": boxes(rows, rows.latent(PROBLEM, 3)),
    }
    links = [(("CoT", place_of(shown["CoT"], "cue")), ("CODI", 3))]
    figure = token_rows(shown, links, "two rows")
    figure.canvas.draw()
    drawn = {t.get_text() for t in figure.axes[0].texts}
    assert {text for row in shown.values() for text, _ in row} <= drawn
    renderer = figure.canvas.get_renderer()
    width = figure.bbox.width
    for text in figure.axes[0].texts:
        box = text.get_window_extent(renderer)
        assert box.x0 >= 0 and box.x1 <= width
    assert {kind for row in shown.values() for _, kind in row} <= set(KINDS)


def test_a_line_is_drawn_for_each_method_in_percent():
    shares = {"CoT": pd.Series({1: 1.0, 2: 0.5}), "pause": pd.Series({1: 0.25, 2: 0.0})}
    (ax,) = by_number(shares, "steps", "share that is right").axes
    drawn = {line.get_label(): list(line.get_ydata()) for line in ax.lines}
    assert drawn == {"CoT": [100, 50], "pause": [25, 0]}
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("steps", "share that is right, %")


def test_points_of_a_figure_are_told_apart():
    points = {f"p{k}": (k, Estimate(0.5, 0.4, 0.6, 10)) for k in range(13)}
    (ax,) = accuracy_and_length(points, "tokens").axes
    styles = [(c[0].get_color(), c[0].get_marker()) for c in ax.containers]
    assert len(set(styles)) == len(points)
    plt.close("all")
