"""Parameters of a notebook: what its `parameters` cell declares, and nothing else.

papermill accepts any name and injects it, so a misspelt parameter would silently change nothing. The driver
and the command line check before they run; a notebook run by papermill itself calls `guard_parameters()` in
the cell after its parameters.
"""

from __future__ import annotations

import ast
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from disentrec.errors import DisentrecError
from disentrec.paths import ROOT
from disentrec.reading import read_json

#: The first line of the cell that papermill injects.
INJECTED = "# Parameters"
#: What each kind is called in a message, and how it is given on papermill's command line.
KINDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    list: "a list",
    dict: "a mapping",
}


def declared_parameters(notebook: Path) -> dict[str, Any]:
    """Returns names and defaults of the cell tagged `parameters`, read without running it.

    The cell holds plain literals only; anything else raises DisentrecError.
    """
    try:
        cells = read_json(notebook, what="not a notebook")["cells"]
        tagged = [cell for cell in cells if "parameters" in cell["metadata"].get("tags", ())]
        source = "".join(tagged[0]["source"]) if tagged else ""
    except (KeyError, TypeError, AttributeError) as error:
        raise DisentrecError(f"not a notebook: {error}", where=notebook) from error
    return assigned(source, where=notebook)


def assigned(source: str, *, where: object = None) -> dict[str, Any]:
    """Returns names and values of the assignments of plain literals that `source` consists of."""
    found = {}
    try:
        for statement in ast.parse(source).body:
            if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                continue  # a docstring
            if not isinstance(statement, ast.Assign | ast.AnnAssign) or statement.value is None:
                raise ValueError(ast.unparse(statement))
            for target in statement.targets if isinstance(statement, ast.Assign) else [statement.target]:
                if not isinstance(target, ast.Name):
                    raise ValueError(ast.unparse(statement))
                found[target.id] = ast.literal_eval(statement.value)
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as error:
        raise DisentrecError(
            f"a parameters cell holds more than plain literals: {error}",
            where=where,
            how="Write `name = value` lines",
        ) from error
    return found


def check_parameters(notebook: Path, parameters: Mapping[str, Any], *, where: object = None) -> None:
    """Refuses parameters that a notebook does not declare, or of another kind than the declared default."""
    compare(declared_parameters(notebook), parameters, notebook.name, where=where)


def guard_parameters(history: Sequence[str] | None = None) -> None:
    """Refuses, from within a notebook, injected parameters that the cell before does not declare.

    `history`: sources of the cells run so far; those of the running kernel if not given. Outside papermill
    nothing is injected and nothing is refused.
    """
    if history is None:
        from IPython import get_ipython

        shell = get_ipython()
        history = [] if shell is None else shell.user_ns.get("In", [])
    places = [place for place, source in enumerate(history) if source.lstrip().startswith(INJECTED)]
    if places and places[-1] > 0:
        declared, injected = (assigned(history[place]) for place in (places[-1] - 1, places[-1]))
        compare(declared, injected, "this notebook")


def compare(declared: Mapping[str, Any], given: Mapping[str, Any], who: str, *, where: object = None) -> None:
    """Raises DisentrecError for the first given parameter that is not declared or of another kind."""
    for name, value in given.items():
        if name not in declared:
            valid = ", ".join(sorted(declared)) or "none"
            raise DisentrecError(f"unknown parameter {name!r} of {who}", where=where, how=f"Valid: {valid}")
        kind = _kind(declared[name])
        if kind is not None and not _fits(value, kind):
            raise DisentrecError(
                f"parameter {name!r} of {who} must be {KINDS[kind]}, not {value!r}",
                where=where,
                how=f"For instance: -y {shlex.quote(_flow({name: declared[name]}))}",
            )


def rerun_command(notebook: Path, parameters: Mapping[str, Any], root: Path = ROOT) -> str:
    """Returns the papermill command that makes the same page from the folder of the repository."""
    place = notebook.relative_to(root) if notebook.is_relative_to(root) else notebook
    words = ["papermill", place.as_posix(), f"{notebook.stem}-rerun.ipynb"]
    for name, value in parameters.items():
        # -p guesses the type of a word; -y takes YAML, hence lists, and text that looks like a number.
        plain = isinstance(value, str) and value[:1].isalpha() and isinstance(yaml.safe_load(value), str)
        words += ["-p", name, value] if plain else ["-y", _flow({name: value})]
    return shlex.join(words)


def _flow(value: Mapping[str, Any]) -> str:
    """Returns a mapping of one key as a line of YAML."""
    ((name, content),) = value.items()
    text = yaml.safe_dump(content, default_flow_style=True, allow_unicode=True, width=10_000)
    return f"{name}: {text.removesuffix('...' + chr(10)).strip()}"


def _kind(default: Any) -> type | None:
    if isinstance(default, tuple):
        return list
    return next((kind for kind in KINDS if isinstance(default, kind)), None)


def _fits(value: Any, kind: type) -> bool:
    if kind is bool or isinstance(value, bool):
        return kind is bool and isinstance(value, bool)
    if kind is float:
        return isinstance(value, int | float)
    return isinstance(value, (list, tuple) if kind is list else kind)
