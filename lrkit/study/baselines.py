"""What a user would pick instead of the one-token answer, on the same rows.

TF-IDF with logistic regression in three readings of a chat, and a classification head
on the same base with the same LoRA. `make study` records the head with every random
seed of the `study` profile; TF-IDF takes a second and is computed where it is shown.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline

from lrkit.answer.arms import ARMS
from lrkit.answer.head import HeadClassifier
from lrkit.paths import results_dir
from lrkit.profiles import Profile
from lrkit.study.answer_arms import SETS, evaluation_rows, training_rows
from lrkit.study.recording import record_runs

HEAD = "classification head"


def last_turns(n: int) -> Callable[[str], str]:
    """A reading of a chat: its last `n` turns; 0 reads all of it."""
    return lambda text: "\n".join(text.split("\n")[-n:])


def tfidf_classifier(read: Callable[[str], str] = str) -> Pipeline:
    """Words and word pairs, weighted, under logistic regression.

    Args:
        read: what of a text is looked at, such as `last_turns(2)`; all of it.
    """
    words = TfidfVectorizer(
        preprocessor=lambda text: read(text).lower(),
        ngram_range=(1, 2),
        sublinear_tf=True,
        min_df=2,
    )
    return make_pipeline(words, LogisticRegression(C=10, max_iter=2000))


def tfidf_scores(
    train: pd.DataFrame, rows: pd.DataFrame, turns: int = 0
) -> pd.DataFrame:
    """`id`, `label` and `p_yes` of rows by TF-IDF on the last `turns` turns."""
    model = tfidf_classifier(last_turns(turns))
    model.fit(train["running_message"], train["label"])
    yes = model.classes_.tolist().index("yes")
    proba = model.predict_proba(rows["running_message"])[:, yes]
    return rows[["id", "label"]].assign(p_yes=proba)


def run_head(profile: Profile, arm: str, seed: int, out: Path) -> dict:
    """Train and score the classification head once; writes its predictions."""
    rows = training_rows(profile, ARMS["label only"])
    started = time.time()
    head = HeadClassifier(profile.answer, seed=seed)
    head.fit(rows["running_message"].tolist(), rows["label"].tolist())
    trained = time.time() - started
    yes = head.classes_.tolist().index("yes")
    parts, started = [], time.time()
    for name in SETS:
        part = evaluation_rows(profile, name)
        proba = head.predict_proba(part["running_message"].tolist())[:, yes]
        scored = part[["id", "label"]].assign(p_yes=proba)
        scored.insert(0, "set", name)
        parts.append(scored)
    seconds = time.time() - started
    predictions = pd.concat(parts)
    folder = out / "baselines"
    folder.mkdir(parents=True, exist_ok=True)
    predictions.to_csv(folder / f"head-{seed}.csv", index=False, float_format="%.6g")
    row = {"arm": arm, "seed": seed, "rows": len(rows)}
    for name, part in predictions.groupby("set", sort=False):
        right = (part["p_yes"] > 0.5) == (part["label"] == "yes")
        row[f"accuracy_{name}"] = round(float(right.mean()), 4)
    return row | {
        "train_seconds": round(trained, 1),
        "score_seconds": round(seconds, 1),
    }


def recorded_heads() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Runs; and a row per run, set and question. As `answer_arms.recorded`."""
    runs = pd.read_csv(results_dir() / "baselines.csv")
    folder = results_dir() / "baselines"
    scored = [
        pd.read_csv(folder / f"head-{seed}.csv").assign(arm=HEAD, seed=seed)
        for seed in runs["seed"]
    ]
    return runs, pd.concat(scored, ignore_index=True)


def main() -> None:
    """Record the classification head: part of `make study`."""
    record_runs(__doc__, [HEAD], "baselines.csv", run_head)


if __name__ == "__main__":
    main()
