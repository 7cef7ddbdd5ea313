"""A chapter of the book: what a notebook asks for, as MyST text. It reads records and runs nothing unless told to."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from IPython.display import Markdown

from disentrec.paths import RESULTS, ROOT
from disentrec.report import figures, tables
from disentrec.report.scorecard import format_effect, scorecard
from disentrec.study import RunRecord, Study, half_run
from disentrec.study.cases import known_cases, known_dataset

VERDICT_CLASS = {"reproduced": "tip", "partly": "note", "not reproduced": "warning"}


class Chapter:
    """One artefact of one paper over some budgets; every method returns the output of one cell."""

    def __init__(
        self,
        paper: str,
        artefact: str,
        *,
        budgets: Sequence[str] = ("demo", "real"),
        datasets: Sequence[str] = (),
        store: str | Path = "",
        compute: bool = False,
        jobs: int = 1,
    ) -> None:
        self.store = RESULTS if not store else Path(store) if Path(store).is_absolute() else ROOT / store
        self.studies = {budget: Study(paper, budget, self.store) for budget in budgets}
        self.paper = next(iter(self.studies.values())).paper
        self.artefact = self.paper.artefact(artefact)
        self.only = tuple(datasets)
        if compute:
            for study in self.studies.values():
                study.run([artefact], self._names(study), jobs=jobs)

    def about(self) -> Markdown:
        """Returns what the page is about, as the paper's YAML says it."""
        return tables.show(self.artefact.about.strip())

    def reading(self) -> Markdown:
        """Returns how to read the results, as the paper's YAML says it."""
        return tables.show(self.artefact.reading.strip())

    def verdict(self, *claims: str) -> Markdown:
        """Returns one box per claim: the verdict, and the evidence of every data set."""
        entries = {entry["id"]: entry for entry in decided(self.store)}
        parts = []
        for claim in claims:
            entry = entries[claim]
            kind = VERDICT_CLASS.get(entry["verdict"], "important")
            lines = [
                f":::{{admonition}} {claim}: {entry['verdict']}",
                f":class: {kind}",
                "",
                f"*{entry['claim']}*",
                "",
            ]
            for item in entry["evidence"]:
                shown = {**item, "interval": (item["low"], item["high"])}
                lines.append(
                    f"- {tables.dataset_title(item['dataset'])}: {item['what']}: {format_effect(shown)}"
                    f" ({item['seeds']} seed{'s' * (item['seeds'] != 1)}):"
                    f" {_support(item)}"
                )
            parts.append("\n".join([*lines, ":::"]))
        return tables.show(*parts)

    def tables(self, subset: str | None = None) -> Markdown:
        """Returns one table per data set; with `subset`, only where such cases are more than one in a hundred.

        Only sessions have such cases: for users there is nothing to show.
        """
        shown = []
        for study, dataset in self.published():
            if subset is not None and self.paper.of_users:
                continue
            if subset is None or known_cases(study.store, dataset)[subset].mean() > 0.01:
                shown.append(tables.artefact_table(study, self.artefact.id, dataset, subset=subset))
        return tables.show(*shown)

    def figures(self) -> Markdown:
        """Returns one accuracy figure per data set."""
        parts = []
        for study, dataset in self.published():
            results = study.result(self.artefact.id, dataset)
            metric = self.artefact.metrics[-1]
            drawing = figures.accuracy_figure(results, known_cases(study.store, dataset), metric)
            title = tables.dataset_title(dataset)
            caption = f"{tables.metric_title(metric)} on {title}. Dot: mean over seeds; bar: smallest to largest seed."
            said = ", ".join(
                f"{result.row.label} {tables.percent(float(np.mean(result.metric(metric))), 1)}"
                for result in results
                if result.records and all(record.finished for record in result.records)
            )
            alt = f"Dot plot of {tables.metric_title(metric)} on {title}, percent: {said or tables.NOT_RUN}."
            parts.append(figures.myst_figure(drawing, f"{self.paper.id}-{self.artefact.id}-{dataset}", caption, alt))
        return tables.show(*parts)

    def effects(self) -> Markdown:
        """Returns one forest plot per data set: every row against the one it is compared with."""
        parts = []
        for study, dataset in self.published():
            metric = self.artefact.metrics[-1]
            comparisons = tables.row_comparisons(study, self.artefact.id, dataset, metric)
            labels = {row.id: row.label for row in self.artefact.rows}
            if not any(comparison.test for comparison in comparisons):
                continue
            title = tables.dataset_title(dataset)
            caption = (
                f"Change in {tables.metric_title(metric)} on {title}, in percentage points against"
                f" {tables.compared_with(study, self.artefact.id, dataset)}, with 95 % intervals over cases and seeds."
                " Filled: clear after Holm's correction."
            )
            alt = f"Forest plot of effects on {title}: " + "; ".join(
                f"{labels[c.row]} {tables.signed(c.test.effect)}" for c in comparisons if c.test is not None
            )
            name = f"{self.paper.id}-{self.artefact.id}-effects-{dataset}"
            parts.append(figures.myst_figure(figures.effects_figure(comparisons, labels), name, caption, alt))
        return tables.show(*parts)

    def ranking(self) -> Markdown:
        """Returns a sentence per data set: where the reference row stands, and against whom."""
        lines = []
        for study, dataset in self.published():
            metric = self.artefact.metrics[-1]
            results = [
                result
                for result in study.result(self.artefact.id, dataset)
                if result.complete and result.row.protocol.get("name") != "released"
            ]
            order = sorted(results, key=lambda result: -np.mean(result.metric(metric)))
            names = [result.row.id for result in order]
            if self.artefact.reference not in names or len(names) < 2:
                continue
            place = names.index(self.artefact.reference)
            other = order[1] if place == 0 else order[0]
            own = order[place]
            gap = np.mean(own.metric(metric)) - np.mean(other.metric(metric))
            lines.append(
                f"- On {tables.dataset_title(dataset)}, {own.row.label} takes place {place + 1} of {len(names)} by"
                f" {tables.metric_title(metric)}, {tables.apart(gap)} than {other.row.label}, the"
                f" {'second' if place == 0 else 'first'}. Rows as released are not counted."
            )
        return tables.show("\n".join(lines) or "Nothing to say before the runs are there.")

    def effect_sentences(self) -> Markdown:
        """Returns two sentences per data set: the rows whose effect is clear, largest first, and the rest."""
        labels = {row.id: row.label for row in self.artefact.rows}
        lines = []
        for study, dataset in self.published():
            metric = self.artefact.metrics[-1]
            tests = [c for c in tables.row_comparisons(study, self.artefact.id, dataset, metric) if c.test is not None]
            if not tests:
                continue
            clear = sorted((c for c in tests if c.clear), key=lambda c: -abs(c.test.effect))
            said = "; ".join(f"{labels[c.row]} ({tables.signed(c.test.effect)})" for c in clear) or "none"
            rest = "; ".join(labels[c.row] for c in tests if not c.clear)
            lines.append(
                f"- On {tables.dataset_title(dataset)}, rows with a clear change in {tables.metric_title(metric)}, in"
                f" points: {said}." + (f" No clear change: {rest}." if rest else "")
            )
        return tables.show("\n".join(lines) or "Nothing to say before the runs are there.")

    def evidence_sentences(self, *claims: str) -> Markdown:
        """Returns how many of the comparisons behind each claim point its way."""
        lines = []
        for entry in decided(self.store):
            if entry["id"] in claims:
                held, count = sum(item["holds"] for item in entry["evidence"]), len(entry["evidence"])
                found = f"{held} of {count} comparison{'s' * (count != 1)} clearly support{'s' * (count == 1)} it. "
                lines.append(f"- {entry['id']} ({entry['claim']}): {found * bool(count)}Verdict: {entry['verdict']}.")
        return tables.show("\n".join(lines))

    def deviations(self) -> Markdown:
        """Returns the list of the released code's departures: what, where, the switch, how it was verified."""
        rows = [
            [
                d.id, d.title, f"[{PurePosixPath(d.file).name}]({self.paper.url(d)}), {d.lines}",
                f"`{d.switch}`" if d.switch else d.note, d.verified,
            ]
            for d in self.paper.deviations
        ]  # fmt: skip
        header = ["", "what the released code does", "where", "switch, or why there is none", "verified by"]
        url = f"[{self.paper.commit[:7]}]({self.paper.repository}/tree/{self.paper.commit})"
        caption = f"Departures of the released code from the paper, at commit {url}."
        return tables.show(tables.myst_table(header, rows, caption, f"tbl-{self.paper.id}-deviations", "l"))

    def left(self) -> Markdown:
        """Returns what of this artefact was not run, with the command that runs it."""
        lines = []
        for budget, study in self.studies.items():
            for dataset in self._names(study):
                missing = sum(row.missing for row in study.result(self.artefact.id, dataset))
                if missing:
                    command = (
                        f"disentrec study {self.paper.id}/{self.artefact.id} --budget {budget} --datasets {dataset}"
                    )
                    lines.append(f"- {tables.dataset_title(dataset)}: {missing} runs. `{command}`")
        return tables.show("\n".join(lines) if lines else "Every planned run of this page is done.")

    def provenance(self) -> Markdown:
        """Returns where the numbers of this page come from: records, data, code, hardware, minutes."""
        lines = []
        for study, dataset in self.published():
            records = [record for row in study.result(self.artefact.id, dataset) for record in row.records]
            if not records:
                continue
            info = known_dataset(study.store, dataset)
            minutes = sum(record.content["timing"]["total_s"] for record in records) / 60
            commits = sorted({record.content["commit"] for record in records})
            cpus = sorted({record.content["environment"]["cpu"] for record in records})
            threads = sorted({record.content["environment"]["threads"] for record in records})
            lines.append(
                f"- {tables.dataset_title(dataset)}: {len(records)} runs, {minutes:.0f} minutes in all"
                f" ({', '.join(cpus)}; {'/'.join(map(str, threads))} thread per run); data {info['fingerprint'][:12]};"
                f" code {', '.join(commits)}"
            )
        return tables.show("\n".join(lines) or "No run of this page is in the store.")

    def _names(self, study: Study) -> tuple[str, ...]:
        return self.only or study.datasets(self.artefact)

    def published(self) -> Iterator[tuple[Study, str]]:
        """Yields what the store knows of; the rest is listed by `left`.

        A table of which fewer than half the rows have runs, shared with other tables, is left out unless asked for.
        """
        for study in self.studies.values():
            for dataset in self._names(study):
                if known_dataset(study.store, dataset) is None:
                    continue
                rows = study.result(self.artefact.id, dataset)
                if half_run(rows) or (self.only and any(row.records for row in rows)):
                    yield study, dataset


