"""Sessions as prefix -> next-item cases: splits, prefix augmentation, and padded batches."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from disentrec.data.protocol import Protocol, check_share
from disentrec.data.sequences import Sequences
from disentrec.devices import moved
from disentrec.errors import DisentrecError

if TYPE_CHECKING:
    from disentrec.data.schema import Dataset


@dataclass(frozen=True)
class SessionCases:
    """Prefix -> next-item cases in flat form, items 0-based."""

    prefix: Sequences
    target: np.ndarray  # (cases,) int64
    session: np.ndarray  # (cases,) int64: the row of sessions.parquet a case comes from

    def __len__(self) -> int:
        return len(self.target)

    def take(self, rows: np.ndarray) -> SessionCases:
        """Returns the chosen cases, in the order given."""
        return SessionCases(self.prefix.take(rows), self.target[rows], self.session[rows])

    def full(self) -> Sequences:
        """Returns every prefix with its target appended."""
        ends = self.prefix.offsets[1:]
        return Sequences(
            np.insert(self.prefix.values, ends, self.target).astype(np.int32),
            self.prefix.offsets + np.arange(len(self) + 1),
        )


@dataclass(frozen=True)
class SessionSplit:
    """The cases of one data set under one protocol."""

    n_items: int
    train: SessionCases
    valid: SessionCases
    test: SessionCases
    train_sessions: Sequences  # full, targets included, never augmented
    graph_sessions: Sequences  # whose co-occurrence a model may count: more than train only under switch D1


@dataclass(frozen=True)
class SessionBatch:
    """Padded cases; a score depends on its own row only (tests/models/test_registry.py)."""

    items: Tensor  # (batch, length) int64, 1-based, 0 = padding on the right
    length: Tensor  # (batch,) int64
    target: Tensor  # (batch,) int64, 0-based class
    plan: Any = field(default=None, compare=False)  # what SessionModel.plan made of it, if a model has been asked

    @property
    def mask(self) -> Tensor:
        """True at real items, (batch, length)."""
        return self.items > 0

    # Most of a padded batch is padding. Models that leave it out read these; `to` makes them on the host, where finding
    # out how many positions there are does not hold up a device.

    @cached_property
    def lengths(self) -> list[int]:
        """The numbers of items, on the host."""
        return self.length.tolist()

    @cached_property
    def at(self) -> Tensor:
        """Where the items stand among all positions, padding too, session after session, (positions,) int64."""
        return self.mask.flatten().nonzero()[:, 0]

    @cached_property
    def session(self) -> Tensor:
        """The session of every item, (positions,) int64."""
        return self.at // self.items.shape[1]

    @cached_property
    def real_items(self) -> Tensor:
        """The items without padding, session after session, (positions,) int64, 0-based."""
        return self.items.flatten()[self.at] - 1

    def to(self, device: torch.device | str) -> SessionBatch:
        """Returns the batch on `device`."""
        if torch.device(device) == self.items.device:
            return self
        found = SessionBatch(*moved((self.items, self.length, self.target, self.plan), device))
        for name in ("at", "session", "real_items", "lengths"):
            found.__dict__[name] = moved(getattr(self, name), device)
        return found

    def planned(self, plan: Any) -> SessionBatch:
        """Returns the batch with a model's plan of it."""
        found = copy(self)  # with what is known of its positions
        found.__dict__["plan"] = plan
        return found


def pad(cases: SessionCases, rows: np.ndarray) -> SessionBatch:
    """Returns the chosen cases as one batch, as wide as its longest prefix."""
    chosen = cases.take(rows)
    return SessionBatch(
        torch.from_numpy(chosen.prefix.padded()),
        torch.from_numpy(chosen.prefix.lengths),
        torch.from_numpy(chosen.target),
    )


def batches(
    cases: SessionCases,
    batch_size: int,
    rng: np.random.Generator | None = None,
    *,
    overlap_last: bool = False,
) -> Iterator[SessionBatch]:
    """Yields all cases in batches: shuffled by `rng`, or in order without one.

    `overlap_last` is released deviation D7 (util.py:101): the last batch is the last `batch_size` cases, so
    some are seen twice.
    """
    order = np.arange(len(cases)) if rng is None else rng.permutation(len(cases))
    for start in range(0, len(order), batch_size):
        if overlap_last:
            start = max(0, min(start, len(order) - batch_size))
        yield pad(cases, order[start : start + batch_size])


