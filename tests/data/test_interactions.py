"""Every rule that splits users' histories, checked on histories small enough to write down, and Pairs themselves."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from disentrec.data.interactions import RULES, Pairs, split_interactions
from disentrec.data.protocol import Protocol
from disentrec.errors import DisentrecError

PARTS = ("train", "valid", "test")


def dataset(users, items, n_items=None, **columns):
    """Returns what of a Dataset a split reads."""
    table = pd.DataFrame({"user": users, "item": items, **columns})
    return SimpleNamespace(folder=Path("toy"), interactions=table, n_items=n_items or int(max(items)) + 1)


def histories(counts, seed=0, time=True, n_items=60):
    """Returns a data set whose user u has counts[u] distinct items, with distinct times in random order."""
    rng = np.random.default_rng(seed)
    users = np.repeat(np.arange(len(counts)), counts)
    items = np.concatenate([rng.choice(n_items, count, replace=False) for count in counts])
    order = rng.permutation(len(users))
    extra = {"time": rng.permutation(len(users)) * 10} if time else {}
    return dataset(users[order], items[order], n_items, **extra)


def sizes(split):
    """Returns how many pairs every user has in each part, (users, 3)."""
    return np.stack([np.diff(getattr(split, part).offsets) for part in PARTS], 1)


def split_of(data, rule="", **changes):
    return split_interactions(data, Protocol.clean(split=rule, **changes))


def of(split, part):
    pairs = getattr(split, part)
    return set(zip(pairs.users.tolist(), pairs.items.tolist(), strict=True))


def times(data):
    """Returns (user, item) -> time."""
    table = data.interactions
    return dict(zip(zip(table["user"], table["item"], strict=True), table["time"], strict=True))


# What every rule keeps.


@pytest.mark.parametrize("rule", RULES)
def test_the_parts_share_no_pair_and_hold_all_pairs_of_users_who_train(rule):
    data = histories([3, 5, 9, 10, 14, 25, 40])
    split = split_of(data, rule)
    found = [of(split, part) for part in PARTS]
    assert sum(map(len, found)) == len(set.union(*found)) == sum(len(getattr(split, part)) for part in PARTS)
    everything = set(zip(data.interactions["user"], data.interactions["item"], strict=True))
    trained = {user for user, _ in found[0]}
    assert set.union(*found) == {pair for pair in everything if pair[0] in trained}
    assert split.n_users == 7 and split.n_items == 60
    for part in (split.train, split.valid, split.test):
        assert (np.diff(part.keys) > 0).all() and (part.n_users, part.n_items) == (7, 60)


@pytest.mark.parametrize("rule", RULES)
def test_a_split_is_its_seed_and_no_row_order_but_where_nothing_is_drawn(rule):
    data = histories([12] * 8)
    one, two, other = split_of(data, rule), split_of(data, rule), split_of(data, rule, split_seed=1)
    assert all(of(one, part) == of(two, part) for part in PARTS)
    drawn = rule not in ("leave-one-out", "user-time", "time")
    assert (of(one, "test") != of(other, "test")) == drawn
    turned = SimpleNamespace(**{**vars(data), "interactions": data.interactions[::-1]})
    assert all(of(one, part) == of(split_of(turned, rule), part) for part in PARTS)  # times are distinct: same order


# Sizes.

COUNTS = [3, 5, 9, 10, 14, 15, 19, 25, 40]


def test_mmrec_gives_test_the_odd_pair_and_lattice_validation():
    data = histories(COUNTS, time=False)
    held = [2 if n < 10 else int(0.2 * n) for n in COUNTS]
    assert held == [2, 2, 2, 2, 2, 3, 3, 5, 8]
    mmrec = [[n - h, h // 2, h - h // 2] for n, h in zip(COUNTS, held, strict=True)]
    assert sizes(split_of(data, "mmrec")).tolist() == mmrec
    assert sizes(split_of(data, "lattice")).tolist() == [[train, test, valid] for train, valid, test in mmrec]
    assert sizes(split_of(data)).tolist() == mmrec  # the rule where nothing is published


def test_train_test_holds_a_rounded_fifth_and_carves_validation_from_train():
    split = split_of(histories(COUNTS, time=False), "train-test")
    test = [round(0.2 * n) for n in COUNTS]
    assert test == [1, 1, 2, 2, 3, 3, 4, 5, 8]
    valid = [max(1, round(0.1 * (n - t))) for n, t in zip(COUNTS, test, strict=True)]
    assert sizes(split)[:, 2].tolist() == test and sizes(split)[:, 1].tolist() == valid
    small = split_of(histories([2, 2, 30], time=False), "train-test")  # round(.4): none
    assert sizes(small)[:, 2].tolist() == [0, 0, 6]


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95, 1.0])
def test_carving_leaves_every_user_a_training_pair(share):
    data = dataset(np.repeat([0, 1, 2], [2, 3, 11]), np.arange(16), split=["train"] * 15 + ["test"])
    split = split_of(data, validation=share)
    expected = [min(n - 1, max(1, round(share * n))) for n in (2, 3, 10)]
    assert sizes(split)[:, 1].tolist() == expected and sizes(split)[:, 2].tolist() == [0, 0, 1]
    one = dataset([0, 1, 1, 1], range(4), split=["train"] * 3 + ["test"])
    assert sizes(split_of(one, validation=share)).tolist() == [[1, 0, 0], [1, 1, 1]]


def test_leave_one_out_takes_the_last_of_each_user():
    data = histories(COUNTS)
    split, when = split_of(data, "leave-one-out"), times(data)
    assert sizes(split).tolist() == [[n - 2, 1, 1] for n in COUNTS]
    for user in range(len(COUNTS)):
        last = [[when[user, item] for item in getattr(split, part).of_user(user)] for part in PARTS]
        assert max(last[0]) < last[1][0] < last[2][0]


def test_leave_one_out_without_time_is_drawn():
    data = histories([20] * 5, time=False)
    split = split_of(data, "leave-one-out")
    assert sizes(split).tolist() == [[18, 1, 1]] * 5
    assert of(split, "test") != of(split_of(data, "leave-one-out", split_seed=1), "test")


def test_user_time_takes_the_last_tenths_of_each_user():
    data = histories(COUNTS)
    split, when = split_of(data, "user-time"), times(data)
    tenth = [max(1, round(0.1 * n)) for n in COUNTS]
    assert sizes(split).tolist() == [[n - 2 * t, t, t] for n, t in zip(COUNTS, tenth, strict=True)]
    for user in range(len(COUNTS)):
        found = [[when[user, item] for item in getattr(split, part).of_user(user)] for part in PARTS]
        assert max(found[0]) < min(found[1]) and max(found[1]) < min(found[2])


def test_time_parts_all_pairs_at_once():
    data = histories([50] * 4)
    split, when = split_of(data, "time"), times(data)
    found = [[when[pair] for pair in of(split, part)] for part in PARTS]
    assert [len(part) for part in found] == [160, 20, 20]
    assert max(found[0]) < min(found[1]) and max(found[1]) < min(found[2])


@pytest.mark.parametrize("step", [2, 3, 7])
def test_time_never_parts_equal_times(step):
    users, items = np.divmod(np.arange(100), 25)
    data = dataset(users, items, time=np.arange(100)[::-1] // step)
    split, when = split_of(data, "time"), times(data)
    found = [{when[pair] for pair in of(split, part)} for part in PARTS]
    assert max(found[0]) < min(found[1]) and max(found[1]) < min(found[2])
    ordered = np.sort(data.interactions["time"])
    assert min(found[2]) == ordered[90] and min(found[1]) == ordered[80]


def test_cold_items_never_train():
    data = histories([20] * 30, time=False)
    split = split_of(data, "cold-items")
    parts = [set(getattr(split, part).items.tolist()) for part in PARTS]
    assert [len(part) for part in parts] == [48, 6, 6]
    assert parts[0].isdisjoint(parts[1]) and parts[0].isdisjoint(parts[2]) and parts[1].isdisjoint(parts[2])


# Published splits.


def test_a_published_split_is_kept():
    data = dataset([0, 0, 0, 1, 1, 1], [0, 1, 2, 2, 1, 0], split=["train", "valid", "test"] * 2)
    for rule in ("", "published"):
        split = split_of(data, rule)
        assert [of(split, part) for part in PARTS] == [{(0, 0), (1, 2)}, {(0, 1), (1, 1)}, {(0, 2), (1, 0)}]
    assert sizes(split_of(data, "leave-one-out")).tolist() == [[1, 1, 1]] * 2  # another rule may be asked for


def test_a_published_split_without_validation_is_carved_but_not_where_test_selects():
    data = dataset([0] * 10 + [1] * 10, list(range(10)) * 2, split=(["train"] * 8 + ["test"] * 2) * 2)
    clean = split_of(data, validation=0.25)
    assert sizes(clean).tolist() == [[6, 2, 2]] * 2
    released = split_of(data, select_on_test=True)
    assert sizes(released).tolist() == [[8, 0, 2]] * 2
    assert of(clean, "test") == of(released, "test")
    assert of(clean, "train") | of(clean, "valid") == of(released, "train")


@pytest.mark.parametrize("rule", RULES)
def test_where_test_selects_validation_trains(rule):
    data = histories([10, 14, 25, 40])
    clean, released = split_of(data, rule), split_of(data, rule, select_on_test=True)
    assert len(released.valid) == 0 and of(released, "test") == of(clean, "test")
    assert of(released, "train") == of(clean, "train") | of(clean, "valid")


# What counts, and who.


def test_a_pair_counts_where_it_occurs_first():
    # By time: user 0 meets item 5 first at time 1, so that its last new item is 7.
    data = dataset([0, 0, 0, 0, 0], [5, 6, 7, 5, 5], time=[1, 2, 3, 4, 5])
    split = split_of(data, "leave-one-out")
    assert [of(split, part) for part in PARTS] == [{(0, 5)}, {(0, 6)}, {(0, 7)}]
    # By row where there is no time; by part where parts are given: what trains is never held out.
    data = dataset([0, 0, 0, 0, 0], [1, 1, 1, 2, 3], split=["test", "valid", "train", "valid", "test"])
    split = split_of(data)
    assert [of(split, part) for part in PARTS] == [{(0, 1)}, {(0, 2)}, {(0, 3)}]


def test_users_without_a_training_pair_are_dropped_and_numbers_kept():
    data = dataset([0, 0, 0, 1, 1, 2, 2, 2], [0, 1, 2, 0, 1, 0, 1, 2],
                   split=["train", "valid", "test", "valid", "test", "train", "valid", "test"])  # fmt: skip
    split = split_of(data)
    assert sizes(split).tolist() == [[1, 1, 1], [0, 0, 0], [1, 1, 1]] and split.n_users == 3
    few = split_of(dataset([0, 1, 1, 2, 2, 2, 2], [0, 0, 1, 0, 1, 2, 3]), "mmrec")  # one and two pairs train nowhere
    assert sizes(few).tolist() == [[0, 0, 0], [0, 0, 0], [2, 1, 1]]


def test_interactions_of_nobody_are_left_out():
    data = dataset([-1, 0, 0, 0, -1], [0, 1, 2, 3, 4], time=[9, 1, 2, 3, 0])
    split = split_of(data, "leave-one-out")
    assert [of(split, part) for part in PARTS] == [{(0, 1)}, {(0, 2)}, {(0, 3)}]


# Errors.


@pytest.mark.parametrize("rule", ["user-time", "time"])
def test_rules_of_time_need_a_time(rule):
    with pytest.raises(DisentrecError, match=f"split '{rule}' needs a time.*toy.*mmrec"):
        split_of(histories(COUNTS, time=False), rule)


def test_an_unknown_split_lists_the_valid_ones():
    with pytest.raises(DisentrecError, match="unknown split 'random'.*toy.*cold-items, lattice, leave-one-out, mmrec"):
        split_of(histories(COUNTS), "random")
    with pytest.raises(DisentrecError, match="unknown split 'published'"):
        split_of(histories(COUNTS), "published")
    with pytest.raises(DisentrecError, match="unknown split 'random'.*published"):
        split_of(dataset([0, 0], [0, 1], split=["train", "test"]), "random")


@pytest.mark.parametrize("table", [None, pd.DataFrame({"user": [-1, -1], "item": [0, 1]})])
def test_a_data_set_without_users_says_so(table):
    with pytest.raises(DisentrecError, match="no interactions.*toy"):
        split_interactions(SimpleNamespace(folder=Path("toy"), interactions=table, n_items=2), Protocol())


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_too_few_pairs_are_an_empty_part_or_a_split(rule, n):
    data = dataset([0] * n, range(n), time=range(n))
    try:
        split = split_of(data, rule)
    except DisentrecError as error:
        assert "part is empty" in str(error) and repr(rule) in str(error)
    else:
        assert all(len(getattr(split, part)) for part in PARTS)


def test_an_empty_part_is_named():
    with pytest.raises(DisentrecError, match="the test part is empty: 4 pairs are too few for the split 'published'"):
        split_of(dataset([0] * 4, range(4), split=["train"] * 3 + ["valid"]))
    with pytest.raises(DisentrecError, match="the train part is empty"):
        split_of(dataset([0] * 4, range(4), split=["test"] * 3 + ["valid"]))


# Pairs.


def test_pairs_are_sorted_distinct_and_know_their_users():
    pairs = Pairs.of(4, 5, [2, 0, 2, 0, 2], [3, 4, 3, 1, 0])
    assert list(zip(pairs.users.tolist(), pairs.items.tolist(), strict=True)) == [(0, 1), (0, 4), (2, 0), (2, 3)]
    assert len(pairs) == 4 and pairs.offsets.tolist() == [0, 2, 2, 4, 4]
    assert pairs.some_users.tolist() == [0, 2] and pairs.some_items.tolist() == [0, 1, 3, 4]
    assert pairs.of_user(2).tolist() == [0, 3] and pairs.of_user(1).tolist() == []
    dense = np.zeros((4, 5))
    dense[[0, 0, 2, 2], [1, 4, 0, 3]] = 1
    assert np.array_equal(pairs.matrix.toarray(), dense) and pairs.matrix.dtype == np.float32


def test_pairs_know_what_they_contain():
    rng = np.random.default_rng(0)
    one, two = (Pairs.of(6, 7, rng.integers(6, size=15), rng.integers(7, size=15)) for _ in range(2))
    users, items = np.arange(6)[:, None], np.arange(7)
    assert np.array_equal(one.contains(users, items), one.matrix.toarray() == 1)
    both = one.union(two)
    assert np.array_equal(both.matrix.toarray(), np.maximum(one.matrix.toarray(), two.matrix.toarray()))
    none = Pairs.of(6, 7, np.empty(0), np.empty(0))
    assert not none.contains(users, items).any() and none.contains(users, items).shape == (6, 7)
    assert np.array_equal(none.union(one).keys, one.keys)


def test_the_same_pairs_are_tested_whoever_selects_on_test():
    """Users whose only early pair is in validation are left out under both protocols."""
    users, items = np.repeat(np.arange(40), 4), np.random.default_rng(0).permutation(160)
    data = dataset(users, items, time=np.random.default_rng(1).permutation(160))
    clean, released = (split_of(data, "time", select_on_test=chosen) for chosen in (False, True))
    assert np.array_equal(clean.test.keys, released.test.keys)
    assert len(released.train) == len(clean.train) + len(clean.valid) and not len(released.valid)


def test_shares_of_train_are_nested_keep_every_user_and_test_the_same():
    data = histories([30, 12, 10, 40])
    whole = split_of(data)
    shares = [split_of(data, train_share=share) for share in (0.1, 0.25, 0.5)]
    for smaller, larger in zip(shares, [*shares[1:], whole], strict=True):
        assert of(smaller, "train") < of(larger, "train")
    counts = sizes(whole)[:, 0]
    expected = [np.maximum(np.round(share * counts), 1).tolist() for share in (0.1, 0.25, 0.5)]
    assert [sizes(split)[:, 0].tolist() for split in shares] == expected
    for split in shares:
        assert of(split, "valid") == of(whole, "valid") and of(split, "test") == of(whole, "test")
        # What a user has is not offered to them because the model was not told of it.
        assert np.array_equal(split.masked.keys, whole.train.keys)
    assert whole.masked is whole.train
