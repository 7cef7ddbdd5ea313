"""The checks every data set passes, each time it is read: what is wrong, where, and how to mend it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from disentrec.data.sequences import Sequences
from disentrec.errors import DisentrecError

FORMAT = 1
SPLITS = ("train", "valid", "test")
KEYS = ("format", "name", "licence", "provenance", "counts", "fingerprint", "files", "features")


def missing(path: Path, what: str, how: str) -> DisentrecError:
    """Returns the error for a file that is not there."""
    return DisentrecError(f"{what} is missing", where=path, how=how)


def check_info(info: Any, where: Path) -> None:
    """Raises unless dataset.json has every key and a format this version reads."""
    absent = [key for key in KEYS if not isinstance(info, dict) or key not in info]
    if absent:
        raise DisentrecError(f"keys are missing: {', '.join(absent)}", where=where, how="Write the folder again")
    if info["format"] != FORMAT:
        raise DisentrecError(
            f"format {info['format']!r}, this version reads {FORMAT}", where=where, how="Write the folder again"
        )


def canonical(table: pa.Table, kind: str, where: Path) -> pa.Table:
    """Returns the table without schema metadata, session lists as list<int32>; other types of lists raise."""
    table = table.replace_schema_metadata(None)
    if kind != "sessions" or "items" not in table.column_names:
        return table
    column = table["items"]
    is_list = pa.types.is_list(column.type) or pa.types.is_large_list(column.type)
    if not is_list or not pa.types.is_integer(column.type.value_type):
        raise DisentrecError(f"'items' is {column.type}, not a list of integers", where=where, how="Write it as list<int32>")
    place = table.column_names.index("items")
    return table.set_column(place, "items", column.cast(pa.list_(pa.int32())))


def lists_of(column: pa.ChunkedArray) -> Sequences:
    """Returns a column of integer lists in flat form, without making a Python list."""
    array = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], pa.list_(pa.int32()))
    offsets = array.offsets.to_numpy().astype(np.int64)
    values = array.values.to_numpy(zero_copy_only=False)[offsets[0] : offsets[-1]].astype(np.int32)
    return Sequences(values, offsets - offsets[0])


def check_items(table: pa.Table, where: Path) -> None:
    """Raises unless items are 0..n-1 in order, at least two, and prices are not negative."""
    items = table.to_pandas()
    _need(items, ("item",), where)
    ids = items["item"].to_numpy()
    if len(ids) < 2:
        raise DisentrecError("fewer than two items", where=where, how="There is nothing to rank")
    if not np.issubdtype(ids.dtype, np.integer):
        raise DisentrecError(f"item ids are {ids.dtype}", where=where, how="Write them as integers without nulls")
    if not np.array_equal(ids, np.arange(len(ids))):
        row = int(np.flatnonzero(ids != np.arange(len(ids)))[0])
        raise DisentrecError(
            f"item ids are not 0, 1, 2, ... in order: row {row} holds {ids[row]} (a gap, a duplicate or disorder)",
            where=where,
            how="Renumber the items densely and sort them",
        )
    if "price" in items and (items["price"] < 0).any():
        raise DisentrecError(
            f"item {int((items['price'] < 0).idxmax())} has a negative price", where=where, how="Leave unknown prices null"
        )


def check_sessions(arrow: pa.Table, n_items: int, extra: Mapping[str, Any], where: Path) -> None:
    """Raises unless every session has two known items or more, ids are dense and parts do not overlap.

    With `repeats: false` in `extra` the source says that no target repeats an item of its prefix; one that does is
    then an error of construction. With `split_by: "time"` the parts must follow each other.
    """
    _need(arrow.schema.empty_table().to_pandas(), ("session", "items"), where)
    if arrow["items"].null_count or any(chunk.values.null_count for chunk in arrow["items"].chunks):
        raise DisentrecError("'items' holds nulls", where=where, how="Drop empty sessions and unknown items")
    sequences = lists_of(arrow["items"])
    table = arrow.drop_columns(["items"]).to_pandas()
    if len(table) == 0:
        raise DisentrecError("there are no sessions", where=where, how="Write the folder again")
    ids = table["session"].to_numpy()
    if table["session"].isna().any() or not np.issubdtype(ids.dtype, np.integer):
        raise DisentrecError("session ids are not integers", where=where, how="Number the sessions 0, 1, 2, ...")
    if len(np.unique(ids)) < len(ids):
        again = table["session"][table["session"].duplicated()].iloc[0]
        parts = table.loc[table["session"] == again, "split"].unique() if "split" in table else []
        overlap = f" and stands in the parts {', '.join(map(str, parts))}: splits overlap" if len(parts) > 1 else ""
        raise DisentrecError(
            f"session {again} occurs twice{overlap}", where=where, how="Keep each session once, in one part"
        )
    if not np.array_equal(ids, np.arange(len(ids))):
        raise DisentrecError("session ids are not 0, 1, 2, ... in order", where=where, how="Renumber the sessions densely")
    short = np.flatnonzero(sequences.lengths < 2)
    if len(short):
        raise DisentrecError(
            f"session {short[0]} has {sequences.lengths[short[0]]} item(s)", where=where, how="Drop sessions shorter than two"
        )
    _known(sequences.values, sequences.rows, n_items, "session", where)
    _check_split(table, where)
    if "time" in table and table["time"].isna().any():
        raise DisentrecError("'time' holds nulls", where=where, how="Give every session a time, or none")
    if extra.get("split_by") == "time" and {"time", "split"} <= set(table):
        _in_order(table, where)
    if not extra.get("repeats", True):
        last = sequences.values[sequences.offsets[1:] - 1]
        inside = (sequences.values == np.repeat(last, sequences.lengths)).astype(np.int64)
        twice = np.flatnonzero(np.add.reduceat(inside, sequences.offsets[:-1]) > 1)
        if len(twice):
            raise DisentrecError(
                f"the target of session {twice[0]} stands in its own prefix, though this source has no repeats",
                where=where,
                how="Mend how sessions are built, or set extra.repeats to true if items may repeat",
            )


def check_interactions(arrow: pa.Table, n_items: int, where: Path) -> None:
    """Raises unless users are dense, items known and no (user, item) pair stands in two parts."""
    table = arrow.to_pandas()
    _need(table, ("user", "item"), where)
    for name in ("user", "item"):
        if table[name].isna().any() or not np.issubdtype(table[name].to_numpy().dtype, np.integer):
            raise DisentrecError(f"{name!r} is not made of integers", where=where, how="Number users and items 0, 1, 2, ...")
    _known(table["item"].to_numpy(), np.arange(len(table)), n_items, "row", where)
    users = np.unique(table["user"].to_numpy())
    if len(users) == 0:
        raise DisentrecError("there are no interactions", where=where, how="Import the data set again")
    if not np.array_equal(users, np.arange(len(users))):
        raise DisentrecError("user ids have gaps or do not begin at 0", where=where, how="Renumber the users densely")
    _check_split(table, where)
    if "split" in table:
        pairs = table[["user", "item", "split"]].drop_duplicates()
        twice = pairs.duplicated(["user", "item"])
        if twice.any():
            user, item = pairs.loc[twice, ["user", "item"]].iloc[0]
            raise DisentrecError(
                f"user {user} and item {item} stand in two parts: splits overlap", where=where, how="Keep each pair in one part"
            )


def check_images(table: pa.Table, n_items: int, where: Path) -> None:
    """Raises unless pictures belong to known items, one each."""
    items = table["item"].to_numpy()
    _known(items, np.arange(len(items)), n_items, "row", where)
    if len(np.unique(items)) < len(items):
        raise DisentrecError("an item has two pictures", where=where, how="Keep one picture per item")


def check_feature(values: np.ndarray, name: str, n_items: int, where: Path) -> None:
    """Raises unless a feature is a finite float32 matrix with one row per item."""
    if values.ndim != 2 or values.dtype != np.float32:
        raise DisentrecError(
            f"shape {values.shape}, {values.dtype}: not a float32 matrix", where=where, how="Save it as (items, dim) float32"
        )
    if len(values) != n_items:
        raise DisentrecError(
            f"{len(values)} rows for {n_items} items", where=where, how="Write one row per item, zero where nothing is known"
        )
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values).all(1))[0])
        raise DisentrecError(f"row {row} is not finite", where=where, how="Write a zero row where nothing is known")


def _need(table: pd.DataFrame, columns: tuple[str, ...], where: Path) -> None:
    missing = [name for name in columns if name not in table]
    if missing:
        raise DisentrecError(
            f"column(s) missing: {', '.join(missing)}", where=where, how=f"At hand: {', '.join(map(str, table.columns)) or 'none'}"
        )


def _in_order(table: pd.DataFrame, where: Path) -> None:
    times = table.groupby("split")["time"].agg(["min", "max"])
    present = [part for part in SPLITS if part in times.index]
    for before, after in zip(present, present[1:], strict=False):
        if times.loc[before, "max"] > times.loc[after, "min"]:
            raise DisentrecError(
                f"splits overlap: the part {after!r} begins before {before!r} ends",
                where=where,
                how="Cut the parts at points in time, or drop split_by",
            )


def _known(items: np.ndarray, owner: np.ndarray, n_items: int, word: str, where: Path) -> None:
    bad = np.flatnonzero((items < 0) | (items >= n_items))
    if len(bad):
        raise DisentrecError(
            f"{word} {owner[bad[0]]} holds item {items[bad[0]]}, the catalogue ends at {n_items - 1}",
            where=where,
            how="Add the item to items.parquet, or drop it here",
        )


def _check_split(table: pd.DataFrame, where: Path) -> None:
    if "split" not in table:
        return
    found = set(table["split"].dropna().unique())
    if table["split"].isna().any() or not found <= set(SPLITS):
        odd = sorted(map(str, found - set(SPLITS))) or ["null"]
        raise DisentrecError(f"unknown part(s) {', '.join(odd)}", where=where, how=f"Valid: {', '.join(SPLITS)}")
    for part in ("train", "test"):
        if part not in found:
            raise DisentrecError(f"the part {part!r} is empty", where=where, how="Drop the column to have a split drawn")
