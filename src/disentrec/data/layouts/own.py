"""Data of one's own: interactions.csv, items.csv and a folder of images, as sessions and as users' interactions."""

from __future__ import annotations

from datetime import UTC, datetime
from math import isnan, nan
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from disentrec.data.columns import session_table
from disentrec.data.layouts.common import keep_items
from disentrec.data.layouts.csv_table import CsvTable, read_csv
from disentrec.data.sequences import Sequences
from disentrec.data.sources.values import price_of
from disentrec.encode.image import colour_hog, pca
from disentrec.encode.text import tfidf_svd
from disentrec.errors import DisentrecError

EVENTS, ITEMS, IMAGES = "interactions.csv", "items.csv", "images"
EVENT_COLUMNS = ("user", "item", "timestamp", "session")
TEXTS = ("title", "category", "description", "brand")
ITEM_COLUMNS = ("item", *TEXTS, "price", "image")
#: How the pictures begin that a dataset folder holds.
KINDS = {".png": b"\x89PNG", ".jpg": b"\xff\xd8\xff", ".jpeg": b"\xff\xd8\xff"}


def own_csv(
    source: Path,
    *,
    gap: int = 1800,
    min_count: int = 1,
    dim: int = 100,
    ignore: str = "",
    licence: str = "Private. Not said at the import (--set licence=...)",
) -> dict[str, Any]:
    """Imports CSV files with a header: who took which item, and what is known of the items.

    interactions.csv: item, and user or session or both; timestamp (seconds, or ISO 8601; without a zone: UTC). Without
    a session column and with timestamps, a pause of more than `gap` seconds ends a user's session; without both there
    are interactions only. items.csv: item, and any of title, category ("a|b" is a path), description, brand, price and
    image, the name of a file in images/; without that column images/ITEM.png or .jpg. `ignore` names columns to pass
    over. Items of fewer than `min_count` rows go, then sessions shorter than 2. Features: "text" (TF-IDF and SVD of
    all texts) and "image" (PCA of colour and edge histograms), `dim` wide. Bad cells raise, naming file, line, column.
    """
    ignored = {name.strip() for name in ignore.split(",")} - {""}
    events = read_csv(source / EVENTS, EVENT_COLUMNS, ["item"], ignored)
    catalogue = read_csv(source / ITEMS, ITEM_COLUMNS, ["item"], ignored)
    frame = _frame(events, _numbered(catalogue))
    keep = np.bincount(frame["item"], minlength=len(catalogue.lines)) >= max(min_count, 1)
    if not keep.any():
        raise DisentrecError(f"no item has {min_count} rows", where=source / EVENTS, how=f"Lower min_count={min_count}")
    frame = frame[keep[frame["item"]]]
    lists, head = _sessions(frame, gap)
    if "user" not in events:  # what stood alone is in no session, and there is nothing else to be in
        keep = np.bincount(lists.values, minlength=len(keep)) > 0
    if not len(lists) and not ("user" in events and "session" not in events):
        raise DisentrecError("no session of 2 or more items", where=source / EVENTS, how="Check the column session")
    lists, old = keep_items(lists, keep)
    tables = {}
    if len(lists):
        columns = {name: head[name].to_numpy() for name in ("user", "time") if name in head}
        tables["sessions"] = session_table(lists, **columns)
    if "user" in events:
        columns = {name: frame[name].to_numpy() for name in ("user", "time") if name in frame}
        tables["interactions"] = pd.DataFrame(columns | {"item": (np.cumsum(keep) - 1)[frame["item"]]})
    items, images = _items(catalogue, old), _images(source / IMAGES, catalogue, old)
    features, encoders = _features(items, images, dim)
    return {
        "items": items,
        **tables,
        "images": images or None,
        "features": features,
        "encoders": encoders,
        "licence": licence,
        "provenance": f"private: CSV files of the folder {source.name}",
        "notes": "Text and image are simple, ready features; `disentrec encode` makes others beside them.",
        "extra": {"split_by": "none", "items_left_out": len(keep) - len(old)},
    }


def _numbered(catalogue: CsvTable) -> dict[str, int]:
    """Returns the row of every item; one that stands twice raises."""
    first: dict[str, int] = {}
    for row, item in enumerate(catalogue["item"]):
        if first.setdefault(item, row) != row:
            how = f"It stands in line {catalogue.lines[first[item]]} already: keep one of them"
            raise catalogue.fault(f"the item {item!r} a second time", row, "item", how)
    return first


