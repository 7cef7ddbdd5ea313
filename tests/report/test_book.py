"""The driver of the book: same bytes twice, nothing executed in vain, and failures that name their cell."""

from __future__ import annotations

import os
from pathlib import Path

import nbformat
import pytest

from disentrec.errors import DisentrecError
from disentrec.report import notebooks
from disentrec.report.book import execute_book, hash_trees, read_chapters
from disentrec.report.notebooks import find_notebook, kernels_in, run_notebook
from tests.kernels import SocketKernelManager

NOTEBOOK = [
    ("markdown", "# {{title}}: scores of {{rows}} rows\n\n$$ x $$ and `{{rerun}}`", []),
    ("code", 'title = "Demo"\nrows = 3\ndatasets = ["a", "b"]', ["parameters", "remove-input"]),
    ("code", "from pathlib import Path\nprint(title, rows, datasets, Path.cwd().name)", []),
]


def write_notebook(path, cells):
    path.parent.mkdir(parents=True, exist_ok=True)
    made = []
    for number, (kind, source, tags) in enumerate(cells):
        new = nbformat.v4.new_code_cell if kind == "code" else nbformat.v4.new_markdown_cell
        made.append(new(source, id=f"cell-{number}", metadata={"tags": tags} if tags else {}))
    notebook = nbformat.v4.new_notebook(cells=made, metadata={"kernelspec": notebooks.KERNEL})
    path.write_text(nbformat.writes(notebook))
    return path


@pytest.fixture
def root(tmp_path):
    """A repository with one notebook that becomes two chapters."""
    write_notebook(tmp_path / "notebooks" / "scores.ipynb", NOTEBOOK)
    plan = "scores:\n  first: {title: One, rows: 5}\n  second: {title: Two}\n"
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "chapters.yml").write_text(plan)
    (tmp_path / "results" / "records").mkdir(parents=True)
    (tmp_path / "results" / "records" / "record.json").write_text("{}")
    return tmp_path


@pytest.fixture
def fake(monkeypatch):
    """Papermill replaced by a copy of the notebook: for what needs no kernel."""
    ran = []

    def copy(notebook, scratch, parameters, folder):
        ran.append(scratch.stem)
        scratch.write_bytes(notebook.read_bytes())

    monkeypatch.setattr(notebooks, "_papermill", copy)
    return ran


def test_a_chapter_is_rendered_and_a_second_execution_gives_the_same_bytes(root):
    notebook, target = root / "notebooks" / "scores.ipynb", root / "book" / "chapters" / "first.ipynb"
    run_notebook(notebook, target, {"rows": 5}, root=root)
    first = target.read_bytes()
    run_notebook(notebook, target, {"rows": 5}, root=root)
    assert target.read_bytes() == first
    cells = nbformat.reads(first.decode(), as_version=4).cells
    command = "papermill notebooks/scores.ipynb scores-rerun.ipynb -y 'rows: 5'"
    assert cells[0].source == f"# Demo: scores of 5 rows\n\n$$ x $$ and `{command}`"
    assert [cell.id for cell in cells] == [f"first-{number}" for number in range(4)]
    assert cells[2].metadata.tags == ["injected-parameters", "remove-input"]
    assert cells[3].outputs[0].text == "Demo 5 ['a', 'b'] chapters\n"
    for word in ("papermill_version", "duration", "iopub", str(root)):
        assert word not in first.decode().replace(command, "")


def test_a_folded_cell_keeps_what_it_is_called():
    folded = {"tags": ["remove-input", "hide-output"], "mystnb": {"code_prompt_show": "Show the counts"}}
    cell = nbformat.v4.new_code_cell("1", metadata=folded | {"papermill": {"duration": 1.5}})
    assert notebooks.clean(nbformat.v4.new_notebook(cells=[cell]), "name", {}).cells[0].metadata == folded


