"""MovieLens-1M from GroupLens: ratings with their times, titles and genres."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from disentrec.data.files import opened_zip
from disentrec.data.sources import cuts
from disentrec.data.sources.cuts import Events
from disentrec.data.sources.download import Downloads
from disentrec.data.sources.lines import AGAIN, Tally, check_member
from disentrec.encode.text import tfidf_svd
from disentrec.errors import DisentrecError

ARCHIVE = "ml-1m.zip"
LONGEST = 10_000  # bytes of a line


def movielens_1m(
    downloads: Downloads,
    category: None,
    *,
    sessions: str,
    core: int,
    images: str,
    max_length: int = 20,
    min_count: int = 5,
    gap: int = 60,
    dim: int = 100,
    broken: float = 0.01,
) -> dict[str, Any]:
    """Returns the arguments of write_dataset for MovieLens-1M.

    `sessions`: "gap" (ratings at most `gap` minutes apart), "daily" (a user's UTC day), both split by time, or
    "none" (histories). Ratings of the same second stay in the order of the file. There are no pictures in it.
    """
    path = downloads.get(ARCHIVE)
    tallies = {"ratings": Tally(), "movies": Tally()}
    user, movie, time, rating = array("i"), array("i"), array("q"), array("f")
    for fields in _rows(path, "ratings.dat", 4, tallies["ratings"], broken):
        numbers = _numbers(fields)
        if numbers is None:
            tallies["ratings"].incomplete += 1
            continue
        for column, value in zip((user, movie, rating, time), numbers, strict=True):
            column.append(value)
    if not user:
        raise DisentrecError("no line is a rating", where=path, how="Check that this is the archive of MovieLens-1M")
    numbers, item = np.unique(np.frombuffer(movie, dtype=np.int32), return_inverse=True)
    catalogue = {}
    for number, title, genres in _rows(path, "movies.dat", 3, tallies["movies"], broken):
        catalogue[number] = (title, genres.split("|"))
    events = Events(
        np.frombuffer(user, dtype=np.int32),
        item,
        np.frombuffer(time, dtype=np.int64),
        np.frombuffer(rating, dtype=np.float32),
    )
    if sessions == "none":
        cut = cuts.interactions(events, core, path)
    else:
        seconds = gap * 60 if sessions == "gap" else None
        cut = cuts.in_time(events, core, path, gap=seconds, max_length=max_length, min_count=min_count)
    native = [str(number) for number in numbers[cut.old]]
    known = [catalogue.get(number, ("", [])) for number in native]
    items = pd.DataFrame(
        {
            "item": np.arange(len(native)),
            "native_id": native,
            "title": [title for title, _ in known],
            "category": ["|".join(genres) for _, genres in known],
        }
    )
    words = [" ".join([title, *genres]) for title, genres in known]
    return {
        "items": items,
        "interactions" if sessions == "none" else "sessions": cut.table,
        "features": {"text": tfidf_svd(words, dim)},
        "encoders": {"text": "TF-IDF of title and genres, truncated SVD, mean norm 1"},
        "licence": "Private. MovieLens (GroupLens): research use with acknowledgement, no commercial use, no"
        " redistribution. Results may be published, the data may not.",
        "provenance": "MovieLens-1M. F. M. Harper, J. A. Konstan, The MovieLens datasets, ACM TiiS 5(4), 2015",
        "notes": "A session is a run of ratings, not of views. What users say of themselves is not read.",
        "extra": cut.extra
        | {"dropped": {name: tally.counts() for name, tally in tallies.items()} | {"cut": cut.dropped}},
    }


def _rows(path: Path, name: str, n_fields: int, tally: Tally, tolerated: float) -> Iterator[list[str]]:
    """Yields the fields of every line of a file in the archive; others are counted as broken."""
    with opened_zip(path, how=AGAIN) as archive:
        member = next((entry for entry in archive.infolist() if Path(entry.filename).name == name), None)
        if member is None:
            raise DisentrecError(f"{name} is not in the archive", where=path, how="Download ml-1m.zip again")
        check_member(member, path)
        with archive.open(member) as file:
            while line := file.readline(LONGEST):
                tally.lines += 1
                fields = _text(line, tally).rstrip("\r\n").split("::")
                if len(fields) == n_fields:
                    yield fields
                else:
                    tally.broken += 1
    if tally.broken > tolerated * tally.lines:
        raise DisentrecError(
            f"{tally.broken} of {tally.lines} lines of {name} do not have {n_fields} fields",
            where=path,
            how="Check that this is the archive of MovieLens-1M",
        )


def _text(line: bytes, tally: Tally) -> str:
    """Returns a line of the archive, which is Latin-1; copies in UTF-8 are taken for what they are."""
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        tally.recoded += 1
        return line.decode("latin-1")


def _numbers(fields: list[str]) -> tuple[int, int, float, int] | None:
    try:
        user, movie, rating, time = int(fields[0]), int(fields[1]), float(fields[2]), int(fields[3])
    except ValueError:
        return None
    fits = 0 <= user < 2**31 and 0 <= movie < 2**31 and abs(time) < 2**40 and 0 <= rating <= 10
    return (user, movie, rating, time) if fits else None
