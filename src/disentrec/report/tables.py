"""Tables of the book, computed from run records; a run that is missing is shown as missing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np
from IPython.display import Markdown

from disentrec.evaluation.metrics import per_case, per_user
from disentrec.report.compare import Comparison, compare_rows
from disentrec.study import RowResult, Study
from disentrec.study.cases import CEILINGS, known_cases, known_dataset
from disentrec.study.sources import sources

NOT_RUN = "not yet run"
#: Signs that Markdown, MyST or HTML could take for theirs.
MARKUP = re.compile(r"[^\w .,;\u0080-\U0010ffff/()'%?-]|_")
#: Metrics that fit beside a difference, its interval and its p on a page.
WIDEST = 3
ALIGN = {"l": ":--", "r": "--:"}
#: So many rows with a reference of their own are named in a caption.
MOST_NAMED = 6
METRIC_NAMES = {
    "prec": "Prec", "mrr": "MRR", "ndcg": "NDCG", "recall": "Recall", "precision": "Precision", "hit": "Hit rate",
    "released-ndcg": "NDCG as released",
}  # fmt: skip
CEILING_LABELS = {
    "all": "Bayes optimum",
    "type": "Bayes optimum, user type known",
    "id": "Oracle of co-occurrence only",
    "modality": "Oracle of modality only",
    "popularity": "Oracle of popularity only",
}
#: Of users: exact for what a coming session begins with, less than the optimum for what follows (bazaar/users.py).
USER_CEILING_LABELS = {"all": "Optimum (lower bound)", "type": "Optimum (lower bound), user type known"}


def myst_table(header: Sequence[str], rows: Iterable[Sequence[str]], caption: str, name: str, align: str = "lr") -> str:
    """Returns a numbered MyST table; `name` is the label other pages refer to, `align` that of `plain_table`.

    Raises ValueError for a caption with a backtick, which would end the table before it begins.
    """
    if "`" in caption:
        raise ValueError(f"a caption with a backtick is no caption to MyST: {caption}")
    return f"```{{table}} {caption}\n:name: {name}\n\n{plain_table(header, rows, align)}```\n"


def plain_table(header: Sequence[str], rows: Iterable[Sequence[str]], align: str = "lr") -> str:
    """Returns a Markdown table without caption or number.

    `align` has l (words) or r (numbers) for each column from the left; its last letter is that of all the rest.
    """
    marks = [ALIGN[side] for side in align.ljust(len(header), align[-1])]
    return "".join(f"| {' | '.join(map(_cell, line))} |\n" for line in (header, marks, *rows))


def show(*parts: str) -> Markdown | None:
    """Returns MyST text as the output of a cell; None, which leaves the cell without one, where nothing is said."""
    text = "\n\n".join(parts)
    return Markdown(text) if text.strip() else None


def literal(text: str) -> str:
    """Returns text that comes from data such that a page shows it as it is: no markup, no formula, no reference.

    Signs become entities, which Markdown never takes for its own; breaks and control characters become blanks.
    """
    line = " ".join("".join(sign if sign.isprintable() else " " for sign in str(text)).split())
    return MARKUP.sub(lambda found: f"&#{ord(found[0])};", line)


def percent(value: float, digits: int = 2) -> str:
    """Returns a fraction as a percentage without its sign; NaN as a dash."""
    return "–" if np.isnan(value) else f"{100 * value:.{digits}f}"


def signed(value: float, digits: int = 2) -> str:
    """Returns a difference of fractions in percentage points, with a true minus sign."""
    return f"{100 * value:+.{digits}f}".replace("-", "−")


def apart(value: float) -> str:
    """Returns a difference of fractions in words: `2.88 points higher`."""
    return f"{100 * abs(value):.2f} points {'higher' if value > 0 else 'lower'}"


def interval(low: float, high: float) -> str:
    """Returns an interval of differences in percentage points."""
    return f"[{signed(low)}, {signed(high)}]"


def p_value(value: float) -> str:
    """Returns a p value as printed: never zero, never more than three decimals."""
    return "–" if np.isnan(value) else "< .001" if value < 0.001 else f"{value:.3f}".lstrip("0")


def dataset_title(name: str) -> str:
    """Returns the printed name of a data set."""
    return sources()[name].title if name in sources() else literal(name)


def artefact_table(study: Study, artefact: str, dataset: str, *, subset: str | None = None) -> str:
    """Returns the table of an artefact on one data set: every row, mean and sd over seeds, difference and p.

    With `subset` ("repeat", "verbatim") the cases for which that fact holds are left out.
    """
    plan = study.paper.artefact(artefact)
    results = study.result(artefact, dataset)
    metric = plan.metrics[-1]
    tests = {test.row: test for test in row_comparisons(study, artefact, dataset, metric, subset=subset)}
    keep = None if subset is None else ~known_cases(study.store, dataset)[subset]
    header = [
        "",
        *map(metric_title, plan.metrics),
        f"Δ {metric_title(metric)}",
        "95 % interval",
        "p (Holm)",
        "seeds",
    ]
    rows = [_row(result, plan.metrics, tests.get(result.row.id), keep) for result in results]
    without = {None: "", "repeat": ", without targets that repeat an item of their prefix"}
    without |= {"verbatim": ", without sessions that occur in the training part"}
    caption = (
        f"{plan.title} on {dataset_title(dataset)}{without[subset]}. Percent, mean ± sd over seeds; Δ against"
        f" {compared_with(study, artefact, dataset)}."
    )
    # The best ranking is known for the data set's own test part, not for that of another split.
    own = not any("split" in row.protocol for row in plan.rows)
    ceilings = ceiling_rows(study, dataset, plan.metrics) if subset is None and own else []
    name = f"tbl-{study.paper.id}-{artefact}-{dataset}" + (f"-{subset}" if subset else "")
    n = len(plan.metrics)
    if n <= WIDEST:
        return myst_table(header, [*rows, *ceilings], caption, name)
    # Too wide for a page: means of all metrics first, then the spread of the last one and how it differs.
    values = [[row[0], *(cell.partition(" ±")[0] for cell in row[1 : n + 1]), row[-1]] for row in [*rows, *ceilings]]
    differences = [[row[0], *row[n:]] for row in rows]
    first = f"{plan.title} on {dataset_title(dataset)}{without[subset]}. Percent, mean over seeds."
    second = caption.replace(
        "Percent, mean ± sd over seeds; Δ", f"{metric_title(metric)}, percent, mean ± sd over seeds; Δ"
    )
    return "\n".join(
        [
            myst_table([*header[: n + 1], "seeds"], values, first, name),
            myst_table([header[0], *header[n:]], differences, second, f"{name}-differences"),
        ]
    )


def row_comparisons(
    study: Study, artefact: str, dataset: str, metric: str, *, subset: str | None = None
) -> list[Comparison]:
    """Returns every row of an artefact against the row it is compared with, Holm-corrected within the table."""
    return compare_rows(study, artefact, dataset, table_pairs(study, artefact, dataset), metric, subset=subset)


def table_pairs(study: Study, artefact: str, dataset: str) -> list[tuple[str, str]]:
    """Returns (row, the row it is compared with) for every row of an artefact's table that has one."""
    plan = study.paper.artefact(artefact)
    without = not _has_features(study, dataset)
    pairs = []
    for row in study.rows(plan, dataset):
        against = (row.against_without_features if without else None) or row.against or plan.reference
        if against != row.id:
            pairs.append((row.id, against))
    return pairs


