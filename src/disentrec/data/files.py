"""Arrays, tables and archives that may come from anywhere: whatever is in them ends in a value or a DisentrecError.

Nothing in a file is run, no name in a file becomes a path, and a file that claims to hold more than it can, or than
this study could use, is refused before the memory is asked for.
"""

from __future__ import annotations

import lzma
import math
import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tokenize import TokenError
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from disentrec.errors import DisentrecError
from disentrec.reading import AGAIN

#: Rows of one table: a packed file of some kilobytes can claim any number.
MOST_ROWS = 1 << 28
#: Bytes of all arrays of one .npz file, unpacked.
MOST_BYTES = 2 << 30
#: What zipfile and its decompressors raise for damaged, encrypted and unknown members.
ZIP_ERRORS = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, OSError, ValueError, RuntimeError,
    OverflowError,
)  # fmt: skip
#: What numpy raises for a damaged header, which is a Python literal, and for arrays that do not fit.
ARRAY_ERRORS = (OSError, ValueError, EOFError, TypeError, SyntaxError, TokenError, MemoryError, RecursionError)


def read_array(path: Path, *, how: str = AGAIN) -> np.ndarray:
    """Returns the array of a .npy file of numbers or texts; raises DisentrecError for anything else."""
    try:
        with path.open("rb") as file:
            return _array(file, path.stat().st_size)
    except ARRAY_ERRORS as error:
        raise DisentrecError(f"not readable: {error}", where=path, how=how) from error


def read_arrays(path: Path, *, how: str = AGAIN) -> dict[str, np.ndarray]:
    """Returns the arrays of a .npz file by name; raises DisentrecError for anything else."""
    found = {}
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if sum(member.file_size for member in members) > MOST_BYTES:
                raise ValueError(f"more than {MOST_BYTES >> 30} GB unpacked")
            for member in members:
                with archive.open(member) as file:
                    found[member.filename.removesuffix(".npy")] = _array(file, member.file_size)
    except (*ARRAY_ERRORS, *ZIP_ERRORS) as error:
        raise DisentrecError(f"not readable: {error}", where=path, how=how) from error
    return found


def _array(file: BinaryIO, size: int) -> np.ndarray:
    """Returns the array of an open .npy file of `size` bytes; its header must not claim more than that."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # headers that Python 2 wrote
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"version {version} of the format")
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, kind = read(file)
        if kind.hasobject:
            raise ValueError("it holds objects, which are not opened")
        if any(length < 0 for length in shape) or math.prod(shape) * max(kind.itemsize, 1) > size:
            raise ValueError(f"shape {shape} does not fit into {size} bytes")
        file.seek(0)
        return np.lib.format.read_array(file, allow_pickle=False)


def read_parquet(path: Path, columns: Iterable[str] | None = None, *, how: str = AGAIN) -> pa.Table:
    """Returns a parquet file, or some of its columns, every value checked to be what its type says."""
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            wanted = names if columns is None else list(columns)
            lacking = [name for name in wanted if name not in names]
            if lacking:
                raise ValueError(f"no column {', '.join(lacking)}")
            if len(set(names)) < len(names):
                raise ValueError("two columns have one name")
            rows = file.metadata.num_rows
            if not 0 <= rows <= MOST_ROWS:
                raise ValueError(f"{rows:,} rows, more than {MOST_ROWS:,}")
            # What a group claims is what Arrow asks memory for.
            parts = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
            if any(part < 0 for part in parts) or sum(parts) != rows:
                raise ValueError(f"{rows:,} rows, in groups of {sum(parts):,} together")
            table = file.read(None if columns is None else wanted)
        table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError, MemoryError, OverflowError) as error:
        raise DisentrecError(f"not readable: {error}", where=path, how=how) from error
    return table.replace_schema_metadata(None)


@contextmanager
def opened_zip(path: Path, *, how: str = AGAIN) -> Iterator[zipfile.ZipFile]:
    """Opens an archive; whatever is wrong with it while it is read is said as a DisentrecError."""
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except ZIP_ERRORS as error:
        raise DisentrecError(f"the archive is truncated or damaged: {error}", where=path, how=how) from error
