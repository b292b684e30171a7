"""`make` on machines that lack something: one clear line that names what, and how to get it."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.programs import run_to_end
from tests.servers import ROOT

OLD = """#!/bin/sh
case "$1" in
-V) echo "Python 3.9.2" ;;
-c) case "$2" in "") exit 0 ;; *version_info[:2]*) echo 3.9 ;; *) exit 1 ;; esac ;;
esac
"""
WITHOUT_VENV = """#!/bin/sh
case "$2" in *ensurepip*) exit 1 ;; esac
exec {python} "$@"
"""


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder of programs that is all the PATH there is."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sh", "make", "cut", "grep", "tail", "mktemp", "rm", "touch", "sed"):
        found = shutil.which(name)
        assert found, name
        (folder / name).symlink_to(found)
    return folder


def put(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(script)
    (folder / name).chmod(0o755)


def make(programs: Path, tmp_path: Path, *arguments: str, **env: str) -> tuple[int, list[str]]:
    """Run `make run` in a copy of what it needs; return its code and lines but for make's."""
    project = tmp_path / "project"
    (project / "requirements").mkdir(parents=True)
    shutil.copy(ROOT / "Makefile", project)
    for file in (ROOT / "requirements").iterdir():
        shutil.copy(file, project / "requirements")
    done = run_to_end(
        [programs / "make", "run", *arguments],
        cwd=project,
        env={"PATH": str(programs), "HOME": str(tmp_path), **env},
    )
    lines = [line for line in done.stdout.splitlines() if not line.startswith("make")]
    return done.returncode, lines


def test_an_old_python_is_named_with_its_version(programs: Path, tmp_path: Path) -> None:
    put(programs, "python3", OLD)

    code, lines = make(programs, tmp_path)

    assert code != 0
    fix = "Install one and name it: make PYTHON=/path/to/python3.11"
    assert lines == [f"Python 3.11 or newer is needed; found 3.9.2. {fix}"]


def test_no_python_at_all_is_said(programs: Path, tmp_path: Path) -> None:
    code, lines = make(programs, tmp_path)

    assert code != 0
    assert len(lines) == 1
    assert lines[0].startswith("Python 3.11 or newer is needed; found none.")


def test_a_python_that_was_named_and_is_too_old_is_not_replaced(
    programs: Path, tmp_path: Path
) -> None:
    put(programs, "python3", f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    put(programs, "mine", OLD)

    code, lines = make(programs, tmp_path, f"PYTHON={programs / 'mine'}")

    assert code != 0
    assert lines == [f"Python 3.11 or newer is needed; {programs / 'mine'} is 3.9.2."]


def test_a_missing_venv_module_is_named_with_its_package(programs: Path, tmp_path: Path) -> None:
    put(programs, "python3", WITHOUT_VENV.format(python=sys.executable))

    code, lines = make(programs, tmp_path)

    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert code != 0
    assert lines == [
        f"Python's venv module is missing. On Debian or Ubuntu: apt install python{version}-venv"
    ]


def test_packages_that_are_not_to_be_had_are_one_line(programs: Path, tmp_path: Path) -> None:
    """Nothing listens on the address of the registry, and the caches are empty."""
    put(programs, "python3", f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    nowhere = "http://127.0.0.1:9/simple"
    cut_off = {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": nowhere,
        "PIP_RETRIES": "0",
        "UV_DEFAULT_INDEX": nowhere,
        "UV_NO_CONFIG": "1",
        "UV_HTTP_RETRIES": "0",
    }

    code, lines = make(programs, tmp_path, **cut_off)

    assert code != 0
    assert lines[-1].startswith("The packages are not to be had: ")
    assert not any("Traceback" in line for line in lines)
    assert not (tmp_path / "project" / ".venv" / ".installed-run").exists()


def test_a_folder_that_is_no_environment_is_left_alone(programs: Path, tmp_path: Path) -> None:
    put(programs, "python3", f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("years of work")

    make(programs, tmp_path, f"VENV={precious}", PIP_INDEX_URL="http://127.0.0.1:9/simple")

    assert (precious / "thesis.txt").read_text() == "years of work"
