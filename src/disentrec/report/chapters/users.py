"""Pages on AD-DRL's chunks: what they know, what they say of users, and control by attribute."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from IPython.display import Markdown

from disentrec.report import figures, tables
from disentrec.report.chapter import Chapter, analysed, analysis_tables, mean_sd
from disentrec.report.chapters import chunk_figures
from disentrec.report.chapters.chunk_figures import two_digits
from disentrec.study import RunRecord, Study

MEASURES = {
    "sap": "lead of an attribute's best chunk over the second (SAP)",
    "mig": "the same lead in information (MIG)",
    "dci_disentanglement": "does a chunk hold one attribute only (DCI, disentanglement)",
    "dci_completeness": "is an attribute in one chunk only (DCI, completeness)",
    "informativeness": "how well attributes can be read off their best chunk",
    "map_trustworthiness": "trustworthiness: how far the map's neighbours are true ones",
}


def measures_table(page: Chapter) -> Markdown:
    """Returns how well chunks and attributes match, before and after training, and of the control."""
    return analysis_tables(page, MEASURES, "How well chunks and attributes match on {title}")


def probes(page: Chapter) -> Markdown:
    """Returns one figure per data set: what a probe reads off every chunk, mean over seeds, and of the control."""
    parts = []
    for dataset, rows in _analysed(page):
        (_, own), *others = rows
        chunks, attributes = _names(own, "probe")
        if not attributes:
            continue
        panels = {"untrained": _matrix(own, "probe", chunks, attributes, "before")}
        panels["trained"] = _matrix(own, "probe", chunks, attributes)
        for label, records in others:
            panels[label] = _matrix(records, "probe", chunks, attributes)
        title = tables.dataset_title(dataset)
        caption = (
            f"What a linear probe reads off every chunk on {title}, mean over seeds: {_label(page)} untrained and"
            f" trained, and the control{'s' * (len(others) > 1)}. Framed: the chunk's own attribute. 1 is always right,"
            " 0 is as good as naming the commonest value."
        )
        alt = f"Heat maps of what chunks know on {title}. " + "; ".join(
            f"{panel}, own attributes: "
            + ", ".join(f"{name} {two_digits(values[chunks.index(name), k])}" for k, name in enumerate(attributes))
            for panel, values in panels.items()
        )
        drawing = chunk_figures.probe_figure(panels, chunks, attributes)
        parts.append(figures.myst_figure(drawing, f"{page.paper.id}-probes-{dataset}", caption, alt))
    return _shown(parts)


def maps(page: Chapter) -> Markdown:
    """Returns one t-SNE figure per data set: chunks of sampled items before and after training, of one seed."""
    parts = []
    for dataset, rows in _analysed(page):
        record = rows[0][1][0]
        chunks = _chunks(record)
        values = record.arrays["after_map_value"]
        panels = {"untrained": record.arrays["before_map"], "trained": record.arrays["after_map"]}
        trust = [record.content["extra"][state]["map_trustworthiness"] for state in ("before", "after")]
        title = tables.dataset_title(dataset)
        caption = (
            f"t-SNE of the fused chunks of {values.shape[1]} sampled items of {title}, one seed. Left: by chunk. Right:"
            " by the value of the chunk's own attribute, its commonest values in colour; free chunks and other values"
            f" are faint. Trustworthiness {trust[0]:.2f} untrained, {trust[1]:.2f} trained."
        )
        alt = f"Four scatter plots of chunks of {title}: untrained and trained, each by chunk and by attribute value."
        drawing = chunk_figures.chunk_map_figure(panels, values, chunks, chunks[: len(values)])
        parts.append(figures.myst_figure(drawing, f"{page.paper.id}-chunk-maps-{dataset}", caption, alt))
    return _shown(parts)


def preference_tables(page: Chapter) -> Markdown:
    """Returns one table per data set: shares of the scores by chunk, and their agreement with the truth if known."""
    shown = []
    for dataset, rows in _analysed(page):
        names = _chunks(rows[0][1][0])
        known = "preference_agreement" in _extra(rows[0][1][0])
        header = ["chunk", *(f"{label}: {what}" for label, _ in rows for what in ("share, %", "sd over users, %"))]
        header += [f"{label}: agreement with truth" for label, _ in rows] if known else []
        lines = []
        for name in [*names, "mean"] if known else names:
            cells = [name]
            for _, records in rows:
                for measure in (f"share_{name}", f"share_sd_{name}"):
                    cells.append("" if name == "mean" else _cell(records, measure, 1, scale=100))
            if known:
                measure = "preference_agreement" if name == "mean" else f"preference_{name}"
                cells += [_cell(records, measure, 2) for _, records in rows]
            lines.append(cells)
        title = tables.dataset_title(dataset)
        caption = (
            f"How much of the scores of a user's first 20 items each chunk gives on {title}: mean over users, and"
            " how far users differ; mean ± sd over seeds."
        )
        if known:
            caption += " Agreement: rank correlation over users with the true weight of the attribute; 0 is chance."
        shown.append(tables.myst_table(header, lines, caption, f"tbl-{page.paper.id}-preferences-{dataset}"))
    return _shown(shown)


def preference_figures(page: Chapter) -> Markdown:
    """Returns a figure per data set whose truth is known: what types of customers go by, and what the chunks say."""
    parts = []
    for dataset, rows in _analysed(page):
        record = rows[0][1][0]
        if "after_type_truth" not in record.arrays:
            continue
        measures = _extra(record)
        names = [name for name in _chunks(record) if f"preference_{name}" in measures]
        said = {name: two_digits(measures[f"preference_{name}"]) for name in names}
        title = tables.dataset_title(dataset)
        caption = (
            f"Types of customers of {title}: what they go by, and the share of the scores that {_label(page)}'s chunk"
            " of that attribute gives to their users, relative to all users; one seed. In the titles: rank correlation"
            " over users."
        )
        alt = f"Scatter plots over types of customers of {title}, with rank correlations: " + ", ".join(
            f"{name} {value}" for name, value in said.items()
        )
        arrays = record.arrays["after_type_truth"], record.arrays["after_type_share"]
        drawing = chunk_figures.preference_figure(*arrays, [f"{name}: {value}" for name, value in said.items()])
        parts.append(figures.myst_figure(drawing, f"{page.paper.id}-preferences-{dataset}", caption, alt))
    return tables.show(*parts or ["No data set of this page has a known truth and runs."])


def control_figures(page: Chapter) -> Markdown:
    """Returns one figure per data set: what turning a chunk up changes among the first items, mean over seeds."""
    parts = []
    for dataset, rows in _analysed(page):
        chunks, attributes = _names(rows[0][1], "turned")
        if not attributes:
            continue
        panels = {label: _matrix(records, "turned", chunks, attributes) for label, records in rows}
        title = tables.dataset_title(dataset)
        caption = (
            f"Change in the share of the first 20 items on {title} that show the user's usual value of an attribute"
            " (colour) when one chunk's weight is tripled, mean over seeds. Filled, with its number: the chunk's own"
            " attribute."
        )
        alt = f"Dot plots of changes by attribute on {title} in points. " + "; ".join(
            f"{label}, own attributes: "
            + ", ".join(
                f"{name} {tables.signed(values[chunks.index(name), k], 1)}" for k, name in enumerate(attributes)
            )
            for label, values in panels.items()
        )
        drawing = chunk_figures.control_figure(panels, chunks, attributes)
        parts.append(figures.myst_figure(drawing, f"{page.paper.id}-control-{dataset}", caption, alt))
    return _shown(parts)


def control_tables(page: Chapter) -> Markdown:
    """Returns one table per data set: what a chunk that is turned up moves of its own attribute, and of the others."""
    shown = []
    for dataset, rows in _analysed(page):
        names = [name for name in _chunks(rows[0][1][0]) if f"control_target_{name}" in _extra(rows[0][1][0])]
        if not names:
            continue
        lines = []
        for name in names:
            cells = [name]
            for _, records in rows:
                cells += [_cell(records, f"control_{what}_{name}", 1, scale=100) for what in ("target", "collateral")]
            lines.append(cells)
        leads = [["", _cell(records, "control_lead", 1, scale=100)] for _, records in rows]
        lines.append(["target less collateral, mean", *(cell for pair in leads for cell in pair[::-1])])
        header = ["chunk turned up", *(f"{label}: {what}" for label, _ in rows for what in ("own", "others"))]
        caption = (
            f"What tripling a chunk's weight changes among the first 20 items on {tables.dataset_title(dataset)}, in"
            " percentage points of items that show the user's usual value; others: in either direction, mean. Mean ± sd"
            " over seeds."
        )
        shown.append(tables.myst_table(header, lines, caption, f"tbl-{page.paper.id}-control-{dataset}"))
    return _shown(shown)


def _analysed(page: Chapter) -> Iterator[tuple[str, list[tuple[str, list[RunRecord]]]]]:
    """Yields every data set with analysed runs: (label, records) of its rows, the reference first."""
    for study, dataset in page.published():
        found = _rows(page, study, dataset)
        if found and found[0][0] == _label(page):
            yield dataset, found


def _rows(page: Chapter, study: Study, dataset: str) -> list[tuple[str, list[RunRecord]]]:
    rows = sorted(study.rows(page.artefact, dataset), key=lambda row: row.id != page.artefact.reference)
    pairs = ((row.label, analysed(study, page.artefact.id, row.id, dataset)) for row in rows)
    return [(label, records) for label, records in pairs if records]


def _label(page: Chapter) -> str:
    return page.artefact.row(page.artefact.reference).label


def _extra(record: RunRecord, state: str = "after") -> dict[str, float]:
    return record.content["extra"][state]


def _chunks(record: RunRecord) -> list[str]:
    """Returns the chunks of an analysed run, attributes first, in their order."""
    config = record.content["spec"]["config"]
    found = {key.removeprefix("share_") for key in _extra(record) if key.startswith("share_")}
    found = {name for name in found if not name.startswith("sd_")}
    return [*(name for name in config["attributes"] if name in found), *sorted(found - set(config["attributes"]))]


def _names(records: Sequence[RunRecord], kind: str) -> tuple[list[str], list[str]]:
    """Returns chunks and those attributes of which every run measured `<kind>_<chunk>_<attribute>`."""
    chunks = _chunks(records[0])
    return chunks, [
        name for name in chunks if all(f"{kind}_{chunk}_{name}" in _extra(one) for chunk in chunks for one in records)
    ]


def _matrix(
    records: Sequence[RunRecord], kind: str, chunks: list[str], attributes: list[str], state: str = "after"
) -> np.ndarray:
    """Returns a measure of every chunk and attribute, mean over seeds, (chunks, attributes), NaN where none is."""
    keys = [[f"{kind}_{chunk}_{name}" for name in attributes] for chunk in chunks]
    return np.mean([[[_extra(one, state).get(key, np.nan) for key in row] for row in keys] for one in records], 0)


def _cell(records: Sequence[RunRecord], measure: str, digits: int, scale: float = 1.0) -> str:
    """Returns mean ± sd of a measure over seeds as printed, a dash where it is not defined."""
    values = [scale * _extra(one)[measure] for one in records if measure in _extra(one)]
    return mean_sd(values, digits).replace("-", "−") if values else "–"


def _shown(parts: list[str]) -> Markdown:
    return tables.show(*parts or ["Not yet run."])
