"""The method that CONTRIBUTING.md adds works as it is printed there."""

import re
import sys

import pytest
import torch
from latent_models import problem, tiny_llama

from lrkit.latent import maps
from lrkit.latent.families import FAMILIES
from lrkit.latent.trained import trained
from lrkit.paths import root
from lrkit.profiles import load_profile
from lrkit.study.latent_controls import controls

GIVEN = [problem(k) for k in (1, 2, 3)]


@pytest.fixture
def blocks() -> list[str]:
    text = (root() / "CONTRIBUTING.md").read_text("utf-8")
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


@pytest.fixture
def apart(blocks, tmp_path, monkeypatch):
    """The first block as a module; nothing of it is left behind."""
    (tmp_path / "apart.py").write_text(blocks[0])
    monkeypatch.syspath_prepend(tmp_path)
    before, known = list(FAMILIES), dict(maps.MAPS)
    import apart

    yield apart
    del sys.modules["apart"]
    FAMILIES[:] = before
    maps.MAPS.clear()
    maps.MAPS.update(known)


def test_the_method_is_trained_found_and_controlled(apart, tiny_base):
    settings = load_profile(
        "smoke", "latent", base=tiny_base, steps=4, batch_size=2,
        n_latents=3, context=256,
    ).latent  # fmt: skip
    solver, logs = trained(settings, "apart", 0, GIVEN)
    assert type(solver.model) is apart.ApartModel and "apart" in logs
    assert solver.model.config.price == 0.1
    assert type(solver.model.map) is torch.nn.RMSNorm
    assert {"zeroed", "0 latents"} <= set(controls(solver, (0, 1)))


def test_latents_that_are_alike_cost_their_price(apart, chatml):
    torch.manual_seed(0)
    base = tiny_llama(len(chatml))
    inputs = {
        "input_ids": torch.tensor([[5, 6, 7, 8]]),
        "attention_mask": torch.ones(1, 4, dtype=torch.long),
    }
    model = apart.ApartModel.wrap(base, map={"kind": "identity"}, order="given")
    ids = [5, model.id_of("<slot>"), model.id_of("<slot>"), 7]
    inputs["input_ids"] = torch.tensor([ids])
    labels = torch.tensor([[-100, -100, -100, 7]])
    alike = torch.ones(1, 2, base.config.hidden_size)
    apart_ = torch.zeros_like(alike)
    apart_[0, 0, 0] = apart_[0, 1, 1] = 1.0
    for vectors, cosine in ((alike, 1.0), (apart_, 0.0)):
        costs = []
        for price in (0.0, 2.0):
            model.config.price = price
            out = model(**inputs, labels=labels, latents=vectors)
            costs.append(float(out.loss))
        assert costs[1] - costs[0] == pytest.approx(2 * cosine, abs=1e-5)


def test_the_second_block_runs(blocks, apart, tiny_base, capsys):
    exec(blocks[1].replace('"cpu"', '"smoke"'), {})
    lines = capsys.readouterr().out.splitlines()
    assert {line.rpartition(" ")[0] for line in lines} >= {"zeroed", "3 latents"}
    assert all(0 <= float(line.rpartition(" ")[2]) <= 1 for line in lines)
