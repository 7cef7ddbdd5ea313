"""Parameters of notebooks: only declared names, only values of the declared kind."""

from __future__ import annotations

import json

import pytest

from disentrec.errors import DisentrecError
from disentrec.report.parameters import (
    assigned,
    check_parameters,
    declared_parameters,
    guard_parameters,
    rerun_command,
)

DECLARED = """paper = "dimo"
seeds: int = 5
level = 0.95
datasets = ["bazaar-demo"]
compute = False
store = None
"""
DEFAULTS = {
    "paper": "dimo",
    "seeds": 5,
    "level": 0.95,
    "datasets": ["bazaar-demo"],
    "compute": False,
    "store": None,
}


@pytest.fixture
def notebook(tmp_path):
    """A notebook whose second cell declares parameters of every kind."""
    path = tmp_path / "main_table.ipynb"
    cells = [
        {"cell_type": "markdown", "metadata": {}, "source": ["# Title"]},
        {"cell_type": "code", "metadata": {"tags": ["parameters"]}, "source": DECLARED.splitlines(True)},
    ]
    path.write_text(json.dumps({"cells": cells}))
    return path


def test_declared_parameters_are_read_without_running_the_cell(notebook):
    assert declared_parameters(notebook) == DEFAULTS


def test_a_notebook_without_a_parameters_cell_declares_none(tmp_path):
    path = tmp_path / "plain.ipynb"
    path.write_text('{"cells": []}')
    assert declared_parameters(path) == {}
    with pytest.raises(DisentrecError, match=r"unknown parameter 'paper' of plain\.ipynb.*Valid: none"):
        check_parameters(path, {"paper": "dimo"})


@pytest.mark.parametrize("source", ["x = len('a')", "import os", "x, y = 1, 2", "x: int", "x ="])
def test_a_parameters_cell_holds_plain_literals(source):
    with pytest.raises(DisentrecError, match="more than plain literals"):
        assigned(source)


def test_a_file_that_is_no_notebook_is_refused(tmp_path):
    path = tmp_path / "not.ipynb"
    path.write_text("no json")
    with pytest.raises(DisentrecError, match="not a notebook"):
        declared_parameters(path)


@pytest.mark.parametrize(
    "given",
    [{}, DEFAULTS, {"level": 1}, {"datasets": ("a", "b")}, {"store": "runs"}, {"store": 3}],
)
def test_fitting_parameters_pass(notebook, given):
    check_parameters(notebook, given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"papers": "dimo"}, r"parameter 'papers'.*Valid: compute, datasets, level, paper, seeds, store"),
        ({"datasets": "bazaar-demo"}, r"must be a list, not 'bazaar-demo'.*-y 'datasets: \[bazaar-demo\]'"),
        ({"seeds": 2.5}, "must be a whole number, not 2.5"),
        ({"seeds": True}, "must be a whole number, not True"),
        ({"level": "high"}, "must be a number"),
        ({"compute": 1}, "must be true or false"),
        ({"paper": 3}, "must be text"),
    ],
)
def test_other_parameters_are_refused(notebook, given, message):
    with pytest.raises(DisentrecError, match=message):
        check_parameters(notebook, given)


def test_the_guard_refuses_what_papermill_injected_and_the_notebook_does_not_declare():
    guard_parameters(["", DECLARED, '# Parameters\npaper = "mmsbr"\n', "guard_parameters()"])
    with pytest.raises(DisentrecError, match=r"unknown parameter 'paperr' of this notebook.*Valid: compute"):
        guard_parameters(["", DECLARED, '# Parameters\npaperr = "mmsbr"\n', "guard_parameters()"])


def test_the_guard_has_nothing_to_refuse_outside_papermill():
    guard_parameters(["", DECLARED, "guard_parameters()"])
    guard_parameters()


def test_the_rerun_command_is_what_papermill_understands(tmp_path):
    path = tmp_path / "notebooks" / "main_table.ipynb"
    given = {"paper": "1", "datasets": ["a", "b c"], "seeds": 3, "level": 0.5, "store": "", "compute": True}
    assert rerun_command(path, given, tmp_path) == (
        "papermill notebooks/main_table.ipynb main_table-rerun.ipynb -y 'paper: '\"'\"'1'\"'\"'' "
        "-y 'datasets: [a, b c]' -y 'seeds: 3' -y 'level: 0.5' -y 'store: '\"'\"''\"'\"'' -y 'compute: true'"
    )
    assert rerun_command(path, {"paper": "dimo"}, tmp_path).endswith("-p paper dimo")
