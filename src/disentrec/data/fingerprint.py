"""Digests of content: the same values give the same digest, whatever the file's encoding or compression."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def array_hash(values: np.ndarray) -> str:
    """Returns the SHA-256 of shape, dtype and little-endian values."""
    digest = hashlib.sha256(f"{values.shape} {values.dtype.name}".encode())
    digest.update(np.ascontiguousarray(values.astype(values.dtype.newbyteorder("<"), copy=False)))
    return digest.hexdigest()


def table_hash(table: pa.Table, *, where: object = None) -> str:
    """Returns the SHA-256 of a table's columns in the order of their names; chunking does not matter."""
    digest = hashlib.sha256(str(table.num_rows).encode())
    for name in sorted(table.column_names):
        digest.update(f"\n{name}:".encode())
        _update(digest, table[name].combine_chunks())
    return digest.hexdigest()


def combined_hash(digests: Mapping[str, str]) -> str:
    """Returns one digest over named ones, in the order of their names."""
    return hashlib.sha256("\n".join(f"{name} {digests[name]}" for name in sorted(digests)).encode()).hexdigest()


def _update(digest, column: pa.Array | pa.ChunkedArray) -> None:
    if isinstance(column, pa.ChunkedArray):
        column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    kind = column.type
    digest.update(np.packbits(column.is_null().to_numpy(zero_copy_only=False)).tobytes() if column.null_count else b"-")
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        digest.update(b"list")
        digest.update(pc.list_value_length(column).fill_null(0).to_numpy(zero_copy_only=False).astype("<i8"))
        _update(digest, column.flatten())
    elif pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        digest.update(b"int")
        digest.update(pc.cast(column, pa.int64()).fill_null(0).to_numpy(zero_copy_only=False).astype("<i8"))
    elif pa.types.is_floating(kind):
        digest.update(b"float")
        digest.update(pc.cast(column, pa.float64()).fill_null(0).to_numpy(zero_copy_only=False).astype("<f8"))
    else:  # text and bytes: lengths, then the bytes end to end
        digest.update(b"bytes")
        binary = pc.cast(column, pa.large_binary()).fill_null(b"")
        digest.update(pc.binary_length(binary).to_numpy(zero_copy_only=False).astype("<i8"))
        digest.update(b"".join(binary.to_pylist()))
