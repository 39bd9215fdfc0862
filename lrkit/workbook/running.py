"""Run notebooks in order, once each, and watch what it costs."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import papermill
import psutil
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError

from lrkit.profiles import PROFILES
from lrkit.workbook.pages import (
    CHECKED_TAG,
    Page,
    WorkbookError,
    code_cells,
    notebooks,
    read,
    tags,
    text,
    versions,
)

NBVAL = (
    "--nbval-lax --nbval-current-env --nbval-cell-timeout 300"
    " --nbval-kernel-startup-timeout 180"
    " --nbval-sanitize-with tests/nbval.cfg --dist loadscope -n 2"
)
QUIET_KERNEL = ["--IPKernelApp.log_level=50"]  # advice about TCP, dying words
ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


class _Watch(threading.Thread):
    """Samples the memory of all processes below this one, and says it still runs."""

    def __init__(self, line: str) -> None:
        super().__init__(daemon=True)
        self.line, self.peak_bytes = line, 0
        self.start_time, self.over = time.monotonic(), threading.Event()

    def __enter__(self) -> "_Watch":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.join()

    def seconds(self) -> float:
        return time.monotonic() - self.start_time

    def run(self) -> None:
        minutes = 0
        while not self.over.wait(0.2):
            memory = 0
            for process in psutil.Process().children(recursive=True):
                try:
                    memory += process.memory_info().rss
                except psutil.Error:  # it ended between the listing and the question
                    continue
            self.peak_bytes = max(self.peak_bytes, memory)
            if self.seconds() // 60 > minutes:
                minutes += 1
                print(f"{self.line}  running  {minutes} min so far", flush=True)


def duration(seconds: float | None) -> str:
    """'40 s', '7 min', or that nothing is known."""
    if seconds is None:
        return "unknown"
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def _failure(error: Exception, output: Path) -> str:
    """Where a notebook stopped and why: the cell, its source, the end of the trace."""
    if isinstance(error, PapermillExecutionError):
        where, source = f"in cell In [{error.exec_count}]", error.source
        trace = ANSI.sub("", "\n".join(error.traceback)).splitlines()[-25:]
        what = f"{error.ename}: {error.evalue}"
    else:
        cells = code_cells(read(output))
        begun = [c for c in cells if c["metadata"]["papermill"]["start_time"]]
        where, trace = f"in code cell {len(begun)}", []
        source = text(begun[-1]["source"])
        what = "The kernel died there; too little memory is the usual reason."
    shown = [f"    | {row}" for row in source.splitlines()[:20]]
    kept = f"The notebook as far as it went: {output}"
    return "\n".join([f"FAILED {where}: {what}", *shown, *trace, kept])


def execute(page: Page, line: str) -> None:
    """Run one notebook to `build/<profile>/` and record that it finished.

    Raises:
        WorkbookError: with the notebook, the cell and the error.
    """
    parameters, key = page.injected(), page.key()
    expected = duration(page.expected_seconds())
    print(f"{line}  running  (expected {expected})", flush=True)
    page.output.parent.mkdir(parents=True, exist_ok=True)
    page.record_file.unlink(missing_ok=True)
    with _Watch(line) as watch:
        try:
            papermill.execute_notebook(
                page.path.resolve(),
                page.output.resolve(),
                parameters=parameters,
                kernel_name="python3",
                cwd=page.path.parent.resolve(),
                progress_bar=False,
                extra_arguments=QUIET_KERNEL,
                start_timeout=180,
            )
        except (PapermillExecutionError, DeadKernelError) as error:
            raise WorkbookError(f"{line}  {_failure(error, page.output)}") from None
    record = {
        "key": key,
        "seconds": round(watch.seconds(), 1),
        "peak_bytes": watch.peak_bytes,
        "cores": os.cpu_count(),
        "seeds": list(PROFILES[page.profile].seeds),
        "versions": versions(),
    }
    part = page.record_file.with_suffix(".part")  # never half a record, however killed
    part.write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    part.replace(page.record_file)
    print(f"{line}  finished in {duration(record['seconds'])}", flush=True)


def run(root: Path, profile: str, names: Sequence[str] = ()) -> None:
    """Execute, in order, every notebook that is not finished in this profile."""
    every = notebooks(root)
    for path in notebooks(root, names):
        line, page = _line(path, every), Page(root, path, profile)
        if record := page.finished():
            print(f"{line}  finished before (took {duration(record['seconds'])})")
        else:
            execute(page, line)


def _line(path: Path, every: list[Path]) -> str:
    return f"[{every.index(path) + 1}/{len(every)}] {path.stem}"


def smoke(root: Path) -> None:
    """Execute the workbook on `smoke`, then let nbval compare the tagged outputs.

    Two notebooks run at a time. nbval runs only those that have a tagged output: that
    the others run through is already known from the first pass.
    """
    every = notebooks(root)
    prepared = root / "build" / "nbval"
    shutil.rmtree(prepared, ignore_errors=True)
    prepared.mkdir(parents=True)
    for path in every:
        parameters = Page(root, path, "smoke").injected()  # a wrong name stops us here
        if any(CHECKED_TAG in tags(cell) for cell in code_cells(read(path))):
            papermill.execute_notebook(
                path,
                prepared / path.name,
                parameters=parameters,
                kernel_name="python3",
                prepare_only=True,
                progress_bar=False,
            )

    def run_one(path: Path) -> bool:
        command = [sys.executable, "-m", "lrkit.workbook", "--root", str(root), "run"]
        ran = subprocess.run(
            [*command, "--profile", "smoke", path.stem],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        print(ran.stdout, end="", flush=True)
        return ran.returncode == 0

    pool = ThreadPoolExecutor(2)
    try:
        good = list(pool.map(run_one, every))
    finally:
        pool.shutdown(cancel_futures=True)
    if failed := [p.stem for p, ok in zip(every, good, strict=True) if not ok]:
        raise WorkbookError(f"Failed on smoke: {', '.join(failed)} (see above).")
    if any(prepared.iterdir()):
        command = [sys.executable, "-m", "pytest", "-q", *NBVAL.split(), "build/nbval"]
        if subprocess.run(command, cwd=root).returncode:
            raise WorkbookError("nbval: a stored output is not what the code gives.")
