"""Is a difference real? Paired over the same test cases and over seeds, seeded, corrected for many looks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from disentrec.errors import DisentrecError


@dataclass(frozen=True)
class PairedTest:
    """A difference of means with its interval and two-sided p."""

    effect: float
    low: float
    high: float
    p_value: float
    n_seeds: int
    n_cases: int


def paired_bootstrap(
    a: np.ndarray, b: np.ndarray, *, reps: int = 2000, level: float = 0.95, seed: int = 0
) -> PairedTest:
    """Returns mean(a) - mean(b) with a percentile interval, resampling test cases and seeds.

    a, b: (seeds, cases) per-case scores of the same cases; the numbers of seeds may differ. Each repetition draws
    cases (the same for both) and, independently, seeds of a and of b. The p value is the share of repetitions,
    shifted to a mean of zero, that are at least as far from it as the effect: (k + 1) / (reps + 1), never zero.
    """
    a, b = np.atleast_2d(a).astype(np.float64), np.atleast_2d(b).astype(np.float64)
    if a.shape[1] != b.shape[1]:
        raise DisentrecError(
            f"paired scores have {a.shape[1]} and {b.shape[1]} cases",
            how="Compare runs scored on the same test part",
        )
    n_cases = a.shape[1]
    rng = np.random.default_rng(seed)
    draws = np.empty(reps)
    for start in range(0, reps, 250):
        size = min(250, reps - start)
        # How often each case is drawn: Poisson's counts scaled to mean 1 would do, but exact draws cost as little.
        drawn = rng.integers(n_cases, size=(size, n_cases))
        flat = drawn + n_cases * np.arange(size)[:, None]
        weights = np.bincount(flat.ravel(), minlength=size * n_cases).reshape(size, n_cases) / n_cases
        means = [_seed_means(weights @ scores.T, rng) for scores in (a, b)]
        draws[start : start + size] = means[0] - means[1]
    effect = float(a.mean() - b.mean())
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    extreme = np.abs(draws - draws.mean()) >= abs(effect)
    p_value = (int(extreme.sum()) + 1) / (reps + 1)
    return PairedTest(effect, float(low), float(high), p_value, min(len(a), len(b)), n_cases)


def _seed_means(per_seed: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Returns the mean over seeds drawn with replacement, (reps,). per_seed: (reps, seeds)."""
    reps, n_seeds = per_seed.shape
    chosen = rng.integers(n_seeds, size=(reps, n_seeds))
    return np.take_along_axis(per_seed, chosen, axis=1).mean(1)


def holm(p_values: np.ndarray) -> np.ndarray:
    """Returns Holm's step-down corrected p values, in the order given (Holm 1979)."""
    p_values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p_values, kind="stable")
    scaled = p_values[order] * np.arange(len(p_values), 0, -1)
    corrected = np.empty_like(p_values)
    corrected[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return corrected
