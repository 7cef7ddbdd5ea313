"""UCI Online Retail II: invoices of a wholesaler as sessions, with titles, prices and times."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from disentrec.data.columns import session_table
from disentrec.data.layouts.common import filter_sessions, read_frame, rows_of, split_by_time, texts
from disentrec.data.sequences import Sequences
from disentrec.encode.text import tfidf_svd
from disentrec.errors import DisentrecError

SAMPLES = ("recent", "draw")


def online_retail(
    source: Path,
    *,
    max_length: int = 20,
    min_count: int = 5,
    sessions: int = 0,
    sample: str = "recent",
    seed: int = 0,
    dim: int = 100,
) -> dict[str, Any]:
    """Imports invoices as sessions in time order, split 8:1:1 by time.

    A session is the first `max_length` lines of an invoice (some have hundreds); invoices of one line are
    left out. `sessions` > 0 keeps that many: the "recent" ones, one block in time, or a seeded "draw". Then
    items in fewer than `min_count` places of train go (0 keeps items never sold in train: cold start), then
    sessions shorter than 2. Price: the median paid in train. Feature "text": TF-IDF and SVD of titles.
    """
    if sample not in SAMPLES:
        raise DisentrecError(
            f"unknown sample {sample!r}", where="layout online-retail", how=f"Valid: {', '.join(SAMPLES)}"
        )
    lines = read_frame(
        source / "interactions.parquet", ["user", "session", "item", "pos", "timestamp", "price"]
    ).sort_values(["session", "pos"], kind="stable")
    lines["start"] = lines.groupby("session")["timestamp"].transform("min")
    lines = lines.sort_values(["start", "session", "pos"], kind="stable", ignore_index=True)
    first = lines[~lines.duplicated("session")].index.to_numpy()
    position = np.arange(len(lines)) - np.repeat(first, np.diff([*first, len(lines)]))
    lines = lines[position < max_length]
    size = lines.groupby("session")["item"].transform("size")
    lines = lines[size >= 2].reset_index(drop=True)
    if not len(lines):
        raise DisentrecError("no invoice has 2 lines", where=source, how="Check the file, or raise max_length")
    lines, n_all = _sub_sample(lines, sessions, sample, seed)

    lists = _lists(lines)
    head = lines.iloc[lists.offsets[:-1]]  # the first line of every session
    split = split_by_time(head["start"].to_numpy())
    catalogue = (
        read_frame(source / "items.parquet", ["item", "native_id", "title", "price"]).set_index("item").sort_index()
    )
    n_items = max(int(lists.values.max()), int(catalogue.index.max())) + 1
    trained = lines[np.repeat(split == "train", lists.lengths)]
    lists, rows, old = filter_sessions(lists, split == "train", n_items, min_count, source)
    head, catalogue = head.iloc[rows], rows_of(catalogue, old, source / "items.parquet")
    paid = trained.groupby("item")["price"].median().reindex(old)
    items = pd.DataFrame(
        {
            "item": np.arange(len(old)),
            "native_id": texts(catalogue["native_id"]),
            "title": texts(catalogue["title"]),
            "price": paid.fillna(catalogue["price"]).to_numpy(),
        }
    )
    table = session_table(
        lists,
        user=head["user"].fillna(-1).astype(np.int32).to_numpy(),
        time=head["start"].to_numpy(),
        split=split[rows],
    )
    return {
        "items": items,
        "sessions": table,
        "features": {"text": tfidf_svd(items["title"].tolist(), dim)},
        "encoders": {"text": "TF-IDF of the title, truncated SVD, mean norm 1"},
        "licence": "CC BY 4.0: Online Retail II, D. Chen, UCI Machine Learning Repository (2012, 2019)",
        "provenance": f"private: {source.name}, Online Retail II, invoices of 2009-12 to 2011-12 without"
        " cancellations and non-product lines",
        "notes": "Lines stand in the order of the invoice, not of clicks; a session is one basket."
        " User -1 is anonymous.",
        "extra": {
            "repeats": False,  # an invoice lists an item once
            "split_by": "time",
            "sub_sample": f"{min(sessions, n_all)} of {n_all} sessions, {sample}" if sessions else "none",
        },
    }


def _sub_sample(lines: pd.DataFrame, sessions: int, sample: str, seed: int) -> tuple[pd.DataFrame, int]:
    """Returns the lines of the chosen sessions, order kept, and how many sessions there were."""
    names = lines["session"].unique()  # in time order
    if not sessions or sessions >= len(names):
        return lines, len(names)
    if sample == "recent":
        chosen = names[-sessions:]
    else:
        chosen = np.random.default_rng(seed).choice(names, sessions, replace=False)
    return lines[lines["session"].isin(chosen)].reset_index(drop=True), len(names)


def _lists(lines: pd.DataFrame) -> Sequences:
    starts = np.flatnonzero(~lines.duplicated("session").to_numpy())
    offsets = np.concatenate([starts, [len(lines)]]).astype(np.int64)
    return Sequences(lines["item"].to_numpy(dtype=np.int32), offsets)
