"""Laws of the trained solvers: made once, found again, never mistaken."""

import dataclasses
from dataclasses import replace

import pytest
import torch
from latent_models import problem, tiny_llama

from lrkit.latent import families as families_module
from lrkit.latent import trained as module
from lrkit.latent.codi import CodiModel
from lrkit.latent.families import FAMILIES, Family, family_of, modules_of, register
from lrkit.latent.slot_config import SlotConfig
from lrkit.latent.slots import SlotModel
from lrkit.latent.solvers import SlotSolver
from lrkit.latent.trained import method_settings, run_key, trained
from lrkit.profiles import load_profile

GIVEN = [problem(k) for k in (1, 2, 3)]


@pytest.fixture
def settings(chatml, tmp_path, monkeypatch):
    """A tiny base in a folder, and runs that are kept in another."""
    tiny_llama(len(chatml)).save_pretrained(tmp_path / "base")
    chatml.save_pretrained(tmp_path / "base")

    def folder(name, key):
        path = tmp_path / "runs" / f"{name}-{key}"
        path.mkdir(parents=True, exist_ok=True)
        return path

    monkeypatch.setattr(module, "run_folder", folder)
    return load_profile(
        "smoke", "latent", base=str(tmp_path / "base"), steps=8, batch_size=2,
        n_latents=2, stages=2, context=256,
    ).latent  # fmt: skip


@pytest.mark.parametrize(
    "method",
    [
        "CoT", "No-CoT", "pause", "COCONUT", "CODI", "SIM-CoT", "Latent-6",
        "Latent-SFT",
        "LRT", "soft prompt", "LoRA No-CoT",
    ],
)  # fmt: skip
def test_what_is_found_again_answers_as_what_was_trained(method, settings, monkeypatch):
    first, logs = trained(settings, method, 0, GIVEN)
    expected = [s.text for s in first.solve([p.question for p in GIVEN])]
    # A second training would fail.
    monkeypatch.setitem(family_of(method).methods, method, None)
    again, found = trained(settings, method, 0, GIVEN)
    assert [s.text for s in again.solve([p.question for p in GIVEN])] == expected
    ours, theirs = first.model.state_dict(), again.model.state_dict()
    assert all(torch.equal(ours[k], theirs[k]) for k in ours)
    distilled = method in ("CODI", "SIM-CoT", "Latent-6")
    assert isinstance(again.model, CodiModel) == distilled
    assert type(again) is type(first)
    for name in family_of(method).kept:
        assert getattr(again, name) == getattr(first, name), name
    assert found == logs and all(log[-1]["train_loss"] > 0 for log in logs.values())


def test_checkpoints_go_when_the_solver_is_saved(settings, tmp_path):
    trained(settings, "COCONUT", 0, GIVEN)
    assert not list(tmp_path.glob("runs/*/*/checkpoint-*"))
    assert len(list(tmp_path.glob("runs/*/*/log.json"))) == 3


def test_a_killed_curriculum_goes_on_to_the_same_weights(settings, monkeypatch):
    whole, _ = trained(settings, "COCONUT", 0, GIVEN)
    other = dataclasses.replace(settings, eval_rows=settings.eval_rows + 1)
    plain, calls = family_of("COCONUT").methods["COCONUT"], []

    class Killed(Exception):
        pass

    def killed(training):
        train = type(training).train

        def counted(self, *args):
            calls.append(args[-1])
            if len(calls) == 3:
                raise Killed
            train(self, *args)

        with monkeypatch.context() as patch:
            patch.setattr(type(training), "train", counted)
            return plain(training)

    monkeypatch.setitem(family_of("COCONUT").methods, "COCONUT", killed)
    with pytest.raises(Killed):
        trained(other, "COCONUT", 0, GIVEN)
    monkeypatch.setitem(family_of("COCONUT").methods, "COCONUT", plain)
    resumed, _ = trained(other, "COCONUT", 0, GIVEN)
    expected = whole.model.state_dict()
    assert all(
        torch.equal(expected[k], v) for k, v in resumed.model.state_dict().items()
    )


