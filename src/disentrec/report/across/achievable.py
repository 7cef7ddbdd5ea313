"""What of the achievable a model achieves, and where the rest is lost: pure functions of scores and ranks.

    share = (metric of the model - metric of popularity) / (metric of the optimum - metric of popularity)

Popularity is the floor because it needs no session and no user. What is lost (optimum less model) is a sum over test
choices, so it can be told apart by the cause of the choice and by how often train holds its target.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from disentrec.evaluation.metrics import per_case

#: Bounds of the buckets of "how often does train hold the target": 0, 1 to 9, and so on.
BUCKETS = (1, 10, 20, 40)


@dataclass(frozen=True)
class Share:
    """A share of what can be achieved, with a 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{whole(self.value)} [{whole(self.low)}, {whole(self.high)}]"


def whole(value: float) -> str:
    """Returns a fraction as whole percent, with a true minus sign and no minus zero."""
    return f"{round(100 * value)}".replace("-", "−")


def share_of(scores: np.ndarray, floor: np.ndarray, best: np.ndarray, *, reps: int = 2000, seed: int = 0) -> Share:
    """Returns the share of what can be achieved between floor and best, resampling test cases and seeds.

    scores: (seeds, cases); floor and best: (cases,), of the same cases, which are drawn alike for all three.
    """
    rng, (n_seeds, n_cases) = np.random.default_rng(seed), scores.shape
    weights = rng.multinomial(n_cases, np.full(n_cases, 1 / n_cases), size=reps) / n_cases  # (reps, cases)
    drawn = rng.integers(n_seeds, size=(reps, n_seeds))
    own = np.take_along_axis(weights @ scores.T, drawn, axis=1).mean(1)
    low, high = np.quantile((own - weights @ floor) / (weights @ best - weights @ floor), [0.025, 0.975])
    value = (scores.mean() - floor.mean()) / (best.mean() - floor.mean())
    return Share(float(value), float(low), float(high))


def contributions(ranks: np.ndarray, metric: str, counts: np.ndarray | None = None) -> np.ndarray:
    """Returns what every test choice adds to a metric, (choices,); the sum is the metric.

    counts: (users,), how many choices each user has, for recall; None for sessions, which have one each.
    """
    if counts is None:
        return per_case(ranks, metric) / len(ranks)
    _, _, cutoff = metric.partition("@")
    return (ranks <= int(cutoff)) / np.repeat(counts, counts) / len(counts)


def losses(own: np.ndarray, best: np.ndarray, groups: np.ndarray, n_groups: int) -> np.ndarray:
    """Returns what is lost per group, (groups,); own and best: contributions, (choices,). The sum is best - own."""
    return np.bincount(groups, best - own, minlength=n_groups)


def bucket_names() -> list[str]:
    """Returns the printed names of the buckets of popularity."""
    between = [f"{low}–{high - 1}" for low, high in pairwise(BUCKETS)]
    return ["never", *between, f"{BUCKETS[-1]} or more"]
