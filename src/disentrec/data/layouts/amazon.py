"""Purchase histories with item tables and ready features: Amazon subsets and TikTok, for top-N models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from disentrec.data.columns import session_table
from disentrec.data.layouts.common import (
    cut_histories,
    draw_users,
    filter_sessions,
    read_frame,
    read_table,
    ready_feature,
    rows_of,
    texts,
)
from disentrec.data.validation import SPLITS
from disentrec.encode.scaling import unit_mean_norm
from disentrec.encode.text import tfidf_svd
from disentrec.errors import DisentrecError

#: A ready feature file is named after the first of these words it holds; others keep their own name.
MODALITIES = ("image", "text", "audio")
RENAMED = {"categories": "category"}
#: Beside joined attributes: which of their items each item is.
ITEM_MAP = "mmrec_item_map.csv"
TIKTOK = "Private. Challenge data of TikTok/ByteDance (ICME 2019): research use, no redistribution."
AMAZON = (
    "Private. Collected from Amazon by J. McAuley (UCSD): research use with citation; product texts belong to Amazon"
    " and its vendors and may not be redistributed."
)


def amazon(source: Path, *, file: str = "interactions", attributes: str = "", dim: int = 100) -> dict[str, Any]:
    """Imports user-item interactions with all that is known of the items; there are no sessions.

    `file` names the interactions (some folders bring a second split). A column seq_pos becomes `time`, an
    ordinal. Splits stay as published, except that a pair of user and item counts only in the first of its
    splits (extra "bought_again" says how many rows that costs). Feature files (*.npy, one row per item) are
    brought to mean norm 1; without a ready "text", titles are encoded by TF-IDF and SVD, `dim` wide. Items
    without a table keep their numbers only; `attributes` names a folder beside `source` whose item table is joined
    by its mmrec_item_map.csv. A sales rank counts within its sales_rank_type.
    """
    path = source / f"{file}.parquet"
    if not path.exists():
        valid = sorted(found.stem for found in source.glob("interactions*.parquet"))
        raise DisentrecError(f"no interactions {file!r}", where=source, how=f"Valid: {', '.join(valid)}")
    events = read_frame(path, required=("user", "item"))
    order = [name for name in ("user", "seq_pos") if name in events]
    events = events.sort_values(order, kind="stable", ignore_index=True)
    table = events[["user", "item"]].copy()
    if "seq_pos" in events:
        table["time"] = events["seq_pos"].astype(np.int64)
    if "split" in events:
        table["split"] = events["split"].astype(str).replace({"val": "valid"})
        table, n_bought_again = _drop_overlap(table)
    else:
        n_bought_again = 0
    n_items = int(events["item"].max()) + 1
    items = _joined(source.parent / attributes, n_items) if attributes else _items(source, n_items)
    features, encoders = _features(source, items, dim)
    return {
        "items": items,
        "interactions": table,
        "features": features,
        "encoders": encoders,
        "licence": TIKTOK if "tiktok" in source.name else AMAZON,
        "provenance": f"private: {source.name}, published interactions and item data",
        "notes": "`time` is the position in the user's history." if "time" in table else "No order in time is known.",
        "extra": {"split_by": "published" if "split" in table else "none", "bought_again": n_bought_again},
    }


def amazon_sessions(
    source: Path, *, block: int = 4, users: int = 0, min_count: int = 5, seed: int = 0, dim: int = 100
) -> dict[str, Any]:
    """Imports purchase histories as consecutive sessions of `block` items, for session models.

    Only the order of a history is known: `common.cut_histories` says how it is cut and split. `users` > 0 keeps a
    seeded draw of that many. Then items in fewer than `min_count` places of train go (0 keeps items never sold in
    train: cold start), then blocks shorter than 2. Items and features as in the layout "amazon".
    """
    events = read_frame(source / "interactions.parquet", ["user", "item", "seq_pos"])
    n_items = int(events["item"].max()) + 1
    events, n_users = draw_users(events, users, seed)
    events = events.sort_values(["user", "seq_pos"], kind="stable", ignore_index=True)
    lists, head, split = cut_histories(events, block, source)
    lists, rows, old = filter_sessions(lists, split == "train", n_items, min_count, source)
    head = head.iloc[rows]
    catalogue = _items(source, n_items)
    items = rows_of(catalogue.set_index("item", drop=False), old, source / "items.parquet")
    items = items.reset_index(drop=True).assign(item=np.arange(len(old)))
    features, encoders = _features(source, items, dim, rows=old)
    return {
        "items": items,
        "sessions": session_table(
            lists,
            user=head["user"].to_numpy(),
            time=(head["blocks"] - 1 - head["block"]).to_numpy(),
            split=split[rows],
        ),
        "features": features,
        "encoders": encoders,
        "licence": AMAZON,
        "provenance": f"private: {source.name}, published purchase histories in their order",
        "notes": "A session is a block of a user's purchases, not a visit; time counts its blocks. Splits follow each"
        " user's own order: one user may train later than another is tested.",
        "extra": {
            "split_by": "position in the user's history",
            "sub_sample": f"{users} of {n_users} users, drawn with seed {seed}" if users else "none",
        },
    }


def _drop_overlap(table: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """Returns the table without rows whose pair stands in an earlier split, and how many those were."""
    rank = table["split"].map({name: position for position, name in enumerate(SPLITS)})
    again = rank > rank.groupby([table["user"], table["item"]]).transform("min")
    return table[~again].reset_index(drop=True), int(again.sum())


def _items(source: Path, n_items: int) -> pd.DataFrame:
    path, names = source / "items.parquet", source / "item_asin.csv"
    if path.exists():
        found = read_frame(path)
        if set(RENAMED) & set(found) and set(RENAMED.values()) & set(found):
            raise DisentrecError("columns for the same thing", where=path, how=f"Drop one of: {', '.join(RENAMED)}")
        found = found.rename(columns=RENAMED).sort_values("item", ignore_index=True)
    elif names.exists():
        found = read_table(names, ["item"], {"asin": str}).rename(columns={"asin": "native_id"})
    else:
        return pd.DataFrame({"item": np.arange(n_items)})
    for name in found.columns.drop("item"):
        if not pd.api.types.is_numeric_dtype(found[name]):
            found[name] = texts(found[name])
    return found


def _joined(folder: Path, n_items: int) -> pd.DataFrame:
    """Returns the items of another folder under the numbers that its map gives them."""
    path = folder / ITEM_MAP
    if not path.exists():
        raise DisentrecError(
            "no map to join the attributes by", where=path, how="Put it there, or name another folder of `attributes`"
        )
    pairs = read_table(path, ["mmrec_item", "item"]).set_index("mmrec_item")["item"]
    table = _items(folder, n_items).set_index("item")
    lost = np.setdiff1d(np.arange(n_items), pairs.index[pairs.isin(table.index)])
    if len(lost):
        raise DisentrecError(
            f"{len(lost)} items have no attributes, first {lost[0]}", where=path, how="Give every item a row"
        )
    found = rows_of(table, rows_of(pairs, np.arange(n_items), path).to_numpy(), path).reset_index(drop=True)
    found.insert(0, "item", np.arange(n_items))
    return found


def _features(
    source: Path, items: pd.DataFrame, dim: int, rows: np.ndarray | None = None
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Returns features and how they were made. items: those that stay; rows: where they stand in ready files."""
    features, encoders = {}, {}
    for path in sorted(source.glob("*.npy")):
        name = next((word for word in MODALITIES if word in path.stem), path.stem)
        if name in features:
            name = path.stem
        features[name] = unit_mean_norm(ready_feature(path, rows))
        encoders[name] = f"ready: {path.stem}, mean norm 1"
    if "text" not in features and "title" in items:
        features["text"] = tfidf_svd(items["title"].tolist(), dim)
        encoders["text"] = "TF-IDF of the title, truncated SVD, mean norm 1"
    return features, encoders