def test_a_failing_cell_is_named_and_the_chapter_stays_as_it_was(root):
    notebook = write_notebook(
        root / "notebooks" / "scores.ipynb",
        [*NOTEBOOK, ("code", "\nhalf = 1 / 0", [])],
    )
    target = root / "book" / "chapters" / "first.ipynb"
    target.parent.mkdir()
    target.write_text("as it was")
    message = r"cell 3 \('half = 1 / 0'\) failed: ZeroDivisionError.*scores\.ipynb"
    with pytest.raises(DisentrecError, match=message):
        run_notebook(notebook, target, root=root)
    assert target.read_text() == "as it was"
    assert [path.name for path in target.parent.iterdir()] == ["first.ipynb"]


def test_only_chapters_whose_inputs_changed_are_executed(root, fake):
    assert execute_book(root) == ["first", "second"]
    assert execute_book(root) == []
    (root / "results" / "records" / "record.json").write_text('{"more": 1}')
    assert execute_book(root) == ["first", "second"]
    plan = root / "book" / "chapters.yml"
    plan.write_text(plan.read_text().replace("rows: 5", "rows: 6"))
    assert execute_book(root) == ["first"]
    (root / "book" / "chapters" / "second.ipynb").write_text("edited by hand")
    assert execute_book(root) == ["second"]
    (root / "_build" / "chapters" / "second.json").write_text("[cut short")
    assert execute_book(root) == ["second"]
    write_notebook(root / "notebooks" / "scores.ipynb", [*NOTEBOOK, ("code", "1 + 1", [])])
    assert execute_book(root) == ["first", "second"]
    assert execute_book(root, only=["second"], force=True) == ["second"]
    both = ["first", "second"]
    assert fake == [*both, *both, "first", "second", "second", *both, "second"]


def test_scorecard_and_prose_are_written_when_records_or_code_changed(root, fake):
    execute_book(root)
    written = [root / "results" / "scorecard.json", root / "book" / "_generated" / "scorecard.md"]
    before = [path.read_text() for path in written]
    for path in written:
        path.write_text("old")
    execute_book(root)
    assert [path.read_text() for path in written] == ["old", "old"]
    (root / "results" / "records" / "record.json").write_text('{"more": 1}')
    execute_book(root, only=["first"])
    assert [path.read_text() for path in written] == ["old", "old"]
    execute_book(root)
    assert [path.read_text() for path in written] == before
    assert "`make book`" in (root / "_build" / "rerun.md").read_text()


def test_a_chapter_whose_figure_is_gone_is_executed_again(root, fake):
    figure = root / "book" / "_generated" / "bars.svg"
    figure.parent.mkdir()
    figure.write_text("<svg/>")
    cells = [*NOTEBOOK, ("markdown", "```{figure} /book/_generated/bars.svg\n```", [])]
    write_notebook(root / "notebooks" / "scores.ipynb", cells)
    execute_book(root)
    assert execute_book(root) == []
    figure.unlink()
    assert execute_book(root) == ["first", "second"]


def test_chapters_executed_side_by_side_are_those_executed_in_turn(root):
    (root / "book" / "chapters.yml").write_text("scores:\n" + "".join(f"  c{n}: {{rows: {n}}}\n" for n in range(3)))
    chapters, before = root / "book" / "chapters", Path.cwd()
    found = []
    for jobs in (1, 3):
        assert execute_book(root, only=["c0", "c1", "c2"], force=True, jobs=jobs) == ["c0", "c1", "c2"]
        found.append([(chapters / f"c{n}.ipynb").read_bytes() for n in range(3)])
    assert found[0] == found[1] and len(set(found[0])) == 3 and Path.cwd() == before
    assert all(b"chapters" in chapter for chapter in found[0])  # each kernel worked in the folder of the chapters


def test_after_a_failure_no_further_chapter_starts(root, fake, monkeypatch):
    started = []

    def fail(notebook, scratch, *_):
        started.append(scratch.stem)
        raise DisentrecError("no")

    monkeypatch.setattr(notebooks, "_papermill", fail)
    (root / "book" / "chapters.yml").write_text("scores:\n" + "".join(f"  c{n}: {{}}\n" for n in range(50)))
    with pytest.raises(DisentrecError, match="no"):
        execute_book(root, force=True)
    assert len(started) < 50


