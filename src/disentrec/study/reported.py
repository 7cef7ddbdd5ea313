"""What papers, their released code and other studies print: each figure with where it stands (reported.csv)."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass, replace
from pathlib import Path

from disentrec.errors import DisentrecError, unknown_name
from disentrec.paths import PAPERS
from disentrec.study.entries import make_entry
from disentrec.study.papers import load_paper, paper_names


@dataclass(frozen=True)
class Reported:
    """A figure that a paper, its released code or another study of it prints, with where it stands (reported.csv)."""

    paper: str
    artefact: str
    dataset: str
    model: str
    metric: str
    value: float
    unit: str
    source: str


def reported(path: Path = PAPERS / "reported.csv") -> tuple[Reported, ...]:
    """Returns every reported figure of a CSV file; papers go by the printed names of their models."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, restval=""))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DisentrecError(f"unreadable: {error}", where=path) from error
    known = [load_paper(name).label(name) for name in paper_names()]
    found = []
    for line, row in enumerate(rows, start=2):
        if None in row:
            raise DisentrecError("more cells than columns", where=f"{path}, row {line}", how="Quote text with a comma")
        entry = make_entry(Reported, row, path)
        if entry.paper not in known:
            raise unknown_name("paper", entry.paper, known, where=f"{path}, row {line}")
        try:
            found.append(replace(entry, value=float(entry.value)))
        except ValueError as error:
            raise DisentrecError(f"{entry.value!r} is no number", where=f"{path}, row {line}") from error
        if not math.isfinite(found[-1].value):
            raise DisentrecError(f"{entry.value!r} is no finite number", where=f"{path}, row {line}")
        if not entry.source:
            raise DisentrecError("a figure without a source", where=f"{path}, row {line}", how="Say where it stands")
    return tuple(found)
