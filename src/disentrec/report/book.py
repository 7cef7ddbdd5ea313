"""The driver of the book: papermill executes notebooks into chapters, those whose inputs changed.

A chapter holds outputs and nothing that changes on every run, so a second execution gives the same bytes. It
depends on its notebook, its parameters, this package and the published records; a stamp below `_build/` keeps
their hash. Parameters have their own module: `report.parameters`.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from disentrec.data.drafts import sweep, write_atomically, writing
from disentrec.errors import DisentrecError, unknown_name
from disentrec.paths import PACKAGE, ROOT
from disentrec.reading import read_yaml
from disentrec.report.explore.export import write_explore
from disentrec.report.models.pages import write_model_pages
from disentrec.report.pages import write_pages, write_readme, write_rerun
from disentrec.report.parameters import check_parameters, declared_parameters, rerun_command
from disentrec.report.scorecard import write_scorecard

logger = logging.getLogger(__name__)

#: What every kernel starts with: one thread (more make small products slower), no bars, one order of sets.
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "TQDM_DISABLE": "1",
    "PYTHONHASHSEED": "0",
    "JUPYTER_PLATFORM_DIRS": "1",
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",
}
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


@dataclass(frozen=True)
class ChapterPlan:
    """One line of book/chapters.yml: a notebook, the chapter it becomes and the parameters it is given."""

    root: Path
    notebook: Path
    name: str
    parameters: Mapping[str, Any]

    @property
    def target(self) -> Path:
        """The executed chapter, committed with the book."""
        return self.root / "book" / "chapters" / f"{self.name}.ipynb"

    @property
    def stamp(self) -> Path:
        """What the chapter was last made from."""
        return self.root / "_build" / "chapters" / f"{self.name}.json"

    def inputs(self, trees: str) -> str:
        """Returns the hash of everything the chapter depends on; `trees` is that of code and records.

        A parameter that names a folder of the repository, such as benchmarks/results, adds what is in it.
        """
        named = [self.root / value for value in self.parameters.values() if isinstance(value, str) and value]
        own = [hash_trees([folder]) for folder in named if folder.is_dir()]
        text = json.dumps([self.name, self.parameters, trees, *own], sort_keys=True, default=str)
        return hashlib.sha256(text.encode() + self.notebook.read_bytes()).hexdigest()

    def fresh(self, trees: str) -> bool:
        """True when inputs and output are those of the stamp and every figure the chapter shows is there."""
        if not self.target.exists():
            return False
        text = self.target.read_text()
        figures = re.findall(r"/(book/_generated/[\w./-]+\.\w+)", text)
        return _read_stamp(self.stamp) == [self.inputs(trees), _hash(text)] and all(
            (self.root / figure).exists() for figure in figures
        )


def read_chapters(root: Path = ROOT) -> list[ChapterPlan]:
    """Returns the chapters of book/chapters.yml in order; names of notebooks and parameters are checked."""
    path = root / "book" / "chapters.yml"
    plans: list[ChapterPlan] = []
    for notebook, chapters in (read_yaml(path) or {}).items():
        source = find_notebook(notebook, root, where=path)
        for name, parameters in chapters.items():
            if any(plan.name == name for plan in plans):
                raise DisentrecError(f"two chapters are called {name!r}", where=path)
            check_parameters(source, parameters or {}, where=path)
            plans.append(ChapterPlan(root, source, name, parameters or {}))
    return plans


def find_notebook(name: str | Path, root: Path = ROOT, *, where: object = None) -> Path:
    """Returns the path of a notebook given by name or path; an unknown name lists those that exist."""
    path = root / "notebooks" / f"{name}.ipynb"
    if path.exists():
        return path
    if Path(name).suffix == ".ipynb" and Path(name).exists():
        return Path(name)
    known = (found.stem for found in (root / "notebooks").glob("*.ipynb"))
    raise unknown_name("notebook", str(name), known, where=where)


def execute_book(root: Path = ROOT, only: Sequence[str] | None = None, force: bool = False) -> list[str]:
    """Executes the chapters whose inputs changed (all with `force`) and returns their names.

    The scorecard and the generated parts of the prose pages are written along when records or code changed.
    `only` names the chapters to look at; an unknown one lists the valid ones. A cell that fails raises
    DisentrecError naming notebook, cell and message, and leaves the chapter as it was.
    """
    plans = read_chapters(root)
    names = [plan.name for plan in plans]
    for name in only or ():
        if name not in names:
            raise unknown_name("chapter", name, names, where=root / "book" / "chapters.yml")
    results = root / "results"
    # The scorecard in results/ is made from these, and no input of its own.
    folders = [results / name for name in ("records", "datasets", "features")]
    trees = hash_trees([PACKAGE, *folders, root / "pyproject.toml"])
    pages = root / "_build" / "chapters" / "pages.json"
    pages_stale = only is None and (force or _read_stamp(pages) != [trees])
    if pages_stale:
        entries = write_scorecard(results)  # chapters read it
    chosen = [plan for plan in plans if not only or plan.name in only]
    stale = [plan for plan in chosen if force or not plan.fresh(trees)]
    for plan in tqdm(stale, desc="chapters", disable=None):
        logger.info("executing %s", plan.name)
        with writing(plan.stamp):  # its figures change before the chapter does: a kill in between must not look fresh
            plan.stamp.unlink(missing_ok=True)
        run_notebook(plan.notebook, plan.target, plan.parameters, root=root)
        _write_stamp(plan.stamp, [plan.inputs(trees), _hash(plan.target.read_text())])
    if pages_stale:
        write_pages(results, root / "book" / "_generated", entries)
        write_readme(root / "README.md", entries)
        write_model_pages(results, root / "book")
        write_explore(root)
        _write_stamp(pages, [trees])
    write_rerun(results, root / "_build" / "rerun", root / "_build" / "rerun.md")
    return [plan.name for plan in stale]


def run_notebook(
    notebook: Path, target: Path, parameters: Mapping[str, Any] | None = None, *, root: Path = ROOT
) -> Path:
    """Executes one notebook with parameters and returns `target`, written whole or not at all.

    Unknown parameters and values of another kind raise DisentrecError listing what the notebook declares. The
    kernel works in the folder of `target`.
    """
    import nbformat

    given = dict(parameters or {})
    check_parameters(notebook, given)
    scratch = root / "_build" / "notebooks" / target.name
    for folder in (target.parent, scratch.parent):
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            sweep([folder])
    with writing(scratch):
        _papermill(notebook, scratch, given, target.parent)
    shown = {**declared_parameters(notebook), **given, "rerun": rerun_command(notebook, given, root)}
    book = clean(nbformat.read(scratch, as_version=4), target.stem, shown)
    _refuse_volatile(book, notebook, root)
    text = nbformat.writes(book).rstrip() + "\n"
    write_atomically(target, lambda file: file.write(text.encode()))
    return target


def clean(book: Any, name: str, shown: Mapping[str, Any]) -> Any:
    """Returns an executed notebook without what changes on every run.

    Timestamps and kernel details go, cells are numbered `<name>-<n>`, the injected parameters are hidden, and
    `{{key}}` in markdown cells becomes the value of `key` in `shown`.
    """
    book.metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    for number, cell in enumerate(book.cells):
        cell.id = f"{name}-{number}"
        tags = list(cell.metadata.get("tags", []))
        if "injected-parameters" in tags and "remove-input" not in tags:
            tags.append("remove-input")
        cell.metadata = {"tags": tags} if tags else {}
        if cell.cell_type == "markdown":
            for key, value in shown.items():
                cell.source = cell.source.replace("{{" + key + "}}", str(value))
    return book


def hash_trees(paths: Iterable[Path]) -> str:
    """Returns one hash over names and contents of files, without Python's caches and hidden files."""
    total = hashlib.sha256()
    for path in paths:
        for file in [path] if path.is_file() else sorted(path.rglob("*")):
            place = file.relative_to(path.parent)
            left_out = any(part == "__pycache__" or part.startswith(".") for part in place.parts)
            if file.is_file() and not left_out:
                total.update(f"{place.as_posix()}\0{hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()


def _papermill(notebook: Path, scratch: Path, parameters: Mapping[str, Any], folder: Path) -> None:
    with _environment():
        import papermill
        from nbclient.exceptions import CellTimeoutError, DeadKernelError
        from papermill.exceptions import PapermillExecutionError

        kept = f"The executed copy, traceback included: {scratch}"
        try:
            papermill.execute_notebook(
                str(notebook), str(scratch), dict(parameters), cwd=str(folder), kernel_name=KERNEL["name"],
                progress_bar=False, log_output=False,
            )  # fmt: skip
        except PapermillExecutionError as error:
            first = next((line for line in error.source.splitlines() if line.strip()), "").strip()
            raise DisentrecError(
                f"cell {error.exec_count} ({first!r}) failed: {error.ename}: {error.evalue}",
                where=notebook,
                how=kept,
            ) from None
        except (DeadKernelError, CellTimeoutError) as error:
            raise DisentrecError(f"the kernel died: {error}", where=notebook, how=kept) from error


@contextmanager
def _environment() -> Iterator[None]:
    before = {name: os.environ.get(name) for name in ENVIRONMENT}
    os.environ.update(ENVIRONMENT)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


def _refuse_volatile(book: Any, notebook: Path, root: Path) -> None:
    """A page must read the same everywhere: no warnings, no places of this machine."""
    for cell in book.cells:
        for output in cell.get("outputs", ()):
            text = json.dumps(output)
            fault = "writes to stderr" if output.get("name") == "stderr" else None
            if str(root) in text:
                fault = "prints a place of this machine"
            if fault is not None:
                raise DisentrecError(
                    f"cell {cell.execution_count} {fault}: {text[:300]}",
                    where=notebook,
                    how="Mend its cause; the outputs of a chapter are published as they are",
                )


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _read_stamp(path: Path) -> list[str]:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):  # cut short by a full disk: as good as none
        return []


def _write_stamp(path: Path, content: list[str]) -> None:
    write_atomically(path, lambda file: file.write(json.dumps(content).encode()))
