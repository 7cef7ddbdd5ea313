"""Which items are chosen together: counts over sessions, the row-normalised graph, and DIMO's item lists."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from disentrec.data.sequences import Sequences


def cooccurrence_counts(sessions: Sequences, n_items: int) -> sp.csr_matrix:
    """Returns the symmetric co-occurrence counts, (n_items, n_items) float32 CSR with an empty diagonal.

    Every ordered pair of positions of a session that hold different items adds 1, so repeated items multiply
    (datasets/disenPre3.ipynb, cell 1).
    """
    ones = np.ones(len(sessions.values), dtype=np.float32)
    held = sp.coo_matrix((ones, (sessions.rows, sessions.values)), shape=(len(sessions), n_items)).tocsr()
    counts = (held.T @ held).tocsr()
    counts.setdiag(0)
    counts.eliminate_zeros()
    counts.sort_indices()
    return counts


def row_normalised(counts: sp.csr_matrix) -> sp.csr_matrix:
    """Returns A: counts divided by their row sums; rows without neighbours stay empty."""
    sums = np.asarray(counts.sum(1)).ravel()
    return sp.csr_matrix(sp.diags_array((1 / (sums + 1e-8)).astype(np.float32)) @ counts).sorted_indices()


@dataclass(frozen=True)
class CooccurrenceTables:
    """The graph and the item lists that DIMO's losses look up; all 0-based."""

    graph: sp.csr_matrix  # (n, n) row-normalised counts
    positives: np.ndarray  # (n, lists) int64, most frequent first
    counts: np.ndarray  # (n, lists) float32, counts of the positives; 0 = filler
    negatives: np.ndarray  # (n, lists) int64

    @classmethod
    def from_sessions(
        cls, sessions: Sequences, n_items: int, lists: int, *, filler_negatives: bool, seed: int
    ) -> CooccurrenceTables:
        """Returns the tables of `sessions`; negatives are drawn with `seed`, or taken as released (D11)."""
        counts = cooccurrence_counts(sessions, n_items)
        positives, weights = top_neighbours(counts, lists)
        negatives = last_zeros(counts, lists) if filler_negatives else sampled_negatives(counts, lists, seed)
        return cls(row_normalised(counts), positives, weights, negatives)


def top_neighbours(counts: sp.csr_matrix, lists: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the most frequent neighbours of every item and their counts, (n, lists) each; fillers count 0."""
    n = counts.shape[0]
    rows = np.repeat(np.arange(n), np.diff(counts.indptr))
    order = np.lexsort((counts.indices, -counts.data, rows))
    place = np.arange(len(rows)) - np.repeat(counts.indptr[:-1], np.diff(counts.indptr))
    kept = order[place < lists]
    positives = np.zeros((n, lists), dtype=np.int64)
    weights = np.zeros((n, lists), dtype=np.float32)
    positives[rows[kept], place[place < lists]] = counts.indices[kept]
    weights[rows[kept], place[place < lists]] = counts.data[kept]
    return positives, weights


def sampled_negatives(counts: sp.csr_matrix, lists: int, seed: int) -> np.ndarray:
    """Returns items drawn uniformly among those never chosen with each item, (n, lists) int64.

    A draw that hits a neighbour is drawn again, eight times at most: an item that met almost all others keeps
    the neighbours it drew last, which are rare ones of its row.
    """
    n = counts.shape[0]
    rng = np.random.default_rng(seed)
    known = np.sort(np.concatenate([_keys(counts), np.arange(n) * (n + 1)]))
    negatives = rng.integers(n, size=(n, lists))
    for _ in range(8):
        keys = np.arange(n)[:, None] * n + negatives
        hit = known[np.minimum(np.searchsorted(known, keys), len(known) - 1)] == keys
        if not hit.any():
            break
        negatives[hit] = rng.integers(n, size=int(hit.sum()))
    return negatives


def last_zeros(counts: sp.csr_matrix, lists: int) -> np.ndarray:
    """Returns what a stable descending sort of (counts - identity) leaves just before its last column, (n, lists).

    Deviation D11: the released lists hold no sampled negatives but the tie-break of that sort, so nearly all
    items share the same ones.
    """
    n = counts.shape[0]
    negatives = np.empty((n, lists), dtype=np.int64)
    for start in range(0, n, 512):
        block = counts[start : start + 512].toarray()
        rows = np.arange(len(block))
        block[rows, rows + start] = -1
        order = np.argsort(-block[:, ::1], axis=1, kind="stable")
        negatives[start : start + len(block)] = order[:, -lists - 1 : -1]
    return negatives


def _keys(matrix: sp.csr_matrix) -> np.ndarray:
    rows = np.repeat(np.arange(matrix.shape[0], dtype=np.int64), np.diff(matrix.indptr))
    return rows * matrix.shape[1] + matrix.indices
