"""What a dataset folder must satisfy: a refusal says what is wrong, where, and how to mend it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from disentrec.data.columns import lists_of
from disentrec.data.sequences import Sequences
from disentrec.errors import DisentrecError

FORMAT = 1
SPLITS = ("train", "valid", "test")
KEYS = {"name": str, "licence": str, "provenance": str, "counts": dict, "fingerprint": str, "files": dict}
OPTIONAL = {"features": dict, "extra": dict, "notes": str}
#: The only files that may be listed: a dataset.json cannot point the reader at anything else.
FILE = re.compile(r"(items|sessions|interactions|images)\.parquet|features/[A-Za-z0-9_-]+\.npy")
#: Columns of numbers, NaN where unknown: what one is at least, what is said of others, and how to mend them.
NUMBERS = {
    "price": (0, "a negative or infinite price", "Drop refunds; write NaN where a price is unknown"),
    "sales_rank": (
        1, "a sales rank below 1 or infinite", "Count ranks from 1, the item sold most; write NaN where one is unknown",
    ),
}  # fmt: skip
#: Names of data sets become folders of the store and words of the book: letters, digits and a few signs.
NAME = re.compile(r"\w[\w .,+()-]{0,99}")
REWRITE = "Write the folder with disentrec.data.schema.write_dataset"


def check_info(info: Any, where: object) -> None:
    """Raises unless the parsed dataset.json has a known format, every key, and lists only known files."""
    version = info.get("format") if isinstance(info, dict) else None
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise DisentrecError("no format number", where=where, how=REWRITE)
    if version > FORMAT:
        raise DisentrecError(
            f"format {version} is newer than this package reads ({FORMAT})",
            where=where,
            how="Upgrade disentrec",
        )
    for key, kind in KEYS.items():
        if not isinstance(info.get(key), kind):
            raise DisentrecError(f"the key {key!r} is missing or not a {kind.__name__}", where=where, how=REWRITE)
    for key, kind in OPTIONAL.items():
        if key in info and not isinstance(info[key], kind):
            raise DisentrecError(f"the key {key!r} is not a {kind.__name__}", where=where, how=REWRITE)
    files = set(info["files"])
    check_names(info["name"], files, where)
    wanted = {"items.parquet"} | {f"features/{name}.npy" for name in info.get("features", {})}
    if wanted - files:
        raise DisentrecError(f"files not listed: {', '.join(sorted(wanted - files))}", where=where, how=REWRITE)
    numbers = [*info["counts"].values()]
    for entry in info.get("features", {}).values():
        known = isinstance(entry, dict) and isinstance(entry.get("encoder"), str)
        numbers += [entry.get("dim"), entry.get("covered")] if known else [None]
    if not all(isinstance(number, int) and 0 <= number < 2**53 for number in numbers):
        raise DisentrecError("a count or an entry of a feature is not valid", where=where, how=REWRITE)


def check_names(name: str, files: Iterable[str], where: object) -> None:
    """Raises unless the data set and its files have names that cannot lead out of the folders they are put into."""
    if not NAME.fullmatch(name):
        raise DisentrecError(
            f"{shortened(name)!r} is no name of a data set",
            where=where,
            how="Use at most 100 letters, digits, blanks and . , + ( ) _ -, beginning with a letter or digit",
        )
    strange = sorted(shortened(file) for file in files if not FILE.fullmatch(file))
    if strange:
        raise DisentrecError(f"not files of a dataset folder: {', '.join(strange[:10])}", where=where, how=REWRITE)


def shortened(text: str) -> str:
    """Returns the beginning of a text, which may be of any length where it comes from a file."""
    return text if len(text) <= 100 else f"{text[:100]}..."


def check_items(table: pa.Table, where: object) -> None:
    """Raises unless items are 0..n-1 in order, prices are at least 0 and sales ranks at least 1 (NaN where unknown)."""
    _check_dense(table["item"].to_numpy(), "item", where)
    for name in NUMBERS:
        _check_number(table, name, where)


def check_sessions(table: pa.Table, n_items: int, extra: Mapping[str, Any], where: object) -> None:
    """Raises unless sessions are of 2 or more known items and their splits are named, filled and disjoint."""
    session, split, lists = table["session"].to_numpy(), _splits(table), lists_of(table["items"])
    if split is not None:
        _check_disjoint(session, split, "session", where)
    _check_dense(session, "session", where)
    short = lists.lengths < 2
    if short.any():
        raise DisentrecError(
            f"{_count(short, 'session')} shorter than 2 items: no prefix and target",
            where=f"{where}, column items",
            how="Drop these sessions and number the rest from 0",
        )
    _check_known(lists.values, n_items, where, "items", rows=lists.rows)
    if split is not None:
        _check_splits(split, where)
        if extra.get("split_by") == "time":
            _check_time_order(table, split, where)
    if extra.get("repeats") is False:
        repeated = repeated_targets(lists)
        if repeated.any():
            raise DisentrecError(
                f"target inside its own prefix: {_count(repeated, 'session')} so, but the set has no repeats",
                where=f"{where}, column items",
                how="Check how sessions were built, or do not declare repeats=false in extra",
            )


def repeated_targets(lists: Sequences) -> np.ndarray:
    """Returns which sessions hold their last item earlier too, (n,) bool."""
    last = np.repeat(lists.values[lists.offsets[1:] - 1], lists.lengths)
    earlier = lists.positions < np.repeat(lists.lengths - 1, lists.lengths)
    return np.bincount(lists.rows[(lists.values == last) & earlier], minlength=len(lists)) > 0


def check_interactions(table: pa.Table, n_items: int, where: object) -> None:
    """Raises unless users and items are known and no (user, item) pair stands in two splits."""
    user, item, split = table["user"].to_numpy(), table["item"].to_numpy(), _splits(table)
    if (user < 0).any():
        raise DisentrecError(
            f"{_count(user < 0, 'row')} of a negative user",
            where=f"{where}, column user",
            how="Number users from 0 and leave anonymous interactions out",
        )
    _check_known(item, n_items, where, "item")
    _check_number(table, "price", where)
    if split is not None:
        _check_splits(split, where)
        _check_disjoint(user.astype(np.int64) * n_items + item, split, "pair of user and item", where)


def check_images(table: pa.Table, n_items: int, where: object) -> None:
    """Raises unless images belong to known items, at most one each, in item order."""
    item = table["item"].to_numpy()
    _check_known(item, n_items, where, "item")
    if (np.diff(item) <= 0).any():
        raise DisentrecError("images not one per item in item order", where=where, how="Sort by item, drop doubles")
    empty = pc.binary_length(table["image"]).to_numpy() == 0
    if empty.any():
        raise DisentrecError(
            f"{_count(empty, 'row')} an image of 0 bytes", where=where, how="Leave items without an image out"
        )


def check_feature(array: np.ndarray, name: str, n_items: int, where: object) -> None:
    """Raises unless `array` is finite float32 with one row per item."""
    if array.dtype != np.float32:
        raise DisentrecError(
            f"feature {name!r} has the type {array.dtype}, not float32",
            where=where,
            how="Store it as float32",
        )
    if array.ndim != 2 or len(array) != n_items or not array.shape[1]:
        raise DisentrecError(
            f"feature {name!r} has the shape {array.shape}, but there are {n_items} items",
            where=where,
            how="Give one row per item, in item order, all zeros where the item has none",
        )
    bad = ~np.isfinite(array).all(axis=1)
    if bad.any():
        raise DisentrecError(
            f"feature {name!r} is not finite: {_count(bad, 'item')} NaN or infinite",
            where=where,
            how="Write zeros where an item has no feature, and check the encoder for overflow",
        )


def _count(wrong: np.ndarray, noun: str) -> str:
    """Returns "session 7 is" or "3 sessions (first: 7) are"."""
    count, row = int(wrong.sum()), int(np.flatnonzero(wrong)[0])
    return f"{noun} {row} is" if count == 1 else f"{count} {noun}s (first: {row}) are"


def _check_dense(ids: np.ndarray, name: str, where: object) -> None:
    if not len(ids):
        raise DisentrecError(f"there is no {name} at all", where=where, how="Check the source and its filters")
    wrong = ids != np.arange(len(ids))
    if not wrong.any():
        return
    if len(np.unique(ids)) < len(ids):
        problem = "has duplicates"
    elif ids.min() == 0 and ids.max() == len(ids) - 1:
        problem = "is not sorted"
    else:
        problem = "has gaps"
    row = int(np.flatnonzero(wrong)[0])
    raise DisentrecError(
        f"column {name!r} {problem}: row {row} holds {ids[row]}",
        where=where,
        how=f"Number every {name} 0..{len(ids) - 1} in order, and keep the names of the source in native_id",
    )


def _check_known(items: np.ndarray, n_items: int, where: object, column: str, rows: np.ndarray | None = None) -> None:
    wrong = (items < 0) | (items >= n_items)
    if wrong.any():
        first = int(np.flatnonzero(wrong)[0])
        row = first if rows is None else int(rows[first])
        raise DisentrecError(
            f"{wrong.sum()} unknown items, first {items[first]} in row {row}; items are 0..{n_items - 1}",
            where=f"{where}, column {column}",
            how="Count items from 0 (0 is an item, not padding) and give every item a row in items.parquet",
        )


def _check_number(table: pa.Table, name: str, where: object) -> None:
    if name in table.column_names:
        least, said, how = NUMBERS[name]
        numbers = table[name].to_numpy()
        wrong = (numbers < least) | np.isinf(numbers)
        if wrong.any():
            raise DisentrecError(f"{_count(wrong, 'row')} of {said}", where=f"{where}, column {name}", how=how)


def _splits(table: pa.Table) -> np.ndarray | None:
    return table["split"].to_numpy() if "split" in table.column_names else None


def _check_splits(split: np.ndarray, where: object) -> None:
    names = set(split)
    if unknown := sorted(map(shortened, names - set(SPLITS))):
        raise DisentrecError(
            f"unknown split names: {', '.join(unknown[:10])}",
            where=f"{where}, column split",
            how=f"Valid: {', '.join(SPLITS)}",
        )
    for name in ("train", "test"):  # validation may be carved from train by the protocol
        if name not in names:
            raise DisentrecError(
                f"the split {name!r} is empty",
                where=f"{where}, column split",
                how="Give it at least one row, or leave the column out and let the protocol split",
            )


def _check_disjoint(key: np.ndarray, split: np.ndarray, noun: str, where: object) -> None:
    order = np.argsort(key, kind="stable")
    key, split = key[order], split[order]
    overlap = (key[1:] == key[:-1]) & (split[1:] != split[:-1])
    if overlap.any():
        row = order[np.flatnonzero(overlap)[0] + 1]
        raise DisentrecError(
            f"splits overlap: {int(overlap.sum())} times one {noun} is in two splits, first in row {row}",
            where=f"{where}, column split",
            how="Assign each to a single split: what is tested must not be trained on",
        )


def _check_time_order(table: pa.Table, split: np.ndarray, where: object) -> None:
    if "time" not in table.column_names:
        raise DisentrecError("split by time, but there is no column 'time'", where=where, how="Write the start times")
    time = table["time"].to_numpy()
    for earlier, later in pairwise(name for name in SPLITS if (split == name).any()):
        if time[split == earlier].max() > time[split == later].min():
            raise DisentrecError(
                f"split by time, but {earlier} reaches beyond the start of {later}",
                where=f"{where}, columns time and split",
                how="Cut the sessions at one moment, or do not declare split_by=time in extra",
            )
