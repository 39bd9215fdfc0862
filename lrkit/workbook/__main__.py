"""The command line of the workbook, see the package's docstring."""

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from lrkit.workbook.committed import budget, check, clean, store
from lrkit.workbook.pages import STORED_PROFILE, WorkbookError
from lrkit.workbook.running import run, smoke


def main(arguments: Sequence[str] | None = None) -> int:
    """0: done; 1: a sentence on the terminal says what is wrong; 130: interrupted."""
    parser = argparse.ArgumentParser(prog="python -m lrkit.workbook")
    parser.add_argument("--root", type=Path, default=Path(), help="the checkout")
    commands = parser.add_subparsers(dest="command", required=True)
    for command in (run, smoke, store, budget, clean, check):
        summary = (command.__doc__ or "").splitlines()[0]
        sub = commands.add_parser(command.__name__, help=summary)
        sub.set_defaults(function=command)
        if command in (run, store, budget):
            sub.add_argument("--profile", default=STORED_PROFILE)
        if command is run:
            sub.add_argument("names", nargs="*", help="such as 03 or 03_one_token")
    options = vars(parser.parse_args(arguments))
    name, function = options.pop("command"), options.pop("function")
    try:
        function(**options)
    except WorkbookError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            f"\n{name} was interrupted. What had finished is kept: the same command "
            "goes on from there.",
            file=sys.stderr,
        )
        return 130
    return 0


if __name__ == "__main__":
    # A terminated run, like one stopped by Ctrl-C, takes its kernel with it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
