"""From YAML to dataclasses: an entry says what it does not know or lacks, and in which file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from disentrec.errors import DisentrecError, unknown_name
from disentrec.reading import read_yaml


def make_entry(kind: type, entry: Mapping[str, Any], path: Path | str) -> Any:
    """Returns a dataclass from the mapping of its fields; a field it does not have, or lacks, is named."""
    valid = [field.name for field in fields(kind)]
    if not isinstance(entry, Mapping):
        raise DisentrecError(f"not a mapping: the entry of a {kind.__name__.lower()}", where=path)
    for key in entry:
        if key not in valid:
            raise unknown_name(f"{kind.__name__.lower()} key", key, valid, where=path)
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}
    try:
        return kind(**values)
    except TypeError as error:
        raise DisentrecError(str(error), where=path, how="Add the key that is missing") from error


def read_mapping(path: Path) -> dict:
    """Returns the mapping at the top of a YAML file."""
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise DisentrecError("not YAML: no mapping at its top", where=path)
    return content
