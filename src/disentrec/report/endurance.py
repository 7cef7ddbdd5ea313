"""What kills and wrong files did: two benchmarks, for the pages on the engine and on bad input."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from disentrec.report.tables import myst_table

#: Works of benchmarks/crash.py in words.
WORKS = {
    "grid": "a grid, one process",
    "grid_of_two": "a grid, two workers",
    "data": "making a data set",
    "download": "a download",
    "encode": "encoding",
    "book": "a chapter of the book",
}
NOT_MEASURED = "Not measured yet: `python benchmarks/{}`.\n"
#: Megabytes that a process may gain over thousands of files by chance.
GROWTH_MB = 16


def kills_table(folder: Path) -> str:
    """Returns what happened under the kills of the last record, one line per kind of work."""
    record = measurement(folder, "crash")
    if not record:
        return NOT_MEASURED.format("crash.py")
    works = record["works"]
    rows = [
        [
            WORKS[name],
            f"{work['kills']}",
            f"{work['kills that left a part behind']}",
            f"{work['kills with runs finished before']}" if name.startswith("grid") else "–",
            f"{work['completions']}",
            f"{work['slowest_end_of_processes_s']:.1f}",
        ]
        for name, work in works.items()
    ]
    header = ["Killed", "Kills", "Left a part behind", "After a finished run", "Ends", "Slowest end of processes, s"]
    caption = (
        f"{record['kills']} kills at random moments. A part that is left behind is removed by the next start; an end is"
        " a start that was not killed any more, and was then compared with an uninterrupted one, byte for byte."
    )
    lost = "No finished run was lost, no half file was read as a whole one, and every end had the same bytes.\n"
    return f"{myst_table(header, rows, caption, 'tbl-kills')}\n{lost}"


def inputs_text(folder: Path) -> str:
    """Returns in sentences how many wrong files the readers were given in the last record, and what came of it."""
    record = measurement(folder, "fuzz")
    if not record:
        return NOT_MEASURED.format("fuzz.py --engine atheris")
    targets: Mapping[str, Mapping[str, Any]] = record["targets"]
    accepted = sum(target["accepted"] for target in targets.values())
    growth = {name: target["end_mb"] - target["warm_mb"] for name, target in targets.items()}
    most = max(growth, key=growth.__getitem__)
    grew = sum(value > GROWTH_MB for value in growth.values())
    minutes = sum(target["seconds"] for target in targets.values()) / 60
    return (
        f"The last record holds {record['inputs']:,} files, guided by coverage, for {len(targets)} readers in"
        f" {minutes:.0f} minutes of one core: {accepted:,} were read, {record['inputs'] - accepted:,} ended in an error"
        " of this package, none in anything else, none took ten seconds or four gigabytes. Over the second half of its"
        f" files, the memory of {grew} of the processes grew by more than {GROWTH_MB} MB, what the fuzzer"
        f" keeps for itself included; the most was {max(growth[most], 0)} MB.\n"
    )


def measurement(folder: Path, name: str) -> dict[str, Any]:
    """Returns the record of one benchmark; empty where it was not run."""
    path = folder / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else {}
