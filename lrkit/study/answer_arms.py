"""The recorded experiment of the classification half: arms x random seeds.

`make study` trains every arm of `lrkit.answer.arms.ARMS` with every random seed of the
`study` profile on the same rows, scores validation, calibration, test and the
hand-written set, probes the answer position for the evidence of the coming reason,
and appends one row to `results/answer_arms.csv`. Rows that are there are skipped, and
a killed run goes on from its last checkpoint.
"""

from __future__ import annotations

import json
import platform
import re
import resource
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import log_loss

from lrkit.answer.arms import ARMS, Arm
from lrkit.answer.classifier import OneTokenClassifier
from lrkit.answer.engine import batches_by_length, left_pad
from lrkit.answer.fitted import fitted, run_key
from lrkit.data import conversations
from lrkit.paths import results_dir
from lrkit.profiles import Profile
from lrkit.study.probes import linear_probe
from lrkit.study.recording import record_runs, slug

SETS = ("validation", "calibration", "test", "hand_written")


def training_rows(profile: Profile, arm: Arm) -> pd.DataFrame:
    """The rows an arm is trained on: the gold training split, or the extra labels."""
    settings = profile.answer
    if arm.extra:
        return conversations.extra_labels().head(settings.max_extra_rows or 10_000)
    rows = conversations.gold_standard("train")
    return rows.head(settings.max_train_rows or len(rows))


def evaluation_rows(profile: Profile, name: str) -> pd.DataFrame:
    """Rows of one evaluation set, as many as the profile allows."""
    rows = (
        conversations.hand_written()
        if name == "hand_written"
        else conversations.gold_standard(name)
    )
    return rows.head(profile.answer.max_eval_rows or len(rows))


def trained(
    profile: Profile, arm_name: str = "label + reason", seed: int = 0, callbacks=()
) -> OneTokenClassifier:
    """The classifier of one arm and random seed: trained now, or found as trained.

    Any notebook that asks with the same profile gets the same adapter.
    """
    return fitted(
        training_rows(profile, ARMS[arm_name]),
        profile.answer,
        arm_name=arm_name,
        seed=seed,
        callbacks=callbacks,
    )


ANSWER_LAST = re.compile(r"so in the end, (yes|no)\b")


@torch.inference_mode()
def decode(
    model: OneTokenClassifier, messages: list[str], max_new_tokens: int = 120
) -> tuple[list[str], list[int]]:
    """Greedy completions of whole prompts, in batches, and their numbers of tokens."""
    prompts = model.prompts(messages)
    texts, counts = [""] * len(prompts), [0] * len(prompts)
    for batch in batches_by_length(prompts, 8192):
        inputs = left_pad(
            [prompts[i] for i in batch],
            model.tokenizer_.pad_token_id,
            model.model_.device,
        )
        inputs.pop("position_ids")  # generate counts them from the mask itself
        width = inputs["input_ids"].shape[1]
        out = model.model_.generate(
            **inputs,
            max_new_tokens=max_new_tokens,
            do_sample=False,
            eos_token_id=model.tokenizer_.eos_token_id,
            pad_token_id=model.tokenizer_.pad_token_id,
        )
        for row, i in enumerate(batch):
            ids = out[row, width:].tolist()
            eos = model.tokenizer_.eos_token_id
            counts[i] = ids.index(eos) + 1 if eos in ids else len(ids)
            texts[i] = model.tokenizer_.decode(ids, skip_special_tokens=True)
    return texts, counts


def score_set(model: OneTokenClassifier, arm: Arm, rows: pd.DataFrame) -> pd.DataFrame:
    """`id`, `label`, `p_yes`, `label_mass` and `tokens` for each row.

    For reason-first arms the answer is decoded; p_yes is then 1, 0, or 0.5 where no
    answer was written.
    """
    messages = rows["running_message"].tolist()
    out = rows[["id", "label"]].copy()
    if arm.order == "reason_label":
        texts, counts = decode(model, messages)
        found = [ANSWER_LAST.search(t) for t in texts]
        out["p_yes"] = [0.5 if m is None else float(m[1] == "yes") for m in found]
        out["label_mass"] = [float(m is not None) for m in found]
        out["tokens"] = counts
    else:
        scored = model.score_rows(messages)
        out["p_yes"] = scored["p_yes"].to_numpy()
        out["label_mass"] = scored["label_mass"].to_numpy()
        out["tokens"] = 1
    return out


def surface_types(rows: pd.DataFrame) -> list[str]:
    """A surface type per row for the probe's control task: how its last line starts."""
    return [m.rsplit("\n", 1)[-1][:14].lower() for m in rows["running_message"]]


