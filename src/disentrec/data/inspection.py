"""A report on a data set in words and numbers: `disentrec data inspect DIR`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from disentrec.data.validation import SPLITS, repeated_targets

if TYPE_CHECKING:
    from disentrec.data.schema import Dataset


def describe(dataset: Dataset) -> str:
    """Returns what `dataset` holds: counts, splits, lengths, repeats, columns, features and options."""
    info = dataset.info
    head = {"fingerprint": dataset.fingerprint, "licence": info["licence"], "provenance": info["provenance"]}
    if info.get("notes"):
        head["notes"] = info["notes"]
    head["counts"] = ", ".join(f"{count:,} {name}" for name, count in info["counts"].items())
    lines = [f"{dataset.name}: a valid data set (format {info['format']})", *_block(head)]
    blocks = {"items": _items(dataset.items)}
    if dataset.sessions is not None:
        blocks["sessions"] = _sessions(dataset)
    if dataset.interactions is not None:
        blocks["interactions"] = _interactions(dataset.interactions)
    blocks["features"] = {name: _feature(dataset, name) for name in dataset.feature_names}
    blocks["options"] = info.get("extra", {})
    for title, block in blocks.items():
        if block:
            lines += ["", title, *_block(block)]
    return "\n".join(lines)


def _block(entries: Mapping[str, Any]) -> list[str]:
    return [f"  {name:14}{text}" for name, text in entries.items()]


def _items(items: pd.DataFrame) -> dict[str, str]:
    found = {}
    for name in items.columns.drop("item"):
        column = items[name]
        known = column.notna() & ~column.isin(["", "Unknown"])
        found[name] = f"{known.mean():.1%} of items, {column[known].nunique():,} values"
        if name == "price":
            found[name] += f", median {column.median():.2f}"
    return found or {"item": "identifiers only"}


def _sessions(dataset: Dataset) -> dict[str, str]:
    lists, table = dataset.session_lists(), dataset.sessions
    low, middle, high = np.quantile(lists.lengths, [0, 0.5, 1])
    found = {"length": f"mean {lists.lengths.mean():.2f}, median {middle:.0f}, {low:.0f} to {high:.0f}"}
    if "split" in table:
        found["split"] = _parts(table["split"])
    if "time" in table:
        found["time"] = f"{table['time'].min()} to {table['time'].max()}"
    found["repeats"] = f"the target is in its own prefix in {repeated_targets(lists).mean():.1%} of sessions"
    frequency = np.bincount(lists.values, minlength=dataset.n_items)
    found["frequency"] = f"median {np.median(frequency):.0f} per item, {(frequency == 0).sum():,} items never occur"
    return found


def _interactions(table: pd.DataFrame) -> dict[str, str]:
    users = table["user"].nunique()
    found = {"users": f"{users:,}, {len(table) / users:.1f} interactions each"}
    if "split" in table:
        found["split"] = _parts(table["split"])
    return found


def _parts(split: pd.Series) -> str:
    counts = split.value_counts()
    return ", ".join(f"{name} {counts[name]:,}" for name in SPLITS if name in counts)


def _feature(dataset: Dataset, name: str) -> str:
    entry = dataset.info["features"][name]
    share = entry["covered"] / dataset.n_items
    return f"{entry['dim']} dimensions, {share:.1%} of items, {entry['encoder'] or 'encoder not named'}"
