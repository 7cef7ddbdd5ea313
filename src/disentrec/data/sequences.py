"""Ragged item lists in flat form: what sessions, prefixes and histories are made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Sequences:
    """Item lists of different lengths, stored end to end (0-based items)."""

    values: np.ndarray  # (total,) int32
    offsets: np.ndarray  # (n + 1,) int64

    @classmethod
    def from_lists(cls, lists: Iterable[Sequence[int]]) -> Sequences:
        """Returns the flat form of an iterable of item lists."""
        rows = [np.asarray(row, dtype=np.int32) for row in lists]
        offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
        return cls(np.concatenate(rows) if rows else np.empty(0, np.int32), offsets)

    @staticmethod
    def concatenate(parts: Sequence[Sequences]) -> Sequences:
        """Returns the rows of all parts, in order."""
        lengths = np.concatenate([part.lengths for part in parts])
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        return Sequences(np.concatenate([part.values for part in parts]), offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> np.ndarray:
        return self.values[self.offsets[row] : self.offsets[row + 1]]

    @property
    def lengths(self) -> np.ndarray:
        """Items per row, (n,) int64."""
        return np.diff(self.offsets)

    @property
    def rows(self) -> np.ndarray:
        """The row of every value, (total,) int64."""
        return np.repeat(np.arange(len(self)), self.lengths)

    @property
    def positions(self) -> np.ndarray:
        """The position of every value inside its row, (total,) int64."""
        return np.arange(len(self.values)) - np.repeat(self.offsets[:-1], self.lengths)

    def take(self, rows: np.ndarray) -> Sequences:
        """Returns the chosen rows, in the order given (repeats allowed)."""
        rows = np.asarray(rows)
        lengths = self.lengths[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        inside = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths)
        return Sequences(self.values[np.repeat(self.offsets[rows], lengths) + inside], offsets)

    def clip(self, start: np.ndarray, stop: np.ndarray) -> Sequences:
        """Returns every row cut to positions start[row] <= position < stop[row]."""
        keep = (self.positions >= np.repeat(start, self.lengths)) & (self.positions < np.repeat(stop, self.lengths))
        lengths = np.bincount(self.rows[keep], minlength=len(self))
        return Sequences(self.values[keep], np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))

    def padded(self) -> np.ndarray:
        """Returns (n, longest) int64 with items + 1, padded on the right with 0."""
        table = np.zeros((len(self), int(self.lengths.max(initial=0))), dtype=np.int64)
        table[self.rows, self.positions] = self.values + 1
        return table
