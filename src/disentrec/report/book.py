"""The driver of the book: papermill executes notebooks into chapters, those whose inputs changed.

A chapter holds outputs and nothing that changes on every run, so a second execution gives the same bytes. It
depends on its notebook, its parameters, this package and the published records; a stamp below `_build/` keeps
their hash. Parameters have their own module: `report.parameters`.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from disentrec.data.drafts import write_atomically, writing
from disentrec.errors import DisentrecError, unknown_name
from disentrec.paths import PACKAGE, ROOT
from disentrec.reading import read_yaml
from disentrec.report.explore.export import write_explore
from disentrec.report.models.pages import write_model_pages
from disentrec.report.notebooks import find_notebook, kernels_in, run_notebook
from disentrec.report.pages import write_pages, write_readme, write_rerun
from disentrec.report.parameters import check_parameters
from disentrec.report.scorecard import write_scorecard

logger = logging.getLogger(__name__)


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


def execute_book(root: Path = ROOT, only: Sequence[str] | None = None, force: bool = False, jobs: int = 1) -> list[str]:
    """Executes the chapters whose inputs changed (all with `force`), `jobs` at a time, and returns their names.

    The scorecard and the generated parts of the prose pages are written along when records or code changed.
    `only` names the chapters to look at; an unknown one lists the valid ones. A cell that fails raises
    DisentrecError naming notebook, cell and message, and leaves the chapter as it was.
    """
    root = root.absolute()  # kernels work in another folder
    plans = read_chapters(root)
    names = [plan.name for plan in plans]
    for name in only or ():
        if name not in names:
            raise unknown_name("chapter", name, names, where=root / "book" / "chapters.yml")
    results = root / "results"
    # The scorecard in results/ is made from these, and no input of its own.
    folders = [results / name for name in ("records", "datasets", "features")]
    trees = hash_trees([PACKAGE, *folders, root / "pyproject.toml"])
    measured, pages = root / "benchmarks" / "results", root / "_build" / "chapters" / "pages.json"
    pages_inputs = [trees, hash_trees([measured])]
    pages_stale = only is None and (force or _read_stamp(pages) != pages_inputs)
    if pages_stale:
        entries = write_scorecard(results)  # chapters read it
    chosen = [plan for plan in plans if not only or plan.name in only]
    stale = [plan for plan in chosen if force or not plan.fresh(trees)]
    _execute(stale, trees, root, jobs)
    if pages_stale:
        write_pages(results, root / "book" / "_generated", entries, measured)
        write_readme(root / "README.md", entries)
        write_model_pages(results, root / "book")
        write_explore(root)
        _write_stamp(pages, pages_inputs)
    write_rerun(results, root / "_build" / "rerun", root / "_build" / "rerun.md")
    return [plan.name for plan in stale]


def _execute(plans: Sequence[ChapterPlan], trees: str, root: Path, jobs: int) -> None:
    """Executes chapters, `jobs` kernels at a time; the first failure keeps the rest from starting."""
    folder = root / "book" / "chapters"
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with kernels_in(folder), ThreadPoolExecutor(jobs) as pool:
        waiting = [pool.submit(_execute_chapter, plan, trees, root) for plan in plans]
        try:
            for done in tqdm(as_completed(waiting), total=len(waiting), desc="chapters", disable=None):
                done.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _execute_chapter(plan: ChapterPlan, trees: str, root: Path) -> None:
    from jupyter_core.utils import ensure_event_loop

    logger.info("executing %s", plan.name)
    with writing(plan.stamp):  # its figures change before the chapter does: a kill in between must not look fresh
        plan.stamp.unlink(missing_ok=True)
    try:
        run_notebook(plan.notebook, plan.target, plan.parameters, root=root)
    finally:
        ensure_event_loop().close()  # the one that Jupyter made for this thread
    _write_stamp(plan.stamp, [plan.inputs(trees), _hash(plan.target.read_text())])


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


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _read_stamp(path: Path) -> list[str]:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):  # cut short by a full disk: as good as none
        return []


def _write_stamp(path: Path, content: list[str]) -> None:
    write_atomically(path, lambda file: file.write(json.dumps(content).encode()))
