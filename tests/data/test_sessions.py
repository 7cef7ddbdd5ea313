"""Cases, splits and batches, checked on sessions small enough to write down."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from disentrec.data.protocol import Protocol
from disentrec.data.sequences import Sequences
from disentrec.data.sessions import batches, cases_of, split_sessions
from disentrec.errors import DisentrecError

SESSIONS = [[0, 1, 2], [3, 4], [2, 2, 1, 0]]


def fake_dataset(lists, **columns):
    table = pd.DataFrame({"session": range(len(lists)), **columns})
    sequences = Sequences.from_lists(lists)
    return SimpleNamespace(folder=Path("toy"), sessions=table, n_items=5, session_lists=lambda: sequences)


def pairs(cases):
    return [(cases.prefix[row].tolist(), int(cases.target[row])) for row in range(len(cases))]


def test_last_item_is_the_target():
    cases = cases_of(Sequences.from_lists(SESSIONS), np.array([2, 0]), max_length=20)
    assert pairs(cases) == [([2, 2, 1], 0), ([0, 1], 2)]
    assert cases.session.tolist() == [2, 0]
    assert [cases.full()[row].tolist() for row in range(2)] == [SESSIONS[2], SESSIONS[0]]


def test_augmentation_makes_every_prefix_a_case():
    cases = cases_of(Sequences.from_lists(SESSIONS), np.array([0, 2]), max_length=2, augment=True)
    assert pairs(cases) == [([0], 1), ([0, 1], 2), ([2], 2), ([2, 2], 1), ([2, 1], 0)]


def test_validation_is_carved_from_train_by_time_where_time_exists():
    lists = [[0, 1]] * 10
    dataset = fake_dataset(lists, time=np.arange(10)[::-1], split=["train"] * 8 + ["test"] * 2)
    split = split_sessions(dataset, Protocol.clean(validation=0.25))
    assert split.valid.session.tolist() == [0, 1]  # the latest two of the training sessions
    assert split.train.session.tolist() == [2, 3, 4, 5, 6, 7]
    assert split.test.session.tolist() == [8, 9]


def test_without_time_the_draw_is_seeded_and_disjoint():
    dataset = fake_dataset([[0, 1]] * 50)
    one, two = split_sessions(dataset, Protocol.clean()), split_sessions(dataset, Protocol.clean())
    other = split_sessions(dataset, Protocol.clean(split_seed=1))
    assert one.test.session.tolist() == two.test.session.tolist() != other.test.session.tolist()
    rows = np.concatenate([one.train.session, one.valid.session, one.test.session])
    assert sorted(rows) == list(range(50))


def test_released_protocol_trains_on_validation_and_counts_test_sessions():
    dataset = fake_dataset(SESSIONS * 4, split=["train", "valid", "test"] * 4)
    clean = split_sessions(dataset, Protocol.clean())
    released = split_sessions(dataset, Protocol.released())
    assert len(clean.graph_sessions) == len(clean.train) == 4
    assert (len(released.train), len(released.valid), len(released.graph_sessions)) == (8, 0, 12)


def test_empty_parts_are_refused_with_a_way_out():
    with pytest.raises(DisentrecError, match="part is empty.*too few.*raise the shares"):
        split_sessions(fake_dataset(SESSIONS), Protocol.clean())


def test_unknown_protocol_switch_lists_the_valid_ones():
    with pytest.raises(DisentrecError, match="unknown protocol switch 'grap'.*graph_with_test"):
        Protocol.clean(grap=True)


def test_batches_cover_all_cases_once_and_pad_on_the_right():
    cases = cases_of(Sequences.from_lists(SESSIONS), np.arange(3), max_length=20)
    first, second = batches(cases, 2)
    assert first.items.tolist() == [[1, 2], [4, 0]]
    assert (first.length.tolist(), first.target.tolist()) == ([2, 1], [2, 4])
    assert first.mask.tolist() == [[True, True], [True, False]]
    assert second.items.tolist() == [[3, 3, 2]]
    shuffled = np.concatenate([b.target.numpy() for b in batches(cases, 2, np.random.default_rng(0))])
    assert sorted(shuffled) == sorted(cases.target)


def test_released_batching_repeats_cases_of_the_batch_before():
    cases = cases_of(Sequences.from_lists([[i, 0] for i in range(5)]), np.arange(5), max_length=20)
    seen = [batch.items[:, 0].tolist() for batch in batches(cases, 2, overlap_last=True)]
    assert seen == [[1, 2], [3, 4], [4, 5]]  # item 4 twice


def test_shares_of_train_are_nested_and_leave_the_rest_alone():
    dataset = fake_dataset([[item, 0] for item in range(5)] * 8, split=["train"] * 20 + ["valid"] * 10 + ["test"] * 10)
    whole = split_sessions(dataset, Protocol.clean())
    splits = [split_sessions(dataset, Protocol.clean(train_share=share)) for share in (0.1, 0.25, 0.5, 1.0)]
    assert [len(split.train) for split in splits] == [2, 5, 10, 20]
    assert [len(split.graph_sessions) for split in splits] == [len(split.train_sessions) for split in splits]
    for smaller, larger in pairwise(splits):
        assert set(smaller.train.session) < set(larger.train.session)
        assert smaller.valid.session.tolist() == larger.valid.session.tolist() == whole.valid.session.tolist()
        assert smaller.test.session.tolist() == whole.test.session.tolist()
    assert splits[0].train.session.tolist() == sorted(splits[0].train.session)
    other = split_sessions(dataset, Protocol.clean(train_share=0.5, split_seed=1))
    assert set(other.train.session) != set(splits[2].train.session)


@pytest.mark.parametrize("share", [0.0, -0.5, 1.5])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(DisentrecError, match=f"train_share is {share:g}"):
        split_sessions(fake_dataset([[0, 1]] * 50), Protocol.clean(train_share=share))


def test_a_share_so_small_that_nothing_is_left_is_an_empty_part():
    with pytest.raises(DisentrecError, match="train part is empty"):
        split_sessions(fake_dataset([[0, 1]] * 20), Protocol.clean(train_share=0.01))
