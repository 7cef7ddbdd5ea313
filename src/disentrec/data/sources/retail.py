"""UCI Online Retail II: the lines of a wholesaler's invoices, from its workbook or from a CSV file."""

from __future__ import annotations

import csv
import io
import math
import re
import tempfile
import zipfile
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from disentrec.data.files import ZIP_ERRORS, opened_zip
from disentrec.data.layouts.retail import online_retail as invoices
from disentrec.data.sources import cuts
from disentrec.data.sources.cuts import Events
from disentrec.data.sources.download import Downloads
from disentrec.data.sources.lines import AGAIN, Tally, check_member
from disentrec.encode.text import tfidf_svd
from disentrec.errors import DisentrecError

ARCHIVE = "online+retail+ii.zip"
CSV = "online_retail_II.csv"
LARGEST = 500 << 20  # bytes of the workbook, unpacked
#: Five digits and letters; postage, fees, samples and gift vouchers have other codes.
PRODUCT = re.compile(r"\d{5}[A-Z]{0,3}")
#: Names of the columns without case, spaces and signs, in the workbook and in older copies.
NAMES = {
    "invoice": "invoice", "invoiceno": "invoice", "stockcode": "code", "description": "title", "quantity": "quantity",
    "invoicedate": "time", "price": "price", "unitprice": "price", "customerid": "customer",
}  # fmt: skip
ORDER = ("invoice", "code", "title", "quantity", "time", "price", "customer")


def online_retail(
    downloads: Downloads,
    category: None,
    *,
    sessions: str,
    core: int,
    images: str,
    max_length: int = 20,
    min_count: int = 5,
    dim: int = 100,
    broken: float = 0.01,
) -> dict[str, Any]:
    """Returns the arguments of write_dataset for Online Retail II.

    `sessions`: "invoice" is the cut of `disentrec data import --layout online-retail` and knows no `core`; "daily"
    joins what a customer bought on a day; "none" writes histories; the latter two leave anonymous lines out.
    Cancellations, lines of no quantity or price and codes that are no products go; an item listed twice on an
    invoice, or in both sheets of the workbook, counts once. A CSV file in the raw folder is taken before the archive.
    """
    given = downloads.folder / CSV
    path = given if given.exists() else downloads.get(ARCHIVE)
    tally, dropped = Tally(), Counter()
    lines, products = _lines(_rows(path), tally, dropped)
    if tally.broken > broken * tally.lines or not len(lines):
        raise DisentrecError(
            f"{tally.broken} of {tally.lines} lines are not sales, {len(lines)} are left; {broken:.1%} are tolerated",
            where=path,
            how=f"It needs the columns {', '.join(ORDER)}: check that this is Online Retail II",
        )
    counts = {"lines": tally.counts(), **dropped}
    if sessions == "invoice":
        with tempfile.TemporaryDirectory() as folder:
            lines.to_parquet(Path(folder) / "interactions.parquet")
            products.to_parquet(Path(folder) / "items.parquet")
            content = invoices(Path(folder), max_length=max_length, min_count=min_count, dim=dim)
    else:
        named = lines[lines["user"] >= 0]
        counts["anonymous"] = len(lines) - len(named)
        named = named.sort_values(["timestamp", "session", "pos"], kind="stable")
        events = Events(*(named[name].to_numpy() for name in ("user", "item", "timestamp")))
        if sessions == "none":
            cut = cuts.interactions(events, core, path)
        else:
            cut = cuts.in_time(events, core, path, max_length=max_length, min_count=min_count)
        items = products.loc[cut.old].drop(columns="item").reset_index(drop=True)
        items.insert(0, "item", np.arange(len(items)))
        content = {
            "items": items,
            "interactions" if sessions == "none" else "sessions": cut.table,
            "features": {"text": tfidf_svd(items["title"].tolist(), dim)},
            "encoders": {"text": "TF-IDF of the title, truncated SVD, mean norm 1"},
            "licence": "CC BY 4.0: Online Retail II, D. Chen, UCI Machine Learning Repository (2012, 2019)",
            "notes": "Lines stand in the order of the invoice, not of clicks.",
            "extra": cut.extra,
        }
        counts["cut"] = cut.dropped
    content["provenance"] = "Online Retail II, UCI Machine Learning Repository, data set 502, D. Chen"
    content["extra"] |= {"dropped": counts}
    return content


