"""MovieLens-1M with titles, genres, abstracts and a hand-made poster descriptor: as sessions, or as interactions."""

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
    ready_feature,
    rows_of,
    texts,
)
from disentrec.encode.image import pca
from disentrec.encode.text import tfidf_svd
from disentrec.errors import DisentrecError

IMAGE = "image_feat_hsv_hog_432.npy"
LICENCE = (
    "Private. MovieLens (GroupLens): research use with acknowledgement, no commercial use, no"
    " redistribution. Abstracts: DBpedia, CC BY-SA 3.0; posters belong to distributors, not stored"
)


def movielens_1m(
    source: Path, *, block: int = 6, users: int = 0, min_count: int = 5, seed: int = 0, dim: int = 100
) -> dict[str, Any]:
    """Imports each user's history as consecutive sessions of `block` films.

    `users` > 0 keeps a seeded draw of that many. How histories are cut and split: `common.cut_histories`. Then films
    in fewer than `min_count` places of train go, then blocks shorter than 2. Features: "text" (TF-IDF and SVD of
    title, genres, abstract) and "image" (PCA of the descriptor).
    """
    events, n_users = draw_users(read_frame(source / "interactions.parquet", ["user", "item", "seq_pos"]), users, seed)
    events = events.sort_values(["user", "seq_pos"], kind="stable", ignore_index=True)
    lists, head, split = cut_histories(events, block, source)

    n_items = int(lists.values.max()) + 1
    lists, rows, old = filter_sessions(lists, split == "train", n_items, min_count, source)
    head = head.iloc[rows]
    return {
        **_films(source, old, dim),
        "sessions": session_table(
            lists,
            user=head["user"].to_numpy(),
            time=(head["blocks"] - 1 - head["block"]).to_numpy(),
            split=split[rows],
        ),
        "licence": LICENCE,
        "provenance": f"private: {source.name}, MovieLens-1M in time order with DBpedia abstracts",
        "notes": "A session is a block of a user's rating history, not a visit; time counts its blocks."
        " Splits follow each user's own order: one user may train later than another is tested.",
        "extra": {
            "repeats": False,  # a user rates a film once
            "split_by": "position in the user's history",
            "sub_sample": f"{users} of {n_users} users, drawn with seed {seed}" if users else "none",
        },
    }


def movielens_1m_users(
    source: Path, *, users: int = 0, min_count: int = 5, seed: int = 0, dim: int = 100
) -> dict[str, Any]:
    """Imports the histories as user-item interactions, for top-N models; `time` is the position in the history.

    `users` > 0 keeps a seeded draw of that many, numbered in the source's order. Then films that fewer than
    `min_count` of them saw go, once. Items and features as in the layout "movielens-1m".
    """
    events, n_users = draw_users(read_frame(source / "interactions.parquet", ["user", "item", "seq_pos"]), users, seed)
    seen = events.groupby("item")["user"].transform("size") >= min_count
    events = events[seen].sort_values(["user", "seq_pos"], kind="stable", ignore_index=True)
    if not len(events):
        raise DisentrecError(f"no film was seen {min_count} times", where=source, how=f"Lower min_count={min_count}")
    old, item = np.unique(events["item"], return_inverse=True)
    user = np.unique(events["user"], return_inverse=True)[1]
    return {
        **_films(source, old, dim),
        "interactions": pd.DataFrame({"user": user, "item": item, "time": events["seq_pos"].astype(np.int64)}),
        "licence": LICENCE,
        "provenance": f"private: {source.name}, MovieLens-1M in time order with DBpedia abstracts",
        "notes": "`time` is the position in the user's history; ratings count as 1, whatever they are.",
        "extra": {
            "split_by": "none",
            "sub_sample": f"{users} of {n_users} users, drawn with seed {seed}" if users else "none",
        },
    }


def _films(source: Path, old: np.ndarray, dim: int) -> dict[str, Any]:
    """Returns the films of these numbers, renumbered 0.., their features and how those were made."""
    path, columns = source / "items.parquet", ["item", "native_id", "title", "genres", "abstract", "year"]
    catalogue = rows_of(read_frame(path, columns).set_index("item"), old, path)
    items = pd.DataFrame(
        {
            "item": np.arange(len(old)),
            "native_id": texts(catalogue["native_id"]),
            "title": texts(catalogue["title"]),
            "category": texts(catalogue["genres"]),
            "description": texts(catalogue["abstract"]),
            "year": catalogue["year"].to_numpy(),
        }
    )
    words = items["title"] + " " + items["category"].str.replace("|", " ", regex=False) + " " + items["description"]
    features = {"text": tfidf_svd(words.tolist(), dim)}
    encoders = {"text": "TF-IDF of title, genres and abstract, truncated SVD, mean norm 1"}
    if (source / IMAGE).exists():
        features["image"] = pca(ready_feature(source / IMAGE, old), dim)
        encoders["image"] = "HSV histograms and HOG of the poster, PCA over films with one, mean norm 1"
    return {"items": items, "features": features, "encoders": encoders}
