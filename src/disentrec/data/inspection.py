"""A report on a data set in words and numbers: `disentrec data inspect DIR`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from disentrec.data.schema import Dataset


def describe(dataset: Dataset) -> str:
    """Returns what `dataset` holds: counts, splits, session lengths, repeats, columns, features and options."""
    info = dataset.info
    lines = [
        f"{dataset.name}: a valid data set (format {info['format']})",
        f"fingerprint  {dataset.fingerprint}",
        f"licence      {info['licence']}",
        f"provenance   {info['provenance']}",
    ]
    if info.get("notes"):
        lines.append(f"notes        {info['notes']}")
    lines.append("counts       " + ", ".join(f"{count:,} {name}" for name, count in info["counts"].items()))
    lines += ["", "items"] + [f"  {name:14}{text}" for name, text in _columns(dataset.items)]
    if dataset.sessions is not None:
        lines += ["", "sessions"] + [f"  {name:14}{text}" for name, text in _sessions(dataset)]
    if dataset.interactions is not None:
        lines += ["", "interactions"] + [f"  {name:14}{text}" for name, text in _interactions(dataset.interactions)]
    if dataset.feature_names:
        lines += ["", "features"]
    for name in dataset.feature_names:
        entry = info["features"][name]
        share = entry["covered"] / dataset.n_items
        lines.append(f"  {name:14}{entry['dim']} dimensions, {share:.1%} of items, {entry['encoder'] or 'encoder not named'}")
    if info.get("extra"):
        lines += ["", "options"] + [f"  {name:14}{value}" for name, value in info["extra"].items()]
    return "\n".join(lines)


def _columns(items: pd.DataFrame) -> list[tuple[str, str]]:
    found = []
    for name in items.columns.drop("item"):
        column = items[name]
        known = column.notna() & ~column.isin(["", "Unknown"])
        text = f"{known.mean():.1%} of items, {column[known].nunique():,} values"
        if name == "price":
            text += f", median {column.median():.2f}"
        found.append((name, text))
    return found or [("item", "identifiers only")]


def _sessions(dataset: Dataset) -> list[tuple[str, str]]:
    lists, table = dataset.session_lists(), dataset.sessions
    lengths = lists.lengths
    found = [("length", f"mean {lengths.mean():.2f}, median {np.median(lengths):.0f}, {lengths.min()}..{lengths.max()}")]
    if "split" in table:
        found.append(("split", ", ".join(f"{name} {count:,}" for name, count in table["split"].value_counts().items())))
    if "time" in table:
        found.append(("time", f"{table['time'].min()}..{table['time'].max()}"))
    last = lists.values[lists.offsets[1:] - 1]
    earlier = lists.positions < np.repeat(lengths - 1, lengths)
    repeated = np.unique(lists.rows[(lists.values == np.repeat(last, lengths)) & earlier])
    found.append(("repeats", f"the target is in its own prefix in {len(repeated) / len(lists):.1%} of sessions"))
    frequency = np.bincount(lists.values, minlength=dataset.n_items)
    found.append(("frequency", f"median {np.median(frequency):.0f} per item, {(frequency == 0).sum():,} items never occur"))
    return found


def _interactions(table: pd.DataFrame) -> list[tuple[str, str]]:
    users = table["user"].nunique()
    found = [("users", f"{users:,}, {len(table) / users:.1f} interactions each")]
    if "split" in table:
        found.append(("split", ", ".join(f"{name} {count:,}" for name, count in table["split"].value_counts().items())))
    return found