def probe_evidence(model: OneTokenClassifier, profile: Profile) -> pd.DataFrame:
    """Probe the answer position for the kind of evidence, within each label.

    Trained on the training split, tested on the test split, whose scenarios and forms
    are all unseen. Within a label, knowing the answer is of no help.

    Returns:
        A row per test conversation: `id`, `label`, `correct`, `control`, `majority`.
    """
    train_rows = training_rows(profile, ARMS["label only"])
    test_rows = evaluation_rows(profile, "test")
    x_train = model.hidden(train_rows["running_message"].tolist())
    x_test = model.hidden(test_rows["running_message"].tolist())
    parts = []
    for label in ("yes", "no"):
        a = (train_rows["label"] == label).to_numpy()
        b = (test_rows["label"] == label).to_numpy()
        result = linear_probe(
            x_train[a],
            train_rows["evidence"][a].tolist(),
            x_test[b],
            test_rows["evidence"][b].tolist(),
            surface_types(train_rows[a]),
            surface_types(test_rows[b]),
        )
        part = test_rows.loc[b, ["id", "label"]].copy()
        part["correct"], part["control"] = result.correct, result.control
        part["majority"] = result.majority
        parts.append(part)
    return pd.concat(parts)


def run_one(profile: Profile, arm_name: str, seed: int, out: Path) -> dict:
    """Train, score and probe one (arm, random seed); writes its predictions."""
    arm = ARMS[arm_name]
    start = time.time()
    model = trained(profile, arm_name, seed)
    seconds = time.time() - start
    scored = []
    start = time.time()
    for name in SETS:
        part = score_set(model, arm, evaluation_rows(profile, name))
        part.insert(0, "set", name)
        scored.append(part)
    score_seconds = time.time() - start
    predictions = pd.concat(scored)
    probe = probe_evidence(model, profile)
    predictions = predictions.merge(
        probe[["id", "correct", "control"]].rename(
            columns={"correct": "probe", "control": "probe_control"}
        ),
        on="id",
        how="left",
    )
    folder = out / "answer_arms"
    folder.mkdir(parents=True, exist_ok=True)
    predictions.to_csv(
        folder / f"{slug(arm_name)}-{seed}.csv", index=False, float_format="%.6g"
    )
    rows = training_rows(profile, arm)
    row = {"arm": arm_name, "seed": seed, "rows": len(rows)}
    for name, part in predictions.groupby("set", sort=False):
        right = (part["p_yes"] > 0.5) == (part["label"] == "yes")
        row[f"accuracy_{name}"] = round(float(right.mean()), 4)
        row[f"log_loss_{name}"] = round(
            log_loss(part["label"] == "yes", part["p_yes"].clip(1e-4, 1 - 1e-4)), 4
        )
    row |= {
        "tokens": round(float(predictions["tokens"].mean()), 1),
        "label_mass": round(float(predictions["label_mass"].mean()), 4),
        "probe_evidence": round(float(probe["correct"].mean()), 4),
        "probe_control": round(float(probe["control"].mean()), 4),
        "probe_majority": round(float(probe["majority"].mean()), 4),
        "train_seconds": round(seconds, 1),
        "score_seconds": round(score_seconds, 1),
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "key": run_key(rows, profile.answer, arm_name=arm_name, seed=seed),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, CPU",
        "versions": json.dumps(model.card_["versions"]),
    }
    return row


def recorded() -> tuple[pd.DataFrame, pd.DataFrame]:
    """The recorded experiment: one row per run, and one per run and question."""
    runs = pd.read_csv(results_dir() / "answer_arms.csv")
    parts = []
    for run in runs.to_dict("records"):
        part = pd.read_csv(
            results_dir() / "answer_arms" / f"{slug(run['arm'])}-{run['seed']}.csv"
        )
        parts.append(part.assign(arm=run["arm"], seed=run["seed"]))
    return runs, pd.concat(parts, ignore_index=True)


def correctness(predictions: pd.DataFrame, arm: str, name: str) -> np.ndarray:
    """[random seeds, questions] of 0/1 for one arm on one set, questions by id."""
    part = predictions[(predictions["arm"] == arm) & (predictions["set"] == name)]
    right = (part["p_yes"] > 0.5) == (part["label"] == "yes")
    table = part.assign(right=right).pivot(index="seed", columns="id", values="right")
    return table.to_numpy(float)


def main() -> None:
    """The command line of this part of `make study`."""
    record_runs(__doc__, ARMS, "answer_arms.csv", run_one)


if __name__ == "__main__":
    main()