def test_a_failing_chapter_is_tried_again(root, fake, monkeypatch):
    def fail(*_):
        raise DisentrecError("no")

    execute_book(root)
    (root / "results" / "records" / "record.json").write_text("changed")
    with monkeypatch.context() as patch:
        patch.setattr(notebooks, "_papermill", fail)
        with pytest.raises(DisentrecError):
            execute_book(root)
    assert execute_book(root) == ["first", "second"]


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ("score: {first: {}}", r"unknown notebook 'score'.*Valid: scores"),
        ("scores: {first: {row: 1}}", r"parameter 'row'.*chapters\.yml.*Valid: datasets, rows, title"),
        ("scores: {first: {rows: many}}", r"'rows' of scores\.ipynb must be a whole number, not 'many'"),
        ("scores: {first: {}}\n'scores ': {first: {}}", r"unknown notebook 'scores '"),
    ],
)
def test_mistakes_in_the_plan_are_refused_before_anything_runs(root, fake, plan, message):
    (root / "book" / "chapters.yml").write_text(plan)
    with pytest.raises(DisentrecError, match=message):
        execute_book(root)
    assert fake == []


def test_two_chapters_of_one_name_are_refused(root):
    write_notebook(root / "notebooks" / "other.ipynb", NOTEBOOK)
    (root / "book" / "chapters.yml").write_text("scores: {first: {}}\nother: {first: {}}")
    with pytest.raises(DisentrecError, match="two chapters are called 'first'"):
        read_chapters(root)


def test_unknown_chapters_are_refused(root):
    with pytest.raises(DisentrecError, match=r"unknown chapter 'third'.*Valid: first, second"):
        execute_book(root, only=["third"])


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import sys\nprint('careful', file=sys.stderr)", "writes to stderr"),
        ("from pathlib import Path\nprint(Path.cwd())", "prints a place of this machine"),
    ],
)
def test_outputs_that_differ_between_machines_are_refused(root, source, message):
    notebook = write_notebook(root / "notebooks" / "loud.ipynb", [("code", source, [])])
    with pytest.raises(DisentrecError, match=rf"cell 1 {message}.*loud\.ipynb"):
        run_notebook(notebook, root / "book" / "chapters" / "loud.ipynb", root=root)


def test_a_notebook_is_found_by_name_and_by_path(root):
    path = root / "notebooks" / "scores.ipynb"
    assert find_notebook("scores", root) == path
    assert find_notebook(path, root) == path


def test_the_hash_of_trees_sees_content_and_names_but_no_caches(tmp_path):
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "a.py").write_text("1")
    first = hash_trees([tree])
    (tree / "__pycache__").mkdir()
    (tree / "__pycache__" / "a.pyc").write_text("x")
    (tree / ".hidden").write_text("x")
    assert hash_trees([tree]) == first
    (tree / "a.py").write_text("2")
    second = hash_trees([tree])
    (tree / "a.py").rename(tree / "b.py")
    assert len({first, second, hash_trees([tree])}) == 3


def test_kernels_leave_environment_and_folder_as_they_were(monkeypatch, tmp_path):
    before = Path.cwd()
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("TQDM_DISABLE")
    with kernels_in(tmp_path), kernels_in(tmp_path):
        assert (os.environ["OMP_NUM_THREADS"], os.environ["TQDM_DISABLE"]) == ("1", "1")
        assert Path.cwd() == tmp_path
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "TQDM_DISABLE" not in os.environ and Path.cwd() == before


TRANSPORT = "import json, ipykernel\nprint(json.loads(ipykernel.get_connection_info())['transport'])"


def test_a_notebook_needs_no_free_port(root):
    notebook, target = root / "notebooks" / "ports.ipynb", root / "book" / "chapters" / "ports.ipynb"
    write_notebook(notebook, [("code", TRANSPORT, [])])
    run_notebook(notebook, target, root=root)
    assert nbformat.read(target, as_version=4).cells[0].outputs[0].text == "ipc\n"


def test_a_checked_notebook_needs_no_free_port():
    manager = SocketKernelManager()
    manager.start_kernel()
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        assert Path(manager.connection_file).with_name("kernel-ipc-1").is_socket()
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    assert not Path(manager.connection_file).parent.exists()