def _frame(events: CsvTable, rows: dict[str, int]) -> pd.DataFrame:
    """Returns the events as numbers: item, and where known user, session and time. No name enters the folder."""
    if "user" not in events and "session" not in events:
        raise DisentrecError("neither a column 'user' nor 'session'", where=events.path, how="Add one of them")
    for row, item in enumerate(events["item"]):
        if item not in rows:
            how = "Give every item a row there; its name is enough"
            raise events.fault(f"the item {item!r} is not in {ITEMS}", row, "item", how)
    frame = pd.DataFrame({"item": [rows[item] for item in events["item"]]})
    for name in ("user", "session"):
        if name in events:
            if "" in events[name]:
                raise events.fault("an empty cell", events[name].index(""), name, "Fill it, or drop the row")
            frame[name] = np.unique(events[name], return_inverse=True)[1]
    if "user" in frame and "session" in frame:
        owner = frame.groupby("session")["user"].transform("first")
        for row in np.flatnonzero(owner != frame["user"])[:1]:
            what = f"the session {events['session'][row]!r} belongs to two users"
            raise events.fault(what, row, "session", "Give every session a name of its own")
    if "timestamp" in events:
        how = "Write seconds since 1970, or ISO 8601 such as 2024-05-31 17:45:00"
        frame["time"] = np.array(events.parsed("timestamp", _seconds, how), dtype=np.int64)
    return frame


def _seconds(cell: str) -> int:
    if cell.replace(".", "", 1).isdecimal():
        return int(float(cell))
    moment = datetime.fromisoformat(cell)
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def _sessions(frame: pd.DataFrame, gap: int) -> tuple[Sequences, pd.DataFrame]:
    """Returns the sessions of 2 or more items, in order of their first event, and that event of each."""
    if "session" not in frame and "time" not in frame:
        return Sequences(np.empty(0, np.int32), np.zeros(1, np.int64)), frame.head(0)
    # Without times the order of the file counts.
    frame = frame.assign(begin=frame["time"] if "time" in frame else np.arange(len(frame)))
    if "session" not in frame:
        frame = frame.sort_values(["user", "time"], kind="stable")
        pause = frame.groupby("user")["time"].diff().fillna(gap + 1)
        frame["session"] = (pause > gap).cumsum()
    frame = frame.sort_values("begin", kind="stable")
    frame["begin"] = frame.groupby("session")["begin"].transform("min")
    frame = frame.sort_values(["begin", "session"], kind="stable")
    frame = frame[frame.groupby("session")["item"].transform("size") >= 2]
    starts = np.flatnonzero(~frame.duplicated("session").to_numpy())
    offsets = np.concatenate([starts, [len(frame)]]).astype(np.int64)
    return Sequences(frame["item"].to_numpy(dtype=np.int32), offsets), frame.iloc[starts]


def _items(catalogue: CsvTable, old: np.ndarray) -> pd.DataFrame:
    columns: dict[str, Any] = {"item": np.arange(len(old)), "native_id": [catalogue["item"][row] for row in old]}
    columns |= {name: [catalogue[name][row] for row in old] for name in TEXTS if name in catalogue}
    if "price" in catalogue:
        how = "Write a number of at least 0 with a decimal point, or nothing"
        columns["price"] = np.array(catalogue.parsed("price", _price, how), dtype=np.float64)[old]
    return pd.DataFrame(columns)


def _price(cell: str) -> float:
    value = price_of(cell) if cell else nan
    if cell and isnan(value):
        raise ValueError(cell)
    return value


def _images(folder: Path, catalogue: CsvTable, old: np.ndarray) -> dict[int, bytes]:
    """Returns the pictures by item; a file that is named and missing, or no picture, raises."""
    here = {path.name: path for path in folder.glob("*") if path.is_file()}
    found = {}
    for new, row in enumerate(map(int, old)):
        if "image" in catalogue:
            names = [catalogue["image"][row]] if catalogue["image"][row] else []
            if names and names[0] not in here:
                how = f"Put the file into {folder}, or empty the cell"
                raise catalogue.fault(f"there is no picture {names[0]!r}", row, "image", how)
        else:
            names = [name for name in (catalogue["item"][row] + suffix for suffix in KINDS) if name in here]
        if names:
            found[new] = here[names[0]].read_bytes()
            if not found[new].startswith(tuple(KINDS.values())):
                raise DisentrecError("neither PNG nor JPEG", where=here[names[0]], how="Convert it, or take it away")
    return found


def _features(items: pd.DataFrame, images: dict[int, bytes], dim: int) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    features, encoders = {}, {}
    said = [items[name] for name in TEXTS if name in items]
    texts = [" ".join(words).replace("|", " ") for words in zip(*said, strict=True)]
    if any(text.strip() for text in texts):
        features["text"] = tfidf_svd(texts, dim)
        encoders["text"] = "TF-IDF of all texts, truncated SVD, mean norm 1"
    if images:
        features["image"] = pca(colour_hog([images.get(item) for item in range(len(items))]), dim)
        encoders["image"] = "histograms of colours and edges, PCA, mean norm 1"
    return features, encoders
