"""The page on what an ID knows (IDSF-2): correlations, shared neighbours, heat maps and maps of item IDs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from IPython.display import Markdown

from disentrec.report import figures, tables
from disentrec.report.chapter import Chapter, analysed, mean_sd
from disentrec.report.chapters import id_figures
from disentrec.study import RowResult, RunRecord

#: What an ID is set against: name in the records -> as printed.
AGAINST = {"text": "text", "image": "image", "co_users": "common buyers", "two_hop": "two steps on the graph"}
UNTRAINED, TRAINED = "before", "after"
CONTENT = ("text", "image")
#: A column of a table: its title, the state of the model, and the prefix of the ID table's measures.
Column = tuple[str, str, str]


def semantics_tables(page: Chapter) -> Markdown:
    """Returns two tables per data set and model: rank correlations, plain and partial; neighbours and read-off."""
    shown = []
    for dataset, row, records in _analysed_rows(page):
        columns = _columns(row.row.label, records[0].content["extra"][TRAINED])
        title, name = tables.dataset_title(dataset), f"{page.paper.id}-{row.row.id}-{dataset}"
        rows = [
            [label + given * (key == "partial"), _chance(records, columns, f"{key}_{against}"), *cells]
            for against, label in AGAINST.items()
            for given in [", given common buyers" if against in CONTENT else ", given text and image"]
            for key in ("spearman", "partial")
            if (cells := _cells(records, columns, f"{key}_{against}"))
        ]
        header = ["similarity by ID and by", "by chance", *(column[0] for column in columns)]
        caption = (
            f"Rank correlations over pairs of items of {title}, IDs of {row.row.label}; mean ± sd over seeds. By"
            " chance: what 95 % of IDs that changed places give, in any of the columns."
        )
        shown.append(tables.myst_table(header, rows, caption, f"tbl-{name}-correlations"))
        shown.append(_shared_table(records, columns, title, row.row.label, name))
    return tables.show(*shown) if shown else tables.show("Not yet run.")


def _shared_table(records: Sequence[RunRecord], columns: Sequence[Column], title: str, label: str, name: str) -> str:
    """Returns the table of shared neighbours and of what a regression reads off the IDs, in percent."""
    measures = {
        f"overlap_{key}": (f"nearest items shared with {text}", "overlap_chance") for key, text in AGAINST.items()
    }
    measures |= {f"r2_{key}": (f"{AGAINST[key]}, read off the ID", f"r2_{key}_permuted") for key in CONTENT}
    rows = []
    for measure, (text, chance) in measures.items():
        cells = _cells(records, columns, measure, scale=100, digits=1)
        if cells:
            values = [value for _, state, prefix in columns for value in _values(records, state, prefix + chance)]
            rows.append([text, f"{100 * np.mean(values):.1f}".replace("-", "−"), *cells])
    header = ["percent", "by chance", *(column[0] for column in columns)]
    caption = (
        f"IDs of {label} on {title}: how many of an item's ten nearest by ID are among its ten nearest by something"
        " else, and the variance of its content that a ridge regression reads off IDs it was not fitted on. Mean ± sd"
        " over seeds. By chance: of a random list, and of IDs that changed places."
    )
    return tables.myst_table(header, rows, caption, f"tbl-{name}-shared")


def semantics_figure(page: Chapter) -> Markdown:
    """Returns one figure per data set: every correlation, plain and partial, beside its interval of chance."""
    parts = []
    for dataset, rows in _by_dataset(page):
        panels = {}
        for key, panel in (("spearman", "as they are"), ("partial", "the other held fixed")):
            lines = panels.setdefault(panel, [])
            for against, label in AGAINST.items():
                for number, (row, records) in enumerate(rows):
                    measure = f"{key}_{against}"
                    values = {state: _values(records, state, measure) for state in (UNTRAINED, TRAINED)}
                    if not values[TRAINED]:
                        continue
                    chance = _bounds(records, [("", TRAINED, "")], measure)
                    lines.append((label if not number else "", row.row, values[UNTRAINED], values[TRAINED], chance))
        title = tables.dataset_title(dataset)
        caption = (
            f"Rank correlation of the IDs' similarity with other similarities, on {title}. Dot: trained, mean over"
            " seeds, its bar from the smallest to the largest; ring: untrained; grey: by chance. Held fixed: common"
            " buyers for text and image, these two for the rest."
        )
        alt = f"Dot plots of rank correlations of IDs on {title}. " + ". ".join(
            f"{panel.capitalize()}: "
            + "; ".join(f"{row.label} {name} {np.mean(after):+.2f}" for name, row, _, after, _ in _named(lines))
            for panel, lines in panels.items()
        )
        drawing = id_figures.correlations_figure(panels)
        parts.append(figures.myst_figure(drawing, f"{page.paper.id}-semantics-{dataset}", caption, alt))
    return tables.show(*parts) if parts else tables.show("Not yet run.")


def _named(lines: Sequence[tuple]) -> Iterator[tuple]:
    """Yields lines of a figure, each with its name, which a figure prints once for several."""
    name = ""
    for line in lines:
        name = line[0] or name
        yield (name, *line[1:])


def heats(page: Chapter) -> Markdown:
    """Returns one figure per data set: who is alike by ID, and who by content and by buyers, the same items in each."""
    parts = []
    for dataset, rows in _by_dataset(page):
        first = rows[0][1][0].arrays
        panels = [(f"{rows[0][0].row.label}, untrained", first[f"{UNTRAINED}_heat_id"])]
        panels += [(f"{row.row.label}, trained", records[0].arrays[f"{TRAINED}_heat_id"]) for row, records in rows]
        panels += [
            (f"by {label}", first[key]) for name, label in AGAINST.items() if (key := f"{TRAINED}_heat_{name}") in first
        ]
        codes, title = first[f"{TRAINED}_map_label"], tables.dataset_title(dataset)
        names = [str(name) for name in first[f"{TRAINED}_map_name"]]
        caption = (
            f"Which of {len(codes)} items of {title} are alike by their IDs, and, below, by what else is known of them."
            " The items are the same in every panel, as many of every popularity, by category and then by the number of"
            " their buyers. Squares along the diagonal: categories whose items are alike. One seed."
        )
        present = [names[code] for code in np.unique(codes)]
        alt = (
            f"Heat maps of similarities of {len(codes)} items of {title}: {'; '.join(panel[0] for panel in panels)}."
            f" Categories in their order: {', '.join(present)}."
        )
        drawing = id_figures.heats_figure(panels, codes, names)
        parts.append(figures.myst_figure(drawing, f"{page.paper.id}-heats-{dataset}", caption, alt))
    return tables.show(*parts) if parts else tables.show("Not yet run.")


def maps(page: Chapter) -> Markdown:
    """Returns one figure per data set: t-SNE maps of the IDs of both models, coloured by category."""
    parts = []
    for dataset, rows in _by_dataset(page):
        panels = []
        for row, records in rows:
            arrays = records[0].arrays
            trust = records[0].content["extra"][TRAINED]["map_trustworthiness"]
            names = [str(name) for name in arrays[f"{TRAINED}_map_name"]]
            panels.append(
                (f"{row.row.label}: trust {trust:.2f}", arrays[f"{TRAINED}_map"], arrays[f"{TRAINED}_map_label"])
            )
        title = tables.dataset_title(dataset)
        caption = (
            f"t-SNE of the trained IDs of {len(panels[0][1])} items of {title}, one seed, by category. Trust: how far"
            " the map's neighbours are true ones. Distances between clusters mean nothing."
        )
        alt = f"Scatter maps of item IDs on {title}, coloured by {', '.join(names)}. " + "; ".join(p[0] for p in panels)
        drawing = id_figures.maps_figure(panels, names)
        parts.append(figures.myst_figure(drawing, f"{page.paper.id}-id-maps-{dataset}", caption, alt))
    return tables.show(*parts) if parts else tables.show("Not yet run.")


def _analysed_rows(page: Chapter) -> Iterator[tuple[str, RowResult, list[RunRecord]]]:
    """Yields data set, row and its analysed records."""
    for study, dataset in page.published():
        for row in study.result(page.artefact.id, dataset):
            records = analysed(study, page.artefact.id, row.row.id, dataset)
            if records:
                yield dataset, row, records


def _by_dataset(page: Chapter) -> Iterator[tuple[str, list[tuple[RowResult, list[RunRecord]]]]]:
    """Yields data set and its analysed rows, the reference first."""
    found: dict[str, list[tuple[RowResult, list[RunRecord]]]] = {}
    for dataset, row, records in _analysed_rows(page):
        found.setdefault(dataset, []).append((row, records))
    yield from found.items()


def _columns(label: str, measures: Mapping[str, float]) -> list[Column]:
    """Returns the columns of a model's tables: its IDs untrained and trained, then its other tables."""
    columns = [("untrained", UNTRAINED, ""), ("trained", TRAINED, "")]
    for name in measures:
        prefix = name.removesuffix("partial_co_users")
        if prefix and prefix != name:
            word = prefix.rstrip("_")
            if word == "propagated":
                columns += [("untrained, propagated", UNTRAINED, prefix), ("trained, propagated", TRAINED, prefix)]
            elif word != "shared":
                columns.append((f"trained, those of its {word}", TRAINED, prefix))
    return columns


def _values(records: Sequence[RunRecord], state: str, measure: str) -> list[float]:
    found = [record.content["extra"][state].get(measure) for record in records]
    return [value for value in found if value is not None]


def _cells(
    records: Sequence[RunRecord], columns: Sequence[Column], measure: str, scale: float = 1, digits: int = 3
) -> list[str]:
    """Returns mean ± sd of a measure in every column; nothing if no column has it."""
    values = [_values(records, state, prefix + measure) for _, state, prefix in columns]
    if not any(values):
        return []
    return [mean_sd(scale * np.asarray(one), digits).replace("-", "−") for one in values]


def _bounds(records: Sequence[RunRecord], columns: Sequence[Column], measure: str) -> tuple[float, float]:
    """Returns the widest interval of chance in any of the columns."""
    low, high = (
        [value for _, state, prefix in columns for value in _values(records, state, f"{prefix}{measure}_{end}")]
        for end in ("low", "high")
    )
    return min(low), max(high)


def _chance(records: Sequence[RunRecord], columns: Sequence[Column], measure: str) -> str:
    low, high = _bounds(records, columns, measure)
    return f"{low:+.3f} to {high:+.3f}".replace("-", "−")
