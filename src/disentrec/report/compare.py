"""Paired comparisons between rows of an artefact: the same test cases, resampled over cases and seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from disentrec.errors import DisentrecError
from disentrec.evaluation.significance import PairedTest, holm, paired_bootstrap
from disentrec.study import RowResult, Study
from disentrec.study.cases import known_cases

#: Fewer test cases than these are not compared: an interval over them would be a matter of chance.
LEAST_CASES = 20
#: What a record says of its test cases.
CASES = ("test_session", "test_user", "test_count")


@dataclass(frozen=True)
class Comparison:
    """One row against another on one data set; `test` is None while runs are missing or one diverged."""

    dataset: str
    row: str
    against: str
    metric: str
    test: PairedTest | None
    p_holm: float = float("nan")

    @property
    def clear(self) -> bool:
        """True when the Holm-corrected p is below .05 and the interval excludes zero."""
        return self.test is not None and self.p_holm < 0.05 and self.test.low * self.test.high > 0

    @property
    def clearly_better(self) -> bool:
        """True when the difference is clear and positive."""
        return self.clear and self.test.effect > 0


def score_matrix(result: RowResult, metric: str, keep: np.ndarray | None = None) -> np.ndarray | None:
    """Returns per-case scores, (seeds, cases), of a row's finished runs; None if a run is missing or diverged."""
    if not result.records or not result.complete or not all(record.finished for record in result.records):
        return None
    scores = np.stack([record.scores(metric) for record in result.records])
    return scores if keep is None else scores[:, keep]


def compare_rows(
    study: Study,
    artefact: str,
    dataset: str,
    pairs: Sequence[tuple[str, str]],
    metric: str,
    *,
    subset: str | None = None,
    seen_at_most: int | None = None,
) -> list[Comparison]:
    """Returns one comparison per (row, against) pair, Holm-corrected within the list.

    `subset` names a fact of the test cases ("repeat", "verbatim"); only the cases without it are compared.
    `seen_at_most`: only cases whose target stands in so many places of the training sessions, or fewer.
    """
    results = study.results_by_row(artefact, dataset)
    facts = known_cases(study.store, dataset)
    keep = None if subset is None else ~facts[subset]
    if seen_at_most is not None:
        seldom = facts["target_frequency"] <= seen_at_most
        keep = seldom if keep is None else keep & seldom
    if keep is not None and keep.sum() < LEAST_CASES:
        return [Comparison(dataset, row, against, metric, None) for row, against in pairs]
    tests = [paired_test(results, row, against, metric, keep) for row, against in pairs]
    corrected = iter(holm(np.asarray([test.p_value for test in tests if test is not None])))
    return [
        Comparison(dataset, row, against, metric, test, float("nan") if test is None else float(next(corrected)))
        for (row, against), test in zip(pairs, tests, strict=True)
    ]


def paired_test(
    results: Mapping[str, RowResult], row: str, against: str, metric: str, keep: np.ndarray | None = None
) -> PairedTest | None:
    """Returns the paired test of one row against another, both by name; None while a run of either is left.

    Rows that were not tested on the same cases raise DisentrecError.
    """
    pair = [results.get(name) for name in (row, against)]
    one, other = (None if result is None else score_matrix(result, metric, keep) for result in pair)
    if one is None or other is None:
        return None
    arrays, others = (result.records[0].arrays for result in pair)
    if not all(np.array_equal(arrays[key], others.get(key)) for key in CASES if key in arrays):
        raise DisentrecError(
            f"{row!r} and {against!r} were not tested on the same cases",
            how="Run both under protocols with the same split",
        )
    return paired_bootstrap(one, other)
