"""Pages on IDSF's settings: the weights that are swept, and items that lost a modality."""

from __future__ import annotations

import re

import numpy as np
from IPython.display import Markdown

from disentrec.evaluation.metrics import per_case
from disentrec.report import figures, tables
from disentrec.report.chapter import Chapter, mean_sd
from disentrec.report.chapters import id_figures
from disentrec.study import RowResult, Study
from disentrec.study.cases import known_cases

#: Settings that are swept: name -> as printed.
SWEPT = {"weight_contrast": "weight of the contrast, λ", "gamma": "share of the ID, γ"}
MISSING = re.compile(r"(\w+)_missing(\d+)$")


def sweep_figures(page: Chapter) -> Markdown:
    """Returns one figure per data set: a panel for every setting that is swept, the chosen value marked."""
    metric = page.artefact.metrics[-1]
    parts = []
    for study, dataset in page.published():
        panels = sweeps(study, page.artefact.id, dataset, metric)
        if not panels:
            continue
        title = tables.dataset_title(dataset)
        caption = (
            f"{tables.metric_title(metric)} on {title} when one weight of {page.paper.title.split('(')[-1].rstrip(')')}"
            " changes. Line: mean over seeds; dots: each seed; ring: the value chosen on validation, where both panels"
            " show the same runs. The axis does not begin at zero."
        )
        alt = f"Lines of {tables.metric_title(metric)} in percent on {title}. " + ". ".join(
            f"{SWEPT[key]}: " + "; ".join(f"{value:g}: {100 * np.mean(seeds):.2f}" for value, seeds in points.items())
            for key, (points, _) in panels.items()
        )
        drawing = id_figures.sweeps_figure(
            {SWEPT[key]: panel for key, panel in panels.items()}, f"{tables.metric_title(metric)}, percent"
        )
        parts.append(figures.myst_figure(drawing, f"{page.paper.id}-sweeps-{dataset}", caption, alt))
    return tables.show(*parts) if parts else tables.show("Not yet run.")


def sweeps(study: Study, artefact: str, dataset: str, metric: str) -> dict[str, tuple[dict[float, list[float]], float]]:
    """Returns, per swept setting, the metric's values over seeds by the setting's value, and the chosen value.

    A setting is swept by the rows that change it alone; the reference stands at the value its runs have.
    """
    results = study.result(artefact, dataset)
    reference = next(row for row in results if row.row.id == study.paper.artefact(artefact).reference)
    panels = {}
    for key in SWEPT if _finished(reference) else ():
        chosen = float(getattr(reference.records[0].spec.config(), key))
        rows = [(float(row.row.settings[key]), row) for row in results if list(row.row.settings) == [key]]
        points = {value: row.metric(metric) for value, row in rows if _finished(row)}
        if points:
            points[chosen] = reference.metric(metric)
            panels[key] = (dict(sorted(points.items())), chosen)
    return panels


def missing_figures(page: Chapter) -> Markdown:
    """Returns one figure per data set: accuracy over the share of items that lost a modality."""
    metric = page.artefact.metrics[-1]
    parts = []
    for study, dataset in page.published():
        lines = missing_lines(study, page.artefact.id, dataset, metric)
        shares = sorted({share for _, values in lines.values() for share in values})
        full = {
            name: (model, [100 * np.mean(values[share]) if share in values else np.nan for share in shares])
            for name, (model, values) in lines.items()
            if len(values) > 1 or shares == [0]
        }
        if not full:
            continue
        title = tables.dataset_title(dataset)
        drawing = figures.lines_figure(
            [f"{share} %" for share in shares],
            full,
            "items without the modality",
            f"{tables.metric_title(metric)}, percent",
            from_zero=False,
        )
        caption = (
            f"{tables.metric_title(metric)} on {title} when items lose text, image or both. Mean over seeds; each is"
            " trained anew. The axis does not begin at zero."
        )
        alt = (
            f"Lines of {tables.metric_title(metric)} over the share of items without a modality on {title}: "
            + "; ".join(f"{name} from {values[0]:.2f} to {values[-1]:.2f}" for name, (_, values) in full.items())
        )
        parts.append(figures.myst_figure(drawing, f"{page.paper.id}-missing-{dataset}", caption, alt))
    return tables.show(*parts) if parts else tables.show("Not yet run.")


