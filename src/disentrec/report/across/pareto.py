"""Accuracy against cost under one protocol: seconds of training and parameters, the Pareto front, and what follows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from IPython.display import Markdown

from disentrec.evaluation.significance import paired_bootstrap
from disentrec.paths import RESULTS
from disentrec.report import figures, tables
from disentrec.report.across import cross
from disentrec.report.across.cross import METRICS, Bench, Entry
from disentrec.report.across.cross_figures import cost_figure
from disentrec.study import RunRecord, paper_names

#: What is paid: cost -> its axis.
COSTS = {"seconds": "seconds of one run (log scale)", "parameters": "parameters (log scale)"}


def seconds(record: RunRecord) -> float:
    """Returns the seconds of training; of a model that is not trained those of the whole run, reading to ranking."""
    timing = record.content["timing"]
    return timing["train_s"] if record.content["n_parameters"] else timing["total_s"]


def cost(entry: Entry, kind: str) -> float:
    """Returns what a row costs, mean over seeds."""
    found = [seconds(r) if kind == "seconds" else r.content["n_parameters"] for r in entry.result.records]
    return float(np.mean(found))


def front(costs: Sequence[float], values: Sequence[float]) -> list[bool]:
    """Returns for every point whether no other is at least as cheap and at least as good, and better in one of both."""
    costs, values = np.asarray(costs, dtype=float), np.asarray(values, dtype=float)
    cheap, good = costs[:, None] <= costs, values[:, None] >= values  # (other, point)
    strictly = (costs[:, None] < costs) | (values[:, None] > values)
    return list(~(cheap & good & strictly).any(0))


def level(bench: Bench, metric: str) -> list[Entry]:
    """Returns the best row and those whose difference from it has an interval that holds zero, best first."""
    first, *others = bench.ordered(metric)
    tests = [(other, paired_bootstrap(first.scores(metric), other.scores(metric))) for other in others]
    return [first, *(other for other, test in tests if test.low <= 0 <= test.high)]


class Costs:
    """The page: every method returns the output of one cell."""

    def __init__(
        self, *, budgets: Sequence[str] = ("demo", "real"), datasets: Sequence[str] = (), store: str | Path = ""
    ) -> None:
        root = Path(store) if store else RESULTS
        self.benches = [bench for task in METRICS for bench in cross.benches(root, task, budgets, datasets)]

    def figures(self) -> Markdown | None:
        """Returns one figure per data set: accuracy against seconds and against parameters."""
        parts = []
        for bench in self.benches:
            metric = METRICS[bench.task][0]
            panels, fronts = [], []
            for kind, xlabel in COSTS.items():
                entries = bench.ordered(metric)
                costs, values = [cost(e, kind) for e in entries], [100 * e.mean(metric) for e in entries]
                on = front(costs, values)
                named = [on[k] or entry.id in paper_names() for k, entry in enumerate(entries)]
                rows = zip(entries, costs, values, named, on, strict=True)
                panels.append((xlabel, [(e.label, e.family, *rest) for e, *rest in rows]))
                fronts.append(f"by {kind} " + ", ".join(e.label for e, yes in zip(entries, on, strict=True) if yes))
            title = tables.metric_title(metric)
            caption = (
                f"{title} against cost on {bench.title}; mean over seeds. Filled and joined: the Pareto front. Named:"
                " the front and the papers' models. Seconds are of one thread on a shared machine."
            )
            alt = f"Two scatter plots of {title} on {bench.title} against cost. Pareto front {'; '.join(fronts)}."
            drawing = cost_figure(panels, f"{title}, percent")
            parts.append(figures.myst_figure(drawing, f"pareto-{bench.slug}", caption, alt))
        return tables.show(*parts)

    def tables(self) -> Markdown | None:
        """Returns one table per data set: accuracy, seconds, parameters and which fronts a row is on."""
        shown = []
        for bench in self.benches:
            metric = METRICS[bench.task][0]
            entries = bench.ordered(metric)
            values = [entry.mean(metric) for entry in entries]
            costs = {kind: [cost(entry, kind) for entry in entries] for kind in COSTS}
            on = {kind: front(costs[kind], values) for kind in COSTS}
            best = {entry.id for entry in level(bench, metric)}
            rows = [
                [
                    entry.label, tables.percent(values[k]), "yes" if entry.id in best else "",
                    duration(costs["seconds"][k]), f"{costs['parameters'][k]:,.0f}",
                    " and ".join(kind for kind in COSTS if on[kind][k]),
                ]
                for k, entry in enumerate(entries)
            ]  # fmt: skip
            header = ["", tables.metric_title(metric), "level", "seconds", "parameters", "on the front of"]
            caption = (
                f"{bench.title}: accuracy in percent and cost, mean over seeds. Level (with the best): the 95 %"
                " interval of the difference from the first row, over cases and seeds, contains zero."
            )
            shown.append(tables.myst_table(header, rows, caption, f"tbl-pareto-{bench.slug}"))
        return tables.show(*shown)

    def advice(self) -> Markdown | None:
        """Returns what a practitioner should take, a paragraph per data set."""
        return tables.show("\n".join(map(self._advice, self.benches)))

    def left(self) -> Markdown | None:
        """Returns the rows that are planned for a data set of this page and not complete."""
        lines = [f"- {bench.title}: {cross.labels(bench.left)}." for bench in self.benches if bench.left]
        return tables.show("\n".join(lines) or "No row of these data sets is missing.")

    def _advice(self, bench: Bench) -> str:
        metric = METRICS[bench.task][0]
        title = tables.metric_title(metric)
        peers = level(bench, metric)
        first, take = peers[0], min(peers, key=lambda entry: cost(entry, "seconds"))
        lean = min(peers, key=lambda entry: (cost(entry, "parameters"), -entry.mean(metric)))
        text = f"- **{bench.title}.** Best by {title} is {first.label}, {tables.percent(first.mean(metric))} %"
        if len(peers) > 1:
            text += f"; {cross.labels([entry.label for entry in peers[1:]])} cannot be told apart from it. Of these, "
            text += f"{take.label} takes the fewest seconds ({duration(cost(take, 'seconds'))})"
            text += f" and {lean.label} the fewest parameters." if lean is not take else " and no more parameters."
        else:
            text += ", clear of every other row."
        text += f" Take {take.label}."
        own = [entry for entry in bench.ordered(metric) if entry.id in paper_names() and entry is not take]
        return text + "".join(f" {entry.label} {_against(entry, take, metric)}." for entry in own)


def duration(value: float) -> str:
    """Returns seconds as printed: two digits below ten, whole ones above."""
    return f"{value:.2f}" if value < 10 else f"{value:,.0f}"


def _against(entry: Entry, take: Entry, metric: str) -> str:
    """Returns what a paper's model costs and gains against the row to take."""
    gap = entry.mean(metric) - take.mean(metric)
    times = cost(entry, "seconds") / max(cost(take, "seconds"), 1e-9)
    times = f"{times:,.0f} times" if times >= 2 else f"{times:.1f} times"
    return f"takes {times} the seconds of {take.label} and is {tables.apart(gap)}"
