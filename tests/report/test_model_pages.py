"""A page per model: each has one, it says what the file, the grid and the records say, and nothing is made up."""

from __future__ import annotations

import re
from dataclasses import fields

import pytest
import yaml

from disentrec import models
from disentrec.errors import DisentrecError
from disentrec.paths import BOOK, RESULTS, ROOT
from disentrec.report.models import pages as model_pages
from disentrec.report.models.advice import ADVICE
from disentrec.report.models.overview import SHEETS, WALKS, page_of
from disentrec.report.models.pages import doc_of, engineers_block, page_head, train_command, write_model_pages
from disentrec.report.models.settings import settings_of, written
from disentrec.report.models.standings import standings
from disentrec.report.models.tables import ordinal, seconds
from disentrec.study import datasets
from disentrec.study.papers import load_paper
from tests.models.user_worlds import user_catalogue
from tests.models.worlds import catalogue, random_sessions

NAMES = models.available()


@pytest.fixture(scope="module")
def found():
    return standings(RESULTS)


def table(text: str, ending: str) -> list[list[str]]:
    """Returns the cells of the table whose name ends so, without its head."""
    body = re.search(rf":name: tbl-model-\S+-{ending}\n\n(.*?)\n```", text, flags=re.DOTALL)[1]
    return [line.strip("| ").split(" | ") for line in body.splitlines()[2:]]


def test_the_published_pages_are_those_of_the_records(found, tmp_path, monkeypatch):
    """`disentrec book` writes them; every model has one, and no model that is gone does."""
    (tmp_path / "models" / "sessions").mkdir(parents=True)
    (tmp_path / "models" / "sessions" / "gone.md").write_text("# Gone\n")
    (tmp_path / "_generated").mkdir()
    monkeypatch.setattr(model_pages, "standings", lambda store: found)
    write_model_pages(RESULTS, tmp_path)
    places = {path.relative_to(tmp_path) for path in tmp_path.rglob("*.md")}
    kept = {path.relative_to(BOOK) for folder in SHEETS.values() for path in (BOOK / "models" / folder).glob("*")}
    assert places == kept | {path.relative_to(BOOK) for path in (BOOK / "_generated").glob("sheet-*.md")}
    assert len(places) == len(NAMES)
    stale = [str(place) for place in sorted(places) if (tmp_path / place).read_text() != (BOOK / place).read_text()]
    assert stale == [], "run: disentrec book"


def test_the_contents_list_every_page():
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    (part,) = (part for part in toc["parts"] if part["caption"] == "Models")
    listed = {entry["file"] for entry in part["chapters"]}
    (index,) = (entry for entry in part["chapters"] if entry["file"] == "book/models/index")
    for entry in index["sections"]:
        listed |= {str(path.relative_to(ROOT).with_suffix("")) for path in ROOT.glob(f"{entry['glob']}.md")}
    assert {f"book/models/{page_of(name)}".removesuffix(".md") for name in NAMES} <= listed


def test_a_walk_includes_the_same_text():
    for name in WALKS:
        assert f"```{{include}} ../_generated/sheet-{name}.md\n```" in (BOOK / "models" / f"{name}.md").read_text()


@pytest.mark.parametrize("name", NAMES)
def test_settings_are_those_of_the_dataclass(name, found):
    config = models.get(name).Config
    own = [one for one in settings_of(name) if not one.name.startswith("training.")]
    assert [(one.name, one.default) for one in own] == [(field.name, field.default) for field in fields(config)]
    assert all(one.note for one in settings_of(name)), "a comment above the field says what it is"
    text = engineers_block(name, found)
    if not own:
        assert "\n## Settings\n\nIt has none.\n" in text
        return
    rows = table(text, "settings")
    assert [row[:2] for row in rows] == [[f"`{one.name}`", f"`{written(one.default)}`"] for one in settings_of(name)]


def test_comments_and_grid_are_read_from_the_files():
    found = {one.name: one for one in settings_of("sr-gnn")}
    assert found["steps"].note == "Rounds of message passing inside the session graph."
    grid = load_paper("dimo").grid("sr-gnn")
    assert found["training.learning_rate"].tuned == tuple(
        dict.fromkeys(entry["training.learning_rate"] for entry in grid)
    )
    assert found["steps"].tuned == (2,) and found["dim"].tuned == ()
    note = {one.name: one.note for one in settings_of("dimo")}["constraint_items"]
    assert note.endswith("drawn anew each time; None: all of them, exactly.")


@pytest.mark.parametrize("name", NAMES)
def test_every_model_is_introduced_and_its_paper_is_in_the_bibliography(name):
    doc, cites = doc_of(name), ADVICE[name].cites
    assert doc.first.endswith(".") and not doc.first.startswith("See") and len(doc.first) < 160
    assert ADVICE[name].take and ADVICE[name].leave
    if cites:
        assert f"{{{cites},\n" in (BOOK / "references.bib").read_text()
        author, year = re.match(r"([a-z]+)(\d{4})", cites).groups()
        module = __import__(models.get(name).__module__, fromlist=["_"]).__doc__
        assert author in module.lower() and (year in module or name in ("mmsbr", "idsf")), cites
        assert f"{{cite:p}}`{cites}`" in page_head(name)
    else:
        module = __import__(models.get(name).__module__, fromlist=["_"]).__doc__
        assert not re.search(r"\(.*(19|20)\d\d\)", module)


