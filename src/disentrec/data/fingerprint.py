"""Digests of content: equal values give equal digests, whatever the platform, encoding or compression."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from disentrec.errors import DisentrecError


def array_hash(values: np.ndarray) -> str:
    """Returns the SHA-256 of shape, dtype and little-endian values."""
    digest = hashlib.sha256(f"{values.shape} {values.dtype.name}".encode())
    digest.update(np.ascontiguousarray(values.astype(values.dtype.newbyteorder("<"), copy=False)))
    return digest.hexdigest()


def table_hash(table: pa.Table, *, where: object = None) -> str:
    """Returns the SHA-256 of a table's columns in the order of their names; rows count in their own order.

    Integers and floats are hashed as 64-bit, text as UTF-8 with its lengths, lists as lengths and values:
    widths, chunks and dictionaries do not matter. NaN is null, -0.0 is 0.0.
    """
    digest = hashlib.sha256(str(table.num_rows).encode())
    for name in sorted(table.column_names):
        digest.update(f"\n{name}:".encode())
        try:
            _update(digest, table[name])
        except (pa.ArrowNotImplementedError, pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise DisentrecError(
                f"column {name!r} has the type {table[name].type}, which a dataset folder cannot hold",
                where=where,
                how="Store it as integers, floats, text, booleans or lists of these",
            ) from error
    return digest.hexdigest()


def combined_hash(digests: Mapping[str, str]) -> str:
    """Returns one digest over named ones, in the order of their names."""
    return hashlib.sha256("\n".join(f"{name} {digests[name]}" for name in sorted(digests)).encode()).hexdigest()


def _update(digest, column: pa.Array | pa.ChunkedArray) -> None:
    if isinstance(column, pa.ChunkedArray):
        column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.dictionary_decode()
        kind = column.type
    if pa.types.is_floating(kind):
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, kind), column)
    nulls = column.is_null().to_numpy(zero_copy_only=False)
    digest.update(np.packbits(nulls).tobytes() if column.null_count else b"-")
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        digest.update(b"list")
        digest.update(_numbers(pc.list_value_length(column), "<i8"))
        _update(digest, column.flatten())
    elif pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        digest.update(b"int")
        digest.update(_numbers(pc.cast(column, pa.int64()), "<i8"))
    elif pa.types.is_floating(kind):
        digest.update(b"float")
        digest.update(_numbers(pc.cast(column, pa.float64()), "<f8") + 0.0)
    elif any(test(kind) for test in (pa.types.is_temporal, pa.types.is_nested, pa.types.is_null)):
        raise pa.ArrowNotImplementedError(str(kind))
    else:  # text and bytes: lengths, then the bytes end to end
        digest.update(b"bytes")
        binary = pc.fill_null(pc.cast(column, pa.large_binary()), b"")
        digest.update(_numbers(pc.binary_length(binary), "<i8"))
        _, offsets, data = binary.buffers()
        if data is not None and len(binary):
            ends = np.frombuffer(offsets, dtype=np.int64)[[binary.offset, binary.offset + len(binary)]]
            digest.update(memoryview(data)[ends[0] : ends[1]])


def _numbers(column: pa.Array, kind: str) -> np.ndarray:
    return np.ascontiguousarray(pc.fill_null(column, 0).to_numpy(zero_copy_only=False), dtype=kind)
