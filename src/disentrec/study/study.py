"""A study: tune on validation with one budget for all, run the rows of an artefact, read them back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from disentrec import models
from disentrec.data.protocol import Protocol
from disentrec.errors import DisentrecError
from disentrec.paths import RESULTS
from disentrec.study.cases import has_features, known_dataset, modalities, publish_dataset, split_rule
from disentrec.study.datasets import dataset_folder
from disentrec.study.features import complete_features, known_features, publish_features
from disentrec.study.grid import run_grid
from disentrec.study.papers import Artefact, Budget, Paper, Row, load_paper, paper_names
from disentrec.study.runner import CHECKPOINT_SECONDS
from disentrec.study.sources import sources
from disentrec.study.spec import RunSpec, encoded_for, training_settings
from disentrec.study.store import RunRecord, Store
from disentrec.training.tasks import TASKS

#: Tuning uses this seed alone; the seeds of tables are 1, 2, ... and never meet it.
TUNING_SEED = 0


@dataclass(frozen=True)
class RowResult:
    """The runs of one row on one data set; `missing` of the planned ones were not run."""

    row: Row
    records: tuple[RunRecord, ...]
    missing: int

    @property
    def complete(self) -> bool:
        """True when every planned run is there."""
        return self.missing == 0

    def metric(self, name: str) -> list[float]:
        """Returns one value per seed."""
        return [record.metric(name) for record in self.records]


def selection_metric(model: str) -> str:
    """Returns the validation metric that configurations and epochs of a model are chosen by."""
    return TASKS[models.get(model).task].selection


class Study:
    """One paper under one budget, with the store its runs live in."""

    def __init__(self, paper: str, budget: str = "demo", store: Path | str = RESULTS) -> None:
        self.paper: Paper = load_paper(paper)
        self.budget: Budget = self.paper.budget(budget)
        self.store = Store(store)

    def datasets(self, artefact: Artefact) -> tuple[str, ...]:
        """Returns the data sets an artefact is planned on."""
        return tuple(artefact.datasets.get(self.budget.name, self.budget.datasets))

    def rows(self, artefact: Artefact, dataset: str) -> list[Row]:
        """Returns the rows that the data set can carry."""
        has = modalities(self.store, dataset)
        return [
            row
            for row in artefact.rows
            if set(row.needs) <= has and (not row.needs_features or has_features(self.store, dataset))
        ]

    def run(
        self,
        names: Iterable[str],
        datasets: Sequence[str] = (),
        *,
        jobs: int = 1,
        checkpoint: float = CHECKPOINT_SECONDS,
        engine: Callable[..., list[RunRecord]] = run_grid,
    ) -> None:
        """Runs the artefacts: first every configuration to be tuned, then the rows from the chosen ones.

        `engine` runs a grid of specs: `run_grid` on this machine, a `Cluster` (study/cluster.py) on many.
        """
        planned = [
            (artefact, dataset)
            for artefact in map(self.paper.artefact, names)
            for dataset in (datasets or self.datasets(artefact))
        ]
        for artefact, dataset in planned:
            for name in {dataset, artefact.tuned_on or dataset}:
                publish_dataset(self.store, name)
                publish_features(self.store, name)
        tuning = [
            spec
            for artefact, dataset in planned
            for model in dict.fromkeys(row.model for row in self.rows(artefact, dataset) if row.tuned)
            for spec in self.tuning_specs(model, artefact.tuned_on or dataset)
        ]
        self._run(tuning, engine, jobs=jobs, checkpoint=checkpoint)
        specs = [
            spec
            for artefact, dataset in planned
            for row in self.rows(artefact, dataset)
            for spec in self.row_specs(artefact, row, dataset)
        ]
        self._run(specs, engine, jobs=jobs, checkpoint=checkpoint)

    def _run(self, specs: Sequence[RunSpec], engine: Callable[..., list[RunRecord]], **options: Any) -> None:
        for dataset in sorted({spec.dataset for spec in specs if spec.encoded and self.store.get(spec) is None}):
            complete_features(dataset)
        engine(specs, dataset_folder, self.store, **options)

    def tuning_specs(self, model: str, dataset: str) -> list[RunSpec]:
        """Returns the specs a model is tuned over: as many for every model as the budget says."""
        row = Row(id="tuning", label="", model=model, **self._model_row(model))
        return [
            self._spec(row, dataset, settings, TUNING_SEED) for settings in self.paper.grid(model)[: self.budget.tuning]
        ]

    def chosen(self, model: str, dataset: str) -> dict[str, Any] | None:
        """Returns the configuration best on validation (MRR@20; for users Recall@20), or None while one is missing."""
        if known_dataset(self.store, dataset) is None:
            return None
        specs = self.tuning_specs(model, dataset)
        records = [self.store.get(spec) for spec in specs]
        if any(record is None for record in records):
            return None
        metric = selection_metric(self.paper.program(model))
        values = [record.metric(metric, "valid") if record.finished else -1.0 for record in records]
        return self.paper.grid(model)[values.index(max(values))]

    def row_specs(self, artefact: Artefact, row: Row, dataset: str) -> list[RunSpec]:
        """Returns one spec per seed; none while the tuning the row begins from is not finished."""
        chosen = self.chosen(row.model, artefact.tuned_on or dataset) if row.tuned else {}
        if chosen is None or known_dataset(self.store, dataset) is None:
            return []
        return [self._spec(row, dataset, chosen, seed) for seed in self._seeds(artefact, row)]

    def result(self, name: str, dataset: str) -> list[RowResult]:
        """Returns the rows of an artefact on a data set, with what is missing counted."""
        artefact = self.paper.artefact(name)
        results = []
        for row in self.rows(artefact, dataset):
            specs = self.row_specs(artefact, row, dataset)
            records = tuple(record for spec in specs if (record := self.store.get(spec)) is not None)
            results.append(RowResult(row, records, len(self._seeds(artefact, row)) - len(records)))
        return results

    def results_by_row(self, name: str, dataset: str) -> dict[str, RowResult]:
        """Returns the rows of an artefact on a data set by their names, as `result` does in order."""
        return {result.row.id: result for result in self.result(name, dataset)}

    def _seeds(self, artefact: Artefact, row: Row) -> range:
        """Models without parameters have no randomness: one run."""
        learned = self.paper.models.get(row.model, {}).get("learned", True)
        return range(1, 1 + (self.budget.seeds[artefact.seeds] if learned else 1))

    def _model_row(self, model: str) -> dict[str, Any]:
        entry = self.paper.models.get(model, {})
        return {"without_features": entry.get("without_features", {})}

    def _spec(self, row: Row, dataset: str, chosen: dict[str, Any], seed: int) -> RunSpec:
        program = self.paper.program(row.model)
        settings, training = {}, {**self.budget.training, **self._training_of(dataset)}
        own = self.paper.models.get(row.model, {}).get("settings", {})
        for name, value in {**self.budget.settings.get(program, {}), **own, **chosen, **row.settings}.items():
            into, key = (training, name[9:]) if name.startswith("training.") else (settings, name)
            into[key] = value
        training |= row.training
        if not has_features(self.store, dataset):
            settings |= {**self._model_row(row.model)["without_features"], **row.without_features}
        config = models.configure(program, settings)
        return RunSpec(
            model=program,
            dataset=dataset,
            fingerprint=self._known(dataset)["fingerprint"],
            settings=settings,
            protocol=self._protocol(row, dataset),
            training=training_settings(training),
            seed=seed,
            budget=self.budget.name,
            # Without item features there is one cause: nothing to tell apart.
            analyse=row.analyse if has_features(self.store, dataset) else False,
            encoded=encoded_for(config, known_features(self.store, dataset)),
        )

    def _training_of(self, dataset: str) -> Mapping[str, Any]:
        """Returns what the size of a data set asks of training, the same for every model."""
        return sources()[dataset].training if dataset in sources() else {}

    def _protocol(self, row: Row, dataset: str) -> Protocol:
        splits = {"split": split_rule(dataset)} if models.get(self.paper.program(row.model)).task == "top-n" else {}
        return replace(Protocol(), **{**splits, **row.protocol})

    def _known(self, dataset: str) -> dict[str, Any]:
        info = known_dataset(self.store, dataset)
        if info is None:
            raise DisentrecError(
                f"the store knows nothing of the data set {dataset!r}",
                where=self.store.root,
                how=f"Run: disentrec study {self.paper.id} --datasets {dataset}",
            )
        return info


def half_run(results: Sequence[RowResult]) -> bool:
    """Returns whether at least half of a table's rows have runs; one with fewer has but what it shares with others."""
    begun = sum(bool(result.records) for result in results)
    return begun > 0 and 2 * begun >= len(results)


def planned(store: Path | str = RESULTS) -> Iterator[tuple[Study, Artefact, str]]:
    """Yields every table of every paper and budget with each data set it is planned on."""
    for name in paper_names():
        for budget in load_paper(name).budgets:
            study = Study(name, budget, store)
            for artefact in study.paper.artefacts.values():
                for dataset in study.datasets(artefact):
                    yield study, artefact, dataset
