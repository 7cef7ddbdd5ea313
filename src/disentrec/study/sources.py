"""The data sets of the study as data: where each comes from and how it is cut (papers/datasets.yaml)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from disentrec.data.validation import check_names
from disentrec.errors import DisentrecError
from disentrec.paths import PAPERS
from disentrec.study.entries import make_entry, read_mapping


@dataclass(frozen=True)
class Source:
    """Where a data set of the study comes from (papers/datasets.yaml)."""

    name: str
    source: str
    title: str
    modalities: tuple[str, ...]
    scale: str | None = None
    knobs: Mapping[str, Any] = field(default_factory=dict)
    folder: str | None = None
    layout: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    #: Settings of training that its size asks for, over those of a budget, the same for every model.
    training: Mapping[str, Any] = field(default_factory=dict)
    #: How its users' histories are split (data/interactions.py); "": as published, else MMRec's rule.
    split: str = ""
    #: Features made beside the folder: name -> recipe (study/features.py), with its options.
    encoded: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    note: str = ""


@cache
def sources() -> dict[str, Source]:
    """Returns the data sets of the study by name."""
    return read_sources(PAPERS / "datasets.yaml")


def read_sources(path: Path) -> dict[str, Source]:
    """Returns the data sets that a YAML file describes, by name."""
    content = read_mapping(path)
    for name, entry in content.items():
        if not isinstance(name, str) or not isinstance(entry, dict):
            raise DisentrecError(f"{name!r} is no name with a mapping", where=path)
        check_names(name, (), path)
    return {name: make_entry(Source, {"name": name, **entry}, path) for name, entry in content.items()}
