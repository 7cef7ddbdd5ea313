"""The page on adding a model: its file and its row make a line in the tables of every paper of the task."""

from __future__ import annotations

import json
import re

import pytest

from .repository import Repository, caption, commands_of

PAGE = "add_a_model.md"
FILE, ROW = "src/disentrec/models/bag.py", "src/disentrec/papers/sessions.yaml"


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    copy = Repository(tmp_path_factory.mktemp("repository"))
    copy.shorten()
    return copy


def left(text: str) -> int:
    """Returns how many runs a plan says are left."""
    return int(re.search(r"(\d+) left", text)[1])


def test_one_file_and_one_row_make_a_line_in_every_table(repository):
    plans = [f"disentrec study {paper}/main --plan --datasets bazaar-tiny --store runs" for paper in ("dimo", "mmsbr")]
    before = [left(repository.run(plan)) for plan in plans]
    (repository.root / FILE).write_text(caption(PAGE, FILE))
    row = repository.root / ROW
    row.write_text(row.read_text() + "\n" + caption(PAGE, ROW))
    assert [left(repository.run(plan)) for plan in plans] == [count + 2 for count in before]  # a run per seed

    trained, _, _ = [repository.run(command) for command in commands_of(PAGE)]
    assert "runs/records/bazaar-tiny/bag/" in trained
    cells = json.loads((repository.root / "mine.ipynb").read_text())["cells"]
    assert re.search(r"\| Bag of items \| \d", json.dumps(cells))
    assert left(repository.run(plans[0])) == 0


def test_the_row_has_as_many_configurations_as_the_others():
    import yaml

    from disentrec.paths import PAPERS

    models = yaml.safe_load((PAPERS / "sessions.yaml").read_text())["models"]
    sizes = {len(entry["grid"]) for entry in models.values() if entry.get("learned", True)}
    assert {len(entry["grid"]) for entry in yaml.safe_load(caption(PAGE, ROW))["everywhere"]} == sizes


def test_a_row_without_a_name_is_refused(tmp_path):
    from disentrec.errors import DisentrecError
    from disentrec.study.papers import _add_everywhere

    with pytest.raises(DisentrecError, match="needs model, label and tables"):
        _add_everywhere({"models": {}, "everywhere": [{"model": "bag"}]}, tmp_path)
