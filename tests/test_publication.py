"""What publishes the study: workflows, containers, citation, the pages of a public repository."""

from __future__ import annotations

import json
import re
import tomllib
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest
import yaml

import disentrec
from disentrec.paths import BOOK, ROOT
from disentrec.report.extensions import online

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text())
ZENODO = json.loads((ROOT / ".zenodo.json").read_text())
TORCH = {pin for pin in PROJECT["dependencies"] if pin.startswith("torch")}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_is_pinned_may_do_little_and_calls_targets_that_exist(path):
    flow = yaml.safe_load(path.read_text())
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert flow["permissions"] == {"contents": "read"}
    steps = [step for job in flow["jobs"].values() for step in job["steps"]]
    for job in flow["jobs"].values():
        assert set(job.get("permissions", {})) <= {"pages", "id-token"}
        assert re.fullmatch(r"ubuntu-\d\d\.\d\d", job["runs-on"])
    for action in (step["uses"] for step in steps if "uses" in step):
        assert re.fullmatch(r"[\w-]+/[\w-]+@v\d+\.\d+\.\d+", action), action
    commands = [step["run"] for step in steps if "run" in step]
    for command in commands:
        assert command.split()[0] == "make" and command.split()[1] in targets, command
    for step in (step for step in steps if step.get("uses", "").startswith("actions/setup-python")):
        assert step["with"]["python-version"] == "3.11" and step["with"]["cache"] == "pip"
    assert commands or "deploy" in flow["jobs"]


def test_there_is_a_workflow_for_pages_pull_requests_and_the_week():
    triggers = {path.stem: set(yaml.safe_load(path.read_text())[True]) for path in WORKFLOWS}  # YAML reads `on` as true
    assert triggers == {
        "pages": {"push", "workflow_dispatch"},
        "test": {"pull_request"},
        "weekly": {"schedule", "workflow_dispatch"},
    }


def test_quick_checks_execute_chapters_that_exist():
    listed = re.search(r"^CHECKED := .*ipynb,(.*)\)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)[1].split()
    assert len(listed) == 3 and all((BOOK / "chapters" / f"{name}.ipynb").exists() for name in listed)


@pytest.mark.parametrize("name", ["Dockerfile", "disentrec.def"])
def test_containers_hold_the_versions_of_the_project(name):
    text = (ROOT / "containers" / name).read_text()
    assert set(re.findall(r"torch(?:vision)?==[\d.]+", text)) == TORCH and len(TORCH) == 2
    assert set(re.findall(r"python:([\d.]+)-", text)) == {"3.11"} and PROJECT["requires-python"] == ">=3.11,<3.12"


def test_citation_file_has_what_readers_of_it_require():
    assert {"cff-version", "message", "title", "authors", "type", "version", "license"} <= set(CITATION)
    assert CITATION["cff-version"] == "1.2.0" and CITATION["type"] == "software"
    assert all("name" in author or "family-names" in author for author in CITATION["authors"])
    assert len(CITATION["references"]) == 4
    for reference in CITATION["references"]:
        assert {"type", "title", "authors", "year"} <= set(reference)
        assert "doi" in reference or reference["identifiers"], reference["title"]
        # The same works as the bibliography: every first author and title stands there.
        bibliography = re.sub(r"[{}]", "", (BOOK / "references.bib").read_text())
        assert reference["title"] in bibliography and reference["authors"][0]["family-names"] in bibliography


def test_zenodo_says_what_the_citation_says():
    assert {"title", "description", "upload_type", "license", "creators", "version"} <= set(ZENODO)
    for key in ("title", "version", "license", "keywords"):
        assert ZENODO[key] == CITATION[key], key
    assert ZENODO["version"] == disentrec.__version__ and ZENODO["creators"] == CITATION["authors"]
    known = {reference.get("doi") or reference["identifiers"][0]["value"] for reference in CITATION["references"]}
    assert {entry["identifier"] for entry in ZENODO["related_identifiers"]} == known


def test_bibtex_names_the_version():
    own = (ROOT / "CITATION.bib").read_text().partition("\n\n")[0]
    assert f"version = {{{disentrec.__version__}}}" in own and CITATION["title"] in re.sub(r"[{}]", "", own)


def config(address: str) -> SimpleNamespace:
    return SimpleNamespace(html_theme_options={"repository_url": address})


def test_without_an_address_there_is_no_button():
    assert yaml.safe_load((ROOT / "_config.yml").read_text())["repository"]["url"] == ""
    silent = config("")
    online.add_buttons(None, silent)
    assert silent.html_theme_options == {"repository_url": ""}


def test_an_address_brings_buttons_and_a_sitemap(tmp_path):
    public = config("https://github.com/Someone/study")
    public.html_theme_options["launch_buttons"] = {
        "binderhub_url": "",
        "colab_url": "",
        "notebook_interface": "classic",
    }
    online.add_buttons(None, public)
    assert all(public.html_theme_options[button] for button in online.BUTTONS)
    assert public.html_theme_options["launch_buttons"] == {
        "binderhub_url": online.BINDER,
        "notebook_interface": "jupyterlab",
    }
    builder = SimpleNamespace(format="html", get_target_uri=lambda name: f"{name}.html")
    app = SimpleNamespace(
        config=public, builder=builder, outdir=tmp_path, env=SimpleNamespace(found_docs={"book/b", "book/a"})
    )
    online.write_sitemap(app, None)
    places = [node.text for node in ElementTree.parse(tmp_path / "sitemap.xml").iter() if node.tag.endswith("loc")]
    assert places == [f"https://someone.github.io/study/book/{name}.html" for name in "ab"]
    (tmp_path / "sitemap.xml").unlink()
    app.config = config("")
    online.write_sitemap(app, None)
    assert not (tmp_path / "sitemap.xml").exists()


@pytest.mark.parametrize(
    ("repository", "address"),
    [
        ("https://github.com/Someone/study.git", "https://someone.github.io/study/"),
        ("https://github.com/someone/someone.github.io", "https://someone.github.io/"),
        ("https://gitlab.com/someone/study", ""),
        ("", ""),
    ],
)
def test_where_pages_are_published(repository, address):
    assert online.public_address(repository) == address
