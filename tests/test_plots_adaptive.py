"""What the histograms of lengths show."""

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from lrkit.plots_adaptive import length_histograms


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_the_bars_of_a_panel_add_up_to_all_questions_and_wrong_is_on_top():
    rows = pd.DataFrame({"latent_steps": [0, 2, 2, 3], "correct": [1, 1, 0, 0]})
    fig = length_histograms({"a": rows, "b": rows[:1], "c": rows})
    first, second, third, empty = fig.axes
    right, wrong = first.containers
    assert [bar.get_height() for bar in right] == [25, 0, 25, 0]
    assert [bar.get_height() for bar in wrong] == [0, 0, 25, 25]
    assert wrong[2].get_y() == 25
    assert sum(bar.get_height() for bar in second.patches) == 100
    assert not empty.axison and third.axison
    assert [ax.get_xlabel() for ax in (first, second, third)] == [
        "", "latents", "latents",
    ]  # fmt: skip
    assert np.all(third.get_xlim() == first.get_xlim())


def test_no_arms_are_refused():
    with pytest.raises(ValueError, match="no thoughts"):
        length_histograms({})
