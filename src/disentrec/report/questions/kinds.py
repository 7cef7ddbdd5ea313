"""Pages on open questions that need no new run: other kinds of data, and users of whom little is known."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from IPython.display import Markdown

from disentrec.evaluation.significance import paired_bootstrap
from disentrec.report import figures, tables
from disentrec.report.across import cross
from disentrec.report.chapter import Chapter, mean_sd
from disentrec.report.compare import LEAST_CASES, score_matrix
from disentrec.report.questions.sizes import NOTHING_YET
from disentrec.study import Study
from disentrec.study.cases import known_cases

#: What a data set is made of, by what its name holds; the rest is Amazon's.
KINDS = {
    "bazaar": "the embedded shop",
    "ml1m": "films",
    "movielens": "films",
    "instacart": "groceries, not Amazon's",
    "retail": "gifts, not Amazon's",
    "tiktok": "short videos",
}
AMAZON = "Amazon"
#: What a row of the papers' own model ends with.
SUFFIX = " (as described)"
#: Purchases in train, up to and with which a user belongs to a group.
HISTORIES = (5, 10, 20)


def kind(dataset: str) -> str:
    """Returns the kind of a data set."""
    return next((title for part, title in KINDS.items() if part in dataset), AMAZON)


# ------------------------------------------------------------------ kinds of data


def places(store: Path | str, budgets: Sequence[str]) -> list[tuple[cross.Bench, cross.Entry, int, float]]:
    """Returns per bench the best of the papers' own models, its place, and its lead over the best other model.

    The lead is a share of the other model's value: data sets differ in what there is to reach. Benches of one entry
    and those without another model are left out.
    """
    found = []
    for task, (metric, *_) in cross.METRICS.items():
        for bench in cross.benches(store, task, budgets):
            order = bench.ordered(metric)
            own = [entry for entry in order if entry.family == "the four papers"]
            others = [entry for entry in order if entry.family != "the four papers"]
            if own and others:
                lead = own[0].mean(metric) / max(others[0].mean(metric), 1e-9) - 1
                found.append((bench, own[0], order.index(own[0]) + 1, lead))
    return sorted(found, key=lambda one: (kind(one[0].dataset) != AMAZON, kind(one[0].dataset), one[0].title))


def kinds_table(store: Path | str, budgets: Sequence[str] = ("demo", "real")) -> Markdown:
    """Returns one table over all data sets: the best of the papers' models, its place, and its lead."""
    rows = []
    for bench, entry, place, lead in places(store, budgets):
        metric = cross.METRICS[bench.task][0]
        other = next(one for one in bench.ordered(metric) if one.family != "the four papers")
        rows.append(
            [
                bench.title, kind(bench.dataset), entry.label, f"{place} of {len(bench.entries)}", other.label,
                _percent(lead),
            ]
        )  # fmt: skip
    if not rows:
        return tables.show(NOTHING_YET)
    header = ["", "kind", "best of the papers' models", "place", "best other model", "lead, %"]
    caption = (
        "The best of the four papers' models on every data set, among the rows of its main table that are complete, by"
        " the metric that models are chosen by (sessions MRR@20, users Recall@20). Lead: over the best other model, as"
        " a share of its value."
    )
    return tables.show(tables.myst_table(header, rows, caption, "tbl-questions-kinds", "lllrlr"))


def kinds_figure(store: Path | str, budgets: Sequence[str] = ("demo", "real")) -> Markdown:
    """Returns the leads as dots, Amazon's data sets above the others."""
    found = places(store, budgets)
    if not found:
        return tables.show("Not yet run.")
    values = {f"{bench.title} ({kind(bench.dataset)})": [100 * lead] for bench, _, _, lead in found}
    drawing = figures.bars_figure(values, "lead of the papers' best model over the best other, percent", (0.0, ""))
    alt = "Dots of the lead in percent: " + "; ".join(f"{name} {lead[0]:+.0f}" for name, lead in values.items())
    caption = "Does what was found on Amazon hold elsewhere? Right of the line, a paper's own model is first."
    return tables.show(figures.myst_figure(drawing, "questions-kinds", caption, alt))


def kinds_sentence(store: Path | str, budgets: Sequence[str] = ("demo", "real")) -> Markdown:
    """Returns how often a model of the papers is first, on Amazon's data and on other data of the world."""
    leads = {True: [], False: []}
    for bench, _, _, lead in places(store, budgets):
        if kind(bench.dataset) != KINDS["bazaar"]:
            leads[kind(bench.dataset) == AMAZON].append(lead)
    if not any(leads.values()):
        return tables.show(NOTHING_YET)
    said = [
        f"- {name}: one of the papers' models is first on {sum(lead > 0 for lead in of)} of {len(of)} data sets; median"
        f" lead {_percent(float(np.median(of)))} %."
        for name, of in (("Amazon", leads[True]), ("Other real data", leads[False]))
        if of
    ]
    return tables.show("\n".join(said))


# ------------------------------------------------------------------ cold users


