"""Laws of the dial: what it accepts, what it refuses, and that it changes nothing."""

import dataclasses

import pytest

from lrkit.profiles import (
    LORA_TARGETS,
    PROFILES,
    AnswerSettings,
    LatentSettings,
    load_profile,
)

FIELDS = [f.name for f in dataclasses.fields(AnswerSettings)]


@pytest.mark.parametrize("name", PROFILES)
def test_every_profile_loads_as_the_table_has_it(name):
    profile = load_profile(name)
    assert profile == PROFILES[name] and profile.name == name
    assert profile.seeds and len(set(profile.seeds)) == len(profile.seeds)


@pytest.mark.parametrize("topic", ["answer", "latent"])
@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_accepts_its_own_values(name, topic):
    own = dataclasses.asdict(getattr(load_profile(name), topic))
    assert load_profile(name, topic, **own) == load_profile(name)


@pytest.mark.parametrize("name", ["CPU", "", "large"])
def test_an_unknown_profile_is_refused_with_those_there_are(name):
    with pytest.raises(ValueError, match="choose one of smoke, cpu, gpu, study"):
        load_profile(name)


def test_an_unknown_setting_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match="no setting 'lr': choose among base, prompt"):
        load_profile("cpu", lr=1e-3)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("base", 7, "a text"),
        ("prompt", "long", "'short' or 'full'"),
        ("max_tokens", "512", "a whole number"),
        ("max_tokens", 512.5, "a whole number"),
        ("max_tokens", True, "a whole number"),
        ("max_tokens", 0, "greater than 0"),
        ("load_in_4bit", 1, "true or false"),
        ("load_in_4bit", "yes", "true or false"),
        ("learning_rate", "5e-5", "a number"),
        ("learning_rate", True, "a number"),
        ("learning_rate", -1e-3, "greater than 0"),
        ("learning_rate", float("nan"), "greater than 0"),
        ("epochs", 0, "greater than 0"),
        ("neftune_alpha", "5", "a number"),
        ("answer_weight", "half", "a number"),
        ("answer_weight", 1.5, "between 0 and 1"),
        ("lora_dropout", -0.1, "between 0 and 1"),
        ("lora_targets", "q_proj", "a list of texts"),
        ("lora_targets", ["q_proj", 3], "a list of texts"),
        ("max_train_rows", "all", "a whole number"),
        ("max_train_rows", -5, "greater than 0"),
        ("max_steps", 0, "-1 or greater than 0"),
        ("max_steps", -2, "-1 or greater than 0"),
    ],
)
def test_a_value_that_its_setting_cannot_have_is_refused(key, value, expected):
    for name in PROFILES:  # whatever the profile's own value is, None included
        with pytest.raises(
            ValueError, match=f"{key} must be|{key} must lie"
        ) as refusal:
            load_profile(name, **{key: value})
        assert expected in str(refusal.value) and repr(value) in str(refusal.value)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("n_latents", -1, "0 or more"),
        ("gamma", -0.5, "0 or more"),
        ("gamma", float("nan"), "0 or more"),
        ("stages", 1.5, "a whole number"),
        ("last_stage", 1.2, "between 0 and 1"),
        ("steps", 0, "greater than 0"),
        ("task", 3, "a text"),
    ],
)
def test_a_latent_value_that_cannot_be_is_refused(key, value, expected):
    with pytest.raises(ValueError, match=f"{key} must") as refusal:
        load_profile("cpu", "latent", **{key: value})
    assert expected in str(refusal.value)


def test_a_topic_has_its_own_settings_and_leaves_the_others():
    changed = load_profile("cpu", "latent", steps=7)
    assert changed.latent.steps == 7 and changed.answer == PROFILES["cpu"].answer
    with pytest.raises(ValueError, match="no setting 'prompt': choose among base, t"):
        load_profile("cpu", "latent", prompt="short")
    with pytest.raises(ValueError, match="'latents': choose one of answer, latent"):
        load_profile("cpu", "latents")


def test_the_latent_sizes_of_the_embedded_profiles_are_those_of_the_study_or_less():
    study = load_profile("study").latent
    sizes = {"train_rows", "eval_rows", "steps", "batch_size"}
    for name in ("smoke", "cpu"):
        mine = load_profile(name).latent
        differing = {
            f.name
            for f in dataclasses.fields(LatentSettings)
            if getattr(mine, f.name) != getattr(study, f.name)
        }
        assert differing <= sizes
        assert all(getattr(mine, k) <= getattr(study, k) for k in differing)


def test_one_setting_changes_and_the_table_does_not():
    before = dataclasses.asdict(PROFILES["cpu"].answer)
    changed = load_profile("cpu", learning_rate=1, lora_targets=["q_proj"], max_steps=2)
    differing = {k for k in FIELDS if getattr(changed.answer, k) != before[k]}
    assert differing == {"learning_rate", "lora_targets", "max_steps"}
    assert changed.answer.lora_targets == ("q_proj",)
    assert dataclasses.asdict(PROFILES["cpu"].answer) == before


def test_none_leaves_a_setting_as_it_is():
    assert load_profile("gpu", base=None, max_steps=None) == load_profile("gpu")


def test_settings_cannot_be_edited_in_place():
    with pytest.raises(dataclasses.FrozenInstanceError):
        load_profile("cpu").answer.epochs = 1


def test_the_gpu_profile_is_the_recipe_of_the_source():
    s = load_profile("gpu").answer
    assert s.base.endswith("Mistral-7B") and s.prompt == "full"
    assert (s.lora_r, s.lora_alpha, s.lora_dropout) == (32, 64, 0.05)
    assert (s.batch_size, s.accumulation, s.epochs) == (1, 8, 2)
    assert (s.learning_rate, s.scheduler) == (5e-5, "constant")
    assert (s.optimizer, s.neftune_alpha) == ("paged_adamw_8bit", 5)
    assert s.load_in_4bit and s.max_tokens == 4096 and s.answer_weight is None
    attention = {"q_proj", "k_proj", "v_proj", "o_proj"}
    mlp = {"gate_proj", "up_proj", "down_proj"}
    assert set(s.lora_targets) == attention | mlp | {"lm_head"} == set(LORA_TARGETS)


def test_the_embedded_profiles_differ_in_size_only():
    cpu, study = load_profile("cpu").answer, load_profile("study").answer
    smoke = dataclasses.asdict(load_profile("smoke").answer)
    sizes = {"max_train_rows", "max_eval_rows", "max_extra_rows", "max_steps"}
    assert study == cpu
    assert {k for k in FIELDS if smoke[k] != getattr(cpu, k)} <= sizes | {"n_explain"}
