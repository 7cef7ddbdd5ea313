"""The page on doses: does what a model says of causes follow them, when their share, overlap or content changes?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from IPython.display import Markdown

from disentrec.report import figures, tables
from disentrec.report.chapter import Chapter, analysed, mean_sd
from disentrec.report.truth.parts import together

#: Data sets of the artefact `dose` by the share of choices by ID among those by ID or modality, percent.
SHARES = {
    0: "bazaar-demo-no-id",
    25: "bazaar-id-25",
    50: "bazaar-id-50",
    75: "bazaar-id-75",
    100: "bazaar-demo-no-modality",
}
#: And by the share of partners that are alike.
ALIKE = {share: f"bazaar-alike-{share:02d}" for share in (0, 25, 50, 75, 100)}
#: Percent of items -> what follows the model's id in the rows of the artefact `content`.
WRONG = {0: "", 25: "-wrong25", 50: "-wrong50", 75: "-wrong75"}
MISSING = {0: "", 30: "-missing30", 60: "-missing60", 90: "-missing90"}
#: A line: name -> (model, means over seeds, NaN where nothing was run).
Lines = dict[str, tuple[str, list[float]]]


def shares(page: Chapter) -> Markdown:
    """Returns the share of choices that models say were made by ID, against the true share."""
    lines = of_datasets(page, SHARES, "id_share", truth=("what is true", "id_true_share"))
    return _drawn(
        lines, SHARES, "truth-dose-share", "choices by ID, percent of those by ID or modality", "said to be made by ID",
        "The share of choices that models attribute to the ID, and the true one, on shops with a growing share of"
        " choices by ID. A model that identifies causes lies on the line of the truth; mean over seeds.",
    )  # fmt: skip


def overlap(page: Chapter) -> Markdown:
    """Returns the AUC of causes where what goes together is more and more what is alike."""
    lines = of_datasets(page, ALIKE, "id_auc", truth=("Bayes' rule", "id_bayes_auc"))
    return _drawn(
        lines, ALIKE, "truth-dose-overlap", "partners that are alike, percent", "AUC of ID against modality",
        "Identification of the cause where a growing share of the items bought together is also alike; 0.5 is chance,"
        " mean over seeds.",
    )  # fmt: skip


def content(page: Chapter) -> Markdown:
    """Returns two figures: the AUC of causes where content is wrong, and where it is missing."""
    shown = []
    for kind, suffixes in (("wrong", WRONG), ("missing", MISSING)):
        lines = of_rows(page, suffixes, "id_auc", truth=("Bayes' rule", "id_bayes_auc"))
        caption = (
            f"Identification of the cause where text and image of a growing share of items are {kind}; the choices stay"
            " the same. 0.5 is chance, mean over seeds."
        )
        xlabel = f"items whose content is {kind}, percent"
        shown.append(_drawn(lines, suffixes, f"truth-dose-{kind}", xlabel, "AUC of ID against modality", caption))
    return together(*shown)


def dose_table(page: Chapter, doses: Mapping[int, str], what: str, caption: str) -> Markdown:
    """Returns one table over the data sets of a dose: a measure of every row, mean ± sd over seeds."""
    rows = [[label, *(mean_sd(values, 2) for values in each)] for label, _, each in _measured(page, doses, what)]
    header = ["", *(f"{dose} %" for dose in doses)]
    return tables.show(tables.myst_table(header, rows, caption, f"tbl-truth-dose-{what}-{min(doses.values())}"))


def response(page: Chapter) -> Markdown:
    """Returns a sentence per model: by how much what it says changes when the truth changes by one point."""
    found = []
    true = _means(page, SHARES, "id_true_share")
    for label, _, each in _measured(page, SHARES, "id_share"):
        said = np.asarray([np.mean(values) if values else np.nan for values in each])
        known = np.isfinite(said) & np.isfinite(true)
        if known.sum() >= 2 and np.ptp(true[known]) > 0:
            slope = np.polyfit(true[known], said[known], 1)[0]
            found.append(
                f"- {label}: for every 10 points more that are true, it says {10 * slope:.1f} points more"
                f" ({known.sum()} of {len(SHARES)} doses)."
            )
    return tables.show("\n".join(found).replace("says -", "says −") or "Nothing to say before the runs are there.")


def of_datasets(page: Chapter, doses: Mapping[int, str], measure: str, truth: tuple[str, str]) -> Lines:
    """Returns a line per row over data sets, and that of the truth, by name."""
    lines = {
        label: (model, [float(np.mean(values)) if values else np.nan for values in each])
        for label, model, each in _measured(page, doses, measure)
    }
    return {**lines, truth[0]: ("", _means(page, doses, truth[1]).tolist())}


def of_rows(page: Chapter, suffixes: Mapping[int, str], measure: str, truth: tuple[str, str]) -> Lines:
    """Returns a line per model over the rows of its doses on the page's first data set, and that of the truth."""
    study = next(iter(page.studies.values()))
    dataset = study.datasets(page.artefact)[0]
    lines: Lines = {}
    best = np.full(len(suffixes), np.nan)
    for row in page.artefact.rows:
        if row.id != row.model:
            continue
        means = []
        for place, suffix in enumerate(suffixes.values()):
            records = analysed(study, page.artefact.id, row.id + suffix, dataset)
            means.append(_mean(records, measure))
            best[place] = np.nanmax([best[place], _mean(records, truth[1])]) if records else best[place]
        lines[row.label] = (row.model, means)
    return {**lines, truth[0]: ("", best.tolist())}


