"""The columns of the dataset folder's tables: their stored types, and lists in flat form."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from disentrec.data.sequences import Sequences
from disentrec.errors import DisentrecError

#: The stored type of every known column; others may be integers, floats, text or booleans.
TYPES = {
    "item": pa.int32(),
    "session": pa.int64(),
    "items": pa.list_(pa.int32()),
    "user": pa.int32(),
    "time": pa.int64(),
    "price": pa.float64(),
    "sales_rank": pa.float64(),
    "image": pa.binary(),
} | dict.fromkeys(("split", "native_id", "title", "description", "brand", "category"), pa.string())
REQUIRED = {
    "items": ("item",),
    "sessions": ("session", "items"),
    "interactions": ("user", "item"),
    "images": ("item", "image"),
}


def canonical(table: pa.Table, kind: str, where: object) -> pa.Table:
    """Returns `table` with the stored types.

    `kind` is a key of REQUIRED. Raises DisentrecError on missing columns, nulls, and types that do not fit.
    """
    for name in REQUIRED[kind]:
        if name not in table.column_names:
            raise DisentrecError(
                f"the column {name!r} is missing; found: {', '.join(table.column_names) or 'none'}",
                where=where,
                how=f"A table of {kind} needs the columns {', '.join(REQUIRED[kind])}",
            )
    return pa.table({name: _canonical_column(table[name], name, where) for name in table.column_names})


def _canonical_column(column: pa.ChunkedArray, name: str, where: object) -> pa.ChunkedArray:
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = pc.dictionary_decode(column)
    if column.null_count and not pa.types.is_floating(kind):
        row = int(np.flatnonzero(pc.is_null(column).to_numpy())[0])
        raise DisentrecError(
            f"column {name!r} has {column.null_count} null values, the first in row {row}",
            where=where,
            how='Drop these rows, or write "" for a missing text, -1 for an unknown user, NaN among floats',
        )
    wanted = TYPES.get(name)
    if wanted is None:
        return column
    families = (_family(column.type), _family(wanted))
    try:
        if families[0] != families[1] and families != ("integer", "float"):
            raise pa.ArrowInvalid("another kind of value")
        if families[1].startswith("list") and pc.list_flatten(column).null_count:
            raise pa.ArrowInvalid("there are nulls in its lists")
        return column.cast(wanted)
    except pa.ArrowException as error:
        raise DisentrecError(
            f"column {name!r} has the type {kind}, not {wanted} ({error})",
            where=where,
            how=f"Convert the column to {wanted}",
        ) from error


def _family(kind: pa.DataType) -> str:
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return f"list of {_family(kind.value_type)}"
    tests = {
        "integer": (pa.types.is_integer,),
        "float": (pa.types.is_floating,),
        "text": (pa.types.is_string, pa.types.is_large_string),
        "bytes": (pa.types.is_binary, pa.types.is_large_binary),
    }
    return next((name for name, ways in tests.items() if any(test(kind) for test in ways)), str(kind))


def lists_of(column: pa.ChunkedArray | pd.Series) -> Sequences:
    """Returns a list column in flat form, without a Python loop."""
    if isinstance(column, pd.Series):
        array = pa.array(column)
        column = array if isinstance(array, pa.ChunkedArray) else pa.chunked_array([array])
    lengths = pc.list_value_length(column).to_numpy()
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Sequences(pc.list_flatten(column).to_numpy().astype(np.int32, copy=False), offsets)


def session_table(lists: Sequences, **columns: object) -> pd.DataFrame:
    """Returns the table `write_dataset` takes for sessions in flat form: no Python list is made."""
    offsets, values = pa.array(lists.offsets, pa.int32()), pa.array(lists.values, pa.int32())
    items = pa.ListArray.from_arrays(offsets, values)
    table = pd.DataFrame({"session": np.arange(len(lists)), **columns})
    table.insert(1, "items", pd.array(items, dtype=pd.ArrowDtype(items.type)))
    return table


def to_arrow(frame: pd.DataFrame) -> pa.Table:
    """Returns the frame as an Arrow table, without its index and pandas' notes."""
    return pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)


def to_frame(table: pa.Table) -> pd.DataFrame:
    """Returns the table as a frame, list columns left in Arrow: a million Python lists would take seconds."""
    lists = [field.name for field in table.schema if pa.types.is_list(field.type)]
    frame = table.drop_columns(lists).to_pandas()
    for name in lists:
        column = pd.array(table[name], dtype=pd.ArrowDtype(table[name].type))
        frame.insert(table.column_names.index(name), name, column)
    return frame
