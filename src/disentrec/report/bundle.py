"""The results as one file to download: every run, verdict and price of a deviation, with what made each.

The same records give the same bytes. Which run a printed number belongs to stands in tables.csv; which version, commit
and data made that run, in runs.csv.
"""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from disentrec import __version__
from disentrec.data.drafts import write_atomically
from disentrec.errors import DisentrecError
from disentrec.paths import RESULTS, ROOT
from disentrec.report.scorecard import deviations, scorecard
from disentrec.study import RunRecord, Store, Study, planned
from disentrec.study.cases import known_dataset
from disentrec.study.papers import Artefact

NAME = "disentrec-results"
#: The study and the papers whose claims it tests.
CITATION = ROOT / "CITATION.bib"
#: The first moment a zip file can name: entries carry no date of their own.
DATE = (1980, 1, 1, 0, 0, 0)
TABLE = ("paper", "artefact", "row", "label", "budget", "dataset", "planned", "runs")
README = """\
Results of disentrec {version}
==============================

runs.csv         one line per run: data set, its fingerprint, model, seed, version and commit of the code, the whole
                 configuration as JSON, and every metric as a fraction, unrounded (valid_*: validation, test_*: test)
tables.csv       one line per row of a table of the book: the runs (their hashes) that its numbers are computed from
scorecard.json   every claim with its verdict, effect and interval
deviations.json  every deviation of the released code with what it is worth
datasets.json    fingerprint, licence, provenance and statistics of every data set; the data are not in this file
manifest.json    versions and commits with the number of runs each made, and the runs that no table asks for
citation.bib     the study and the four papers; please cite the paper whose claim you use

A number of the book is the mean over the runs of a line of tables.csv. To make a run again, install the version of its
line, get the data of that fingerprint and train the configuration of its line. Runs of status "diverged" have no
metrics.

Code, text and numbers: Apache-2.0. Terms of the data: datasets.json.
"""


@dataclass(frozen=True)
class Check:
    """What a look at a store's records found."""

    runs: int
    #: Runs that no table asks for, by hash: an earlier grid, or runs of one's own.
    unnamed: tuple[str, ...]
    #: What no longer matches, in words.
    faults: tuple[str, ...]


def write_bundle(target: Path, store: Path | str = RESULTS) -> Path:
    """Writes the results of a store as a zip file and returns its path."""
    target.parent.mkdir(parents=True, exist_ok=True)
    content = bundle_bytes(bundle_files(Store(store)))
    write_atomically(target, lambda file: file.write(content))
    return target


def bundle_files(store: Store) -> dict[str, str]:
    """Returns the texts of the bundle by file name."""
    records = list(store.records())
    tables = list(table_lines(store))
    names = sorted({record.content["spec"]["dataset"] for record in records})
    return {
        "README.txt": README.format(version=__version__),
        "runs.csv": runs_csv(records),
        "tables.csv": _csv(TABLE, tables),
        "scorecard.json": _json(scorecard(store.root)),
        "deviations.json": _json(deviations(store.root)),
        "datasets.json": _json({name: known_dataset(store, name) for name in names}),
        "manifest.json": _json(manifest(records, _unnamed(store, records))),
        "citation.bib": CITATION.read_text(encoding="utf-8"),
    }


def bundle_bytes(files: Mapping[str, str]) -> bytes:
    """Returns a zip file: names sorted, one date, one system, so the same texts give the same bytes."""
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        for name, text in sorted(files.items()):
            entry = zipfile.ZipInfo(f"{NAME}/{name}", DATE)
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            archive.writestr(entry, text.encode(), zipfile.ZIP_DEFLATED, compresslevel=9)
    return whole.getvalue()


def runs_csv(records: Sequence[RunRecord]) -> str:
    """Returns one line per run, in the order of data set, model and hash."""
    metrics = sorted({name for record in records for name in _metrics(record)})
    plain = ("dataset", "fingerprint", "model", "seed", "budget", "hash", "status", "version", "commit")
    nested = ("config", "protocol", "training", "encoded")
    lines = []
    for record in records:
        spec, content = record.content["spec"], record.content
        made = {**spec, **content, "version": content["environment"]["disentrec"]}
        values = {name: made[name] for name in plain}
        values |= {name: json.dumps(spec.get(name, {}), sort_keys=True) for name in nested}
        lines.append(values | _metrics(record))
    lines.sort(key=lambda line: (line["dataset"], line["model"], line["hash"]))
    return _csv((*plain, *nested, *metrics), lines)


