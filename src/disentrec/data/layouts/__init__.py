"""Importers: folders in the layouts of published research data, or of CSV files of one's own -> dataset folders.

A layout is a function `(source, **options) -> arguments of write_dataset`; a new one joins LAYOUTS.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from disentrec.data.layouts.amazon import amazon, amazon_sessions
from disentrec.data.layouts.movielens import movielens_1m, movielens_1m_users
from disentrec.data.layouts.own import own_csv
from disentrec.data.layouts.retail import online_retail
from disentrec.data.layouts.sessions import mmsbr_sports, sessions
from disentrec.data.schema import Dataset, write_dataset
from disentrec.errors import DisentrecError, unknown_name

__all__ = ["LAYOUTS", "import_layout", "recognise"]

#: Name -> function. Its keyword arguments are the options of `disentrec data import --set`.
LAYOUTS: dict[str, Callable[..., dict[str, Any]]] = {
    "sessions": sessions,
    "mmsbr-sports": mmsbr_sports,
    "online-retail": online_retail,
    "movielens-1m": movielens_1m,
    "movielens-1m-users": movielens_1m_users,
    "amazon": amazon,
    "amazon-sessions": amazon_sessions,
    "csv": own_csv,
}
#: What tells a layout: file -> columns it must have. The first match in this order counts.
SIGNS: dict[str, dict[str, set[str]]] = {
    "sessions": {"train.parquet": {"session", "target"}, "test.parquet": {"session", "target"}},
    "mmsbr-sports": {
        "test.parquet": {"session", "target"},
        "items.parquet": {"item", "price_level", "category"},
    },
    "online-retail": {"interactions.parquet": {"session", "item", "pos", "timestamp"}},
    "movielens-1m": {"interactions.parquet": {"user", "item", "native_item", "seq_pos"}},
    "movielens-1m-users": {"interactions.parquet": {"user", "item", "native_item", "seq_pos"}},
    "amazon": {"interactions.parquet": {"user", "item"}},
    "amazon-sessions": {"interactions.parquet": {"user", "item", "seq_pos"}},
    "csv": {"interactions.csv": {"item"}, "items.csv": {"item"}},
}
GET_IT = "The book's page on running the study says which folders can be imported and where their data come from"


def import_layout(
    source: Path | str,
    target: Path | str,
    *,
    layout: str | None = None,
    name: str | None = None,
    overwrite: bool = False,
    **options: Any,
) -> Dataset:
    """Imports the folder `source` as a dataset folder `target` and returns it.

    The layout is recognised where none is given; `name` is that of the target folder unless given. Layout and
    options, defaults included, are kept in dataset.json under "extra". The same input and options give the
    same fingerprint. Raises DisentrecError for unknown layouts and options, and for missing or bad sources.
    """
    source, target = Path(source), Path(target)
    if not source.is_dir():
        raise DisentrecError("the folder to import is not here", where=source, how=GET_IT)
    if layout is None:
        layout = recognise(source)
    elif layout not in LAYOUTS:
        raise unknown_name("layout", layout, LAYOUTS)
    else:
        _check_layout(source, layout)
    read = LAYOUTS[layout]
    defaults = {key: value.default for key, value in inspect.signature(read).parameters.items() if key != "source"}
    for option in options:
        if option not in defaults:
            raise unknown_name(f"option of the layout {layout}", option, defaults or ["none"])
    # A whole number is a number, too: --set share=1.
    whole = {key for key, value in options.items() if type(value) is int and isinstance(defaults[key], float)}
    options = defaults | {key: float(value) if key in whole else value for key, value in options.items()}
    for key, value in options.items():
        if type(value) is not type(defaults[key]) or (isinstance(value, int) and value < 0):
            kind = type(defaults[key]).__name__
            raise DisentrecError(
                f"{key}={value!r} is not a valid option",
                where=f"layout {layout}",
                how=f"Give {kind} of at least 0" if kind == "int" else f"Give {kind}",
            )
    content = read(source, **options)
    extra = {"layout": layout, "options": options, "publish": "results only, no data", **content.pop("extra")}
    return write_dataset(target, name=name or target.name, extra=extra, overwrite=overwrite, **content)


def recognise(source: Path | str) -> str:
    """Returns the name of the layout of a folder, from its files and their columns."""
    for layout in LAYOUTS:
        if not _missing(Path(source), layout):
            return layout
    lines = "; ".join(f"{layout}: {_needs(layout)}" for layout in LAYOUTS)
    raise DisentrecError("no known layout", where=source, how=f"Valid layouts and what they need: {lines}")


def _check_layout(source: Path, layout: str) -> None:
    missing = _missing(source, layout)
    if missing:
        raise DisentrecError(
            f"not of the layout {layout!r}: {missing}",
            where=source,
            how=f"It needs {_needs(layout)}. {GET_IT}",
        )


def _missing(source: Path, layout: str) -> str:
    for file, columns in SIGNS[layout].items():
        path = source / file
        if not path.exists():
            return f"{file} is missing"
        lacking = columns - _header(path)
        if lacking:
            return f"{file} lacks {', '.join(sorted(lacking))}"
    return ""


def _header(path: Path) -> set[str]:
    if path.suffix == ".csv":
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            return {name.strip().strip('"') for name in file.readline().split(",")}
    try:
        return set(pq.read_schema(path).names)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DisentrecError(f"not a parquet file: {error}", where=path, how="Copy it again") from error


def _needs(layout: str) -> str:
    return ", ".join(f"{file} ({', '.join(sorted(columns))})" for file, columns in SIGNS[layout].items())
