"""The dataset folder: the one form every source is written to and everything downstream reads.

    dataset.json          format, name, licence, provenance, counts, fingerprint, features, extra
    items.parquet         item 0..n-1, and where known native_id, title, description, brand, category, price,
                          sales_rank (1 = sold most)
    sessions.parquet      session, items (the last one is the target), and where known user, time, split
    interactions.parquet  user, item, and where known time, split, price
    features/NAME.npy     float32, one row per item, zeros where the item has none
    images.parquet        item, image (PNG or JPEG bytes), for the items that have one

A folder may hold more, such as the truth of an embedded data set; nothing here opens or lists it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from disentrec.data import validation
from disentrec.data.columns import canonical, lists_of, session_table, to_arrow, to_frame
from disentrec.data.drafts import ExtraFiles, check_target, draft_of, write_extra
from disentrec.data.files import read_array, read_parquet
from disentrec.data.fingerprint import array_hash, combined_hash, table_hash
from disentrec.data.inspection import describe
from disentrec.data.sequences import Sequences
from disentrec.errors import DisentrecError, unknown_name
from disentrec.reading import read_json

__all__ = ["Dataset", "inspect_dataset", "read_dataset", "session_table", "write_dataset"]


@dataclass(frozen=True, eq=False)
class Dataset:
    """One dataset folder, read and checked."""

    folder: Path
    name: str
    info: dict[str, Any]  # dataset.json
    items: pd.DataFrame
    sessions: pd.DataFrame | None
    interactions: pd.DataFrame | None

    @property
    def n_items(self) -> int:
        """Number of items; they are called 0..n_items-1."""
        return len(self.items)

    @property
    def fingerprint(self) -> str:
        """The sha256 of the content, independent of parquet encoding, platform and time of writing."""
        return self.info["fingerprint"]

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the stored features, sorted."""
        return tuple(sorted(self.info.get("features", {})))

    def feature(self, name: str) -> np.ndarray:
        """Returns one stored feature, (n_items, dim) float32, zero rows where an item has none."""
        if name not in self.feature_names:
            raise unknown_name("feature", name, self.feature_names, where=self.folder)
        return read_array(self.folder / "features" / f"{name}.npy")

    def session_lists(self) -> Sequences:
        """Returns all sessions, targets included, in flat form."""
        if self.sessions is None:
            raise DisentrecError("this data set has no sessions", where=self.folder)
        return lists_of(self.sessions["items"])

    def images(self) -> list[bytes | None]:
        """Returns the PNG or JPEG bytes of every item, None where it has no image."""
        found: list[bytes | None] = [None] * self.n_items
        path = self.folder / "images.parquet"
        if path.exists():
            table = read_parquet(path)
            for item, image in zip(table["item"].to_pylist(), table["image"].to_pylist(), strict=True):
                found[item] = image
        return found


def write_dataset(
    folder: Path | str,
    *,
    name: str,
    items: pd.DataFrame,
    sessions: pd.DataFrame | None = None,
    interactions: pd.DataFrame | None = None,
    features: Mapping[str, np.ndarray] | None = None,
    encoders: Mapping[str, str] | None = None,
    images: Mapping[int, bytes] | Iterable[tuple[int, bytes]] | None = None,
    licence: str,
    provenance: str,
    notes: str | None = None,
    extra: Mapping[str, Any] | None = None,
    extra_files: ExtraFiles | None = None,
    overwrite: bool = False,
) -> Dataset:
    """Writes a dataset folder in one step and returns it: a failure leaves nothing behind.

    `encoders` says in words how each feature was made. `extra` is any JSON. Two of its entries are promises
    that are checked here and at every reading: `repeats: false` (no target stands inside its own prefix) and
    `split_by: "time"` (the splits follow each other). `extra_files` adds files before the folder gets its
    name: relative path -> bytes, or a function that is given the folder. Invalid data raises DisentrecError.
    """
    folder = Path(folder)
    check_target(folder, overwrite)
    given = {
        "items": items,
        "sessions": sessions,
        "interactions": interactions,
        "images": _image_frame(images),
    }
    tables = {
        kind: canonical(to_arrow(frame), kind, folder / f"{kind}.parquet")
        for kind, frame in given.items()
        if frame is not None
    }
    arrays = {key: np.ascontiguousarray(value, dtype=np.float32) for key, value in (features or {}).items()}
    extra = dict(extra or {})
    _check(tables, arrays, extra, folder)
    files = _hashes(tables, arrays, folder)
    validation.check_names(name, files, folder)
    info = {
        "format": validation.FORMAT,
        "name": name,
        "licence": licence,
        "provenance": provenance,
        "notes": notes or "",
        "counts": _counts(tables),
        "fingerprint": combined_hash(files),
        "files": files,
        "features": {
            key: {
                "dim": value.shape[1],
                "encoder": (encoders or {}).get(key, ""),
                "covered": int(value.any(axis=1).sum()),
            }
            for key, value in sorted(arrays.items())
        },
        "extra": extra,
    }
    with draft_of(folder) as draft:
        for kind, table in tables.items():
            pq.write_table(table, draft / f"{kind}.parquet", compression="zstd")
        if arrays:
            (draft / "features").mkdir()
        for key, value in arrays.items():
            np.save(draft / "features" / f"{key}.npy", value, allow_pickle=False)
        write_extra(draft, extra_files)
        (draft / "dataset.json").write_text(json.dumps(info, indent=1) + "\n", encoding="utf-8")
    return _dataset(folder, json.loads(json.dumps(info)), tables)


