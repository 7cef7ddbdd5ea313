"""Is a difference real? Paired over the same test cases and over seeds, seeded, corrected for many looks.

A score matrix is (seeds, cases): one row per trained run, one column per test case. A baseline without a seed
has one row. What 95 % intervals cover, by simulation: 95 to 99 % where cases vary as much as runs do. Where
only seeds vary, 88 % with five seeds on either side and 83 % with three, because a bootstrap sees the spread
of S seeds (S - 1) / S too small: then a p just below .05 is no proof.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from disentrec.errors import DisentrecError

#: Repetitions whose counts are in memory at a time: 20 MB for 10,000 cases.
CHUNK = 250


@dataclass(frozen=True)
class PairedTest:
    """A difference of means with its interval and two-sided p; n_seeds is that of the side with fewer."""

    effect: float
    low: float
    high: float
    p_value: float
    n_seeds: int
    n_cases: int


@dataclass(frozen=True)
class SeedInterval:
    """A metric over seeds: mean, sample standard deviation, and a bootstrap interval of the mean."""

    mean: float
    sd: float
    low: float
    high: float
    n_seeds: int


@dataclass(frozen=True)
class ComparedRow:
    """The reference less one rival; p_holm is corrected over all rivals of the table."""

    rival: str
    test: PairedTest
    p_holm: float


def paired_bootstrap(
    a: np.ndarray, b: np.ndarray, *, reps: int = 2000, level: float = 0.95, seed: int = 0
) -> PairedTest:
    """Returns mean(a) - mean(b) with a percentile interval, resampling test cases and seeds.

    a, b: (seeds, cases) scores of the same cases; the numbers of seeds may differ. Each repetition draws
    cases (the same for both) and, independently, seeds of a and of b. The p value is the share of
    repetitions, shifted to a mean of zero, that are at least as far from it as the effect: (k + 1) / (reps +
    1), never zero. Exchanging a and b mirrors the result.
    """
    a, b = _scores(a, "the first"), _scores(b, "the second")
    if a.shape[1] != b.shape[1]:
        raise DisentrecError(
            f"paired scores have {a.shape[1]} and {b.shape[1]} cases",
            how="Compare runs scored on the same test part",
        )
    effect = float(a.mean() - b.mean())
    if effect < 0:  # one order of the two, so that the draws do not depend on who is called the rival
        mirror = paired_bootstrap(b, a, reps=reps, level=level, seed=seed)
        return PairedTest(effect, -mirror.high, -mirror.low, mirror.p_value, mirror.n_seeds, mirror.n_cases)
    n_cases = a.shape[1]
    rng = np.random.default_rng(seed)
    draws = np.empty(reps)
    for start in range(0, reps, CHUNK):
        size = min(CHUNK, reps - start)
        drawn = rng.integers(n_cases, size=(size, n_cases)) + n_cases * np.arange(size)[:, None]
        # How often each case is drawn, so that a repetition is a product with the scores and not a look-up.
        counts = np.bincount(drawn.ravel(), minlength=size * n_cases).reshape(size, n_cases)
        weights = counts / n_cases  # (size, cases)
        means = [_seed_means(weights @ scores.T, rng) for scores in (a, b)]
        draws[start : start + size] = means[0] - means[1]
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    extreme = np.abs(draws - draws.mean()) >= abs(effect)
    p_value = (int(extreme.sum()) + 1) / (reps + 1)
    return PairedTest(effect, float(low), float(high), p_value, min(len(a), len(b)), n_cases)


def seed_interval(scores: np.ndarray, *, reps: int = 2000, level: float = 0.95, seed: int = 0) -> SeedInterval:
    """Returns mean, sd and a percentile interval of the mean across seeds; scores: (seeds,), one metric per
    run.

    One seed says nothing of the spread: sd and interval are NaN.
    """
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 1 or not len(scores) or not np.isfinite(scores).all():
        raise DisentrecError("one finite metric per seed is needed", how="Leave diverged runs out and say so")
    mean = float(scores.mean())
    if len(scores) == 1:
        return SeedInterval(mean, float("nan"), float("nan"), float("nan"), 1)
    drawn = np.random.default_rng(seed).integers(len(scores), size=(reps, len(scores)))
    low, high = np.quantile(scores[drawn].mean(1), [(1 - level) / 2, (1 + level) / 2])
    return SeedInterval(mean, float(scores.std(ddof=1)), float(low), float(high), len(scores))


def holm(p_values: np.ndarray) -> np.ndarray:
    """Returns Holm's step-down corrected p values, in the order given (Holm 1979)."""
    p_values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p_values, kind="stable")
    scaled = p_values[order] * np.arange(len(p_values), 0, -1)
    corrected = np.empty_like(p_values)
    corrected[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return corrected


def compare_table(
    reference: np.ndarray,
    rivals: Mapping[str, np.ndarray],
    *,
    reps: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> list[ComparedRow]:
    """Returns the reference against each rival, in the rivals' order, Holm-corrected within the table.

    reference and every rival: (seeds, cases) scores of the same cases. An effect above zero favours the
    reference.
    """
    tests = {
        name: paired_bootstrap(reference, scores, reps=reps, level=level, seed=seed) for name, scores in rivals.items()
    }
    corrected = holm(np.asarray([test.p_value for test in tests.values()]))
    rows = zip(tests.items(), corrected, strict=True)
    return [ComparedRow(name, test, float(p_holm)) for (name, test), p_holm in rows]


def _scores(scores: np.ndarray, which: str) -> np.ndarray:
    scores = np.atleast_2d(np.asarray(scores, dtype=np.float64))
    if scores.ndim != 2 or 0 in scores.shape or not np.isfinite(scores).all():
        raise DisentrecError(
            f"{which} scores are no finite (seeds, cases) table", how="Leave diverged runs out and say so"
        )
    return scores


def _seed_means(per_seed: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Returns the mean over seeds drawn with replacement, (reps,). per_seed: (reps, seeds)."""
    reps, n_seeds = per_seed.shape
    chosen = rng.integers(n_seeds, size=(reps, n_seeds))
    return np.take_along_axis(per_seed, chosen, axis=1).mean(1)
