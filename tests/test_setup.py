"""pyproject.toml, requirements.lock, environment.yml and the Makefile say one thing."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from lrkit.profiles import PROFILES

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
LOCK = (ROOT / "requirements.lock").read_text("utf-8")
PINS = [Requirement(row) for row in LOCK.splitlines() if row and row[0] != "#"]
PYTHONS = ("3.11.9", "3.12.4", "3.13.1")


def pinned(python: str) -> dict[str, list[str]]:
    """Name -> the versions that the lock gives it on Linux with this Python."""
    place = {
        "python_full_version": python,
        "python_version": python.rpartition(".")[0],
        "sys_platform": "linux",
        "os_name": "posix",
    }
    found: dict[str, list[str]] = {}
    for pin in PINS:
        if pin.marker is None or pin.marker.evaluate(place):
            (only,) = pin.specifier
            assert only.operator == "==", f"{pin} is no pin"
            found.setdefault(canonicalize_name(pin.name), []).append(only.version)
    return found


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("row", PROJECT["dependencies"] + EXTRAS["dev"])
def test_every_dependency_is_locked_once_at_a_version_its_bounds_admit(row, python):
    wanted = Requirement(row)
    versions = pinned(python).get(canonicalize_name(wanted.name), [])
    assert len(versions) == 1, f"{wanted.name}: {versions}; run `make lock`"
    assert wanted.specifier.contains(versions[0]), f"{row} but {versions[0]} is locked"


def test_the_supported_pythons_are_those_the_lock_is_tested_for():
    supported = SpecifierSet(PROJECT["requires-python"])
    minors = [f"3.{minor}" for minor in range(8, 20) if f"3.{minor}.1" in supported]
    assert minors == [python.rpartition(".")[0] for python in PYTHONS]
    first, last = (minor.replace(".", ", ") for minor in (minors[0], minors[-1]))
    accepted = f"({first}) <= sys.version_info[:2] <= ({last})"
    assert accepted in (ROOT / "Makefile").read_text("utf-8")


def test_the_lock_brings_no_cuda_and_names_no_place():
    assert not [pin.name for pin in PINS if re.match("nvidia|triton|cuda", pin.name)]
    assert not [pin for pin in PINS if pin.url]
    assert not re.search(r"://|^-|^/", LOCK, re.MULTILINE)


def test_the_makefile_installs_the_torch_that_is_locked():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    (pin,) = re.findall(r"^TORCH := torch==(\S+)$", makefile, re.MULTILINE)
    assert pinned("3.12.4")["torch"] == [pin]


def test_the_conda_environment_is_the_lock_and_the_package():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))
    *packages, pip = environment["dependencies"]
    assert pip == {"pip": ["-r requirements.lock", "-e ."]}
    (python,) = [row for row in packages if row.startswith("python=")]
    version = python.removeprefix("python=")
    assert f"{version}.1" in SpecifierSet(PROJECT["requires-python"])
    assert "pip" in packages


def test_everything_that_lrkit_imports_is_declared():
    rows = [*PROJECT["dependencies"], *EXTRAS["dev"], *EXTRAS["gpu"]]
    declared = {canonicalize_name(Requirement(row).name) for row in rows}
    # nvidia-ml-py is declared but not installed here, so its module is named by hand.
    owners = {"pynvml": ["nvidia-ml-py"], **packages_distributions()}
    for path in sorted((ROOT / "lrkit").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            else:
                continue
            for module in {name.partition(".")[0] for name in names}:
                if module in sys.stdlib_module_names or module == "lrkit":
                    continue
                found = {canonicalize_name(name) for name in owners.get(module, [])}
                assert found & declared, (
                    f"{path.relative_to(ROOT)} line {node.lineno} imports {module}: "
                    "add its package to pyproject.toml and run `make lock`"
                )


def test_every_profile_has_a_parameter_file_that_names_it():
    files = {path.stem: path for path in (ROOT / "params").glob("*.yaml")}
    assert files.keys() == PROFILES.keys()
    for name, path in files.items():
        assert yaml.safe_load(path.read_text("utf-8"))["PROFILE"] == name


# A stand-in for Python: it notes what it is asked, and fails where `fail` says so.
STAND_IN = """#!/bin/sh
case "$1 $2" in
    "-c "*) [ ! -e too_old ] ;;
    "-m venv") mkdir -p "$3/bin" && cp "$0" "$3/bin/python" && echo new >> log ;;
    "-m pip") shift 3; echo "$*" >> log
        case "$*" in $(cat fail 2>/dev/null || echo none)*) exit 1 ;; esac ;;
    *) echo "Python 3.12.0" ;;
esac
"""
STEPS = ["new", "torch==2.13.0", "-r requirements.lock", "-e . --no-deps"]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    if shutil.which("make") is None:
        pytest.skip("needs make")
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, tmp_path)
    stand_in = tmp_path / "stand_in"
    stand_in.write_text(STAND_IN)
    stand_in.chmod(0o755)
    return tmp_path


def make_venv(checkout: Path, *settings: str) -> subprocess.CompletedProcess[str]:
    """`make venv` with the stand-in; `log` then holds the steps of this call only."""
    (checkout / "log").write_text("")
    return subprocess.run(
        ["make", "venv", "PYTHON=./stand_in", *settings],
        cwd=checkout,
        # An outer `make test PY=...` would hand its settings down.
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
    )


def steps(checkout: Path) -> list[str]:
    return (checkout / "log").read_text().splitlines()


def later(path: Path) -> None:
    """Touch the file with a time that make sees as newer than anything it made."""
    newest = max(p.stat().st_mtime for p in path.parent.rglob("*")) + 10
    os.utime(path, (newest, newest))


def test_the_environment_is_made_once_and_again_only_when_its_inputs_change(checkout):
    lock = checkout / "requirements.lock"
    assert make_venv(checkout).returncode == 0
    assert steps(checkout) == STEPS
    (checkout / ".venv" / "leftover").touch()
    assert make_venv(checkout).returncode == 0
    assert steps(checkout) == []
    later(lock)
    assert make_venv(checkout).returncode == 0
    assert steps(checkout) == [], "a file that was only touched is no reason"
    lock.write_text(lock.read_text() + "# more\n")
    later(lock)
    assert make_venv(checkout).returncode == 0
    assert steps(checkout) == STEPS
    assert not (checkout / ".venv" / "leftover").exists()


@pytest.mark.parametrize("failing", ["torch", "-r", "-e"])
def test_an_interrupted_set_up_starts_again_from_nothing(checkout, failing):
    (checkout / "fail").write_text(failing)
    assert make_venv(checkout).returncode != 0
    assert steps(checkout)[-1].startswith(failing)
    (checkout / "fail").unlink()
    assert make_venv(checkout).returncode == 0
    assert steps(checkout) == STEPS


def test_torch_alone_comes_from_the_index_that_is_named_for_it(checkout):
    assert make_venv(checkout, "TORCH_INDEX=https://example.org/cpu").returncode == 0
    torch = "torch==2.13.0 --index-url https://example.org/cpu"
    assert steps(checkout) == ["new", torch, *STEPS[2:]]


def test_another_python_is_refused_with_a_sentence_and_nothing_is_touched(checkout):
    assert make_venv(checkout).returncode == 0
    stamp = checkout / ".venv" / ".stamp"
    (checkout / "requirements.lock").write_text("changed\n")
    later(checkout / "requirements.lock")
    (checkout / "too_old").touch()
    refused = make_venv(checkout)
    assert refused.returncode != 0 and steps(checkout) == [] and stamp.exists()
    assert "needs Python 3.11, 3.12 or 3.13" in refused.stderr