def _lines(rows: Iterable[tuple], tally: Tally, dropped: Counter) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Returns the sales in the layout `online-retail` (user, session, item, pos, timestamp, price) and the items."""
    codes: dict[str, int] = {}
    numbers: dict[str, int] = {}
    customers: dict[str, int] = {}
    titles: dict[int, Counter[str]] = {}
    columns = {"user": array("i"), "session": array("i"), "item": array("i"), "timestamp": array("q")}
    prices = array("d")
    for invoice, code, title, quantity, moment, price, customer in rows:
        tally.lines += 1
        invoice, code = _cell(invoice).upper(), _cell(code).upper()
        time, amount, paid = _time(moment), _float(quantity), _float(price)
        if not invoice or time is None or math.isnan(amount) or math.isnan(paid):
            tally.broken += 1
        elif invoice.startswith("C"):
            dropped["cancelled"] += 1
        elif not PRODUCT.fullmatch(code):
            dropped["no_product"] += 1
        elif amount <= 0 or paid <= 0:
            dropped["no_quantity_or_price"] += 1
        else:
            item = codes.setdefault(code, len(codes))
            titles.setdefault(item, Counter())[" ".join(_cell(title).split())] += 1
            name = _cell(customer)
            user = customers.setdefault(name, len(customers)) if name else -1
            session = numbers.setdefault(invoice, len(numbers))
            for column, value in zip(columns.values(), (user, session, item, time), strict=True):
                column.append(value)
            prices.append(paid)
    frame = pd.DataFrame({name: np.array(column) for name, column in columns.items()} | {"price": np.array(prices)})
    once = frame[~frame.duplicated(["session", "item"])].reset_index(drop=True)
    dropped["repeated_on_invoice"] += len(frame) - len(once)
    once["pos"] = once.groupby("session").cumcount()
    best = [max(titles[item].items(), key=lambda pair: (pair[0] != "", pair[1]))[0] for item in range(len(codes))]
    median = once.groupby("item")["price"].median().reindex(range(len(codes)))
    items = pd.DataFrame({"item": range(len(codes)), "native_id": list(codes), "title": best, "price": median})
    return once, items


def _rows(path: Path) -> Iterator[tuple]:
    """Yields the cells of every line, in ORDER, from a CSV file, or a workbook or CSV file in an archive."""
    if not zipfile.is_zipfile(path):
        if path.name != CSV:
            raise DisentrecError("the archive is truncated or damaged", where=path, how=AGAIN)
        with path.open("rb") as file:
            yield from _csv_rows(file, path)
        return
    with opened_zip(path, how=AGAIN) as archive:
        for entry in archive.infolist():
            suffix = Path(entry.filename).suffix.lower()
            if suffix == ".csv":
                check_member(entry, path)
                with archive.open(entry) as file:
                    yield from _csv_rows(file, path)
                return
            if suffix == ".xlsx" and entry.file_size <= LARGEST:
                yield from _workbook_rows(io.BytesIO(archive.read(entry)), path)
                return
    raise DisentrecError("neither a workbook nor a CSV file is in the archive", where=path, how="Download it again")


def _csv_rows(file: Any, path: Path) -> Iterator[tuple]:
    try:
        with io.TextIOWrapper(file, encoding="utf-8-sig", errors="replace", newline="") as text:
            yield from _in_order(csv.reader(text), path)
    except csv.Error as error:
        raise DisentrecError(f"not a CSV file: {error}", where=path, how="Save it with commas, in UTF-8") from error


def _workbook_rows(file: io.BytesIO, path: Path) -> Iterator[tuple]:
    try:
        import openpyxl
    except ImportError as error:
        raise DisentrecError(
            "the workbook cannot be read: openpyxl is not installed",
            where=path,
            how=f"Install it with: pip install disentrec[retail], or put {CSV} into the raw folder",
        ) from error
    try:
        with zipfile.ZipFile(file) as parts:
            for part in parts.infolist():
                check_member(part, path)
        book = openpyxl.load_workbook(file, read_only=True, data_only=True)
        for sheet in book.worksheets:
            yield from _in_order(sheet.iter_rows(values_only=True), path)
        book.close()
    # What openpyxl raises for a damaged workbook: it has no error of its own for most of what can be wrong.
    except (*ZIP_ERRORS, KeyError, IndexError, TypeError, AttributeError, SyntaxError) as error:
        raise DisentrecError(f"the workbook is damaged: {error}", where=path, how=AGAIN) from error


def _in_order(rows: Iterable[Iterable[Any]], path: Path) -> Iterator[tuple]:
    rows = iter(rows)
    head = ["".join(filter(str.isalnum, _cell(name).lower())) for name in next(rows, ())]
    place = {NAMES[name]: column for column, name in enumerate(head) if name in NAMES}
    missing = [name for name in ORDER if name not in place]
    if missing:
        raise DisentrecError(
            f"columns are missing: {', '.join(missing)}", where=path, how="Check that this is Online Retail II"
        )
    columns = [place[name] for name in ORDER]
    for row in rows:
        cells = list(row)
        if any(cell not in (None, "") for cell in cells):
            yield tuple(cells[column] if column < len(cells) else None for column in columns)


def _cell(value: Any) -> str:
    """Returns a cell as text: the workbook holds some codes and customers as numbers, the CSV as "13085.0"."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return "" if value is None else str(value).strip().removesuffix(".0")


def _float(value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan
    return number if math.isfinite(number) else math.nan


def _time(value: Any) -> int | None:
    """Returns seconds since 1970; the shop's clock is taken for UTC."""
    for read in (datetime.fromisoformat, lambda text: datetime.strptime(text, "%m/%d/%Y %H:%M")):
        if isinstance(value, datetime):
            break
        try:
            value = read(str(value))
        except ValueError:
            continue
    return int(value.replace(tzinfo=UTC).timestamp()) if isinstance(value, datetime) else None
