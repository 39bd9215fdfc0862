"""The command line of `make pretrain`."""

import argparse
import json
from pathlib import Path

from lrkit.paths import build_dir, root
from lrkit.pretrain.recipe import pretrain


def main() -> None:
    """Make the base; print what the card says of each stage."""
    parser = argparse.ArgumentParser(prog="python -m lrkit.pretrain")
    parser.add_argument("--out", type=Path, default=root() / "models" / "talk")
    parser.add_argument("--work", type=Path, default=None)
    args = parser.parse_args()
    facts = pretrain(args.out, args.work or build_dir() / "pretrain-talk")
    print(json.dumps(facts, indent=1))


if __name__ == "__main__":
    main()
