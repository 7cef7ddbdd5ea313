"""The two tasks, to the one training loop: what a batch is, how a part is ranked, what its ranks are worth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from disentrec.data.interactions import TopNSplit, split_interactions
from disentrec.data.protocol import Protocol
from disentrec.data.sessions import SessionBatch, SessionSplit, batches, split_sessions
from disentrec.evaluation.metrics import (
    best_per_metric,
    metrics_from_ranks,
    overlap_weights,
    overlapping_rows,
    per_case,
    per_user,
    topn_from_ranks,
)
from disentrec.evaluation.ranking import rank_cases, rank_pairs
from disentrec.models.base import PairBatch, SessionModel, TopNModel
from disentrec.training.samplers import pair_batches

if TYPE_CHECKING:
    from disentrec.data.interactions import Pairs
    from disentrec.data.schema import Dataset
    from disentrec.training.loop import Training


@dataclass(frozen=True)
class SessionTask:
    """Session -> next item: one target per case, selection on MRR@20."""

    split: SessionSplit
    protocol: Protocol

    selection: ClassVar[str] = "mrr@20"
    #: Metrics whose best test epoch keeps its own ranks under D6, because tables test them.
    paired: ClassVar[tuple[str, ...]] = ("prec@20", "mrr@20", "ndcg@20")

    def batches(self, training: Training, rng: np.random.Generator) -> Iterator[SessionBatch]:
        """Yields one epoch."""
        return batches(self.split.train, training.batch_size, rng, overlap_last=self.protocol.overlap_last_batch)

    def rank(self, model: SessionModel, part: str, training: Training) -> np.ndarray:
        """Returns the rank of every case's target in "valid" or "test", (cases,)."""
        return rank_cases(model, getattr(self.split, part))

    def metrics(self, ranks: np.ndarray, part: str, training: Training) -> dict[str, float]:
        """Returns the metrics of a part; on test as the protocol averages them."""
        if part == "test" and self.protocol.overlap_last_batch:  # D7, util.py:101
            ranks = ranks[overlapping_rows(len(ranks), training.batch_size)]
        return metrics_from_ranks(ranks)

    def selected_on_test(
        self, history: list[np.ndarray], training: Training
    ) -> tuple[dict[str, float], dict[str, np.ndarray]]:
        """Returns the best of every metric over all epochs, and the ranks behind the paired ones (D6)."""
        found = [self.metrics(ranks, "test", training) for ranks in history]
        arrays = {}
        for metric in self.paired:
            best = max(range(len(found)), key=lambda epoch: found[epoch][metric])
            arrays[f"test_rank_{metric}"] = history[best]
        return best_per_metric(found), arrays | {"test_rank": history[-1]}

    def cases(self) -> dict[str, np.ndarray]:
        """Returns what says which test cases the ranks are of."""
        return {"test_session": self.split.test.session.astype(np.int32)}


@dataclass(frozen=True)
class TopNTask:
    """User -> top-N: several held-out items per user, selection on Recall@20."""

    split: TopNSplit
    protocol: Protocol

    selection: ClassVar[str] = "recall@20"

    def batches(self, training: Training, rng: np.random.Generator) -> Iterator[PairBatch]:
        """Yields one epoch."""
        return pair_batches(self.split.train, training, rng, repeated=self.protocol.repeated_negatives)

    def rank(self, model: TopNModel, part: str, training: Training) -> np.ndarray:
        """Returns the rank of every held-out pair in "valid" or "test", (pairs,); at test, validation items compete."""
        return rank_pairs(model, self.split.masked, self._pairs(part, training))

    def metrics(self, ranks: np.ndarray, part: str, training: Training) -> dict[str, float]:
        """Returns the metrics of a part, mean over its users."""
        return topn_from_ranks(ranks, _counts(self._pairs(part, training)))

    def selected_on_test(
        self, history: list[np.ndarray], training: Training
    ) -> tuple[dict[str, float], dict[str, np.ndarray]]:
        """Returns the metrics and ranks of the epoch with the best test Recall@20 (AD-DRL main.py:52-110)."""
        found = [self.metrics(ranks, "test", training) for ranks in history]
        best = max(range(len(found)), key=lambda epoch: found[epoch][self.selection])
        return found[best], {"test_rank": history[best].astype(np.float16)}

    def cases(self) -> dict[str, np.ndarray]:
        """Returns whose held-out items the ranks are of: users, and how many each has."""
        return {
            "test_user": self.split.test.some_users.astype(np.int32),
            "test_count": _counts(self.split.test).astype(np.int32),
        }

    def _pairs(self, part: str, training: Training) -> Pairs:
        """Returns the held-out pairs of a part; of validation, those of the users who are asked."""
        pairs, wanted = getattr(self.split, part), training.validation_users
        if part == "test" or not 0 < wanted < len(pairs.some_users):
            return pairs
        # Drawn by the split, not by a run: every seed of every model is judged by the same users.
        rng = np.random.default_rng(self.protocol.split_seed)
        return pairs.of_users(rng.choice(pairs.some_users, wanted, replace=False))


def _counts(pairs: Pairs) -> np.ndarray:
    """Returns how many items each user has that has any."""
    return np.diff(pairs.offsets)[pairs.some_users]


Task = SessionTask | TopNTask
TASKS = {"session": SessionTask, "top-n": TopNTask}


def task_of(kind: str, dataset: Dataset, protocol: Protocol) -> Task:
    """Returns the task of that kind ("session", "top-n") on a data set."""
    if kind == "session":
        return SessionTask(split_sessions(dataset, protocol), protocol)
    return TopNTask(split_interactions(dataset, protocol), protocol)


def case_scores(arrays: Mapping[str, np.ndarray], metric: str, protocol: Mapping, batch_size: int) -> np.ndarray:
    """Returns the scores of a record's test cases (sessions, or users) whose mean is the metric, (cases,) float64.

    Under D6 the ranks are those of the epoch that is best on test for this metric; under D7 a case that is averaged
    twice weighs twice.
    """
    ranks = arrays.get(f"test_rank_{metric}", arrays["test_rank"])
    if "test_count" in arrays:
        return per_user(ranks, arrays["test_count"], metric)
    scores = per_case(ranks, metric)
    return scores * overlap_weights(len(ranks), batch_size) if protocol["overlap_last_batch"] else scores
