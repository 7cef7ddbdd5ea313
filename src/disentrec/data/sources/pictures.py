"""Product pictures by address: a few at a time, tried again, kept small, never asked for twice."""

from __future__ import annotations

import hashlib
import io
import logging
import warnings
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

from tqdm import tqdm

from disentrec.data.drafts import write_atomically, writing
from disentrec.data.sources.download import quiet

LIMIT = 5 << 20  # bytes of one picture
SIDE = 256  # pixels of the longer side that are kept: networks look at 224
WORKERS = 8
ROUND = 32  # pictures in memory at a time
TIMEOUT = 20
RETRIES, BACKOFF = 3, 0.5  # 0, 1, 2 seconds between attempts
AGAIN = (408, 425, 429, 500, 502, 503, 504)


def fetch_pictures(urls: Sequence[str], folder: Path) -> tuple[list[Path | None], dict[str, int]]:
    """Returns (the JPEG of every address or None, counts of what is missing by reason).

    Pictures are kept in `folder`, named by a hash of their address, shrunk to SIDE. What is gone for good (no such
    page, too large, no picture, not http) leaves a note and is not asked for again; a server that does not answer
    is asked again by the next call.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    counts: Counter[str] = Counter()
    places = [folder / f"{hashlib.sha256(url.encode('utf-8', 'replace')).hexdigest()[:32]}.jpg" for url in urls]
    wanted = {place: url for place, url in zip(places, urls, strict=True) if url}
    left = [pair for pair in wanted.items() if not pair[0].exists() and not _note(pair[0]).exists()]
    _download(left)
    found: list[Path | None] = []
    for place, url in zip(places, urls, strict=True):
        found.append(place if url and place.exists() else None)
        if found[-1] is None:
            note = _note(place)
            counts[(note.read_text() if note.exists() else "unreachable") if url else "no_address"] += 1
    return found, dict(sorted(counts.items()))


def _note(place: Path) -> Path:
    return place.with_suffix(".missing")


def _download(left: Sequence[tuple[Path, str]]) -> None:
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.util import Retry

    retry = Retry(
        total=RETRIES,
        backoff_factor=BACKOFF,
        status_forcelist=AGAIN,
        raise_on_status=False,
        respect_retry_after_header=False,
    )
    with (
        requests.Session() as session,
        ThreadPoolExecutor(WORKERS) as pool,
        quiet(logging.getLogger("urllib3")),
        tqdm(total=len(left), unit=" pictures", disable=None) as bar,
    ):
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(pool_maxsize=WORKERS, max_retries=retry))
        for start in range(0, len(left), ROUND):
            part = left[start : start + ROUND]
            for (place, _), answer in zip(part, pool.map(lambda pair: _get(session, pair[1]), part), strict=True):
                _keep(place, answer)
                bar.update()


def _get(session, url: str) -> bytes | str:
    """Returns the bytes of a picture, or the reason why there are none: "unreachable" may pass, others stay."""
    import requests
    from requests import exceptions

    try:
        if urlsplit(url).scheme not in ("http", "https"):
            return "bad_address"
        with session.get(url, stream=True, timeout=TIMEOUT) as response:
            if response.status_code in AGAIN:
                return "unreachable"
            if response.status_code != 200:
                return "not_there"
            content = bytearray()
            for chunk in response.iter_content(1 << 16):
                content += chunk
                if len(content) > LIMIT:
                    return "too_large"
            return bytes(content)
    except (ValueError, exceptions.TooManyRedirects):  # requests' own words for addresses are ValueErrors
        return "bad_address"
    except requests.RequestException:
        return "unreachable"


def _keep(place: Path, answer: bytes | str) -> None:
    if isinstance(answer, bytes):
        answer = shrink(answer) or "not_a_picture"
    if isinstance(answer, bytes):
        write_atomically(place, lambda file: file.write(answer))
    elif answer != "unreachable":
        write_atomically(_note(place), lambda file: file.write(answer.encode()))


def shrink(content: bytes) -> bytes | None:
    """Returns a JPEG whose longer side is at most SIDE, on white; None if `content` is no PNG, JPEG, GIF or WebP.

    A GIF of one pixel, which shops send for "no picture", is none either.
    """
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=("PNG", "JPEG", "GIF", "WEBP")) as opened:
                if min(opened.size) < 2:
                    return None
                opened.draft("RGB", (SIDE, SIDE))
                picture = opened.convert("RGBA")
        picture.thumbnail((SIDE, SIDE))
        white = Image.new("RGBA", picture.size, "white")
        out = io.BytesIO()
        Image.alpha_composite(white, picture).convert("RGB").save(out, "JPEG", quality=90)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        return None
    return out.getvalue()
