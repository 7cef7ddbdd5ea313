"""The price of every deviation of a released code: alone against the model as described, and step by step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from disentrec import models
from disentrec.evaluation.significance import PairedTest, holm, paired_bootstrap
from disentrec.report.compare import Comparison, paired_test, score_matrix
from disentrec.report.tables import table_pairs
from disentrec.study import RowResult, Study
from disentrec.study.cases import known_dataset
from disentrec.study.papers import Deviation, Paper
from disentrec.study.steps import RELEASED

#: One metric per task for all prices; that of users is the one that two released codes compute in a way of their own.
METRICS = {"session": "mrr@20", "top-n": "ndcg@20"}
#: What a price says, in words. A change is clear when Holm's p is below .05 and the interval excludes zero.
INFLATES = "inflates the reported number"
RAISES = "raises the number"
HURTS = "hurts the method"
LOWERS = "lowers the reported number"
UNCLEAR = "no clear change"
NOT_RUN = "not yet run"


@dataclass(frozen=True)
class Price:
    """What one deviation (or, without one, all of them together) changes on one data set; test None: not yet run."""

    paper: Paper
    deviation: Deviation | None
    dataset: str
    metric: str
    test: PairedTest | None
    p_holm: float
    #: The number without the deviation.
    base: float

    @property
    def clear(self) -> bool:
        """True when the Holm-corrected p is below .05 and the interval excludes zero."""
        return Comparison(self.dataset, "", "", self.metric, self.test, self.p_holm).clear

    @property
    def verdict(self) -> str:
        """What the deviation does, in words."""
        if self.test is None:
            return NOT_RUN
        if not self.clear:
            return UNCLEAR
        reported = self.deviation is None or self.deviation.group == "evaluation" or self.deviation.sees_test
        if self.test.effect > 0:
            return INFLATES if reported else RAISES
        return LOWERS if reported else HURTS

    @property
    def relative(self) -> float:
        """The change as a share of the number without the deviation; NaN where it was not run."""
        return float("nan") if self.test is None else self.test.effect / self.base


@dataclass(frozen=True)
class Step:
    """One step from the paper to its released code: where the number stands after it, and what it changed."""

    label: str
    value: float
    test: PairedTest | None
    clear: bool


def price_metric(paper: Paper) -> str:
    """Returns the metric that prices of a paper are stated in."""
    return METRICS[models.get(paper.id).task]


def prices(study: Study, dataset: str) -> list[Price]:
    """Returns the price of every deviation that a data set can carry, then of all together, Holm-corrected at once.

    Deviations without a switch have none. A test is None while a run of either row is left.
    """
    paper, metric = study.paper, price_metric(study.paper)
    against = dict(table_pairs(study, "audit", dataset))
    reference = paper.artefact("audit").reference
    table = cache(lambda artefact: study.results_by_row(artefact, dataset))
    found: list[tuple[Deviation | None, PairedTest | None, float]] = []
    for deviation in (*(d for d in paper.deviations if d.switch), None):
        measured = {} if deviation is None else deviation.measured
        if "metric" in measured:
            found.append((deviation, *_read_otherwise(table("waterfall")[reference], metric, measured["metric"])))
            continue
        row = RELEASED if deviation is None else deviation.switch
        plan = {"artefact": "audit", "row": row, "against": against.get(row), **measured}
        if {plan["row"], plan["against"]} <= {r.id for r in study.rows(paper.artefact(plan["artefact"]), dataset)}:
            rows = table(plan["artefact"])
            test = _change(rows, plan["row"], plan["against"], metric)
            found.append((deviation, test, _mean(rows[plan["against"]], metric)))
    # What was not run yet counts among the looks, so that a verdict does not fade when the rest comes in.
    corrected = holm(np.asarray([1.0 if test is None else test.p_value for _, test, _ in found]))
    return [
        Price(paper, deviation, dataset, metric, test, float(p_holm), base)
        for (deviation, test, base), p_holm in zip(found, corrected, strict=True)
    ]


def steps(study: Study, dataset: str) -> list[Step]:
    """Returns the steps from the paper as described to its released code; none while one of their runs is left.

    Where the release computes the metric in a way of its own, the last step reads the last runs by it.
    """
    metric = price_metric(study.paper)
    table = study.results_by_row("waterfall", dataset)
    rows = list(table.values())
    if any(score_matrix(row, metric) is None for row in rows):
        return []
    tests = [_change(table, *pair, metric) for pair in table_pairs(study, "waterfall", dataset)]
    labels, values = [row.row.label for row in rows], [_mean(row, metric) for row in rows]
    for deviation in study.paper.deviations:
        if "metric" in deviation.measured:
            test, _ = _read_otherwise(rows[-1], metric, deviation.measured["metric"])
            tests.append(test)
            labels.append(f"+ their own NDCG ({deviation.id})")
            values.append(_mean(rows[-1], deviation.measured["metric"]))
    corrected = holm(np.asarray([test.p_value for test in tests]))
    clear = [p < 0.05 and test.low * test.high > 0 for test, p in zip(tests, corrected, strict=True)]
    return [
        Step(label, value, test, bool(is_clear))
        for label, value, test, is_clear in zip(labels, values, [None, *tests], [False, *clear], strict=True)
    ]


def known_sets(studies: Mapping[str, Study]) -> Iterator[tuple[Study, str]]:
    """Yields the data sets of a paper's audit that the store knows, budget by budget."""
    for study in studies.values():
        for dataset in study.datasets(study.paper.artefact("audit")):
            if known_dataset(study.store, dataset) is not None:
                yield study, dataset


def unpriced(paper: Paper) -> list[Deviation]:
    """Returns the deviations that no switch turns on; their note says why they carry no number."""
    return [deviation for deviation in paper.deviations if not deviation.switch]


def order(found: Sequence[Price]) -> list[tuple[Deviation, list[Price]]]:
    """Returns the prices of each deviation together, the largest relative change on any data set first.

    What was not run comes last, in the order of the papers.
    """
    groups: dict[str, list[Price]] = {}
    for price in found:
        if price.deviation is not None:
            groups.setdefault(price.deviation.id, []).append(price)

    def size(group: list[Price]) -> tuple[bool, float]:
        changes = [abs(price.relative) for price in group if price.test is not None]
        return (any(price.clear for price in group), max(changes)) if changes else (False, -1.0)

    return [(group[0].deviation, group) for group in sorted(groups.values(), key=size, reverse=True)]


def _mean(result: RowResult, metric: str) -> float:
    return float(np.mean(result.metric(metric))) if result.records else float("nan")


def _change(table: Mapping[str, RowResult], row: str, against: str, metric: str) -> PairedTest | None:
    """Returns what one row changes against another; exactly nothing where they are the same runs."""
    test = paired_test(table, row, against, metric)
    one, other = ([record.path for record in table[name].records] for name in (row, against))
    if test is not None and one == other:
        return replace(test, effect=0.0, low=0.0, high=0.0, p_value=1.0)
    return test


def _read_otherwise(result: RowResult, metric: str, other: str) -> tuple[PairedTest | None, float]:
    """Returns what another metric makes of the same runs, and the number by the usual one."""
    usual, theirs = score_matrix(result, metric), score_matrix(result, other)
    if usual is None or theirs is None:
        return None, _mean(result, metric)
    # The same runs on either side, so the seeds are paired, too.
    return paired_bootstrap(theirs - usual, np.zeros((1, usual.shape[1]))), _mean(result, metric)
