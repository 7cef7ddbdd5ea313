"""Files of one record a line, read as a stream: what is broken is counted, and no line can hold more than a limit."""

from __future__ import annotations

import ast
import gzip
import io
import json
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from disentrec.errors import DisentrecError

JSON_LIMIT = 4 << 20  # bytes of a line
#: The syntax tree of a literal takes some hundred times its text.
LITERAL_LIMIT = 1 << 20
AGAIN = "Delete it and its .json, and run this again: it will be downloaded anew"
#: Text of reviews is packed to a fifth; what unpacks to more than this many times its size, and is large, is no text.
RATIO, SMALL = 100, 256 << 20
TOLERATED = 0.01  # share of broken lines
CHECK_EVERY = 10_000  # lines: a wrong file is refused early, not after hours


@dataclass
class Tally:
    """What reading one file came across."""

    lines: int = 0
    broken: int = 0
    recoded: int = 0  # not UTF-8: the bad bytes became U+FFFD
    incomplete: int = 0  # a record without what is needed
    duplicates: int = 0

    def counts(self) -> dict[str, int]:
        """Returns all counts by name."""
        return asdict(self)


def json_record(text: str) -> Any:
    """Returns the value of one line of strict JSON; ValueError if it is none."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def literal_record(text: str) -> Any:
    """Returns the value of one Python literal (the form of the 2014 metadata); ValueError if it is none.

    Nothing is executed: names, calls and operators are refused by ast.literal_eval.
    """
    if len(text) > LITERAL_LIMIT:
        raise ValueError("too long")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # unknown escapes in product texts
            return ast.literal_eval(text.strip())
    except (SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise ValueError(type(error).__name__) from error


def records(
    path: Path, parse: Callable[[str], Any], tally: Tally, *, tolerated: float = TOLERATED
) -> Iterator[dict[str, Any]]:
    """Yields the dictionaries that the lines of a file hold, gzipped or not, and counts the rest in `tally`.

    Raises DisentrecError where more than the share `tolerated` of the lines is broken, and where a gzipped file
    ends too early: half a data set must not pass for one.
    """
    for line in _lines(path):
        if not line.strip():
            continue
        tally.lines += 1
        record = _record(line, parse, tally)
        if isinstance(record, dict):
            yield record
        else:
            tally.broken += 1
        if tally.lines % CHECK_EVERY == 0:
            _check(path, tally, tolerated)
    if not tally.lines:
        raise DisentrecError("the file is empty", where=path, how="Delete it and its .json, and download it again")
    _check(path, tally, tolerated)


def _record(line: bytes, parse: Callable[[str], Any], tally: Tally) -> Any:
    if len(line) > JSON_LIMIT:
        return None
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        tally.recoded += 1
        text = line.decode("utf-8", errors="replace")
    try:
        return parse(text)
    except ValueError:
        return None


def _check(path: Path, tally: Tally, tolerated: float) -> None:
    if tally.broken > tolerated * tally.lines:
        raise DisentrecError(
            f"{tally.broken} of {tally.lines} lines are not records; {tolerated:.1%} are tolerated",
            where=path,
            how="Check that this is the right file (an error page?), or raise the share with --set broken=SHARE",
        )


def _lines(path: Path) -> Iterator[bytes]:
    """Yields lines of at most JSON_LIMIT + 1 bytes; the rest of a longer one is skipped."""
    with unpacked(path) as file:
        while line := file.readline(JSON_LIMIT + 1):
            rest = line
            while len(rest) > JSON_LIMIT and not rest.endswith(b"\n"):
                rest = file.readline(JSON_LIMIT + 1)
            yield line


class _Counted(io.RawIOBase):
    """A gzipped file that refuses to unpack to far more than text does: a bomb ends early, and so does its disk."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self.file, self.path, self.left = file, path, max(SMALL, RATIO * path.stat().st_size)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:
        read = self.file.readinto(buffer)
        self.left -= read
        if self.left < 0:
            raise too_large(self.path)
        return read


def check_member(member: zipfile.ZipInfo, path: Path) -> None:
    """Raises where a member of an archive claims to unpack to far more than text does."""
    if member.file_size > max(SMALL, RATIO * member.compress_size):
        raise too_large(path)


def too_large(path: Path) -> DisentrecError:
    """Returns the error for a packed file that holds next to nothing, many times."""
    return DisentrecError(f"it unpacks to more than {RATIO} times its size", where=path, how=AGAIN)


@contextmanager
def unpacked(path: Path) -> Iterator[BinaryIO]:
    """Opens a file that is gzipped or not: its first bytes say so, whatever its name."""
    try:
        with path.open("rb") as raw:
            zipped = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            if zipped:
                with gzip.GzipFile(fileobj=raw) as file, io.BufferedReader(_Counted(file, path), 1 << 16) as counted:
                    yield counted
            else:
                yield raw
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DisentrecError(
            f"the gzipped file is truncated or damaged: {error}",
            where=path,
            how=AGAIN,
        ) from error
    except OSError as error:
        raise DisentrecError(f"not readable: {error}", where=path, how="Check the file and its permissions") from error
