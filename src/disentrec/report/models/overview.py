"""Every model in one table for whoever has to choose: what it reads, what it costs on the shop, when to take it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from disentrec import models
from disentrec.report.models.advice import ADVICE, UNKNOWN
from disentrec.report.tables import metric_title, myst_table, percent
from disentrec.study import RowResult, Study, load_paper, paper_names
from disentrec.study.study import selection_metric

DATASET = "bazaar-demo"
#: Where a paper's model has a walk of its own, beside this table's page.
WALKS = ("dimo", "mmsbr", "addrl", "idsf")
#: Folders of the generated pages, below book/models: the table of contents lists what is in them.
SHEETS = {"session": "sessions", "top-n": "users"}
HEADINGS = {"session": "A session, what next?", "top-n": "A user, which items?"}


def models_tables(store: Path | str) -> str:
    """Returns one table of all registered models per task, with parameters, seconds and accuracy from records."""
    found = published_rows(store)
    parts = []
    for task, heading in HEADINGS.items():
        names = models.available(task)
        metric = metric_title(selection_metric(names[0]))
        header = ["Model", "Reads", "Parameters", "Seconds", metric, "When to take it"]
        order = sorted(names, key=lambda name: -_mean(name, found[name]) if name in found else 0.0)
        rows = [_line(name, found.get(name)) for name in order]
        caption = (
            f"{heading} Trained parameters, seconds of a whole run on one core, and {metric} in percent on the shop's"
            " test part, means over seeds, best first. A dash: not run there."
        )
        parts.append(myst_table(header, rows, caption, f"tbl-models-{task}", "llrrrl"))
    return "\n".join(parts)


def page_of(name: str) -> str:
    """Returns the page of a model, relative to that of the table: a walk, or its sheet among those of its task."""
    return f"{name}.md" if name in WALKS else f"{SHEETS[models.get(name).task]}/{name}.md"


def published_rows(store: Path | str) -> dict[str, RowResult]:
    """Returns by model the first row that was run on the shop, main tables before others, none as released."""
    found: dict[str, RowResult] = {}
    for main in (True, False):
        for name in paper_names():
            paper = load_paper(name)
            for artefact in (one.id for one in paper.artefacts.values() if (one.id == "main") == main):
                study = Study(name, "demo", store)
                if DATASET not in study.datasets(paper.artefact(artefact)):
                    continue
                for row in study.result(artefact, DATASET):
                    finished = [record for record in row.records if record.finished]
                    if finished and row.row.id != "released":
                        found.setdefault(finished[0].spec.model, row)
    return found


def _line(name: str, result: RowResult | None) -> list[str]:
    label = f"[`{name}`]({page_of(name)})"
    advice = ADVICE.get(name, UNKNOWN)
    if result is None:
        return [label, advice.reads, "–", "–", "–", advice.when]
    records = [record for record in result.records if record.finished]
    count = int(records[0].content["n_parameters"])
    seconds = float(np.mean([record.content["timing"]["total_s"] for record in records]))
    shown = f"{seconds:.0f}" if seconds >= 1 else "< 1"
    return [label, advice.reads, f"{count:,}" if count else "none", shown, percent(_mean(name, result)), advice.when]


def _mean(name: str, result: RowResult) -> float:
    """Returns a model's metric on test, the mean over its seeds."""
    return float(np.mean([record.metric(selection_metric(name)) for record in result.records if record.finished]))