def missing_tables(page: Chapter) -> Markdown:
    """Returns one table per data set: accuracy with everything, with the least, and what is left of it."""
    metric = page.artefact.metrics[-1]
    shown = []
    for study, dataset in page.published():
        lines = missing_lines(study, page.artefact.id, dataset, metric)
        worst = max(share for _, values in lines.values() for share in values) if lines else 0
        if not worst:
            continue
        rows = []
        for name, (_, values) in lines.items():
            whole, least = (np.asarray(values.get(share, []), dtype=float) for share in (0, worst))
            paired = len(whole) == len(least) and whole.all()
            kept = mean_sd(100 * least / whole, 1) if paired else tables.NOT_RUN
            rows.append([name, mean_sd(100 * whole, 2), mean_sd(100 * least, 2), kept])
        header = ["", f"{tables.metric_title(metric)}, nothing missing", f"{worst} % missing", "kept, %"]
        caption = (
            f"What is left of {tables.metric_title(metric)} on {tables.dataset_title(dataset)} when {worst} % of the"
            " items lost the modality. Mean ± sd over seeds; kept: the second over the first, seed by seed."
        )
        shown.append(tables.myst_table(header, rows, caption, f"tbl-{page.paper.id}-kept-{dataset}"))
    return tables.show(*shown) if shown else tables.show("Not yet run.")


def affected_tables(page: Chapter) -> Markdown:
    """Returns one table per data set: how often held-out items that lost a modality are found, with it and without."""
    cutoff = int(page.artefact.metrics[-1].split("@")[1])
    shown = []
    for study, dataset in page.published():
        results = [row for row in study.result(page.artefact.id, dataset) if _finished(row)]
        whole = {row.row.model: row for row in results if not row.row.settings}
        losses = [(row, _losses(row)) for row in results]
        worst = max((share for _, lost in losses for share in lost.values()), default=0)
        rows = []
        for row, lost in losses:
            if worst not in lost.values() or row.row.model not in whole:
                continue
            hit = _affected(study, dataset, lost)
            cells = []
            for keep in (hit, ~hit):
                before, after = (_found(result, keep, cutoff) for result in (whole[row.row.model], row))
                cells += [mean_sd(100 * before, 2), mean_sd(100 * after, 2)]
            label = f"{whole[row.row.model].row.label} without {' and '.join(lost)}"
            rows.append([label, f"{100 * hit.mean():.0f}", *cells])
        if not rows:
            continue
        header = ["", "held-out, %", "of affected: nothing missing", f"{worst} % missing", "of others: nothing missing"]
        caption = (
            f"Held-out purchases on {tables.dataset_title(dataset)} that stand among a user's first {cutoff} items,"
            f" in percent: of the items that lost the modality when {worst} % did, and of the others. Mean ± sd over"
            " seeds; every purchase counts once."
        )
        name = f"tbl-{page.paper.id}-affected-{dataset}"
        shown.append(tables.myst_table([*header, f"{worst} % missing "], rows, caption, name))
    return tables.show(*shown) if shown else tables.show("Not yet run.")


def _losses(row: RowResult) -> dict[str, int]:
    """Returns which modalities a row takes from items: modality -> share of items in percent."""
    found = [match.groups() for name in row.row.settings.get("features", ()) if (match := MISSING.match(name))]
    return {kind: int(share) for kind, share in found}


def _affected(study: Study, dataset: str, lost: dict[str, int]) -> np.ndarray:
    """Returns which held-out pairs have an item that lost one of these modalities, (n_pairs,) bool."""
    facts = known_cases(study.store, dataset)
    return np.any([np.round(100 * facts[f"pair_lost_{kind}"]) <= share for kind, share in lost.items()], axis=0)


def _found(row: RowResult, keep: np.ndarray, cutoff: int) -> np.ndarray:
    """Returns the share of the kept held-out pairs among the first `cutoff` items, (n_seeds,)."""
    return np.asarray([per_case(record.arrays["test_rank"][keep], f"prec@{cutoff}").mean() for record in row.records])


def missing_lines(
    study: Study, artefact: str, dataset: str, metric: str
) -> dict[str, tuple[str, dict[int, list[float]]]]:
    """Returns name -> (model, share missing in percent -> values over seeds), one entry per model and kind of loss.

    A model that no row takes anything from is a flat line: the same runs at every share.
    """
    results = [row for row in study.result(artefact, dataset) if _finished(row)]
    whole = {row.row.model: row for row in results if not row.row.settings}
    lines: dict[str, tuple[str, dict[int, list[float]]]] = {}
    for row in results:
        if (lost := _losses(row)) and row.row.model in whole:
            name = f"{whole[row.row.model].row.label} without {' and '.join(lost)}"
            start = {0: whole[row.row.model].metric(metric)}
            lines.setdefault(name, (row.row.model, start))[1][max(lost.values())] = row.metric(metric)
    shares = sorted({share for _, values in lines.values() for share in values}) or [0]
    for model, row in whole.items():
        if model not in {name for name, _ in lines.values()}:
            lines[row.row.label] = (model, {share: row.metric(metric) for share in shares})
    return lines


def _finished(row: RowResult) -> bool:
    return row.complete and all(record.finished for record in row.records)