def history_groups(history: np.ndarray) -> dict[str, np.ndarray]:
    """Returns groups of test users by how many purchases train holds of them, (users,) bool each, those of a size."""
    edges = (0, *HISTORIES, np.inf)
    names = [f"{low + 1} to {high}" for low, high in pairwise(edges[:-1])]
    groups = {
        name: (history > low) & (history <= high)
        for name, low, high in zip([*names, f"over {HISTORIES[-1]}"], edges[:-1], edges[1:], strict=True)
    }
    return {name: group for name, group in groups.items() if group.sum() >= LEAST_CASES}


def by_history(
    study: Study, artefact: str, dataset: str, metric: str
) -> tuple[dict[str, int], dict[str, tuple[str, dict[str, list[float]]]]]:
    """Returns users per group, and label -> (model, group -> values over seeds) of every complete clean row."""
    groups = history_groups(known_cases(study.store, dataset)["user_history"])
    lines = {}
    for row in study.result(artefact, dataset):
        scores = score_matrix(row, metric)
        if scores is not None and row.row.protocol.get("name") != "released":
            values = {name: scores[:, group].mean(1).tolist() for name, group in groups.items()}
            lines[row.row.label.removesuffix(SUFFIX)] = (row.row.model, values)
    return {name: int(group.sum()) for name, group in groups.items()}, lines


def history_tables(page: Chapter) -> Markdown:
    """Returns one table per data set: accuracy of every model by how much train knows of a user."""
    metric, shown = page.artefact.metrics[-1], []
    for study, dataset in page.published():
        counts, lines = by_history(study, page.artefact.id, dataset, metric)
        if len(counts) < 2 or not lines:
            continue
        rows = [
            [label, *(mean_sd([100 * value for value in values[name]], 2) for name in counts)]
            for label, (_, values) in lines.items()
        ]
        header = ["", *(f"{name} ({count:,})" for name, count in counts.items())]
        caption = (
            f"{tables.metric_title(metric)} on {tables.dataset_title(dataset)}, percent, by the number of a user's"
            " purchases in the training part (users in brackets); mean ± sd over seeds."
        )
        shown.append(tables.myst_table(header, rows, caption, f"tbl-{page.paper.id}-history-{dataset}"))
    return tables.show(*shown) if shown else tables.show("Not yet run.")


def history_figures(page: Chapter, ids: Sequence[str]) -> Markdown:
    """Returns one figure per data set: the rows `ids` over the groups of users."""
    metric, parts = page.artefact.metrics[-1], []
    labels = [row.label.removesuffix(SUFFIX) for row in page.artefact.rows if row.id in ids]
    for study, dataset in page.published():
        counts, lines = by_history(study, page.artefact.id, dataset, metric)
        drawn = {
            label: (lines[label][0], [100 * np.mean(lines[label][1][name]) for name in counts])
            for label in labels
            if label in lines
        }
        if len(counts) < 2 or not drawn:
            continue
        title, name = tables.dataset_title(dataset), tables.metric_title(metric)
        drawing = figures.lines_figure(
            list(counts), drawn, "a user's purchases in the training part", f"{name}, percent"
        )
        alt = f"Lines of {name} on {title} by purchases in the training part. " + "; ".join(
            f"{label} from {values[0]:.2f} to {values[-1]:.2f}" for label, (_, values) in drawn.items()
        )
        caption = (
            f"{name} on {title} by the number of a user's purchases in the training part, mean over users and seeds."
            " Groups of users differ in more than that: compare models within a group."
        )
        parts.append(figures.myst_figure(drawing, f"{page.paper.id}-history-{dataset}", caption, alt))
    return tables.show(*parts) if parts else tables.show("Not yet run.")


def history_sentences(page: Chapter, against: str = "lightgcn") -> Markdown:
    """Returns per data set, of users with least and with most purchases: who is best, and the paper's own model against
    one that reads IDs alone."""
    metric, said = page.artefact.metrics[-1], []
    own, other = (page.artefact.row(row).label.removesuffix(SUFFIX) for row in (page.artefact.reference, against))
    for study, dataset in page.published():
        counts, lines = by_history(study, page.artefact.id, dataset, metric)
        if len(counts) < 2 or not {own, other} <= set(lines):
            continue
        groups = history_groups(known_cases(study.store, dataset)["user_history"])
        found = []
        for name in (next(iter(counts)), list(counts)[-1]):
            means = {label: np.mean(values[name]) for label, (_, values) in lines.items()}
            first, place = max(means, key=means.get), sorted(means.values(), reverse=True).index(means[own]) + 1
            pair = (page.artefact.reference, against)
            test = paired_bootstrap(
                *(_scores(study, page.artefact.id, dataset, row, metric, groups[name]) for row in pair)
            )
            found.append(
                f"of users with {name} purchases {first} is best and {own} {place} of {len(means)},"
                f" {tables.signed(test.effect)} points {tables.interval(test.low, test.high)} against {other}"
            )
        said.append(f"- On {tables.dataset_title(dataset)}, {'; '.join(found)}.")
    return tables.show("\n".join(said) or NOTHING_YET)


def _scores(study: Study, artefact: str, dataset: str, row: str, metric: str, group: np.ndarray) -> np.ndarray:
    return score_matrix(study.results_by_row(artefact, dataset)[row], metric, group)


def _percent(value: float) -> str:
    return f"{100 * value:+.0f}".replace("-", "−")
