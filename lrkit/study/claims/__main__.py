"""Write `results/claims.csv` from the recorded runs."""

from __future__ import annotations

from lrkit.paths import results_dir
from lrkit.study.claims.claim import table
from lrkit.study.claims.listed import CLAIMS
from lrkit.study.recording import write_rows


def main() -> None:
    """The command line: `python -m lrkit.study.claims`."""
    found = table(CLAIMS)
    write_rows(found, results_dir() / "claims.csv")
    print(found["verdict"].value_counts().to_string())


if __name__ == "__main__":
    main()
