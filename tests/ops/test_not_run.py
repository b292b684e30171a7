"""A test without its server is skipped and named last; where all must run, that is a failure."""

from __future__ import annotations

import os
import sys

import pytest

from tests.programs import run_to_end
from tests.servers import NOT_RUN, ROOT, free_port

TEST = "tests/ops/test_doctor.py::test_all_is_well_and_nothing_was_changed_by_asking"


@pytest.mark.parametrize(
    ("parallel", "require_all", "code"), [([], "", 0), ([], "1", 1), (["-n", "1"], "1", 1)]
)
def test_what_could_not_run_is_named_in_the_last_lines(
    parallel: list[str], require_all: str, code: int
) -> None:
    nobody = f"postgres://postgres@127.0.0.1:{free_port()}/postgres"
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "VOICECALL"))}
    env = {**inherited, "TEST_DATABASE_URL": nobody, "REQUIRE_ALL": require_all}

    done = run_to_end(
        [sys.executable, "-m", "pytest", "-q", "-k", "postgres", TEST, *parallel],
        cwd=ROOT,
        env=env,
    )

    assert done.returncode == code, done.stdout
    last_lines = done.stdout.splitlines()[-3:]
    assert any(
        line.startswith(f"{NOT_RUN}PostgreSQL and Redis: 127.0.0.1 does not answer")
        for line in last_lines
    ), done.stdout
