"""All models of one task side by side: the main tables of its papers put together, one entry per row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from disentrec.report.compare import score_matrix
from disentrec.report.figures import BLUE, GREEN, MUTED, PURPLE
from disentrec.report.tables import dataset_title
from disentrec.study import RowResult, Study, half_run, load_paper, paper_names
from disentrec.study.store import Store

#: family -> colour; their order is that of legends.
FAMILIES = {"the four papers": BLUE, "reads content": PURPLE, "IDs only": GREEN, "nothing trained": MUTED}
#: Settings that only models have which read something of an item besides its ID.
CONTENT = {"features", "content", "price_levels"}
#: The metric that configurations are chosen by comes first.
METRICS = {"session": ("mrr@20", "prec@20"), "top-n": ("recall@20", "ndcg@20")}
FLOORS = {"session": "pop", "top-n": "most-popular"}
TASK_TITLES = {"session": "sessions", "top-n": "users"}


@dataclass(frozen=True)
class Entry:
    """One row: a model under the clean protocol with all its seeds."""

    id: str
    label: str
    family: str
    result: RowResult

    def mean(self, metric: str) -> float:
        """Returns the mean over seeds, a fraction."""
        return float(np.mean(self.result.metric(metric)))

    def scores(self, metric: str) -> np.ndarray:
        """Returns per-case scores, (seeds, cases)."""
        return score_matrix(self.result, metric)


@dataclass(frozen=True)
class Bench:
    """Every complete row of one task on one data set under one budget, with the labels of those that are not."""

    task: str
    budget: str
    dataset: str
    store: Store
    entries: Mapping[str, Entry] = field(default_factory=dict)
    left: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """The data set and the task as printed."""
        name, task = dataset_title(self.dataset), TASK_TITLES[self.task]
        return name if name.partition(" (")[0].endswith(task) else f"{name}, {task}"

    @property
    def slug(self) -> str:
        """What labels of figures and tables end with."""
        return f"{TASK_TITLES[self.task]}-{self.dataset}"

    def ordered(self, metric: str) -> list[Entry]:
        """Returns the rows, best first."""
        return sorted(self.entries.values(), key=lambda entry: -entry.mean(metric))


def benches(store: Path | str, task: str, budgets: Sequence[str], names: Sequence[str] = ()) -> list[Bench]:
    """Returns one bench per budget and data set (`names`; all if none) on which a paper's own row is complete.

    Rows as released are left out: they were not made under this protocol. A row of several tables counts once. As in
    the papers' chapters, a data set is left out, unless asked for, while no main table has runs in half of its rows.
    """
    found: dict[tuple[str, str], tuple[dict[str, Entry], dict[str, str]]] = {}
    shown = set()
    for budget in budgets:
        for paper in map(load_paper, paper_names()):
            # Our own questions to the papers have no main table, and not every budget.
            if paper.of_users != (task == "top-n") or "main" not in paper.artefacts or budget not in paper.budgets:
                continue
            study = Study(paper.id, budget, store)
            for dataset in study.datasets(study.paper.artefact("main")):
                if names and dataset not in names:
                    continue
                entries, left = found.setdefault((budget, dataset), ({}, {}))
                results = study.result("main", dataset)
                if names or half_run(results):
                    shown.add((budget, dataset))
                for result in results:
                    if result.row.protocol.get("name") == "released":
                        continue
                    label = result.row.label.removesuffix(" (as described)")
                    if score_matrix(result, METRICS[task][0]) is None:
                        left[result.row.id] = label
                    elif result.row.id not in entries:
                        family = _family(study, result)
                        entries[result.row.id] = Entry(result.row.id, label, family, result)
    return [
        Bench(task, budget, dataset, Store(store), entries, tuple(left[key] for key in left if key not in entries))
        for (budget, dataset), (entries, left) in found.items()
        if set(entries) & set(paper_names()) and (budget, dataset) in shown
    ]


def labels(names: Sequence[str]) -> str:
    """Returns names as a phrase: a, b and c."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def family(model: str, config: Mapping[str, Any], learned: bool) -> str:
    """Returns the family of a model: one of the papers' own, else by what it reads and whether it is trained."""
    if model in paper_names():
        return "the four papers"
    if not learned:
        return "nothing trained"
    return "reads content" if CONTENT & set(config) else "IDs only"


def _family(study: Study, result: RowResult) -> str:
    learned = study.paper.models.get(result.row.model, {}).get("learned", True)
    return family(result.row.model, result.records[0].content["spec"]["config"], learned)
