"""What the repository says of itself agrees: pins, versions, targets, notebooks, pages."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib

import pytest
import yaml

import disentrec
from disentrec.paths import BOOK, NOTEBOOKS, ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text())
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text())
PAGES = [TOC["root"], *(chapter["file"] for part in TOC["parts"] for chapter in part["chapters"])]


def test_environment_and_project_hold_the_same_pins():
    (pip,) = (entry["pip"] for entry in ENVIRONMENT["dependencies"] if isinstance(entry, dict))
    pins = PROJECT["dependencies"] + PROJECT["optional-dependencies"]["dev"]
    assert sorted(pip) == sorted([*pins, "-e ."])
    assert "python=3.11" in ENVIRONMENT["dependencies"]
    assert PROJECT["requires-python"] == ">=3.11,<3.12"


def test_every_dependency_is_pinned_to_one_version():
    extras = PROJECT["optional-dependencies"].values()
    for pin in [*PROJECT["dependencies"], *(pin for extra in extras for pin in extra)]:
        assert re.fullmatch(r"[\w.-]+==[\w.]+", pin), pin


def test_one_version_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE).group(1)
    assert {PROJECT["version"], disentrec.__version__, citation["version"], newest} == {disentrec.__version__}


def test_one_licence_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert PROJECT["license"] == citation["license"] == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text()[:200]


def test_continuous_integration_runs_what_everyone_runs():
    lines = [line for line in (ROOT / ".ci" / "run").read_text().splitlines() if not line.startswith("#")]
    assert lines == ["set -euo pipefail", 'cd "$(dirname "$0")/.."', "make test"]


def test_every_target_of_make_has_a_help_text():
    makefile = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)$", makefile, flags=re.MULTILINE).group(1).split()
    for target in phony:
        assert re.search(rf"^{target}:.*## \w", makefile, flags=re.MULTILINE), target


@pytest.mark.parametrize("page", PAGES)
def test_every_page_of_the_contents_exists(page):
    assert any((ROOT / f"{page}{suffix}").exists() for suffix in (".md", ".ipynb"))


def test_chapters_are_planned_executed_and_in_the_contents():
    plan = yaml.safe_load((BOOK / "chapters.yml").read_text()) or {}
    planned = {name for chapters in plan.values() for name in chapters}
    executed = {path.stem for path in (BOOK / "chapters").glob("*.ipynb")}
    listed = {page.removeprefix("book/chapters/") for page in PAGES if page.startswith("book/chapters/")}
    assert planned == executed == listed


def test_no_notebook_is_without_a_chapter():
    plan = yaml.safe_load((BOOK / "chapters.yml").read_text()) or {}
    assert {path.stem for path in NOTEBOOKS.glob("*.ipynb")} == set(plan)


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_readers_see_results_and_open_code_if_they_want(path):
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    bare = [cell["id"] for cell in cells if not {"hide-input", "remove-input"} & set(cell["metadata"].get("tags", []))]
    assert cells and bare == []


def test_every_published_figure_is_shown_by_a_page():
    """Figures of one's own runs lie in the same folder, so only those in git are asked for."""
    listing = subprocess.run(["git", "ls-files", "book/_generated"], cwd=ROOT, capture_output=True, text=True)
    figures = [path for path in listing.stdout.split() if path.endswith((".svg", ".png"))]
    if not figures:
        pytest.skip("not a clone: what is published cannot be told from what was made here")
    pages = [path for suffix in ("md", "ipynb", "html") for path in BOOK.rglob(f"*.{suffix}")]
    shown = "\n".join(path.read_text() for path in pages)
    assert [path for path in figures if path not in shown] == []


def test_pages_of_prose_name_only_commands_that_exist(capsys):
    from disentrec.cli import main

    text = "\n".join(path.read_text() for path in [ROOT / "README.md", *BOOK.glob("*.md")])
    used = set(re.findall(r"^disentrec (\w+)", text, flags=re.MULTILINE))
    assert used
    for command in sorted(used):
        with pytest.raises(SystemExit) as stopped:
            main([command, "--help"])
        assert stopped.value.code == 0, command


def test_a_reader_that_leaves_early_is_no_error():
    """What follows a pipe may close it before the command has said all, as `head` does."""
    command = [sys.executable, "-m", "disentrec.cli", "data", "list"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT) as process:
        process.stdout.close()
        said = process.stderr.read()
        assert process.wait() == 0 and said == b""
