"""Folders and files that appear whole or not at all: written beside their place, then renamed.

What is not finished is called `.NAME.HOST-PID-RANDOM.part`, so that the next start can tell the leftovers of a killed
process from the work of one that lives (`sweep`).
"""

from __future__ import annotations

import errno
import hashlib
import os
import platform
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from disentrec.errors import DisentrecError

ExtraFiles = Mapping[str, bytes] | Callable[[Path], None]
#: Leftovers of other hosts, whose processes cannot be asked for, go when they are so many seconds old.
STALE = 24 * 3600
_PART = re.compile(r"\..+\.([0-9a-f]{8})-(\d+)-[0-9a-f]{8}\.(part|old)")


def part_of(path: Path) -> Path:
    """Returns a name beside `path` for what is to become it; nobody else has it."""
    return path.with_name(f".{path.name}.{_host()}-{os.getpid()}-{uuid.uuid4().hex[:8]}.part")


def sweep(folders: Iterable[Path]) -> list[Path]:
    """Removes what killed processes left unfinished directly in these folders, and returns it.

    An older data set that was put aside just before the kill gets its name back.
    """
    removed = []
    for path in (path for folder in folders if folder.is_dir() for path in sorted(folder.glob(".*"))):
        found = _PART.fullmatch(path.name)
        if found is None or not _abandoned(path, found[1], int(found[2])):
            continue
        named = path.with_name(path.name.split(f".{found[1]}-")[0][1:])
        with writing(path, "removed"):
            if found[3] == "old" and not named.exists():
                path.replace(named)
            elif path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        removed.append(path)
    return removed


def _abandoned(path: Path, host: str, pid: int) -> bool:
    try:
        if time.time() - path.stat().st_mtime > STALE:
            return True
        if host != _host():
            return False
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:  # finished or removed meanwhile, or a process of somebody else
        return False
    return False


def _host() -> str:
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]


@contextmanager
def writing(place: Path | str, done: str = "written") -> Iterator[None]:
    """Turns what the system says of a full disk or a closed folder into a DisentrecError about `place`."""
    try:
        yield
    except OSError as error:
        raise DisentrecError(
            f"cannot be {done}: {error.strerror or error}", where=place, how=_remedy(error.errno)
        ) from error


def _remedy(number: int | None) -> str:
    if number in (errno.ENOSPC, errno.EDQUOT):
        return "Make room on this disk, then start the same command again: what was finished is kept"
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "Allow writing to this folder, or choose another one; then start the same command again"
    return "Look at this folder and its disk, then start the same command again: what was finished is kept"


def check_target(folder: Path, overwrite: bool) -> None:
    """Raises if writing a data set to `folder` would destroy anything the caller did not offer."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not (folder / "dataset.json").exists():
        raise DisentrecError("not a dataset folder, and not empty", where=folder, how="Choose another place")
    if not overwrite:
        raise DisentrecError(
            "a data set is already here",
            where=folder,
            how="Choose another place, or overwrite it (--overwrite)",
        )


@contextmanager
def draft_of(folder: Path) -> Iterator[Path]:
    """Yields an empty sibling folder that takes the name of `folder` when the block ends without an error."""
    with writing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        sweep([folder.parent])
        draft = part_of(folder)
        try:
            draft.mkdir()
            yield draft
            flush(path for path in draft.rglob("*") if path.is_file())
            _rename(draft, folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def flush(paths: Iterable[Path]) -> None:
    """Waits until the disk has what was written to these files: a name given after that outlives a loss of power."""
    for path in paths:
        with path.open("rb+") as file:
            os.fsync(file.fileno())


def write_extra(draft: Path, extra_files: ExtraFiles | None) -> None:
    """Adds files to a draft: given as bytes by relative path, or by a function that is given the draft."""
    if callable(extra_files):
        extra_files(draft)
        return
    for relative, content in (extra_files or {}).items():
        path = (draft / relative).resolve()
        if not path.is_relative_to(draft.resolve()) or path.exists():
            raise DisentrecError(
                f"cannot add the file {relative!r}",
                how="Name a new file, by a path inside the dataset folder",
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _rename(draft: Path, folder: Path) -> None:
    """Gives the finished draft its name; an older folder goes only once the new one is in its place."""
    if not folder.exists():
        draft.replace(folder)
        return
    old = draft.with_suffix(".old")
    folder.replace(old)
    try:
        draft.replace(folder)
    except OSError:
        old.replace(folder)
        raise
    shutil.rmtree(old)


def write_atomically(path: Path, write) -> None:
    """Calls `write(file)` on a temporary file beside `path`, then renames it: no reader ever sees half of it.

    The folder is made if it is not there. A full disk and a folder that cannot be written raise DisentrecError.
    """
    part = part_of(path)
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with part.open("xb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(part, 0o644)
            os.replace(part, path)
    except BaseException:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise


@contextmanager
def claim(path: Path, *, wait: bool = True) -> Iterator[bool]:
    """Yields True while this process alone holds the claim `path`, False if another has it and `wait` is not set.

    A lock of the operating system, which ends with its process however that dies; the file goes with it.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        with suppress(Timeout):
            lock.acquire(blocking=wait, poll_interval=0.2)
    if not lock.is_locked:
        yield False
        return
    try:
        yield True
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)  # whoever waits notices, and takes a new file
        lock.release()
