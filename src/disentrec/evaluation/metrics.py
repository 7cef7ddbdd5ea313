"""Metrics as pure functions of ranks; never rounded. Released variants are functions of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from disentrec.errors import DisentrecError, unknown_name

CUTOFFS = (1, 5, 10, 20)


def precision(ranks: np.ndarray, cutoff: int) -> np.ndarray:
    """Returns 1 where the target is in the top `cutoff`: the session papers' Prec, that is the hit rate."""
    return (ranks <= cutoff).astype(np.float64)


def reciprocal_rank(ranks: np.ndarray, cutoff: int) -> np.ndarray:
    """Returns 1 / rank, 0 beyond the cut-off."""
    return np.where(ranks <= cutoff, 1 / ranks, 0.0)


def ndcg(ranks: np.ndarray, cutoff: int) -> np.ndarray:
    """Returns 1 / log2(rank + 1), 0 beyond the cut-off: the ideal gain of one target is 1."""
    return np.where(ranks <= cutoff, 1 / np.log2(ranks + 1), 0.0)


#: With one target per case recall is the hit rate.
PER_CASE = {"prec": precision, "mrr": reciprocal_rank, "ndcg": ndcg, "recall": precision}


def per_case(ranks: np.ndarray, metric: str) -> np.ndarray:
    """Returns one score per case, (cases,) float64, whose mean is the metric; `metric` reads "mrr@20"."""
    name, _, cutoff = metric.partition("@")
    if name not in PER_CASE:
        raise unknown_name("metric", name, PER_CASE)
    if not cutoff.isdigit() or int(cutoff) < 1:
        raise DisentrecError(f"no cut-off in {metric!r}", how="Write it like mrr@20")
    return PER_CASE[name](np.asarray(ranks, dtype=np.float64), int(cutoff))


def metrics_from_ranks(ranks: np.ndarray, cutoffs: Sequence[int] = CUTOFFS) -> dict[str, float]:
    """Returns every metric at every cut-off, as fractions."""
    names = [f"{name}@{cutoff}" for name in PER_CASE for cutoff in cutoffs]
    return {name: float(per_case(ranks, name).mean()) for name in names}


def overlapping_rows(n_cases: int, batch_size: int) -> np.ndarray:
    """Returns the cases the released evaluation averages, some of them twice (DIMO util.py:101, deviation D7).

    The last of ceil(n / batch) batches is replaced by the last `batch_size` cases.
    """
    starts = np.arange(0, n_cases, batch_size)
    starts[-1:] = max(0, n_cases - batch_size)
    return np.concatenate([np.arange(start, min(start + batch_size, n_cases)) for start in starts])


def overlap_weights(n_cases: int, batch_size: int) -> np.ndarray:
    """Returns the weight of every case in the released mean, (cases,), of mean 1."""
    counts = np.bincount(overlapping_rows(n_cases, batch_size), minlength=n_cases)
    return counts / counts.mean()


def best_per_metric(history: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Returns the maximum over epochs of every metric, each from its own epoch (DIMO main.py:61-73, deviation D6)."""
    return {name: max(epoch[name] for epoch in history) for name in history[0]}


def topn_metrics(hits: np.ndarray, n_relevant: np.ndarray) -> dict[str, np.ndarray]:
    """Returns recall, precision and NDCG per user for ranked lists with several targets.

    hits: (users, cutoff) bool, in rank order; n_relevant: (users,) held-out items, at least one each.
    """
    cutoff = hits.shape[1]
    gains = 1 / np.log2(np.arange(cutoff) + 2)
    ideal = np.cumsum(gains)[np.minimum(n_relevant, cutoff) - 1]
    found = hits.sum(1)
    return {"recall": found / n_relevant, "precision": found / cutoff, "ndcg": (hits @ gains) / ideal}


def ndcg_over_retrieved(hits: np.ndarray) -> np.ndarray:
    """Returns AD-DRL's released NDCG per user: the ideal list holds the retrieved hits only (papers/addrl.md).

    hits: (users, cutoff) bool, in rank order. A single hit anywhere below rank 1 is penalised by its rank only,
    and targets that were not retrieved cost nothing.
    """
    gains = 1 / np.log2(np.arange(hits.shape[1]) + 2)
    found = hits.sum(1)
    ideal = np.concatenate([[1.0], np.cumsum(gains)])[found]
    return (hits @ gains) / ideal
