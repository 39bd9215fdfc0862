"""A run's name changes with what the run depends on, and with nothing else."""

from __future__ import annotations

import sys

from lrkit.cache import fingerprint
from lrkit.profiles import load_profile


def module(tmp_path, monkeypatch, name, source):
    (tmp_path / f"{name}.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop(name, None)
    return name


def test_comments_and_docstrings_do_not_matter_and_code_does(tmp_path, monkeypatch):
    a = module(tmp_path, monkeypatch, "mod_a", "def f(x):\n    return x + 1\n")
    b = module(
        tmp_path,
        monkeypatch,
        "mod_b",
        '"""Docs."""\n\n\ndef f(x):  # why\n    """More."""\n    return x + 1\n',
    )
    c = module(tmp_path, monkeypatch, "mod_c", "def f(x):\n    return x + 2\n")
    assert fingerprint({}, [a]) == fingerprint({}, [b]) != fingerprint({}, [c])


def test_parameters_and_data_matter(tmp_path):
    file = tmp_path / "data.csv"
    file.write_text("1")
    first = fingerprint(load_profile("cpu").answer, files=[file])
    assert first == fingerprint(load_profile("cpu").answer, files=[file])
    assert first != fingerprint(load_profile("smoke").answer, files=[file])
    file.write_text("2")
    assert first != fingerprint(load_profile("cpu").answer, files=[file])