def cases_of(sessions: Sequences, rows: np.ndarray, *, max_length: int, augment: bool = False) -> SessionCases:
    """Returns the cases of the chosen sessions: the last item of each, or every item after the first if `augment`."""
    rows = np.asarray(rows, dtype=np.int64)
    if augment:
        counts = sessions.lengths[rows] - 1
        rows = np.repeat(rows, counts)
        ends = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts) + 1
    else:
        ends = sessions.lengths[rows] - 1
    chosen = sessions.take(rows)
    target = chosen.values[chosen.offsets[:-1] + ends].astype(np.int64)
    return SessionCases(chosen.clip(np.maximum(ends - max_length, 0), ends), target, rows)


def split_sessions(dataset: Dataset, protocol: Protocol) -> SessionSplit:
    """Returns the cases of `dataset` under `protocol`.

    Parts the data set brings are kept. Missing ones are cut by time where sessions carry a time, else drawn
    with `protocol.split_seed`. Under `select_on_test` (D6) there is no validation part: its sessions train.
    Raises DisentrecError when the data set has no sessions or a part would be empty.
    """
    if dataset.sessions is None:
        raise DisentrecError(
            "this data set has no sessions",
            where=dataset.folder,
            how="Import a source with sessions, or sessionise its interactions",
        )
    sessions = dataset.session_lists()
    parts = _parts(dataset, protocol)
    if protocol.select_on_test:
        parts["train"] = np.sort(np.concatenate([parts["train"], parts["valid"]]))
        parts["valid"] = np.empty(0, np.int64)
    parts["train"] = _thinned(parts["train"], protocol)
    for name, rows in parts.items():
        if not len(rows) and not (name == "valid" and protocol.select_on_test):
            raise DisentrecError(
                f"the {name} part is empty: {len(sessions)} sessions are too few for this split",
                where=dataset.folder,
                how="Use a larger data set, or raise the shares `validation` and `test` of the protocol",
            )
    train_sessions = sessions.take(parts["train"])
    rest = [sessions.take(parts[name]) for name in ("valid", "test")]
    return SessionSplit(
        n_items=dataset.n_items,
        train=cases_of(sessions, parts["train"], max_length=protocol.max_length, augment=protocol.augment),
        valid=cases_of(sessions, parts["valid"], max_length=protocol.max_length),
        test=cases_of(sessions, parts["test"], max_length=protocol.max_length),
        train_sessions=train_sessions,
        graph_sessions=Sequences.concatenate([train_sessions, *rest]) if protocol.graph_with_test else train_sessions,
    )


def _parts(dataset: Dataset, protocol: Protocol) -> dict[str, np.ndarray]:
    table = dataset.sessions
    time = table["time"].to_numpy() if "time" in table else None
    if "split" in table:
        split = table["split"].to_numpy()
        parts = {name: np.flatnonzero(split == name) for name in ("train", "valid", "test")}
    else:
        train, test = _cut(np.arange(len(table)), protocol.test, time, protocol.split_seed)
        parts = {"train": train, "valid": np.empty(0, np.int64), "test": test}
    if not len(parts["valid"]):
        parts["train"], parts["valid"] = _cut(parts["train"], protocol.validation, time, protocol.split_seed)
    return parts


def _thinned(rows: np.ndarray, protocol: Protocol) -> np.ndarray:
    """Returns the rows under `train_share`, sorted: the beginning of one order, so that shares are nested."""
    if protocol.train_share == 1.0:
        return rows
    order = np.random.default_rng(protocol.split_seed).permutation(rows)
    return np.sort(order[: round(check_share(protocol.train_share) * len(rows))])


def _cut(rows: np.ndarray, share: float, time: np.ndarray | None, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns (kept, cut): the last `share` in time, or a seeded draw where no time is known; rows stay sorted."""
    order = (
        np.random.default_rng(seed).permutation(rows) if time is None else rows[np.argsort(time[rows], kind="stable")]
    )
    n_kept = len(rows) - round(share * len(rows))
    return np.sort(order[:n_kept]), np.sort(order[n_kept:])
