"""Downloads: whole files with recorded checksums, kept beside each other in a folder of raw data."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from disentrec.data.drafts import flush, part_of, sweep, write_atomically
from disentrec.errors import DisentrecError

ATTEMPTS = 3
WAIT = 2.0  # seconds before the second attempt; twice as long before each further one
TIMEOUT = 60  # seconds without a byte
CHUNK = 1 << 20
BY_HAND = (
    "Check the network and the address, give a mirror with --base-url, or put the file into the raw folder yourself"
)


@dataclass
class Downloads:
    """A folder of raw files and the place they come from; remembers what was used."""

    folder: Path
    base_url: str
    files: dict[str, dict[str, object]] = field(default_factory=dict)

    def get(self, path: str) -> Path:
        """Returns the local copy of `path` below the base address, downloaded if it is not here yet."""
        url = f"{self.base_url.rstrip('/')}/{path}"
        found, record = fetch(url, self.folder)
        self.files[found.name] = record
        return found


def fetch(url: str, folder: Path) -> tuple[Path, dict[str, object]]:
    """Returns (file, record) of `url` in `folder`; record is {url, sha256, bytes}.

    A file appears whole or not at all; a download that breaks off is begun again, ATTEMPTS times. The checksum of
    the first download is kept in NAME.json beside the file and compared ever after: a file that changed on disk is
    downloaded again, one that changed at its source is refused. A file put here by hand is taken as it is.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise DisentrecError(f"not an address that can be downloaded: {url}", how="Give one of http:// or https://")
    sweep([folder])
    name = re.sub(r"[^\w.-]+", "_", unquote(urlsplit(url).path.rpartition("/")[2]))
    if not name.strip("."):
        raise DisentrecError(f"no file is named by {url}", how="Give the address of a file")
    path, note = folder / name, folder / f"{name}.json"
    known = _read_note(note)
    _retrieve(url, path, None if known is None else str(known["sha256"]))
    if known is not None:
        return path, known
    import pooch

    record = {"url": url, "sha256": pooch.file_hash(str(path)), "bytes": path.stat().st_size}
    write_atomically(note, lambda file: file.write((json.dumps(record, indent=1) + "\n").encode()))
    return path, record


def _read_note(note: Path) -> dict[str, object] | None:
    if not note.exists():
        return None
    try:
        known = json.loads(note.read_text(encoding="utf-8"))
        if re.fullmatch("[0-9a-f]{64}", known["sha256"]):
            return known
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        pass
    raise DisentrecError("not a record of a download", where=note, how="Delete it: the checksum is then taken anew")


def _retrieve(url: str, path: Path, sha256: str | None) -> None:
    import pooch
    import requests

    if path.exists() and (sha256 is None or pooch.file_hash(str(path)) == sha256):
        return
    # In a folder of its own until it is whole: there the next start knows the leftovers of a killed download.
    draft = part_of(path)
    wanted = sha256 and f"sha256:{sha256}"
    # A server that calls a .gz file an encoding would have it unpacked on the way.
    headers = {"Accept-Encoding": "identity"}
    bar = sys.stderr.isatty()
    downloader = pooch.HTTPDownloader(progressbar=bar, chunk_size=CHUNK, timeout=TIMEOUT, headers=headers)
    with quiet(pooch.get_logger(), logging.getLogger("urllib3")):
        for attempt in range(1, ATTEMPTS + 1):
            try:
                pooch.retrieve(url, wanted, path.name, draft, downloader=downloader)
                flush([draft / path.name])
                os.replace(draft / path.name, path)
                return
            except requests.HTTPError as error:
                problem, again = _status(error), error.response.status_code >= 500
            except requests.RequestException as error:
                problem, again = f"no answer, or one that broke off ({type(error).__name__})", True
            except ValueError as error:  # what pooch says of a checksum
                raise DisentrecError(
                    f"{url} is not the file it was: its checksum is not the recorded one",
                    where=path,
                    how=f"If the new file is wanted, delete {path.name} and {path.name}.json, and run this again",
                ) from error
            except OSError as error:
                raise DisentrecError(
                    f"the download of {url} cannot be stored: {error}",
                    where=path,
                    how="Choose a folder that can be written and has room, with --raw",
                ) from error
            finally:
                shutil.rmtree(draft, ignore_errors=True)
            if not again:
                break
            if attempt < ATTEMPTS:
                time.sleep(WAIT * 2 ** (attempt - 1))
    raise DisentrecError(f"{url} could not be downloaded: {problem}", where=path, how=BY_HAND)


def _status(error) -> str:
    return f"the server says {error.response.status_code} {error.response.reason}"


@contextmanager
def quiet(*loggers: logging.Logger) -> Iterator[None]:
    """Silences the warnings of other libraries, such as one line per retried picture, and gives them back."""
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
