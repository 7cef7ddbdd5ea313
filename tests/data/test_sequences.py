"""Ragged lists: the flat form behaves like the lists it was made of."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from disentrec.data.sequences import Sequences

LISTS = st.lists(st.lists(st.integers(0, 9), max_size=6), min_size=1, max_size=8)


def as_lists(sequences: Sequences) -> list[list[int]]:
    return [sequences[row].tolist() for row in range(len(sequences))]


@given(LISTS)
def test_round_trip_and_padding(lists):
    sequences = Sequences.from_lists(lists)
    assert as_lists(sequences) == lists
    table = sequences.padded()
    assert [[item - 1 for item in row if item] for row in table.tolist()] == lists


@given(LISTS, st.data())
def test_take_repeats_and_reorders(lists, data):
    rows = data.draw(st.lists(st.integers(0, len(lists) - 1), max_size=10))
    taken = Sequences.from_lists(lists).take(np.asarray(rows, dtype=np.int64))
    assert as_lists(taken) == [lists[row] for row in rows]


@given(LISTS, st.data())
def test_clip_is_slicing(lists, data):
    bounds = [data.draw(st.tuples(st.integers(0, 6), st.integers(0, 6))) for _ in lists]
    start, stop = np.asarray(bounds).T
    clipped = Sequences.from_lists(lists).clip(start, stop)
    assert as_lists(clipped) == [row[a:b] for row, (a, b) in zip(lists, bounds, strict=True)]


def test_concatenate():
    one, two = Sequences.from_lists([[1], [2, 3]]), Sequences.from_lists([[], [4]])
    assert as_lists(Sequences.concatenate([one, two])) == [[1], [2, 3], [], [4]]
