"""Features made for a dataset folder after it was written: `encoded/NAME.npy`, each with a record `encoded/NAME.json`.

The folder's own fingerprint does not change when a feature is added; a run that reads an encoded feature carries the
digest of that feature in its spec instead (study/spec.py).
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from disentrec.data.drafts import sweep, write_atomically
from disentrec.data.files import read_array
from disentrec.data.fingerprint import array_hash
from disentrec.errors import DisentrecError, unknown_name
from disentrec.reading import read_json


def write_feature(folder: Path | str, name: str, values: np.ndarray, record: Mapping[str, Any]) -> dict[str, Any]:
    """Writes one feature of the data set in `folder` and returns its record; an older one of that name is replaced.

    values: (n_items, dim), zero rows where an item has no such content, stored as float32. `record` says how it was
    made (encoder, weights, pooling and so on, any JSON); `sha256`, `dim` and `covered` are added. Raises
    DisentrecError for a bad name, and for values that are not finite or not two-dimensional.
    """
    check_feature_name(name)
    place = Path(folder) / "encoded" / f"{name}.npy"
    values = np.ascontiguousarray(values, dtype=np.float32)
    if values.ndim != 2 or not np.isfinite(values).all():
        raise DisentrecError("a feature is a table of finite numbers, one row per item", where=place)
    full = {
        **record,
        "sha256": array_hash(values),
        "dim": values.shape[1],
        "covered": int(values.any(axis=1).sum()),
    }
    text = json.dumps(full, indent=1, sort_keys=True) + "\n"
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=False)
    sweep([place.parent])
    # The record goes last: a feature with a record is whole, and one whose record is older is found out by its digest.
    write_atomically(place, lambda file: file.write(buffer.getvalue()))
    write_atomically(place.with_suffix(".json"), lambda file: file.write(text.encode()))
    return json.loads(text)


def check_feature_name(name: str) -> None:
    """Raises unless the name of a feature can be that of a file in the folder of features."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9_.-]{0,99}", name):
        raise DisentrecError(f"{name!r} is no name of a feature", how="Use lower-case letters, digits and _ - .")


def feature_records(folder: Path | str) -> dict[str, dict[str, Any]]:
    """Returns the records of all encoded features in `folder`, by name."""
    found = {}
    for path in sorted((Path(folder) / "encoded").glob("*.json")):
        found[path.stem] = read_json(path, how="Encode the feature again")
        if not isinstance(found[path.stem].get("sha256"), str):
            raise DisentrecError("no record of a feature", where=path, how="Encode the feature again")
    return found


def read_feature(folder: Path | str, name: str, *, verify: bool = True) -> np.ndarray:
    """Returns one encoded feature, (n_items, dim) float32; `verify` compares its content with its record."""
    records = feature_records(folder)
    if name not in records:
        raise unknown_name("encoded feature", name, records or ["none"], where=Path(folder) / "encoded")
    place = Path(folder) / "encoded" / f"{name}.npy"
    values = read_array(place, how="Encode the feature again")
    if verify and array_hash(values) != records[name]["sha256"]:
        raise DisentrecError("the content is not what its record says", where=place, how="Encode the feature again")
    return values