def compared_with(study: Study, artefact: str, dataset: str) -> str:
    """Returns in words which row the others are compared with, and the rows that are compared with another one."""
    plan = study.paper.artefact(artefact)
    others: dict[str, list[str]] = {}
    for row, against in table_pairs(study, artefact, dataset):
        if against != plan.reference:
            others.setdefault(plan.row(against).label, []).append(f"*{plan.row(row).label}*")
    said = [f"*{plan.row(plan.reference).label}*"]
    if sum(map(len, others.values())) > MOST_NAMED:
        said.append("changed rows of another model against that model unchanged")
    else:
        said += [f"{', '.join(rows)} against *{against}*" for against, rows in others.items()]
    return "; ".join(said)


def ceiling_rows(study: Study, dataset: str, metrics: Sequence[str]) -> list[list[str]]:
    """Returns the rows of the oracles on the embedded shop; none on data whose truth is unknown."""
    if known_dataset(study.store, dataset) is None:
        return []
    facts = known_cases(study.store, dataset)
    if study.paper.of_users:
        _, counts = np.unique(facts.get("pair_user", []), return_counts=True)
        found = {
            USER_CEILING_LABELS[knowing]: [per_user(facts[f"user_oracle_rank_{knowing}"], counts, m) for m in metrics]
            for knowing in USER_CEILING_LABELS
            if f"user_oracle_rank_{knowing}" in facts
        }
    else:
        found = {
            CEILING_LABELS[knowing]: [per_case(facts[f"oracle_rank_{knowing}"], m) for m in metrics]
            for knowing in CEILINGS
            if f"oracle_rank_{knowing}" in facts
        }
    return [
        [f"*{label}*", *(f"*{percent(float(scores.mean()))}*" for scores in columns), *[""] * 4]
        for label, columns in found.items()
    ]


def known_optimum(facts: dict[str, np.ndarray], task: str) -> bool:
    """True where the best possible ranking of a task is known: of sessions, on the embedded shop."""
    return task == "session" and "oracle_rank_all" in facts


def metric_title(metric: str) -> str:
    """Returns a metric as the papers print it: `mrr@20` -> MRR@20."""
    name, _, cutoff = metric.partition("@")
    return f"{METRIC_NAMES[name]}@{cutoff}"


def _row(result: RowResult, metrics: Sequence[str], test: Comparison | None, keep: np.ndarray | None) -> list[str]:
    if not result.records:
        return [result.row.label, *[NOT_RUN] * len(metrics), "", "", "", "0"]
    diverged = sum(not record.finished for record in result.records)
    cells = [result.row.label]
    for metric in metrics:
        values = [
            record.metric(metric) if keep is None else float(record.scores(metric)[keep].mean())
            for record in result.records
            if record.finished
        ]
        spread = f" ± {percent(float(np.std(values, ddof=1)))}" if len(values) > 1 else ""
        cells.append(percent(float(np.mean(values))) + spread if values else "diverged")
    if test is None or test.test is None:
        cells += ["", "", ""]
    else:
        effect = signed(test.test.effect)
        cells += [f"**{effect}**" if test.clear else effect, interval(test.test.low, test.test.high)]
        cells.append(p_value(test.p_holm))
    notes = [f"{diverged} diverged"] * bool(diverged) + [f"{result.missing} missing"] * bool(result.missing)
    return [*cells, f"{len(result.records)}" + (f" ({', '.join(notes)})" if notes else "")]


def _has_features(study: Study, dataset: str) -> bool:
    info = known_dataset(study.store, dataset)
    return bool(info and info["features"])


def _cell(text: str) -> str:
    """Returns text that cannot break a table or the page: titles come from data."""
    return str(text).replace("|", "\\|").replace("\n", " ")
