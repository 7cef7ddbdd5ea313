"""What the importers share: filters, splits, and texts without holes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from disentrec.data.files import read_array, read_parquet
from disentrec.data.sequences import Sequences
from disentrec.errors import DisentrecError

SHARES = (0.8, 0.1, 0.1)  # train, valid, test
#: Columns of whole numbers, and prices, wherever they stand.
COUNTED = ("user", "item", "target", "session", "pos", "seq_pos", "timestamp", "price")
#: No shop has more items; a folder of few rows cannot name many, and yet have `SPARE` numbers unused.
MOST_ITEMS, SPARE = 1 << 24, 100_000


def read_columns(path: Path, columns: Iterable[str] | None = None, *, required: Iterable[str] = ("item",)) -> pa.Table:
    """Returns a parquet file, or some of its columns; what is not there or no number raises DisentrecError.

    `required` must be there where all columns are read. Numbers of items are bounded, because tables are as long as
    the largest of them.
    """
    wanted = None if columns is None else list(columns)
    needed = f" with the columns {', '.join(wanted or required)}"
    table = read_parquet(path, wanted, how=f"The layout needs this parquet file{needed}: copy it again")
    lacking = [name for name in (wanted or required) if name not in table.column_names]
    problem = f"no column {', '.join(lacking)}" if lacking else "" if len(table) else "no row"
    largest = min(MOST_ITEMS, SPARE + 100 * len(table))
    for name in COUNTED if not problem else ():
        if name in table.column_names:
            problem = problem or _problem(table[name], name, largest)
    if problem:
        raise DisentrecError(f"not readable: {problem}", where=path, how=f"The layout needs this file{needed}")
    return table


def _problem(column: pa.ChunkedArray, name: str, largest: int) -> str:
    """Returns why a column cannot be what its name says, "" where it can."""
    if name == "session" and pa.types.is_list(column.type):
        if column.null_count or not all(pc.list_value_length(column).to_numpy()):
            return "column 'session' has a row without items"
        column, name = pc.list_flatten(column), "item"
    if name == "price":
        return "" if pa.types.is_floating(column.type) or pa.types.is_integer(column.type) else "a price is no number"
    if name == "user" and pa.types.is_floating(column.type):  # NaN is nobody known
        users = column.to_numpy()
        known = users[np.isfinite(users)]
        return "" if ((known >= -1) & (known < 1 << 31) & (known % 1 == 0)).all() else "a user is no number"
    if not pa.types.is_integer(column.type) or (column.null_count and name != "user"):
        return f"column {name!r} is not of whole numbers"
    low, high = (pc.min_max(column)[bound].as_py() or 0 for bound in ("min", "max"))
    if name == "timestamp":
        return "" if max(-low, high) < 1 << 40 else "a time is not in seconds"
    least = -1 if name == "user" else 0
    most = largest if name in ("item", "target") else (1 << 31) - 1
    return "" if least <= low and high <= most else f"column {name!r} holds {low if low < least else high}"


def read_frame(
    path: Path, columns: Iterable[str] | None = None, *, required: Iterable[str] = ("item",)
) -> pd.DataFrame:
    """Returns a parquet file of plain columns, or some of its columns, as a frame."""
    try:
        return read_columns(path, columns, required=required).to_pandas()
    except (pa.ArrowException, ValueError) as error:
        raise DisentrecError(f"not readable: {error}", where=path, how="Store plain columns") from error


def read_table(path: Path, columns: Iterable[str], kinds: Mapping[str, type] | None = None) -> pd.DataFrame:
    """Returns a CSV file with these columns, whole numbers unless `kinds` says otherwise."""
    try:
        found = pd.read_csv(path, dtype={name: np.int64 for name in columns} | dict(kinds or {}))
    except (OSError, ValueError, OverflowError) as error:
        raise DisentrecError(f"not readable: {error}", where=path, how="Copy it again") from error
    lacking = [name for name in columns if name not in found]
    if lacking:
        raise DisentrecError(f"no column {', '.join(lacking)}", where=path, how="Copy it again")
    return found


def rows_of(table: pd.DataFrame | pd.Series, items: np.ndarray, path: Path) -> pd.DataFrame | pd.Series:
    """Returns the rows of these items; raises where one has none, or more than one."""
    if not table.index.is_unique or not np.isin(items, table.index).all():
        lost = np.setdiff1d(items, table.index)
        problem = f"item {lost[0]} has no row" if len(lost) else "an item has two rows"
        raise DisentrecError(problem, where=path, how="Give every item one row")
    return table.loc[items]


def ready_feature(path: Path, rows: np.ndarray | None = None) -> np.ndarray:
    """Returns a ready feature, or these rows of it; raises unless it is a finite table that has them."""
    values = read_array(path)
    fits = values.ndim == 2 and values.dtype.kind in "fiu" and values.shape[1] > 0
    if not fits or (rows is not None and rows.max(initial=-1) >= len(values)) or not np.isfinite(values).all():
        raise DisentrecError(
            f"no feature of finite numbers with a row per item: {values.dtype}, shape {values.shape}",
            where=path,
            how="Copy it again, or take it out of the folder",
        )
    return values if rows is None else values[rows]


def texts(column: pd.Series) -> list[str]:
    """Returns a column as texts, "" where nothing is known."""
    return [str(value) if known else "" for value, known in zip(column, column.notna(), strict=True)]


def split_in_order(n: int) -> np.ndarray:
    """Returns (n,) split names, 8:1:1 in the order of the rows."""
    first, second = round(SHARES[0] * n), round((SHARES[0] + SHARES[1]) * n)
    return np.repeat(np.array(["train", "valid", "test"]), [first, second - first, n - second])


def split_by_time(time: np.ndarray) -> np.ndarray:
    """Returns (n,) split names, about 8:1:1, for times in ascending order; equal times are never parted."""
    split = split_in_order(len(time))
    for name in ("valid", "test"):
        begin = int(np.argmax(split == name))
        split[np.searchsorted(time, time[begin]) : begin] = name
    return split


def frequent(lists: Sequences, train: np.ndarray, n_items: int, min_count: int) -> np.ndarray:
    """Returns which items occur in at least `min_count` training sessions' places, (n_items,) bool.

    With 0 every item that occurs anywhere stays.
    """
    part = lists.take(np.flatnonzero(train)) if min_count else lists
    return np.bincount(part.values, minlength=n_items) >= max(min_count, 1)


def keep_items(lists: Sequences, keep: np.ndarray) -> tuple[Sequences, np.ndarray]:
    """Returns the lists without other items, the rest renumbered 0.. in order, and the old number of each."""
    inside = keep[lists.values]
    lengths = np.bincount(lists.rows[inside], minlength=len(lists))
    new = np.cumsum(keep) - 1
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Sequences(new[lists.values[inside]].astype(np.int32), offsets), np.flatnonzero(keep)


def filter_sessions(
    lists: Sequences, train: np.ndarray, n_items: int, min_count: int, source: Path
) -> tuple[Sequences, np.ndarray, np.ndarray]:
    """Returns (lists of frequent items only, rows that still have 2 or more, old item numbers).

    Items are counted in training once, before short sessions go; the first returned has only the kept rows.
    """
    kept, old = keep_items(lists, frequent(lists, train, n_items, min_count))
    rows = np.flatnonzero(kept.lengths >= 2)
    if not len(rows):
        raise DisentrecError(
            f"no session of 2 or more items is left with min_count={min_count}",
            where=source,
            how="Lower min_count",
        )
    kept = kept.take(rows)
    # Items whose every session went are no longer part of the catalogue.
    used = np.bincount(kept.values, minlength=len(old)) > 0
    kept, still = keep_items(kept, used)
    return kept, rows, old[still]


def cut_histories(events: pd.DataFrame, block: int, source: Path) -> tuple[Sequences, pd.DataFrame, np.ndarray]:
    """Returns users' histories as consecutive sessions of `block` items: (lists, first event of each, split).

    events: user, item, in the order of each user's history. Where no timestamps are at hand visits cannot be told
    apart: blocks are counted from the end, such that the last ones are whole and the first takes what is left. A
    user's last block is test, the one before validation, the rest train; users of fewer than 3 blocks are left out.
    The frame carries `block`, counted from the end, and `blocks`, how many the user has.
    """
    if block < 2:
        raise DisentrecError(f"block={block} makes no session", where=source, how="Give 2 or more")
    left = events.groupby("user").cumcount(ascending=False).to_numpy() // block
    events = events.assign(block=left, blocks=events.groupby("user")["user"].transform("size").to_numpy())
    events["blocks"] = -(-events["blocks"] // block)
    events = events[events["blocks"] >= 3].reset_index(drop=True)
    if not len(events):
        raise DisentrecError("no user has 3 blocks", where=source, how=f"Lower block={block}")
    starts = np.flatnonzero(~events.duplicated(["user", "block"]).to_numpy())
    offsets = np.concatenate([starts, [len(events)]]).astype(np.int64)
    head = events.iloc[starts]
    back = head["block"].to_numpy()
    split = np.select([back == 0, back == 1], ["test", "valid"], "train")
    return Sequences(events["item"].to_numpy(dtype=np.int32), offsets), head, split


def draw_users(events: pd.DataFrame, users: int, seed: int) -> tuple[pd.DataFrame, int]:
    """Returns the events of a seeded draw of that many users (0: all), and how many users there were."""
    n_users = events["user"].nunique()
    if users and users < n_users:
        chosen = np.random.default_rng(seed).choice(np.sort(events["user"].unique()), users, replace=False)
        events = events[events["user"].isin(chosen)]
    return events, n_users
