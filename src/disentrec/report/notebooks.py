"""One notebook with parameters: papermill executes it, and what changes from run to run does not stay in it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import chdir, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from disentrec.data.drafts import sweep, write_atomically, writing
from disentrec.errors import DisentrecError, unknown_name
from disentrec.paths import ROOT
from disentrec.report.parameters import check_parameters, declared_parameters, rerun_command

#: What every kernel starts with: one thread (more make small products slower), no bars, one order of sets.
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "TQDM_DISABLE": "1",
    "PYTHONHASHSEED": "0",
    "JUPYTER_PLATFORM_DIRS": "1",
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",
}
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def find_notebook(name: str | Path, root: Path = ROOT, *, where: object = None) -> Path:
    """Returns the path of a notebook given by name or path; an unknown name lists those that exist."""
    path = root / "notebooks" / f"{name}.ipynb"
    if path.exists():
        return path
    if Path(name).suffix == ".ipynb" and Path(name).exists():
        return Path(name)
    known = (found.stem for found in (root / "notebooks").glob("*.ipynb"))
    raise unknown_name("notebook", str(name), known, where=where)


def run_notebook(
    notebook: Path, target: Path, parameters: Mapping[str, Any] | None = None, *, root: Path = ROOT
) -> Path:
    """Executes one notebook with parameters and returns `target`, written whole or not at all.

    Unknown parameters and values of another kind raise DisentrecError listing what the notebook declares. The
    kernel works in the folder of `target`.
    """
    import nbformat

    notebook, target, given = notebook.absolute(), target.absolute(), dict(parameters or {})
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

    Timestamps and kernel details go, tags and what a folded cell is called stay, cells are numbered `<name>-<n>`, the
    injected parameters are hidden, and `{{key}}` in markdown cells becomes the value of `key` in `shown`.
    """
    book.metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    for number, cell in enumerate(book.cells):
        cell.id = f"{name}-{number}"
        tags = list(cell.metadata.get("tags", []))
        if "injected-parameters" in tags and "remove-input" not in tags:
            tags.append("remove-input")
        folding = {key: value for key, value in cell.metadata.items() if key == "mystnb"}
        cell.metadata = folding | ({"tags": tags} if tags else {})
        if cell.cell_type == "markdown":
            for key, value in shown.items():
                cell.source = cell.source.replace("{{" + key + "}}", str(value))
    return book


def _papermill(notebook: Path, scratch: Path, parameters: Mapping[str, Any], folder: Path) -> None:
    with kernels_in(folder), TemporaryDirectory(prefix="kernel-") as sockets:
        import papermill
        from nbclient.exceptions import CellTimeoutError
        from papermill.exceptions import PapermillExecutionError
        from traitlets.config import Config

        kept = f"The executed copy, traceback included: {scratch}"
        try:
            papermill.execute_notebook(
                str(notebook), str(scratch), dict(parameters), kernel_name=KERNEL["name"], progress_bar=False,
                log_output=False, config=Config(KernelManager=sockets_in(Path(sockets))),
            )  # fmt: skip
        except PapermillExecutionError as error:
            first = next((line for line in error.source.splitlines() if line.strip()), "").strip()
            raise DisentrecError(
                f"cell {error.exec_count} ({first!r}) failed: {error.ename}: {error.evalue}",
                where=notebook,
                how=kept,
            ) from None
        except (RuntimeError, CellTimeoutError) as error:  # it died, never answered, or worked for too long
            raise DisentrecError(f"the kernel gave no answer: {error}", where=notebook, how=kept) from error


def sockets_in(folder: Path) -> dict[str, str]:
    """Returns what a kernel manager needs to reach its kernel over socket files in `folder`.

    The TCP ports it takes otherwise are chosen some time before the kernel binds them. When another process takes one
    between the two, the kernel ends or, if it was the port of its outputs, never answers.
    """
    if os.name == "nt":  # no socket files for ZeroMQ there
        return {}
    return {"transport": "ipc", "connection_file": str(folder / "kernel.json")}


@contextmanager
def kernels_in(folder: Path) -> Iterator[None]:
    """Lets kernels start in `folder` with ENVIRONMENT while the block lasts.

    Both belong to the whole process: a block inside another one of the same folder, in any thread, changes nothing.
    """
    before = {name: os.environ.get(name) for name in ENVIRONMENT}
    os.environ.update(ENVIRONMENT)
    try:
        with chdir(folder):
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
