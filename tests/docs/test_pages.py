"""What the pages say is so: links lead somewhere, commands exist, each row has its proof."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from tests.docs import fault_table

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = [
    ROOT / name
    for name in (
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "sandbox/README.md",
        "bench/README.md",
    )
    if (ROOT / name).exists()
] + sorted(ROOT.glob("docs/**/*.md"))
# The rows of docs/faults.md that this release answers for.
_ANSWERED_FOR = {
    "A": [*range(1, 7), 8, 9, 15, 24, 25],
    "B": [*range(1, 13), *range(16, 23)],
    "C": [2, 3, 4, 8, 9, 13, 14, 19, 20, 22, 23],
    "D": [2, 8, 10, 13, 14],
    "E": [1, 2, 3, 4, 6, 7, 9, 10, 14, 16],
    "F": [1, 2, 4, 6, 7, 8, 10, 11],
}
PROVEN = [f"{group}{number}" for group, numbers in _ANSWERED_FOR.items() for number in numbers]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(page: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, heading = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (heading and heading not in _anchors(file)):
            broken.append(target)

    assert broken == []


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", text.lower()).strip().replace(" ", "-") for text in headings}


def test_every_row_of_this_release_has_a_test_that_claims_it() -> None:
    unproven = [row for row in PROVEN if row not in fault_table.proofs()]

    assert unproven == []


def test_the_table_of_faults_names_the_tests_that_there_are() -> None:
    page = fault_table.PAGE.read_text()

    assert page == fault_table.with_proofs(page), "run: make fix"
    assert sorted(fault_table.rows(page)) == sorted(PROVEN)


def test_every_make_target_that_a_page_names_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    named = {
        target
        for page in PAGES
        for line in re.findall(r"(?:^|`)make ([a-z]+)", page.read_text(), re.MULTILINE)
        for target in line.split()
    }

    assert named <= targets, named - targets


def test_every_management_command_that_a_page_names_exists() -> None:
    from django.core.management import get_commands

    text = "\n".join(page.read_text() for page in PAGES)
    named = set(re.findall(r"manage\.py ([a-z_]+)", text))

    assert named
    assert named <= set(get_commands()), named - set(get_commands())


def test_the_first_screen_of_the_readme_runs() -> None:
    readme = (ROOT / "README.md").read_text()

    first_screen = readme[: readme.index("## Tests")]
    assert "```sh\nmake run\n```" in first_screen
    assert "docs/images/live-call.png" in first_screen
    assert "```sh\nmake test\n```" in readme


def test_every_dependency_is_explained_and_nothing_else() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    required = [
        *project["project"]["dependencies"],
        *project["project"]["optional-dependencies"]["s3"],
        *project["dependency-groups"]["bench"],
        *(part for part in project["dependency-groups"]["test"] if isinstance(part, str)),
    ]
    names = {re.split(r"[\[<>=~ ;]", text)[0].lower() for text in required}
    page = (ROOT / "docs" / "dependencies.md").read_text()
    first_cells = re.findall(r"^\| (`.*?) \|", page, re.MULTILINE)
    explained = {name for cell in first_cells for name in re.findall(r"`([^`]+)`", cell)}

    assert explained == names


def test_lock_files_hold_hashes_and_no_address() -> None:
    for lock in (ROOT / "requirements").glob("*.lock"):
        text = lock.read_text()
        pinned = re.findall(r"^[\w.-]+==", text, re.MULTILINE)
        assert pinned, lock
        assert text.count("--hash=sha256:") >= len(pinned), lock
        assert "://" not in text, lock
        assert "index" not in re.sub(r"^[\w.-]+==.*$", "", text, flags=re.MULTILINE), lock
