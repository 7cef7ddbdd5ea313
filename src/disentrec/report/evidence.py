"""What bears on a claim: every kind of test that a paper's YAML can name, applied to the records of a store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from disentrec.report.compare import Comparison, compare_rows, score_matrix
from disentrec.report.tables import table_pairs
from disentrec.report.truth.flags import informedness_interval
from disentrec.study import Study
from disentrec.study.cases import known_cases, known_dataset
from disentrec.study.features import known_features
from disentrec.study.papers import Claim
from disentrec.study.study import selection_metric


@dataclass(frozen=True)
class Evidence:
    """One comparison that bears on a claim: on one data set, for one part of its test."""

    part: int
    dataset: str
    what: str
    effect: float
    low: float
    high: float
    holds: bool
    seeds: int
    unit: str


def gather(claim: Claim, studies: Mapping[str, Study]) -> list[Evidence]:
    """Returns the evidence of every part of a claim's test, from all budgets whose runs are complete."""
    return [
        item
        for number, part in enumerate(claim.test.get("parts", ()))
        for study in studies.values()
        for dataset in part.get("datasets", study.datasets(study.paper.artefact(part["artefact"])))
        if known_dataset(study.store, dataset) is not None
        for item in KINDS[part["kind"]](number, part, study, dataset)
    ]


def _pairs(number: int, part: Mapping[str, Any], study: Study, dataset: str) -> Iterator[Evidence]:
    """Rows against rows: `pairs: [[better, worse], ...]`."""
    carried = {row.id for row in study.rows(study.paper.artefact(part["artefact"]), dataset)}
    pairs = [tuple(pair) for pair in part["pairs"] if carried >= set(pair)]
    results = study.results_by_row(part["artefact"], dataset)
    for item in _within_table(study, part, dataset, pairs):
        if item.test is not None:
            labels = [study.paper.artefact(part["artefact"]).row(row).label for row in (item.row, item.against)]
            yield _compared(number, part, dataset, item, " against ".join(labels), len(results[item.row].records))


def _best_rival(number: int, part: Mapping[str, Any], study: Study, dataset: str) -> Iterator[Evidence]:
    """A row against the rival that is best on validation."""
    results = study.results_by_row(part["artefact"], dataset)
    rivals = [name for name in part["rivals"] if name in results]
    if any(score_matrix(results[name], part["metric"]) is None for name in [part["row"], *rivals] if name in results):
        return
    if part["row"] not in results or not rivals:
        return
    valid = {
        name: np.mean([record.metric(selection_metric(record.spec.model), "valid") for record in results[name].records])
        for name in rivals
    }
    best = max(rivals, key=valid.__getitem__)
    pairs = [(part["row"], name) for name in rivals]
    seldom = part.get("seen_at_most")
    for item in _within_table(study, part, dataset, pairs, seen_at_most=seldom):
        if item.against == best and item.test is not None:
            what = f"against {results[best].row.label}, the best baseline on validation"
            what += "" if seldom is None else f", on targets seen at most {seldom} times"
            yield _compared(number, part, dataset, item, what, len(results[item.row].records))


def _compared(number: int, part: Mapping[str, Any], dataset: str, item: Comparison, what: str, seeds: int) -> Evidence:
    effect, low, high = item.test.effect, item.test.low, item.test.high
    return Evidence(number, dataset, what, effect, low, high, item.clearly_better, seeds, part["metric"])


def _within_table(
    study: Study, part: Mapping[str, Any], dataset: str, pairs: list[tuple[str, str]], **cases: Any
) -> list[Comparison]:
    """Returns the comparisons that a claim names, corrected together with all others of the table they stand in."""
    named = {frozenset(pair) for pair in pairs}
    others = [pair for pair in table_pairs(study, part["artefact"], dataset) if frozenset(pair) not in named]
    found = compare_rows(study, part["artefact"], dataset, [*pairs, *others], part["metric"], **cases)
    return found[: len(pairs)]


def _measure(number: int, part: Mapping[str, Any], study: Study, dataset: str) -> Iterator[Evidence]:
    """A measure of analysed runs above (or below) a bound, or that of another row, seed by seed."""
    results = study.results_by_row(part["artefact"], dataset)
    values = _measured(results.get(part["row"]), part["measure"])
    if "against" in part:
        other = _measured(results.get(part["against"]), part["measure"])
        values = values - other if len(values) == len(other) else np.empty(0)
    if len(values) < 2:
        return
    values = values - part.get("bound", 0.0)
    low, high = stats.t.interval(0.95, len(values) - 1, values.mean(), max(stats.sem(values), 1e-12))
    holds = high < 0 if part.get("direction") == "lower" else low > 0
    mean, low, high = float(values.mean()), float(low), float(high)
    yield Evidence(number, dataset, part["what"], mean, low, high, bool(holds), len(values), part["measure"])


def _measured(result, name: str) -> np.ndarray:
    if result is None or not result.complete:
        return np.empty(0)
    found = [record.content["extra"].get("after", {}).get(name) for record in result.records]
    return np.asarray([value for value in found if value is not None], dtype=float)


def _truth(number: int, part: Mapping[str, Any], study: Study, dataset: str) -> Iterator[Evidence]:
    """The flag against the true cause: better than `share` of what Bayes' rule can tell, over cases."""
    facts = known_cases(study.store, dataset)
    results = study.results_by_row(part["artefact"], dataset)
    if "cause" not in facts or part["row"] not in results or not results[part["row"]].complete:
        return
    records = [record for record in results[part["row"]].records if "after_flag" in record.arrays]
    if records:
        # The flag is read off the training sessions alone: it hardly differs between seeds, so cases are resampled.
        effect, low, high = informedness_interval(records[0].arrays["after_flag"], facts, part["share"])
        yield Evidence(number, dataset, part["what"], effect, low, high, low > 0, len(records), "informedness")


def _semantics(number: int, part: Mapping[str, Any], study: Study, dataset: str) -> Iterator[Evidence]:
    """What a pseudo-modality keeps of the real one (encode.pseudo.semantics), less a bound, over items."""
    for name, record in known_features(study.store, dataset).items():
        if name in part["features"] and "semantics" in record:
            value, low, high, _ = (
                bound - part["bound"] * (place < 3) for place, bound in enumerate(record["semantics"]["found"])
            )
            what = f"{name.replace('_', ' ')}, {part['what']}"
            yield Evidence(number, dataset, what, value, low, high, low > 0, 1, "share of items")


KINDS = {"semantics": _semantics, "truth": _truth, "pairs": _pairs, "best_rival": _best_rival, "measure": _measure}
