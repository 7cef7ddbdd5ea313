"""Released session files: prefixes with a target, items numbered from 1."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from disentrec.data.columns import lists_of, session_table
from disentrec.data.layouts.common import filter_sessions, read_columns, read_frame, rows_of, split_in_order
from disentrec.data.sequences import Sequences
from disentrec.errors import DisentrecError

LICENCE = (
    "Private. The repository that released these sessions carries no licence; the shops' own terms hold for"
    " the records behind them. Results may be published, the data may not."
)


def sessions(source: Path, *, share: float = 1.0, min_count: int = 0, seed: int = 0) -> dict[str, Any]:
    """Imports train.parquet and test.parquet of the session papers as released; the test part stays as it is.

    No validation part is released: the protocol carves it from train. Items become 0-based (native_id keeps
    the released number), a session is its prefix and its target. `share` < 1 keeps a seeded draw of the sessions of
    either part; then items that occur nowhere, or in fewer than `min_count` places of train, and sessions shorter than
    2 go.
    """
    if not 0 < share <= 1:
        raise DisentrecError(f"share={share} keeps no session", where=source, how="Give a share above 0, up to 1")
    parts = {name: _full(source / f"{name}.parquet") for name in ("train", "test")}
    lists = Sequences.concatenate(list(parts.values()))
    split = np.repeat(list(parts), [len(part) for part in parts.values()])
    n_items, n_all = int(lists.values.max()) + 1, len(lists)
    names = _numbers(n_items)
    if share < 1 or min_count:
        rng = np.random.default_rng(seed)
        drawn = [rng.permutation(np.flatnonzero(split == part)) for part in parts]
        kept = np.sort(np.concatenate([rows[: round(share * len(rows))] for rows in drawn]))
        lists, split = lists.take(kept), split[kept]
        lists, rows, old = filter_sessions(lists, split == "train", n_items, min_count, source)
        split, names = split[rows], names[old]
    return {
        "items": pd.DataFrame({"item": np.arange(len(names)), "native_id": names}),
        "sessions": session_table(lists, split=split),
        "licence": LICENCE,
        "provenance": f"private: {source.name}, sessions released for MACL by the first author of DIMO",
        "notes": "IDs only. Order inside Amazon sessions is file order, not time. Neither repeated targets"
        " nor sessions that stand in both parts word for word were removed.",
        "extra": {"sub_sample": f"{len(lists)} of {n_all} sessions, draw"} if share < 1 else {},
    }


def mmsbr_sports(source: Path, *, min_count: int = 0, seed: int = 0) -> dict[str, Any]:
    """Imports the released test sessions of MMSBR's Sports, split 8:1:1 by a seeded draw.

    Price levels (nominal, 1 to 99) and categories are columns of the items. Items that occur nowhere, or
    in fewer than `min_count` places of train, are left out, then sessions shorter than 2.
    """
    lists = _full(source / "test.parquet")
    table = read_frame(source / "items.parquet", ["item", "price_level", "category"]).set_index("item").sort_index()
    n_items = max(int(lists.values.max()) + 1, int(table.index.max()))
    split = np.random.default_rng(seed).permutation(split_in_order(len(lists)))
    lists, rows, old = filter_sessions(lists, split == "train", n_items, min_count, source)
    table = rows_of(table, old + 1, source / "items.parquet")
    items = pd.DataFrame(
        {
            "item": np.arange(len(old)),
            "native_id": (old + 1).astype(str),
            "price_level": table["price_level"].to_numpy(),
            "category": table["category"].astype(str).to_numpy(),
        }
    )
    return {
        "items": items,
        "sessions": session_table(lists, split=split[rows]),
        "licence": LICENCE,
        "provenance": f"private: {source.name}, test sessions released with MMSBR (its train part is not)",
        "notes": "Sessions are re-split, so results do not compare with the paper's. Order inside a session"
        " is file order. Prices are levels, not money.",
        "extra": {"split_by": "draw"},
    }


def _full(path: Path) -> Sequences:
    """Returns prefix + target of every row, items 0-based."""
    table = read_columns(path, ["session", "target"])
    prefix, target = lists_of(table["session"]), table["target"].to_numpy()
    values = np.insert(prefix.values, prefix.offsets[1:], target) - 1
    if values.min() < 0:
        raise DisentrecError("an item has the number 0", where=path, how="Released sessions count items from 1")
    return Sequences(values.astype(np.int32), prefix.offsets + np.arange(len(prefix) + 1))


def _numbers(n_items: int) -> np.ndarray:
    return np.arange(1, n_items + 1).astype(str)
