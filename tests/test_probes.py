"""Probes read what is there, not what is not, and their control can tell."""

from __future__ import annotations

import numpy as np

from lrkit.study.probes import control_labels, linear_probe


def data(rng, n, signal):
    y = rng.integers(0, 3, n)
    x = rng.normal(size=(n, 12))
    x[np.arange(n), y] += signal
    return x, [f"kind{k}" for k in y], [f"type{k}" for k in rng.integers(0, 40, n)]


def test_a_probe_reads_a_linear_signal_and_not_its_control():
    rng = np.random.default_rng(0)
    a, b = data(rng, 400, 4.0), data(rng, 200, 4.0)
    result = linear_probe(a[0], a[1], b[0], b[1], a[2], b[2])
    assert result.accuracy > 0.9
    assert result.selectivity > 0.4


def test_without_a_signal_a_probe_is_at_the_majority():
    rng = np.random.default_rng(1)
    a, b = data(rng, 400, 0.0), data(rng, 400, 0.0)
    result = linear_probe(a[0], a[1], b[0], b[1], a[2], b[2])
    assert abs(result.accuracy - 1 / 3) < 0.1
    assert abs(result.selectivity) < 0.12


def test_a_state_that_holds_the_surface_type_betrays_itself_in_the_control():
    rng = np.random.default_rng(2)
    types_a, types_b = rng.integers(0, 20, 600), rng.integers(0, 20, 300)
    x_a, x_b = np.eye(20)[types_a], np.eye(20)[types_b]
    y = rng.choice(["a", "b", "c"], 900).tolist()
    names_a, names_b = [f"t{k}" for k in types_a], [f"t{k}" for k in types_b]
    result = linear_probe(x_a, y[:600], x_b, y[600:], names_a, names_b)
    assert result.control.mean() > 0.95 > result.accuracy


def test_control_labels_depend_on_the_type_alone_and_keep_the_marginals():
    classes = ["a"] * 80 + ["b"] * 20
    types = [f"t{i % 500}" for i in range(1000)]
    first = control_labels(types, classes)
    assert (first == control_labels(types, classes)).all()
    assert (first[:500] == first[500:]).all()
    assert 0.7 < (first == "a").mean() < 0.9
