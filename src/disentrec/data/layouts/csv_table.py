"""A CSV file as columns of texts that know their lines, so an error can say which line to mend."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from disentrec.errors import DisentrecError, unknown_name


@dataclass(frozen=True)
class CsvTable:
    """Columns of a CSV file: cells as texts without outer spaces, and the line that each row ends on."""

    path: Path
    columns: dict[str, list[str]]
    lines: list[int]

    def __contains__(self, name: str) -> bool:
        return name in self.columns

    def __getitem__(self, name: str) -> list[str]:
        return self.columns[name]

    def fault(self, what: str, row: int, column: str, how: str) -> DisentrecError:
        """Returns the error for one cell."""
        return DisentrecError(what, where=f"{self.path}, line {self.lines[row]}, column {column}", how=how)

    def parsed(self, name: str, parse: Callable[[str], Any], how: str) -> list[Any]:
        """Returns a column read cell by cell; one for which `parse` raises ValueError is an error at its place."""
        found = []
        for row, cell in enumerate(self.columns[name]):
            try:
                found.append(parse(cell))
            except (ValueError, OverflowError) as error:
                raise self.fault(f"{cell!r} is no {name}", row, name, how) from error
        return found


def read_csv(path: Path, valid: Iterable[str], needed: Iterable[str], ignored: Iterable[str] = ()) -> CsvTable:
    """Returns the columns `valid` of a CSV file with a header, in UTF-8.

    Other columns are refused unless they are `ignored`; so are rows of another width, and empty cells of `needed`.
    """
    valid, needed, ignored = tuple(valid), tuple(needed), set(ignored)
    rows, lines = [], []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            header = [name.strip() for name in next(reader, [])]
            _check_header(header, valid, needed, ignored, path)
            for row in filter(None, reader):  # an empty line is no row
                if len(row) != len(header):
                    raise DisentrecError(
                        f"{len(row)} cells, but {len(header)} columns",
                        where=f"{path}, line {reader.line_num}",
                        how="Give every row as many cells as the header has; quote text with a comma",
                    )
                rows.append([cell.strip() for cell in row])
                lines.append(reader.line_num)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        how = "Save it as CSV with commas, in UTF-8"
        raise DisentrecError(f"not readable: {error}", where=path, how=how) from error
    if not rows:
        raise DisentrecError("a header and no row", where=path, how="Add rows")
    cells = dict(zip(header, map(list, zip(*rows, strict=True)), strict=True))
    table = CsvTable(path, {name: column for name, column in cells.items() if name in valid}, lines)
    for name in needed:
        if "" in table[name]:
            raise table.fault("an empty cell", table[name].index(""), name, "Fill it, or drop the row")
    return table


def _check_header(header: list[str], valid: tuple, needed: tuple, ignored: set[str], path: Path) -> None:
    where = f"{path}, line 1"
    for name in header:
        if name not in valid and name not in ignored:
            raise unknown_name("column", name, valid, where=where)
    if len(set(header)) < len(header):
        raise DisentrecError("two columns have one name", where=where, how="Rename one of them")
    for name in needed:
        if name not in header:
            raise DisentrecError(f"the column {name!r} is missing", where=where, how="Add it, or correct its name")
