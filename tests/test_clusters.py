"""Laws of clusters and of probes on latents: what is planted is found, and no more."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from lrkit.plots_probes import probe_figure, tsne_maps
from lrkit.study.clusters import cluster_scores, cluster_table, maps
from lrkit.study.latent_probes import probe_latents

RNG = np.random.default_rng(0)


def planted(n=120, width=6, apart=4.0):
    """(vectors, labels): three clouds, one for each label."""
    labels = RNG.integers(0, 3, n)
    centres = apart * np.eye(3, width)
    return centres[labels] + RNG.standard_normal((n, width)), labels.astype(str)


def test_planted_clusters_are_found_and_permuted_ones_are_not():
    vectors, labels = planted()
    found = cluster_scores(vectors, labels, permutations=99)
    for score in found.values():
        assert score.value > score.high > score.permuted and score.p == 0.01
    assert found["purity"].value > 0.9
    dealt = cluster_scores(vectors, RNG.permutation(labels), permutations=99)
    assert all(score.p > 0.02 for score in dealt.values())
    shares = np.unique(labels, return_counts=True)[1] / len(labels)
    assert dealt["purity"].permuted == pytest.approx((shares**2).sum(), abs=0.02)


def test_purity_by_hand():
    """Two pairs on a line: each one's neighbour is its twin."""
    vectors, labels = np.array([[0.0], [1.0], [9.0], [10.0]]), ["a", "a", "b", "b"]
    found = cluster_scores(vectors, labels, neighbours=1, permutations=5)
    assert found["purity"].value == 1
    crossed = cluster_scores(vectors, ["a", "b", "a", "b"], 1, permutations=5)
    assert crossed["purity"].value == 0 > crossed["silhouette"].value


def test_cosines_do_not_look_at_lengths():
    vectors, labels = planted(60)
    stretched = vectors * RNG.uniform(0.1, 10, (60, 1))
    a, b = (
        cluster_scores(v, labels, permutations=3, metric="cosine")["purity"].value
        for v in (vectors, stretched)
    )
    assert a == b


def test_a_table_has_a_row_for_each_score_and_needs_two_labels():
    vectors, labels = planted(40)
    table = cluster_table(
        {"latents": vectors, "noise": RNG.standard_normal((40, 3))},
        pd.DataFrame({"cloud": labels, "coin": RNG.integers(0, 2, 40).astype(str)}),
        permutations=19,
    )
    assert len(table) == 8
    best = table.set_index(["vectors", "label", "score"])["value"].unstack()
    assert best["purity"].idxmax() == ("latents", "cloud")
    with pytest.raises(ValueError, match="two labels and more than 10 vectors"):
        cluster_scores(vectors, ["a"] * 40)


def test_maps_are_of_their_random_seeds_and_say_how_far_to_trust_them():
    vectors, labels = planted(90)
    noise = RNG.standard_normal((90, 40))
    found = maps(vectors, seeds=(0, 1), perplexity=15)
    again = maps(vectors, seeds=(1,), perplexity=15)[0]
    assert [m.seed for m in found] == [0, 1] and found[0].points.shape == (90, 2)
    assert np.array_equal(found[1].points, again.points)
    assert not np.allclose(found[0].points, found[1].points)
    assert all(0.8 < m.trust <= 1 for m in found)
    assert found[0].trust > maps(noise, seeds=(0,), perplexity=15)[0].trust
    purity = cluster_scores(found[0].points, labels, permutations=9)["purity"]
    assert purity.value > 0.9


def probed(n=400, n_test=300):
    """Vectors with a planted label and none of another; surface types come again."""
    parts = []
    for size in (n, n_test):
        labels = pd.DataFrame(
            {
                "planted": RNG.integers(0, 3, size).astype(str),
                "absent": RNG.integers(0, 3, size).astype(str),
                "surface": RNG.integers(0, 60, size).astype(str),
            }
        )
        x = RNG.standard_normal((size, 8))
        x[:, 0] += 3 * labels["planted"].astype(int)
        parts.append((x, labels))
    return parts


def test_a_probe_finds_a_planted_label_and_no_other():
    (x, labels), (x_test, labels_test) = probed()
    kinds = {"latents": (x, x_test), "noise": (x[:, 1:], x_test[:, 1:])}
    table = probe_latents(kinds, (labels, labels_test), ["planted", "absent"])
    table = table.set_index(["vectors", "property"])
    found = table.loc[("latents", "planted")]
    assert found["accuracy"] > 0.85 and found["low"] > found["majority"]
    assert found["selectivity_low"] > 0.3 and found["n"] == 300
    for nothing in (("latents", "absent"), ("noise", "planted")):
        row = table.loc[nothing]
        assert row["low"] < 0.4 and row["selectivity_low"] < 0 < row["selectivity_high"]


def test_a_probe_that_can_memorise_surface_types_is_not_selective():
    """The vectors say the surface type, which is enough for any label of it."""
    (_, labels), (_, labels_test) = probed(1500)
    x, x_test = (
        np.eye(60)[part["surface"].astype(int)] for part in (labels, labels_test)
    )
    for part in (labels, labels_test):
        part["by_type"] = (part["surface"].astype(int) % 3).astype(str)
    table = probe_latents(
        {"types": (x, x_test)}, (labels, labels_test), ["by_type"]
    ).iloc[0]
    assert table["accuracy"] > 0.95 and table["control"] > 0.9
    assert abs(table["selectivity"]) < 0.1
    with pytest.raises(ValueError, match="300 and 300 vectors, for 1500 and 300"):
        probe_latents({"few": (x_test, x_test)}, (labels, labels_test), ["by_type"])


def test_figures_show_every_label_and_every_probe():
    vectors, labels = planted(60)
    found = maps(vectors, seeds=(0, 1), perplexity=10)
    figure = tsne_maps(found, labels, "planted")
    assert [ax.get_title().split("\n")[0] for ax in figure.axes] == [
        "random seed 0", "random seed 1",
    ]  # fmt: skip
    drawn = [len(line.get_xdata()) for line in figure.axes[0].lines]
    assert drawn == [int((labels == kind).sum()) for kind in "012"]
    with pytest.raises(ValueError, match="8 labels cannot be told apart by 7"):
        tsne_maps(found, np.arange(60) % 8)
    (x, y), (x_test, y_test) = probed(60, 40)
    table = probe_latents({"latents": (x, x_test)}, (y, y_test), ["planted", "absent"])
    figure = probe_figure(table)
    assert [ax.get_title() for ax in figure.axes] == ["planted", "absent"]
    (point, *_) = figure.axes[0].lines
    assert point.get_xdata() == pytest.approx(100 * table["accuracy"][:1])
    plt.close("all")
