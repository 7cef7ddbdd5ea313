"""JSON and YAML that may come from anywhere, read such that whatever is in them ends in a value or a DisentrecError."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from numbers import Integral, Real
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, ClassVar, Union, get_args, get_origin, get_type_hints

import yaml

from disentrec.errors import DisentrecError

AGAIN = "Make it again, or copy it again"
#: Aliases in one text of YAML: nested ones double what they name.
MOST_ALIASES = 20


def read_json(path: Path, *, kind: type | None = dict, what: str = "not valid JSON", how: str = AGAIN) -> Any:
    """Returns the content of a JSON file; raises DisentrecError where it is none, or is not of the `kind`."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DisentrecError(f"{what}: {error}", where=path, how=how) from error
    if kind is not None and not isinstance(content, kind):
        raise DisentrecError(f"{what}: no {kind.__name__} at its top", where=path, how=how)
    return content


def read_yaml(path: Path, *, how: str = AGAIN) -> Any:
    """Returns the content of a YAML file; raises DisentrecError where it is none."""
    try:
        return parse_yaml(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DisentrecError(f"not YAML: {error}", where=path, how=how) from error


def parse_yaml(text: str) -> Any:
    """Returns what a text of YAML says, in the types of JSON; ValueError if it is none.

    Dates stay texts here, no key is a list, and an alias counts each time it is used: what is short as a text may
    not be endless as a value.
    """
    try:
        if "&" in text and _aliases(text) > MOST_ALIASES:
            raise ValueError(f"more than {MOST_ALIASES} aliases")
        return yaml.load(text, _JsonTypes)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError, OverflowError, AttributeError, LookupError) as error:
        raise ValueError(str(error) or type(error).__name__) from error


def _aliases(text: str) -> int:
    return sum(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader))


class _JsonTypes(yaml.SafeLoader):
    """YAML's own types but for dates, sets, bytes and pairs, which no setting has and JSON cannot hold."""

    yaml_implicit_resolvers: ClassVar = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


for _kind in ("timestamp", "set", "binary", "omap", "pairs"):
    _JsonTypes.add_constructor(f"tag:yaml.org,2002:{_kind}", yaml.SafeLoader.construct_undefined)


def check_kinds(settings: type, values: Mapping[str, Any], *, where: object = None) -> None:
    """Raises for the first value that is not of the type its field of the dataclass `settings` declares."""
    hints = _hints(settings)
    for name, value in values.items():
        if name in hints and not _fits(value, hints[name]):
            kind = getattr(hints[name], "__name__", str(hints[name])) if not get_args(hints[name]) else hints[name]
            raise DisentrecError(f"{name}={repr(value)[:100]} is not valid", where=where, how=f"Give {kind}")


@cache
def _hints(settings: type) -> dict[str, Any]:
    return get_type_hints(settings)


def _fits(value: Any, hint: Any) -> bool:
    if get_origin(hint) is tuple:
        return isinstance(value, list | tuple) and all(_fits(one, get_args(hint)[0]) for one in value)
    if get_origin(hint) in (dict, Mapping):
        return isinstance(value, Mapping) and all(_fits(one, get_args(hint)[1]) for one in value.values())
    if get_origin(hint) is None and isinstance(hint, type):
        if hint in (int, float):
            return isinstance(value, Integral if hint is int else Real) and not isinstance(value, bool)
        return isinstance(value, hint) if hint in (bool, str, NoneType) else True
    return any(_fits(value, one) for one in get_args(hint)) if get_origin(hint) in (Union, UnionType) else True
