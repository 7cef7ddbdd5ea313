"""Pages on open questions that vary one number: how much there is to learn from, how fine attributes are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from IPython.display import Markdown

from disentrec.models.attributes import ATTRIBUTES
from disentrec.report import figures, tables
from disentrec.report.chapter import Chapter
from disentrec.report.chapters import id_figures
from disentrec.report.truth.parts import together
from disentrec.study import RowResult, Study
from disentrec.study.sources import sources

NOTHING_YET = "Nothing to say before the runs are there."
#: Settings of AD-DRL that the page on fineness varies -> as printed.
FINENESS = {"bins": "levels of price and popularity", "attributes": "attributes with a chunk of their own"}


def finished(row: RowResult) -> bool:
    """Returns whether every planned run of a row is there and none diverged."""
    return row.complete and all(record.finished for record in row.records)


# ------------------------------------------------------------------ size of train


def size_lines(study: Study, artefact: str, dataset: str, metric: str) -> dict[str, tuple[str, dict[float, float]]]:
    """Returns label -> (model, share of train -> mean over seeds) for models that were run at two shares or more."""
    lines: dict[str, tuple[str, dict[float, float]]] = {}
    for row in study.result(artefact, dataset):
        if finished(row):
            share = float(row.row.protocol.get("train_share", 1.0))
            label = row.row.label.partition(",")[0]
            lines.setdefault(label, (row.row.model, {}))[1][share] = float(np.mean(row.metric(metric)))
    return {label: (model, dict(sorted(v.items()))) for label, (model, v) in lines.items() if len(v) > 1}


def size_figures(page: Chapter) -> Markdown:
    """Returns one figure per data set: accuracy over the share of train, of the shares that every line has."""
    metric, parts = page.artefact.metrics[-1], []
    for study, dataset in page.published():
        lines = size_lines(study, page.artefact.id, dataset, metric)
        shares = sorted(set.intersection(*(set(values) for _, values in lines.values()))) if lines else []
        if len(shares) < 2:
            continue
        title, name = tables.dataset_title(dataset), tables.metric_title(metric)
        kept = {label: (model, [100 * values[share] for share in shares]) for label, (model, values) in lines.items()}
        drawing = figures.lines_figure(
            [f"{100 * share:g} %" for share in shares], kept, "share of the training part", f"{name}, percent"
        )
        caption = (
            f"{name} on {title} when models train on a share of the training part. Mean over seeds; the test part is"
            " the same throughout."
        )
        alt = f"Lines of {name} on {title} over the share of the training part. " + "; ".join(
            f"{label} from {values[0]:.2f} to {values[-1]:.2f}" for label, (_, values) in kept.items()
        )
        parts.append(figures.myst_figure(drawing, f"{page.paper.id}-size-{dataset}", caption, alt))
    return tables.show(*parts) if parts else tables.show("Not yet run.")


def size_sentences(page: Chapter) -> Markdown:
    """Returns per data set who is best at every share, and what each model keeps at the smallest one."""
    metric, said = page.artefact.metrics[-1], []
    for study, dataset in page.published():
        lines = {label: values for label, (_, values) in size_lines(study, page.artefact.id, dataset, metric).items()}
        shares = sorted(set.intersection(*map(set, lines.values()))) if lines else []
        if len(shares) < 2:
            continue
        best = {share: max(lines, key=lambda label, at=share: lines[label][at]) for share in shares}
        least, title = shares[0], tables.dataset_title(dataset)
        kept = sorted(((values[least] / values[shares[-1]], label) for label, values in lines.items()), reverse=True)
        leaders = dict.fromkeys(best.values())
        order = (
            f"{best[least]} is best at every share"
            if len(leaders) == 1
            else "; ".join(f"best at {100 * share:g} %: {label}" for share, label in best.items())
        )
        said.append(
            f"- On {title}, {order}. Of its own {tables.metric_title(metric)} with all training data, at"
            f" {100 * least:g} % {', '.join(f'{label} keeps {100 * share:.0f} %' for share, label in kept)}."
        )
    return tables.show("\n".join(said) or NOTHING_YET)


# ------------------------------------------------------------------ fineness of attributes


def fineness_panels(
    study: Study, artefact: str, dataset: str, metric: str
) -> dict[str, tuple[dict[float, list[float]], float]]:
    """Returns, per setting of FINENESS, the metric over seeds by the setting's value, and the reference's value.

    An attribute counts where the data set knows it; popularity is known everywhere.
    """
    results = study.result(artefact, dataset)
    reference = next(row for row in results if row.row.id == study.paper.artefact(artefact).reference)
    if not finished(reference):
        return {}
    has = set(sources()[dataset].modalities) | {"popularity"}
    panels = {}
    for key in FINENESS:
        rows = [row for row in results if list(row.row.settings) == [key] and finished(row)]
        points = {_amount(row.row.settings[key], has): row.metric(metric) for row in rows}
        if points:
            config = reference.records[0].spec.config()
            chosen = _amount(getattr(config, key), has)
            points[chosen] = reference.metric(metric)
            panels[key] = (dict(sorted(points.items())), chosen)
    return panels


def fineness_figures(page: Chapter) -> Markdown:
    """Returns one figure per data set: a panel for levels, one for the number of attributes."""
    metric, parts = page.artefact.metrics[-1], []
    for study, dataset in page.published():
        panels = fineness_panels(study, page.artefact.id, dataset, metric)
        if not panels:
            continue
        title, name = tables.dataset_title(dataset), tables.metric_title(metric)
        drawing = id_figures.sweeps_figure(
            {FINENESS[key]: panel for key, panel in panels.items()}, f"{name}, percent", model="addrl"
        )
        caption = (
            f"{name} of AD-DRL on {title} by the fineness of its attributes. Line: mean over seeds; dots: each seed;"
            " ring: the setting of all other tables. The axis does not begin at zero."
        )
        alt = f"Lines of {name} in percent on {title}. " + ". ".join(
            f"{FINENESS[key]}: "
            + "; ".join(f"{value:g}: {100 * np.mean(seeds):.2f}" for value, seeds in points.items())
            for key, (points, _) in panels.items()
        )
        parts.append(figures.myst_figure(drawing, f"{page.paper.id}-fineness-{dataset}", caption, alt))
    return tables.show(*parts) if parts else tables.show("Not yet run.")


def fineness_sentences(page: Chapter) -> Markdown:
    """Returns per data set and setting the best value, what it gains on that of all tables, and which are clear."""
    metric, said = page.artefact.metrics[-1], []
    for study, dataset in page.published():
        panels = fineness_panels(study, page.artefact.id, dataset, metric)
        compared = (
            {c.row: c for c in tables.row_comparisons(study, page.artefact.id, dataset, metric)} if panels else {}
        )
        for key, (points, chosen) in panels.items():
            best = max(points, key=lambda value, of=points: np.mean(of[value]))
            gain = np.mean(points[best]) - np.mean(points[chosen])
            rows = [row for row in page.artefact.rows if list(row.settings) == [key] and row.id in compared]
            clear = [row.label for row in rows if compared[row.id].clear]
            title = tables.dataset_title(dataset)
            than = f", {tables.signed(gain)} points of {tables.metric_title(metric)} against the {chosen:g}"
            than = f"{than} of all other tables" if best != chosen else ", the setting of all other tables"
            said.append(
                f"- On {title}, {FINENESS[key]}: best with {best:g}{than}. Clearly different from that setting:"
                f" {', '.join(clear) or 'none'}."
            )
    return tables.show("\n".join(said) or NOTHING_YET)


def joined(pages: Sequence[Chapter], name: str) -> Markdown | None:
    """Returns what a method of several pages says, one after the other."""
    return together(*(getattr(page, name)() for page in pages))


def _amount(value: object, has: set[str]) -> float:
    """Returns a number of levels as it is, and of attributes how many of them the data set knows."""
    if isinstance(value, list | tuple):
        return float(len(set(value) & set(ATTRIBUTES) & has))
    return float(value)