def test_numbers_are_those_of_the_records(found):
    records = [
        record
        for one in found
        if one.dataset == "bazaar-demo" and "narm" in one.rows
        for record in [one.rows["narm"]]
    ]  # fmt: skip
    assert records
    text = engineers_block("narm", found)
    costs = {row[0]: row for row in table(text, "cost")}
    assert costs["Bazaar"][2] == f"{records[0].parameters:,}"
    assert costs["Bazaar"][5] == seconds(records[0].total_s)
    line = next(row for row in table(text, "accuracy") if row[0].startswith("[MMSBR:") and row[1] == "Bazaar")
    standing = next(one for one in found if one.link == line[0] and one.dataset == "bazaar-demo")
    means = sorted((row.mean for row in standing.rows.values()), reverse=True)
    place = 1 + means.index(standing.rows["narm"].mean)
    assert line[2].startswith(f"{100 * standing.rows['narm'].mean:.2f} ± ")
    assert line[3] == f"{ordinal(place)} of {len(means)}" and line[5] == f"{standing.rows['narm'].seeds}"


def test_what_is_released_is_no_row_of_its_own(found):
    """The paper's model stands as described; a row per model."""
    for one in found:
        for name, row in one.rows.items():
            assert row.spec.model == name and not row.spec.protocol.select_on_test


def test_links_lead_to_chapters_that_show_the_table(found):
    for one in found:
        chapter = re.fullmatch(r"\[.*\]\(/(book/chapters/\w+\.ipynb)\)", one.link)[1]
        assert f"-{one.dataset}" in (ROOT / chapter).read_text()


def test_without_records_the_page_says_so():
    for name in ("sr-gnn", "addrl", "most-popular"):
        text = engineers_block(name, [])
        assert text.count(f"No run of `{name}` is published yet") == 2
        assert "no run is published yet" in text and "By the records" not in text
        assert f"disentrec train {name} bazaar-demo" in text


def test_an_empty_store_has_no_standings(tmp_path):
    assert standings(tmp_path) == []


def test_a_new_model_needs_no_advice(monkeypatch):
    """One file is enough for a page; what only its author knows is said to be missing."""
    monkeypatch.setattr(model_pages, "ADVICE", {})
    monkeypatch.setattr("disentrec.report.models.tables.ADVICE", {})
    text = page_head("narm") + engineers_block("narm", [])
    assert "No advice is written for `narm` yet" in text and "{cite:p}" not in text
    assert table(text, "inputs")[0][0] == "sessions"


def test_the_command_gives_the_configuration_of_the_table(found):
    from disentrec import cli
    from disentrec.cli import assignments

    standing = next(one for one in found if one.dataset == "bazaar-demo" and "dimo" in one.rows)
    spec = standing.rows["dimo"].spec
    words = train_command(spec).replace("\\\n", " ").split()
    options = cli._parser().parse_args(words[1:])
    assert models.configure("dimo", assignments(options.set)) == spec.config()
    assert all(getattr(spec.training, key) == value for key, value in assignments(options.training).items())
    assert options.dataset == "bazaar-demo" and options.seed == spec.seed == 1


@pytest.mark.parametrize("name", ["one-hop", "item-knn"])
def test_the_lines_of_python_run(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets, "dataset_folder", lambda name, made=datasets.dataset_folder: made(name, tmp_path))
    lines = re.search(r"```python\n(.*?)\n```", engineers_block(name, []), flags=re.DOTALL)[1]
    compiled = compile(lines, "page", "exec")
    runner = {}
    exec(compiled, runner)
    assert 0 < float(capsys.readouterr().out) < 1 and runner["record"].spec.model == name


@pytest.mark.parametrize("name", [name for name in NAMES if "text" in ADVICE[name].reads])
def test_what_is_said_of_missing_features_happens(name):
    of_sessions = models.get(name).task == "session"
    world = catalogue(random_sessions(), 30, features=None) if of_sessions else user_catalogue(features={})
    cell = table(engineers_block(name, []), "inputs")[1]
    assert cell[0] == "text, image"
    if cell[2].startswith("Left out"):
        models.build(name, {}, world, seed=0)
        return
    assert "is refused" in cell[2]
    with pytest.raises(DisentrecError, match="none of the features"):
        models.build(name, {}, world, seed=0)
    only_text = catalogue(random_sessions(), 30) if of_sessions else user_catalogue(features={"text": 8})
    models.build(name, {"dim": 64} if name == "idsf" else {}, only_text, seed=0)


def test_places_and_durations_in_print():
    assert [ordinal(n) for n in (1, 2, 3, 4, 11, 12, 13, 21, 22, 111)] == [
        "1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "22nd", "111th",
    ]  # fmt: skip
    assert [seconds(value) for value in (0.04, 0.1, 7.61, 12.4, 1234.0)] == ["< 0.1", "0.1", "7.6", "12", "1,234"]