def table_lines(store: Store) -> Iterable[dict[str, Any]]:
    """Yields, per row of every table that has a run, the hashes of the runs behind it."""
    for study, artefact, dataset in _planned(store):
        for result in study.result(artefact.id, dataset):
            if result.records:
                count = len(result.records) + result.missing
                runs = " ".join(record.path.stem for record in result.records)
                place = (study.paper.id, artefact.id, result.row.id, result.row.label, study.budget.name, dataset)
                yield dict(zip(TABLE, (*place, count, runs), strict=True))


def manifest(records: Sequence[RunRecord], unnamed: Sequence[str]) -> dict[str, Any]:
    """Returns what made the bundle: versions, commits and data fingerprints with their numbers of runs."""
    by_version = Counter(record.content["environment"]["disentrec"] for record in records)
    by_commit = Counter(record.content["commit"] for record in records)
    by_data = Counter((record.content["spec"]["dataset"], record.content["spec"]["fingerprint"]) for record in records)
    return {
        "written_by": f"disentrec {__version__}",
        "runs": len(records),
        "runs_by_version": dict(sorted(by_version.items())),
        "runs_by_commit": dict(sorted(by_commit.items())),
        "runs_by_data": [
            {"dataset": dataset, "fingerprint": fingerprint, "runs": count}
            for (dataset, fingerprint), count in sorted(by_data.items())
        ],
        "runs_of_no_table": list(unnamed),
    }


def check_bundle(store: Path | str = RESULTS) -> Check:
    """Returns what of a store's records no longer matches the code, its data sets and its published verdicts."""
    store = Store(store)
    faults, records = [], list(store.records())
    for record in records:
        place = record.path.relative_to(store.root).as_posix()
        try:
            again = record.spec.hash
        except DisentrecError as error:  # a setting that this code no longer knows
            faults.append(f"{place}: {error}")
            continue
        if not again == record.content["hash"] == record.path.stem:
            faults.append(f"{place}: this code names the run {again}")
        known = known_dataset(store, record.spec.dataset)
        if known is None or known["fingerprint"] != record.spec.fingerprint:
            faults.append(f"{place}: its data are not those of datasets/{record.spec.dataset}.json")
    if faults:  # verdicts of such records say nothing
        return Check(len(records), (), tuple(faults))
    for name, computed in (("scorecard", scorecard), ("deviations", deviations)):
        path = store.root / f"{name}.json"
        if not path.exists() or json.loads(path.read_text()) != json.loads(_json(computed(store.root))):
            faults.append(f"{path.name}: not what the records say; run: disentrec scorecard")
    return Check(len(records), _unnamed(store, records), tuple(faults))


def _unnamed(store: Store, records: Sequence[RunRecord]) -> tuple[str, ...]:
    """Returns the runs that no table of any paper asks for, neither for its rows nor for tuning."""
    named: set[str] = set()
    for study, artefact, dataset in _planned(store):
        tuned_on = artefact.tuned_on or dataset
        for row in study.rows(artefact, dataset):
            named.update(spec.hash for spec in study.row_specs(artefact, row, dataset))
            if row.tuned and known_dataset(store, tuned_on) is not None:
                named.update(spec.hash for spec in study.tuning_specs(row.model, tuned_on))
    return tuple(sorted({record.path.stem for record in records} - named))


def _planned(store: Store) -> Iterable[tuple[Study, Artefact, str]]:
    """Yields every table with each data set that the store knows."""
    return (found for found in planned(store.root) if known_dataset(store, found[-1]) is not None)


def _metrics(record: RunRecord) -> dict[str, float]:
    parts = record.content["metrics"] if record.finished else {}
    return {f"{part}_{name}": value for part, values in parts.items() for name, value in values.items()}


def _csv(header: Sequence[str], lines: Iterable[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, header, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def _json(content: Any) -> str:
    return json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
