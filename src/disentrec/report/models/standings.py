"""Where every model stands in the published main tables: means over seeds, places, and what the runs took."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from disentrec.paths import ROOT
from disentrec.reading import read_yaml
from disentrec.study import RowResult, RunSpec, Study, half_run, load_paper, paper_names
from disentrec.study.cases import known_dataset
from disentrec.study.study import selection_metric


@dataclass(frozen=True)
class Place:
    """One model's row in a table: its metric as a fraction, medians of what its runs took."""

    spec: RunSpec
    mean: float
    sd: float
    seeds: int
    parameters: int
    epoch_s: float
    #: Epochs until the best one by validation, it included.
    epochs: float
    total_s: float
    peak_mb: float
    machine: str


@dataclass(frozen=True)
class Standing:
    """One table on one data set: a row per model, that of the paper's description where there are several."""

    #: The name of its page, as a Markdown link where it has one.
    link: str
    dataset: str
    items: int
    metric: str
    rows: dict[str, Place]

    def rank(self, model: str) -> int:
        """Returns the place of a model by its mean; equal means share the better one."""
        return 1 + sum(row.mean > self.rows[model].mean for row in self.rows.values())


def standings(store: Path | str) -> list[Standing]:
    """Returns the main tables that have finished runs; then, for models in none, others that a chapter shows."""
    found = _tables(store, True, set())
    return found + _tables(store, False, {model for one in found for model in one.rows})


def _tables(store: Path | str, main: bool, known: set[str]) -> list[Standing]:
    found = []
    for name in paper_names():
        paper = load_paper(name)
        for budget in paper.budgets:
            study = Study(name, budget, store)
            for artefact in paper.artefacts.values():
                models = {paper.program(row.model) for row in artefact.rows if row.id != "released"}
                chapter = _chapter(study, artefact.id)
                if (artefact.id == "main") != main or models <= known or not (main or chapter):
                    continue
                for dataset in study.datasets(artefact):
                    standing = _standing(study, artefact.id, dataset, chapter)
                    if standing is not None and not standing.rows.keys() <= known:
                        found.append(standing)
    return found


def _standing(study: Study, artefact: str, dataset: str, chapter: str | None) -> Standing | None:
    results = study.result(artefact, dataset)
    if not half_run(results):
        return None  # its page does not show it either
    rows: dict[str, Place] = {}
    for result in results:
        place = _place(result)
        if place is not None and result.row.id != "released":
            rows.setdefault(place.spec.model, place)
    if not rows:
        return None
    info = known_dataset(study.store, dataset) or {}
    of_users = info.get("user_statistics" if study.paper.of_users else "statistics", {})
    title = f"{study.paper.label(study.paper.id)}: {study.paper.artefact(artefact).title.lower()}"
    return Standing(
        link=f"[{title}](/book/chapters/{chapter}.ipynb)" if chapter else title,
        dataset=dataset,
        items=int(of_users.get("items", 0)),
        metric=selection_metric(next(iter(rows))),
        rows=rows,
    )


def _place(result: RowResult) -> Place | None:
    records = [record for record in result.records if record.finished]
    if not records:
        return None
    metric = selection_metric(records[0].spec.model)
    values = [record.metric(metric) for record in records]
    content = [record.content for record in records]
    return Place(
        spec=records[0].spec,
        mean=float(np.mean(values)),
        sd=float(np.std(values, ddof=1)) if len(values) > 1 else 0.0,
        seeds=len(values),
        parameters=int(content[0]["n_parameters"]),
        epochs=float(np.median([one["best_epoch"] + 1 for one in content])),
        machine=_machine(content[0]["environment"]),
        **{key: float(np.median([one["timing"][key] for one in content])) for key in ("epoch_s", "total_s", "peak_mb")},
    )


def _machine(environment: dict[str, Any]) -> str:
    threads = environment["threads"]
    return f"{threads} thread{'s' * (threads != 1)} of {environment['cpu']}"


def _chapter(study: Study, artefact: str) -> str | None:
    """Returns the name of the chapter that shows an artefact, or None."""
    for chapters in (read_yaml(ROOT / "book" / "chapters.yml") or {}).values():
        for name, given in chapters.items():
            given = given or {}
            if given.get("paper") == study.paper.id and given.get("artefact", _default(name, study)) == artefact:
                return name
    return None


def _default(chapter: str, study: Study) -> str:
    """Returns the artefact of a chapter that names none: the word after its paper's."""
    return chapter.removeprefix(f"{study.paper.id}_")