def _measured(page: Chapter, doses: Mapping[int, str], measure: str) -> list[tuple[str, str, list[list[float]]]]:
    """Returns label, model and the values over seeds at every dose, of every row."""
    study = next(iter(page.studies.values()))
    found = []
    for row in page.artefact.rows:
        records = [analysed(study, page.artefact.id, row.id, dataset) for dataset in doses.values()]
        values = [[one.content["extra"]["after"].get(measure) for one in group] for group in records]
        found.append((row.label, row.model, [[v for v in group if v is not None] for group in values]))
    return found


def _means(page: Chapter, doses: Mapping[int, str], measure: str) -> np.ndarray:
    """Returns a fact of the data set that every record repeats, (doses,), NaN where nothing was run."""
    columns = zip(*(each for _, _, each in _measured(page, doses, measure)), strict=True)
    joined = [[value for values in column for value in values] for column in columns]
    return np.asarray([np.mean(values) if values else np.nan for values in joined])


def _mean(records: Sequence, measure: str) -> float:
    values = [record.content["extra"]["after"].get(measure, np.nan) for record in records]
    return float(np.mean(values)) if values else float("nan")


def _drawn(lines: Lines, doses: Mapping[int, str], name: str, xlabel: str, ylabel: str, caption: str) -> Markdown:
    """Returns the figure over the doses that every model was run at; a sentence while these are fewer than two."""
    known = np.isfinite([values for _, values in lines.values()]).all(0)
    if known.sum() < 2:
        return tables.show(f"{xlabel[0].upper()}{xlabel[1:]}: {tables.NOT_RUN}.")
    groups = [f"{dose}" for dose, there in zip(doses, known, strict=True) if there]
    kept = {
        label: (model, [value for value, there in zip(values, known, strict=True) if there])
        for label, (model, values) in lines.items()
    }
    alt = f"{ylabel} by {xlabel}. " + "; ".join(
        f"{label}: " + ", ".join(f"{group} {value:.2f}" for group, value in zip(groups, values, strict=True))
        for label, (_, values) in kept.items()
    )
    drawing = figures.lines_figure(groups, kept, xlabel, ylabel, from_zero=False)
    return tables.show(figures.myst_figure(drawing, name, caption, alt))
