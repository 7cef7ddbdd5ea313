"""The page on reasons: DIMO's two templates beside variants that look at the session."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from IPython.display import Markdown

from disentrec.evaluation.reasons import VARIANTS
from disentrec.report import figures, tables
from disentrec.report.chapter import Chapter, analysed, mean_sd
from disentrec.report.questions.sizes import NOTHING_YET
from disentrec.study import RunRecord
from disentrec.study.papers import Row

#: Measure -> column and digits; shares are printed in percent.
COLUMNS = {
    "cooccurrence": ("by co-occurrence, %", 0),
    "grounded": ("names something, %", 0),
    "fidelity": ("fidelity, Δ ln rank", 2),
    "inner": ("the same, neither last", 2),
    "auc": ("agreement, AUC", 2),
    "informedness": ("informedness", 2),
}
SHARES = ("cooccurrence", "grounded")


def reasons_tables(page: Chapter) -> Markdown:
    """Returns one table per model and data set: every variant's coverage, fidelity and agreement."""
    shown = []
    for dataset, row, records in _analysed(page):
        lines = []
        for variant, label in VARIANTS.items():
            cells = [label]
            for measure, (_, digits) in COLUMNS.items():
                values = _values(records, f"{variant}_{measure}", 100 if measure in SHARES else 1)
                cells.append(mean_sd(values, digits) if values else "–")
            lines.append(cells)
        best = [_values(records, f"bayes_{name}") for name in ("auc", "informedness")]
        if all(best):
            blank = [""] * (len(COLUMNS) - 2)
            lines.append(["*Bayes' rule on the same choice*", *blank, *(f"*{np.mean(one):.2f}*" for one in best)])
        caption = (
            f"Reasons for the first recommendation of {row.label} on {tables.dataset_title(dataset)}, mean ± sd over"
            " seeds. Fidelity: how much further it falls when the cited item is deleted than when another one is."
            " Agreement: of the template for the chosen item with the true cause; .5 and 0 are chance."
        )
        header = ["", *(title for title, _ in COLUMNS.values())]
        shown.append(tables.myst_table(header, lines, caption, f"tbl-{page.paper.id}-reasons-{row.id}-{dataset}"))
    return tables.show(*shown) if shown else tables.show("Not yet run.")


def reasons_figures(page: Chapter) -> Markdown:
    """Returns one figure per model and data set: the fidelity of every variant over seeds."""
    parts = []
    for dataset, row, records in _analysed(page):
        values = {label: _values(records, f"{variant}_fidelity") for variant, label in VARIANTS.items()}
        values = {label: found for label, found in values.items() if found}
        title = tables.dataset_title(dataset)
        drawing = figures.bars_figure(values, "fidelity, change of ln rank beyond that of another item", (0.0, ""))
        alt = f"Dots of fidelity for {row.label} on {title}: " + "; ".join(
            f"{label} {np.mean(found):.2f}" for label, found in values.items()
        )
        caption = (
            f"Is the item that is cited one that {row.label} used? {title}; right of the line, deleting it hurts the"
            " recommendation more than deleting another. Dot: mean over seeds; bar: smallest to largest."
        )
        parts.append(figures.myst_figure(drawing, f"{page.paper.id}-reasons-{row.id}-{dataset}", caption, alt))
    return tables.show(*parts) if parts else tables.show("Not yet run.")


def reasons_sentences(page: Chapter) -> Markdown:
    """Returns per model the variants that cite and agree better than the two templates, by more than seeds differ."""
    said = []
    for dataset, row, records in _analysed(page):
        found = []
        for measure, what in (("fidelity", "more faithful"), ("auc", "nearer to the true cause")):
            base = _values(records, f"count_{measure}")
            better = [
                f"{VARIANTS[variant]} ({np.mean(own) - np.mean(base):+.2f})"
                for variant in VARIANTS
                if variant not in ("count", "last")
                and len(own := _values(records, f"{variant}_{measure}")) == len(base) > 0
                and min(np.subtract(own, base)) > 0
            ]
            found.append(f"{what} in every seed: {', '.join(better) or 'none'}")
        said.append(f"- {row.label} on {tables.dataset_title(dataset)}: than DIMO's two templates, {'; '.join(found)}.")
    return tables.show("\n".join(said) or NOTHING_YET)


def _analysed(page: Chapter) -> Iterator[tuple[str, Row, list[RunRecord]]]:
    for study, dataset in page.published():
        for row in study.rows(page.artefact, dataset):
            if records := analysed(study, page.artefact.id, row.id, dataset):
                yield dataset, row, records


def _values(records: Sequence[RunRecord], measure: str, scale: float = 1.0) -> list[float]:
    found = [record.content["extra"]["after"].get(measure) for record in records]
    return [scale * value for value in found if value is not None]