def read_dataset(folder: Path | str, *, verify: bool = True) -> Dataset:
    """Returns the data set in `folder` after checking it; `verify` compares its content with the fingerprint.

    Raises DisentrecError that says what is wrong, in which file, and how to mend it.
    """
    folder = Path(folder)
    info = _read_info(folder)
    tables, arrays = {}, {}
    for file in info["files"]:
        path = folder / file
        if not path.exists():
            raise DisentrecError(f"{file} is missing", where=path, how="Copy it again, or make the folder again")
        if path.suffix == ".npy":
            arrays[path.stem] = read_array(path, how="Make the folder again")
        else:
            tables[path.stem] = canonical(read_parquet(path, how="Make the folder again"), path.stem, path)
    _check(tables, arrays, info.get("extra", {}), folder)
    if verify:
        _verify(tables, arrays, info, folder)
    return _dataset(folder, info, tables)


def inspect_dataset(folder: Path | str) -> str:
    """Returns a report on the data set in `folder`, after checking it."""
    return describe(read_dataset(folder))


def _read_info(folder: Path) -> dict[str, Any]:
    path = folder / "dataset.json"
    if not path.exists():
        raise DisentrecError(
            "dataset.json is missing" if folder.is_dir() else "the dataset folder is missing",
            where=path,
            how="Make it with `disentrec data make NAME` or `disentrec data import SOURCE TARGET`",
        )
    info = read_json(path, kind=None, how="Make the folder again")
    validation.check_info(info, path)
    return info


def _dataset(folder: Path, info: dict[str, Any], tables: Mapping[str, pa.Table]) -> Dataset:
    frames = {kind: to_frame(table) for kind, table in tables.items() if kind != "images"}
    sessions, interactions = frames.get("sessions"), frames.get("interactions")
    return Dataset(folder, info["name"], info, frames["items"], sessions, interactions)


def _image_frame(images: Mapping[int, bytes] | Iterable[tuple[int, bytes]] | None) -> pd.DataFrame | None:
    if images is None:
        return None
    pairs = sorted(images.items() if isinstance(images, Mapping) else images)
    return pd.DataFrame({"item": [item for item, _ in pairs], "image": [image for _, image in pairs]})


def _check(
    tables: Mapping[str, pa.Table], arrays: Mapping[str, np.ndarray], extra: Mapping[str, Any], folder: Path
) -> None:
    n_items = len(tables["items"])
    validation.check_items(tables["items"], folder / "items.parquet")
    if "sessions" in tables:
        validation.check_sessions(tables["sessions"], n_items, extra, folder / "sessions.parquet")
    if "interactions" in tables:
        validation.check_interactions(tables["interactions"], n_items, folder / "interactions.parquet")
    if "images" in tables:
        validation.check_images(tables["images"], n_items, folder / "images.parquet")
    for name, array in arrays.items():
        validation.check_feature(array, name, n_items, folder / "features" / f"{name}.npy")


def _hashes(tables: Mapping[str, pa.Table], arrays: Mapping[str, np.ndarray], folder: Path) -> dict[str, str]:
    names = {f"{kind}.parquet": table for kind, table in tables.items()}
    files = {name: table_hash(table, where=folder / name) for name, table in names.items()}
    files |= {f"features/{name}.npy": array_hash(array) for name, array in arrays.items()}
    return dict(sorted(files.items()))


def _verify(
    tables: Mapping[str, pa.Table], arrays: Mapping[str, np.ndarray], info: Mapping[str, Any], folder: Path
) -> None:
    found = _hashes(tables, arrays, folder)
    changed = [file for file, value in info["files"].items() if found[file] != value]
    if changed:
        raise DisentrecError(
            f"the content of {', '.join(changed)} is not what dataset.json says",
            where=folder,
            how="Restore the file, or make the folder again: runs are named by the fingerprint of their data",
        )
    if combined_hash(found) != info["fingerprint"]:
        raise DisentrecError(
            "the fingerprint is not that of the listed files",
            where=folder / "dataset.json",
            how="Make the folder again",
        )


def _counts(tables: Mapping[str, pa.Table]) -> dict[str, int]:
    counts = {kind: len(table) for kind, table in tables.items()}
    if "sessions" in tables:
        counts["events"] = len(lists_of(tables["sessions"]["items"]).values)
    for kind in ("sessions", "interactions"):
        if kind in tables and "user" in tables[kind].column_names:
            users = tables[kind]["user"].to_numpy()
            counts["users"] = max(counts.get("users", 0), len(np.unique(users[users >= 0])))
    return counts