def test_whatever_matters_gives_another_key(settings):
    first = run_key(settings, "CODI", 0)
    changed = dataclasses.replace(GIVEN[0], answer="9")
    more = dataclasses.replace(settings, gamma=2.0)
    others = [
        run_key(more, "CODI", 0),
        run_key(settings, "COCONUT", 0),
        run_key(settings, "CODI", 1),
        run_key(settings, "CODI", 0, GIVEN),
        run_key(settings, "CODI", 0, [changed, *GIVEN[1:]]),
    ]
    assert first == run_key(settings, "CODI", 0)
    assert len({first, *others}) == 6


def test_settings_arrive_at_the_methods():
    settings = load_profile("gpu", "latent").latent
    found = method_settings(settings)
    assert (found.n_latents, found.gamma, found.context) == (6, 1.0, 256)
    settings = dataclasses.replace(settings, codi_map="identity", scale=0.5)
    found = method_settings(settings)
    assert (found.codi_map, found.scale, found.codi_targets) == (
        "identity", 0.5, ("cue",),
    )  # fmt: skip
    assert (found.curriculum.per_step, found.curriculum.last) == (2, 3)
    assert (found.run.steps, found.run.batch_size, found.run.accumulation) == (
        settings.steps, 64, 2,
    )  # fmt: skip


def test_what_cannot_be_is_refused():
    settings = load_profile("smoke", "latent").latent
    with pytest.raises(ValueError, match="no method 'CODA': choose one of CoT,"):
        trained(settings, "CODA")


def test_only_what_a_method_depends_on_changes_its_key(settings, monkeypatch):
    """An edit of the reasoning network trains LRT anew, and nothing else."""
    names = ("CODI", "Latent-6", "Latent-SFT", "LRT")
    before = {m: run_key(settings, m, 0, GIVEN) for m in names}
    own = family_of("LRT")
    others = [replace(f, modules=f.modules[:-1]) if f is own else f for f in FAMILIES]
    monkeypatch.setattr(families_module, "FAMILIES", others)
    after = {m: run_key(settings, m, 0, GIVEN) for m in before}
    assert [m for m in before if before[m] != after[m]] == ["LRT"]


# --- a method of one's own ------------------------------------------------------------
class MineConfig(SlotConfig):
    """An `__init__` of its own, or transformers makes another one for it."""

    model_type = "mine"

    def __init__(self, **kwargs):
        super().__init__(**kwargs)


class Mine(SlotModel):
    """Another kind of model."""

    config_class = MineConfig


def plain(training) -> SlotSolver:
    """Nothing is trained."""
    model = training.wrapped(Mine)
    return SlotSolver(model, training.rows(model), 1)


@pytest.fixture
def families():
    before = list(FAMILIES)
    yield FAMILIES
    FAMILIES[:] = before


def test_a_registered_method_is_trained_and_found(settings, families):
    for _ in range(2):  # as when a cell is run twice
        register(Family({"mine": plain}, ("lrkit.latent.rewards",), (Mine,)))
    assert len(families) == len({id(f) for f in families}) and families[-1].modules
    first, _ = trained(settings, "mine", 0, GIVEN)
    again, _ = trained(settings, "mine", 0, GIVEN)
    assert type(again.model) is Mine and again.n_latents == 1
    asked = [p.question for p in GIVEN]
    assert [s.text for s in again.solve(asked)] == [s.text for s in first.solve(asked)]
    assert modules_of("mine")[-1] == "lrkit.latent.rewards"


def test_a_name_that_is_taken_is_refused(families):
    with pytest.raises(ValueError, match="CODI: a method of this name is there"):
        register(Family({"CODI": plain, "mine": plain}))
    assert "mine" not in families[0].methods and len(families) == len(FAMILIES)