def analysed(study: Study, artefact: str, row: str, dataset: str) -> list:
    """Returns the finished, analysed records of a row."""
    result = study.results_by_row(artefact, dataset).get(row)
    return [one for one in result.records if one.finished and one.content["extra"]] if result else []


def _support(item: Mapping) -> str:
    """Returns in words what a comparison says of its claim."""
    if item["holds"]:
        return "supports the claim"
    uncorrected = "@" in item["unit"] and item["low"] > 0
    return "does not support it" + ", as it is not clear after Holm's correction" * uncorrected


def state_maps(page: Chapter) -> Iterator[tuple[str, RunRecord, list[np.ndarray], list[str]]]:
    """Yields per data set the first analysed record of the reference, its maps before and after training, and titles.

    Each title has the measures of its map.
    """
    for study, dataset in page.published():
        for record in analysed(study, page.artefact.id, page.artefact.reference, dataset)[:1]:
            points, titles = [], []
            for state in ("before", "after"):
                measures = record.content["extra"][state]
                points.append(record.arrays[f"{state}_map"])
                cka, trust = measures["cka"], measures["map_trustworthiness"]
                titles.append(f"{state} training: CKA {cka:.2f}, trust {trust:.2f}")
            yield dataset, record, points, titles


def analysis_tables(page: Chapter, measures: Mapping[str, str], what: str) -> Markdown:
    """Returns one table per data set: every measure before and after training, of each analysed row.

    measures: name in the records -> what is printed; what: the caption, with {title} for the data set.
    """
    shown = []
    for study, dataset in page.published():
        columns = {
            row.label: analysed(study, page.artefact.id, row.id, dataset) for row in study.rows(page.artefact, dataset)
        }
        if not any(columns.values()):
            continue
        rows = []
        for measure, label in measures.items():
            cells = [label]
            for position, records in enumerate(columns.values()):
                for state in ("before", "after") if position == 0 else ("after",):
                    values = [record.content["extra"][state].get(measure) for record in records]
                    cells.append(mean_sd([value for value in values if value is not None], 2))
            if set(cells[1:]) != {tables.NOT_RUN}:
                rows.append(cells)
        names = list(columns)
        header = ["", f"{names[0]}, untrained", *(f"{name}, trained" for name in names)]
        caption = (
            f"{what.format(title=tables.dataset_title(dataset))}; mean ± sd over seeds."
            " Probes: 0 is no better than always naming the commonest value, 1 is always right."
        )
        name = f"tbl-{page.paper.id}-{page.artefact.id}-measures-{dataset}"
        shown.append(tables.myst_table(header, rows, caption, name))
    return tables.show(*shown)


def mean_sd(values: Sequence[float], digits: int = 3) -> str:
    """Returns mean ± sd as printed."""
    values = np.asarray(values, dtype=float)
    if not len(values):
        return tables.NOT_RUN
    spread = f" ± {values.std(ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{values.mean():.{digits}f}{spread}"


def decided(store: Path) -> list[dict]:
    """Returns the scorecard kept beside the records (`disentrec scorecard` writes it), or decides it now."""
    path = store / "scorecard.json"
    return json.loads(path.read_text()) if path.exists() else scorecard(store)
