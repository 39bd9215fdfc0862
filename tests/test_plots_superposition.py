"""Figures of superpositions show what they are given."""

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_hex

from lrkit.latent.latent_masks import induction_mask
from lrkit.plots import BLUE, ORANGE
from lrkit.plots_superposition import mask_picture, word_bars
from lrkit.study.row_pictures import mask_boxes


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_each_latent_has_a_panel_with_its_words_and_weights():
    latents = {f"z{k}": {"'a'": 0.75, "'b'": 0.25 / (k + 1)} for k in range(5)}
    fig = word_bars(latents, "words", {"z1": ["'b'"]})
    panels = [ax for ax in fig.axes if ax.get_visible()]
    assert [ax.get_title() for ax in panels] == list(latents)
    for ax, words in zip(panels, latents.values(), strict=True):
        widths = [bar.get_width() for bar in ax.patches]
        assert np.allclose(widths, [100 * w for w in words.values()])
        assert [t.get_text() for t in ax.get_yticklabels()] == list(words)
    colors = [to_hex(bar.get_facecolor()).upper() for bar in panels[1].patches]
    assert colors == [BLUE.upper(), ORANGE.upper()]
    assert ORANGE.upper() not in {
        to_hex(bar.get_facecolor()).upper() for bar in panels[0].patches
    }


def test_no_more_than_ten_words_are_shown():
    (ax,) = word_bars({"z": {str(k): 0.05 for k in range(20)}}).axes
    assert len(ax.patches) == 10


def test_a_mask_is_drawn_as_it_is_reader_by_row():
    allowed = np.array([[True, False], [True, True]])
    fig = mask_picture({"one": (allowed, ["a", "b"]), "two": (allowed.T, ["a", "b"])})
    first, second = fig.axes
    assert (np.asarray(first.images[0].get_array()) == allowed).all()
    assert (np.asarray(second.images[0].get_array()) == allowed.T).all()
    assert [t.get_text() for t in first.get_yticklabels()] == ["a", "b"]
    assert (first.get_ylabel(), first.get_xlabel()) == ("reads", "is read")


def test_the_picture_of_a_row_is_its_mask_with_what_stands_there(chatml):
    ids = [*chatml("a b")["input_ids"], len(chatml), *chatml(" c")["input_ids"]]
    allowed, names = mask_boxes(ids, len(chatml), induction_mask, chatml)
    at = ids.index(len(chatml))
    assert names[at] == "LATENT" and len(names) == len(ids) == len(allowed)
    assert names[0] == repr(chatml.decode(ids[:1]))
    assert allowed[at, : at + 1].all() and not allowed[at + 1 :, at].any()
