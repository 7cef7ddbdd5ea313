"""Long encodings in chunks of rows: a finished chunk is kept, so an interrupted encoding goes on where it stopped."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from disentrec.data.drafts import sweep, write_atomically

logger = logging.getLogger(__name__)
CHUNK = 2048  # rows: seconds of work for a transformer, a few MB of memory and file


def in_chunks(
    shape: tuple[int, int],
    order: np.ndarray,
    compute: Callable[[np.ndarray], np.ndarray],
    *,
    size: int = CHUNK,
    work: Path | None = None,
    key: str = "",
) -> np.ndarray:
    """Returns (n, dim) float32 in which `compute(rows) -> (rows, dim)` filled the rows of `order`, zeros elsewhere.

    With a folder `work`, every finished chunk is written to `work/key` and read from there the next time; `key` is to
    name all that the values depend on (`content_key`). Whoever keeps the result removes the folder.
    """
    out = np.zeros(shape, dtype=np.float32)
    place = None if work is None else work / key
    if place is not None:
        sweep([place])
    for start in range(0, len(order), size):
        rows = order[start : start + size]
        path = None if place is None else place / f"{start:09}-{len(rows)}.npy"
        values = None if path is None else _finished(path, (len(rows), shape[1]))
        if values is None:
            values = np.ascontiguousarray(compute(rows), dtype=np.float32)
            if path is not None:
                write_atomically(path, lambda file, values=values: np.save(file, values, allow_pickle=False))
        out[rows] = values
        logger.info("encoded %d of %d", start + len(rows), len(order))
    return out


def content_key(settings: Mapping[str, Any], content: Iterable[str | bytes | None]) -> str:
    """Returns a digest of settings (any JSON) and of the texts or images that are encoded under them."""
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for part in content:
        part = (part or "").encode() if not isinstance(part, bytes) else part
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()[:16]


def file_hash(paths: Sequence[Path]) -> str:
    """Returns the SHA-256 of files, one after the other: of one file, what `sha256sum` prints."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _finished(path: Path, shape: tuple[int, int]) -> np.ndarray | None:
    try:
        values = np.load(path, allow_pickle=False)
    except (OSError, ValueError):
        return None  # not there, or damaged from outside: it is computed again
    return values if values.shape == shape and values.dtype == np.float32 else None
