"""What the papers report beside what we measured: every row of papers/reported.csv, and of ours what answers it.

A row is answered by its metric: a statistic by that of our data set, a hyper-parameter by our setting, a gain by the
verdict's effect in relative percent, and any ranking metric ("MRR@20") by the row of the paper's table of that name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from IPython.display import Markdown

from disentrec import models
from disentrec.paths import PAPERS, RESULTS, ROOT
from disentrec.report import tables
from disentrec.report.chapter import decided, mean_sd
from disentrec.report.compare import score_matrix
from disentrec.study import Study, load_paper, paper_names
from disentrec.study.cases import known_dataset
from disentrec.study.papers import Paper
from disentrec.study.reported import Reported, reported
from disentrec.study.sources import sources
from disentrec.study.spec import training_settings
from disentrec.study.store import Store

UNKNOWN = "not available"
#: Statistics of data sets as the papers call them -> as we do, by task.
STATISTICS = {
    "session": {
        "#items": "items", "#sessions": "sessions", "#interactions": "interactions", "#train sessions": "train",
        "#test sessions": "test", "average session length": "mean_length",
    },
    "top-n": {"#users": "users", "#items": "items", "#interactions": "pairs", "density": "density"},
}  # fmt: skip
METRIC = re.compile(r"(\w+)@([\d/]+)")
#: The tables of the page: what an artefact begins with -> heading; all other rows are accuracies.
GROUPS = {
    "headline": "Headlines", "dataset statistics": "Data", "attribute statistics": "Data",
    "hyper-parameter": "Settings", "training protocol": "Settings", "model size": "Settings",
    "visualisation": "Settings",
}  # fmt: skip
ACCURACY = "Accuracy"


@dataclass(frozen=True)
class Answer:
    """What of ours stands beside a reported figure, as printed, and why where nothing does."""

    ours: str
    #: Ours over theirs less one, where both measure the same thing.
    change: float = float("nan")


def ranking_metrics(name: str) -> list[str]:
    """Returns our names of the ranking metrics in a printed one: "Recall@10/20" -> recall@10, recall@20."""
    return [f"{kind.lower()}@{cutoff}" for kind, cutoffs in METRIC.findall(name) for cutoff in cutoffs.split("/")]


def relative_gain(effect: float, rival: float) -> float:
    """Returns an effect, own less rival, as a share of the rival."""
    return effect / rival


class Beside:
    """The page: `csv` is the file of reported figures, the package's own unless another one is named."""

    def __init__(self, *, csv: str | Path = "", store: str | Path = "") -> None:
        self.entries = reported(ROOT / csv if csv else PAPERS / "reported.csv")
        self.store = Store(store or RESULTS)
        self.papers = {load_paper(name).label(name): load_paper(name) for name in paper_names()}

    @cached_property
    def rows(self) -> list[tuple[Reported, Answer]]:
        """Every reported figure with its answer."""
        return [(entry, self.answer(entry)) for entry in self.entries]

    @cached_property
    def verdicts(self) -> list[dict[str, Any]]:
        """The scorecard."""
        return decided(self.store.root)

    @cached_property
    def sources(self) -> list[str]:
        """The sources in the order in which rows name them first; tables number them."""
        return list(dict.fromkeys(entry.source for entry in self.entries))

    def answer(self, entry: Reported) -> Answer:
        """Returns what of ours answers a reported figure."""
        kind = entry.artefact.partition(" (")[0]
        paper = self.papers[entry.paper]
        if kind.startswith("headline"):
            return self._headline(paper, entry)
        if kind == "dataset statistics":
            return self._statistic(paper, entry)
        if kind.startswith(("hyper-parameter", "training protocol")):
            return self._setting(paper, entry)
        return self._accuracy(paper, entry) if len(ranking_metrics(entry.metric)) == 1 else Answer(UNKNOWN)

    def tables(self, group: str) -> Markdown | None:
        """Returns the table of one group: "Headlines", "Data", "Settings" or "Accuracy"."""
        rows = []
        for entry, answer in self.rows:
            if group_of(entry) == group:
                change = "" if np.isnan(answer.change) else f"{100 * answer.change:+.1f} %".replace("-", "−")
                number = f"{self.sources.index(entry.source) + 1}"
                rows.append([entry.paper, _what(entry, group), _value(entry), answer.ours, change, number])
        header, align = ["", "what", "reported", "ours", "difference", "source"], "llrlr"
        if not any(row[4] for row in rows):  # nothing of this group measures the same thing twice
            header, rows = header[:4] + header[5:], [row[:4] + row[5:] for row in rows]
        caption = f"{group}: what is reported and what we have. Sources are numbered at the end of the page."
        table = tables.myst_table(header, rows, caption, f"tbl-reported-{group.lower()}", align)
        return tables.show(table) if rows else None

    def source_list(self) -> Markdown:
        """Returns the numbered sources."""
        return tables.show("\n".join(f"{number}. {source}" for number, source in enumerate(self.sources, start=1)))

    def summary(self) -> Markdown:
        """Returns how many rows there are and how many of them something of ours answers, by paper."""
        lines = []
        for label in self.papers:
            own = [answer.ours for entry, answer in self.rows if entry.paper == label]
            waiting = sum(tables.NOT_RUN in text for text in own)
            missing = sum(text == UNKNOWN for text in own)
            if own:
                lines.append(
                    f"- {label}: {len(own)} figures have a source; {len(own) - waiting - missing} have a counterpart"
                    f" here, {waiting} wait for runs or data, {missing} have none."
                )
        accuracies = [entry for entry in self.entries if group_of(entry) == ACCURACY]
        own = [e for e in accuracies if "NOT the paper" not in e.artefact]
        lines.append(f"- Accuracies that a paper itself prints: {len(own) or 'none is available'}.")
        return tables.show("\n".join(lines))

    def _headline(self, paper: Paper, entry: Reported) -> Answer:
        """Returns the effects of the verdict that tests the same metric, in relative percent, with their intervals."""
        if entry.metric == "number of datasets":
            return Answer(self._datasets(paper))
        metrics, found = ranking_metrics(entry.metric), []
        for claim in self.verdicts:
            for item in claim["evidence"] if claim["paper"] == paper.id else ():
                part = _part(paper, claim["id"], item["part"])
                if item["unit"] in metrics and _is_headline(part):
                    rival = self._own(paper, part, item["dataset"], item["unit"]) - item["effect"]
                    values = (relative_gain(item[bound], rival) for bound in ("effect", "low", "high"))
                    value, low, high = (f"{100 * value:+.1f}".replace("-", "−") for value in values)
                    where = f"{tables.metric_title(item['unit'])}, {tables.dataset_title(item['dataset'])}"
                    found.append(f"{claim['id']}, {where}: {value} % [{low}, {high}]")
        return Answer("; ".join(found) or (tables.NOT_RUN if metrics else UNKNOWN))

    def _own(self, paper: Paper, part: Mapping[str, Any], dataset: str, metric: str) -> float:
        """Returns the mean of the row that a part of a claim is about."""
        for budget in paper.budgets:
            study = Study(paper.id, budget, self.store.root)
            if dataset in study.datasets(paper.artefact(part["artefact"])):
                result = study.results_by_row(part["artefact"], dataset).get(part["row"])
                if result and result.complete:
                    return float(np.mean(result.metric(metric)))
        return float("nan")

    def _datasets(self, paper: Paper) -> str:
        done = []
        for budget in paper.budgets:
            study = Study(paper.id, budget, self.store.root)
            for dataset in study.datasets(paper.artefact("main")):
                if known_dataset(self.store, dataset) and all(row.complete for row in study.result("main", dataset)):
                    done.append(tables.dataset_title(dataset))
        return f"{len(done)}: {', '.join(done)}" if done else tables.NOT_RUN

    def _statistic(self, paper: Paper, entry: Reported) -> Answer:
        task, name = models.get(paper.id).task, paper.beside["datasets"].get(entry.dataset)
        key = STATISTICS[task].get(entry.metric.partition(" (")[0])
        if name is None or key is None:
            return Answer(UNKNOWN)
        info = known_dataset(self.store, name)
        if info is None:
            return Answer(f"{tables.dataset_title(name)}: {tables.NOT_RUN}")
        value = info["statistics" if task == "session" else "user_statistics"][key]
        apart = f", less {info['statistics']['valid']:,} for validation" if key == "train" else ""
        shown = f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"
        return Answer(f"{shown} ({tables.dataset_title(name)}{apart})", _change(value, entry))

    def _setting(self, paper: Paper, entry: Reported) -> Answer:
        """Returns our setting under the budget "paper", and what of it validation chooses from."""
        name = paper.beside["settings"].get(entry.metric.partition(" (")[0])
        if name is None:
            return Answer(UNKNOWN)
        name, _, times = name.partition(" x ")
        group, _, key = name.rpartition(".")
        budget = paper.budget("paper")
        grid = [settings.get(name) for settings in paper.grid(paper.id)[: budget.tuning]]
        if group:
            default = getattr(training_settings(budget.training), key)
        else:
            default = getattr(models.configure(paper.id, budget.settings.get(paper.id, {})), key)
        values = sorted(
            {default if value is None else value for value in grid}, key=lambda value: (value is None, value)
        )
        if times:
            values = [int(times) * value for value in values]
        shown = " or ".join("from the data" if value is None else f"{value:g}" for value in values)
        words = f"`{key}`" + (f" times {times}" if times else "") + (", by validation" if len(values) > 1 else "")
        return Answer(f"{shown} ({words})")

    def _accuracy(self, paper: Paper, entry: Reported) -> Answer:
        """Returns our mean over seeds of the row of that name, in the unit of the reported figure."""
        (metric,) = ranking_metrics(entry.metric)
        dataset = paper.beside["datasets"].get(entry.dataset, entry.dataset)
        named = entry.artefact.partition(" (")[0]
        artefact = paper.artefacts.get(named, paper.artefacts["main"])
        wanted = paper.beside.get("rows", {}).get(entry.model)
        rows = [
            row.id for row in artefact.rows if wanted == row.id or (wanted is None and _called(row.label, entry.model))
        ]
        if dataset not in sources() or not rows:
            return Answer(UNKNOWN)
        for budget in paper.budgets:
            study = Study(paper.id, budget, self.store.root)
            if known_dataset(self.store, dataset) is None:
                continue
            for result in study.result(artefact.id, dataset):
                if result.row.id in rows and score_matrix(result, metric) is not None:
                    scale = 1 if entry.unit == "fraction" else 100
                    values = scale * np.asarray(result.metric(metric))
                    shown = mean_sd(values, 4 if scale == 1 else 2)
                    return Answer(f"{shown} ({tables.dataset_title(dataset)})", _change(float(values.mean()), entry))
        return Answer(f"{tables.dataset_title(dataset)}: {tables.NOT_RUN}")


