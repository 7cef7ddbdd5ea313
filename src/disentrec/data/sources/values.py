"""Values as shops write them: prices, ranks, category paths and texts."""

from __future__ import annotations

import html
import math
import re
from typing import Any

NUMBER = r"(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?"
MONEY = re.compile(rf"(?:US|USD)?\s*\$?\s*(?=[\d.])({NUMBER})\s*(?:USD)?")
#: A hyphen, a dash or the minus sign of Unicode between two amounts.
RANGE = re.compile(r"\s*(?:[-\u2010-\u2015\u2212]|\bto\b)\s*")
RELEASED = re.compile(r"\$?(\d+\.?\d*|\.\d+)")
RANK = re.compile(r"#?\s*(\d{1,3}(?:,\d{3})+|\d+)\s*in\s*([^(>]*)")
ENDLESS = re.compile(r"&#[0-9]{20,};?")
LONGEST = 1000  # characters of a text that is kept
MOST = 2.0**53  # of a price or a rank: what is more was not meant as one
SCRIPT = "getTime"  # the 2018 crawl took some scripts for titles


def price_of(value: Any) -> float:
    """Returns a price as a number, NaN where none is known.

    Numbers of at least 0; "$12.99"; thousands separated by commas, "$1,299.00"; a range, "$12.99 - $25.99", becomes
    its midpoint. Anything else, such as style sheets that the crawl took for prices or "1.299,00", is unknown.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value) if 0 <= value < MOST else math.nan
    if not isinstance(value, str) or len(value) > 60:
        return math.nan
    amounts = [MONEY.fullmatch(part.strip()) for part in RANGE.split(value.strip())]
    if len(amounts) > 2 or not all(amounts):
        return math.nan
    numbers = [float(match.group(1).replace(",", "")) for match in amounts]
    return price_of(sum(numbers) / len(numbers))


def released_price_of(value: Any) -> float:
    """Returns a price as the released preprocessing of MMSBR reads it: a number or "$number", else NaN."""
    if isinstance(value, str):
        match = RELEASED.fullmatch(value.strip()) if len(value) <= 60 else None
        return price_of(float(match.group(1))) if match else math.nan
    return price_of(value)


def text_of(value: Any, longest: int = LONGEST) -> str:
    """Returns one line of text: entities resolved, spaces joined, cut; "" for anything that is none.

    Lists of texts are joined. Half surrogate pairs, which no file can hold, become "?".
    """
    if isinstance(value, list):
        value = " ".join(part for part in value if isinstance(part, str))
    if not isinstance(value, str):
        return ""
    # An entity of thousands of digits stands for no character, and Python refuses to read it as a number.
    value = ENDLESS.sub("\ufffd", value[: 4 * longest])
    text = " ".join(html.unescape(value).split())[:longest]
    return text.encode("utf-8", errors="replace").decode("utf-8")


def title_of(value: Any) -> str:
    """Returns a title, "" where the crawl took a script for one."""
    text = text_of(value)
    return "" if SCRIPT in text else text


def path_of(value: Any) -> tuple[str, ...]:
    """Returns a category path from the root to the leaf; of several (2014), the first."""
    if isinstance(value, list) and value and isinstance(value[0], list):
        value = value[0]
    if not isinstance(value, list):
        return ()
    # "|" parts the steps of a path in a dataset folder.
    steps = (text_of(step, 200).replace("|", "/") for step in value[:20])
    return tuple(step for step in steps if step)


def rank_of(value: Any) -> tuple[float, str]:
    """Returns (sales rank, its group), (NaN, "") where none is known.

    2014: a dictionary of group -> rank. 2018: "1,234 in Books (" or a list of ">#1,234 in ...". The first counts.
    """
    if isinstance(value, dict):
        for group, rank in value.items():
            if isinstance(rank, int) and isinstance(group, str) and 0 < rank < MOST:
                return float(rank), text_of(group, 200)
        return math.nan, ""
    if isinstance(value, list):
        value = next((part for part in value if isinstance(part, str)), "")
    match = RANK.search(value[:500]) if isinstance(value, str) else None
    if match is None:
        return math.nan, ""
    rank = float(match.group(1).replace(",", ""))
    return (rank, text_of(match.group(2), 200)) if 0 < rank < MOST else (math.nan, "")


def first_text(value: Any) -> str:
    """Returns a text, or the first of a list of texts, as it stands; "" where there is none."""
    if isinstance(value, list):
        value = value[0] if value else ""
    return value if isinstance(value, str) else ""