def _change(ours: float, entry: Reported) -> float:
    """Returns ours over theirs less one; NaN where theirs is 0."""
    return ours / entry.value - 1 if entry.value else float("nan")


def group_of(entry: Reported) -> str:
    """Returns the table a reported figure stands in."""
    return next((group for start, group in GROUPS.items() if entry.artefact.startswith(start)), ACCURACY)


def _what(entry: Reported, group: str) -> str:
    """Returns what a reported figure is of: data set, metric, model, and what is special about it."""
    kind = entry.artefact.partition(" (")[0]
    special = kind.removeprefix("dataset statistics").strip(", ") if group == "Data" else ""
    special = "" if kind == "attribute statistics" else special
    special = entry.artefact.removeprefix("headline").strip() if group in ("Headlines", ACCURACY) else special
    where = "" if entry.dataset == "all" else f"{entry.dataset}: "
    who = "" if entry.model in ("-", entry.paper) else f", {entry.model}"
    return f"{where}{entry.metric}{who}" + (f"; {special}" if special else "")


def _value(entry: Reported) -> str:
    """Returns a reported figure with its unit."""
    unit = entry.unit.partition(" (")[0]
    return f"{entry.value:,g}" + ("" if unit in ("-", "count", "") else f" {unit}")


def _called(label: str, name: str) -> bool:
    """True where a row's printed label is that name, as described unless it says otherwise."""
    return label.removesuffix(" (as described)").casefold() == name.casefold()


def _part(paper: Paper, claim: str, number: int) -> Mapping[str, Any]:
    """Returns the part of a claim's test that an item of its evidence is of."""
    return next(entry for entry in paper.claims if entry.id == claim).test["parts"][number]


def _is_headline(part: Mapping[str, Any]) -> bool:
    """True for the part of a claim that sets a paper's model against the best baseline on all cases."""
    return part["kind"] == "best_rival" and "seen_at_most" not in part
