"""Users' histories as user -> item pairs: how they are split, and the pairs a model trains and is scored on.

Splits by name: `published` (the data set's own), `mmrec` and `lattice` (per user, drawn; the two rules of the field,
which differ in who gets the odd pair), `train-test` (8:2 per user as AD-DRL ships it, a validation part carved from
train), `leave-one-out`, `user-time` and `time` (the last of each user, or of all), `cold-items` (a fifth of the items
never trains).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from disentrec.data.protocol import Protocol, check_share
from disentrec.errors import DisentrecError, unknown_name

if TYPE_CHECKING:
    from disentrec.data.schema import Dataset

TRAIN, VALID, TEST = range(3)
PARTS = ("train", "valid", "test")


@dataclass(frozen=True)
class Pairs:
    """Distinct user -> item pairs, 0-based, sorted by user, then item."""

    n_users: int
    n_items: int
    users: np.ndarray  # (pairs,) int64
    items: np.ndarray  # (pairs,) int64

    @classmethod
    def of(cls, n_users: int, n_items: int, users: np.ndarray, items: np.ndarray) -> Pairs:
        """Returns the pairs in their order, each once."""
        keys = np.unique(np.asarray(users, np.int64) * n_items + np.asarray(items, np.int64))
        return cls(n_users, n_items, keys // n_items, keys % n_items)

    def __len__(self) -> int:
        return len(self.users)

    @cached_property
    def offsets(self) -> np.ndarray:
        """Where each user's pairs begin, (n_users + 1,) int64."""
        return np.searchsorted(self.users, np.arange(self.n_users + 1))

    @cached_property
    def keys(self) -> np.ndarray:
        """user x n_items + item of every pair, ascending, (pairs,) int64."""
        return self.users * self.n_items + self.items

    @cached_property
    def matrix(self) -> sp.csr_matrix:
        """Ones where a user has an item, (n_users, n_items) float32."""
        ones = np.ones(len(self), dtype=np.float32)
        return sp.csr_matrix((ones, self.items, self.offsets), shape=(self.n_users, self.n_items))

    @cached_property
    def some_users(self) -> np.ndarray:
        """Users with a pair, ascending, int64."""
        return np.flatnonzero(np.diff(self.offsets))

    @cached_property
    def some_items(self) -> np.ndarray:
        """Items with a pair, ascending, int64."""
        return np.flatnonzero(np.bincount(self.items, minlength=self.n_items))

    def of_user(self, user: int) -> np.ndarray:
        """Returns the items of one user."""
        return self.items[self.offsets[user] : self.offsets[user + 1]]

    def of_users(self, users: np.ndarray) -> Pairs:
        """Returns the pairs of some users, in their order."""
        return self.where(np.isin(self.users, users))

    def where(self, kept: np.ndarray) -> Pairs:
        """Returns some of the pairs, in their order. kept: (pairs,) bool, or ascending positions."""
        return Pairs(self.n_users, self.n_items, self.users[kept], self.items[kept])

    def contains(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Returns which of the given pairs are among these, of the broadcast shape, bool."""
        wanted = np.asarray(users * self.n_items + items)
        found = np.zeros(wanted.size, dtype=bool)
        if len(self):
            # In their order: neighbours end in the same corner of the keys, which no cache holds all of.
            order = np.argsort(wanted, axis=None)
            ordered = wanted.ravel()[order]
            found[order] = self.keys[np.searchsorted(self.keys, ordered).clip(max=len(self) - 1)] == ordered
        return found.reshape(wanted.shape)

    def union(self, other: Pairs) -> Pairs:
        """Returns the pairs of both."""
        return Pairs.of(
            self.n_users,
            self.n_items,
            np.concatenate([self.users, other.users]),
            np.concatenate([self.items, other.items]),
        )


@dataclass(frozen=True)
class TopNSplit:
    """The pairs of one data set under one protocol; what a user has is masked wherever items are ranked."""

    train: Pairs
    valid: Pairs
    test: Pairs
    #: The whole training part, where `train` is a share of it.
    whole: Pairs | None = None

    @property
    def masked(self) -> Pairs:
        """Training pairs, those that were left out included: nobody is offered what they have."""
        return self.train if self.whole is None else self.whole

    @property
    def n_users(self) -> int:
        """Number of users; they are called 0..n_users-1."""
        return self.train.n_users

    @property
    def n_items(self) -> int:
        """Number of items; they are called 0..n_items-1."""
        return self.train.n_items


def split_interactions(dataset: Dataset, protocol: Protocol) -> TopNSplit:
    """Returns the pairs of `dataset` under `protocol.split`; a pair counts once, where it occurs first.

    Validation and test pairs of users without a training pair are dropped, as in MMRec. Under `select_on_test` there is
    no validation part: its pairs train. Raises DisentrecError without interactions, or when a part is empty.
    """
    table = dataset.interactions
    if table is None or not (table["user"] >= 0).any():
        raise DisentrecError(
            "this data set has no interactions",
            where=dataset.folder,
            how="Import a source with users, or take a paper on sessions",
        )
    users, items = (table[name].to_numpy(dtype=np.int64) for name in ("user", "item"))
    known = users >= 0
    users, items = users[known], items[known]
    time = table["time"].to_numpy()[known] if "time" in table else None
    published = table["split"].to_numpy()[known] if "split" in table else None
    rule = protocol.split or ("published" if published is not None else "mmrec")
    if published is not None and rule == "published":
        order = np.argsort(np.vectorize(PARTS.index)(published), kind="stable")
    else:
        order = np.arange(len(users)) if time is None else np.argsort(time, kind="stable")
    # First occurrences: by part where parts are given, else by time.
    keys = users[order] * dataset.n_items + items[order]
    _, first = np.unique(keys, return_index=True)
    rows = order[np.sort(first)]
    users, items = users[rows], items[rows]
    time = None if time is None else time[rows]
    if rule == "published" and published is not None:
        part = np.vectorize(PARTS.index)(published[rows])
    elif rule in RULES:
        _need_time(rule, time, dataset)
        part = RULES[rule](users, items, time, np.random.default_rng(protocol.split_seed))
    else:
        valid = ("published", *RULES) if published is not None else tuple(RULES)
        raise unknown_name("split", rule, valid, where=dataset.folder)
    if not (part == VALID).any() and not protocol.select_on_test:
        part = _carve(users, part, protocol.validation, np.random.default_rng(protocol.split_seed))
    n_users = int(users.max()) + 1
    # Before validation pairs join train: the same users are tested under every protocol.
    trained = np.bincount(users[part == TRAIN], minlength=n_users) > 0
    if protocol.select_on_test:
        part = np.where(part == VALID, TRAIN, part)
    pairs = [
        Pairs.of(n_users, dataset.n_items, users[keep], items[keep])
        for keep in ((part == number) & trained[users] for number in (TRAIN, VALID, TEST))
    ]
    for name, found in zip(PARTS, pairs, strict=True):
        if not len(found) and not (name == "valid" and protocol.select_on_test):
            raise DisentrecError(
                f"the {name} part is empty: {len(users)} pairs are too few for the split {rule!r}",
                where=dataset.folder,
                how="Use a larger data set or another `split`",
            )
    if protocol.train_share == 1.0:
        return TopNSplit(*pairs)
    return TopNSplit(_thinned(pairs[0], protocol), *pairs[1:], whole=pairs[0])


# A rule gives every pair its part. users, items: (pairs,); time: (pairs,), ascending, or None.


def _mmrec(users: np.ndarray, items: np.ndarray, time: np.ndarray | None, rng: np.random.Generator) -> np.ndarray:
    """MMRec's notebook: a user of fewer than 10 pairs gives one each; else a fifth is held out, test takes the odd."""
    place, count = _places(users, rng.permutation(len(users)))
    held = np.where(count < 10, 2, (0.2 * count).astype(np.int64))
    n_valid = held // 2
    return np.select([place < n_valid, place < held], [VALID, TEST], TRAIN)


def _lattice(users: np.ndarray, items: np.ndarray, time: np.ndarray | None, rng: np.random.Generator) -> np.ndarray:
    """LATTICE's build_data.py:80-91: as MMRec's, but validation takes the odd one."""
    place, count = _places(users, rng.permutation(len(users)))
    held = np.where(count < 10, 2, (0.2 * count).astype(np.int64))
    return np.select([place < held // 2, place < held], [TEST, VALID], TRAIN)


def _train_test(users: np.ndarray, items: np.ndarray, time: np.ndarray | None, rng: np.random.Generator) -> np.ndarray:
    """8:2 per user, rounded, as AD-DRL's files are understood to be; there is no validation part."""
    place, count = _places(users, rng.permutation(len(users)))
    return np.where(place < np.round(0.2 * count), TEST, TRAIN)


def _leave_one_out(
    users: np.ndarray, items: np.ndarray, time: np.ndarray | None, rng: np.random.Generator
) -> np.ndarray:
    """The last pair of each user tests, the one before validates; drawn where no time is known."""
    order = rng.permutation(len(users)) if time is None else np.arange(len(users))[::-1]
    place, _ = _places(users, order)
    return np.select([place == 0, place == 1], [TEST, VALID], TRAIN)


def _user_time(users: np.ndarray, items: np.ndarray, time: np.ndarray | None, rng: np.random.Generator) -> np.ndarray:
    """The last tenth of each user's pairs tests, the tenth before validates, at least one each."""
    place, count = _places(users, np.arange(len(users))[::-1])
    tenth = np.maximum(np.round(0.1 * count), 1)
    return np.select([place < tenth, place < 2 * tenth], [TEST, VALID], TRAIN)


def _time(users: np.ndarray, items: np.ndarray, time: np.ndarray | None, rng: np.random.Generator) -> np.ndarray:
    """The last tenth of all pairs tests, the tenth before validates; equal times are never parted."""
    first, second = (time[min(round(share * len(time)), len(time) - 1)] for share in (0.8, 0.9))
    return np.select([time >= second, time >= first], [TEST, VALID], TRAIN)


def _cold_items(users: np.ndarray, items: np.ndarray, time: np.ndarray | None, rng: np.random.Generator) -> np.ndarray:
    """IDSF's data/cold_start.py: a fifth of the items leaves train, half of them for test, half for validation."""
    sold = np.unique(items)
    cold = rng.permutation(sold)[: round(0.2 * len(sold))]
    part = np.full(int(items.max()) + 1, TRAIN)
    part[cold[: len(cold) // 2]] = TEST
    part[cold[len(cold) // 2 :]] = VALID
    return part[items]


Rule = Callable[[np.ndarray, np.ndarray, "np.ndarray | None", np.random.Generator], np.ndarray]
RULES: dict[str, Rule] = {
    "mmrec": _mmrec,
    "lattice": _lattice,
    "train-test": _train_test,
    "leave-one-out": _leave_one_out,
    "user-time": _user_time,
    "time": _time,
    "cold-items": _cold_items,
}


def _places(users: np.ndarray, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns every pair's place among its user's, taken in the given order, and how many the user has."""
    by_user = order[np.argsort(users[order], kind="stable")]
    count = np.bincount(users)
    starts = np.cumsum(count) - count
    place = np.empty(len(users), np.int64)
    place[by_user] = np.arange(len(users)) - starts[users[by_user]]
    return place, count[users]


def _carve(users: np.ndarray, part: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Returns the parts with a share of every user's training pairs drawn for validation, all but one at most."""
    rows = np.flatnonzero(part == TRAIN)
    place, count = _places(users[rows], rng.permutation(len(rows)))
    carved = place < np.minimum(np.maximum(np.round(share * count), 1), count - 1)
    part = part.copy()
    part[rows[carved]] = VALID
    return part


def _thinned(train: Pairs, protocol: Protocol) -> Pairs:
    """Returns `train_share` of every user's pairs, one at least: the beginning of one order, so shares are nested."""
    share = check_share(protocol.train_share)
    place, count = _places(train.users, np.random.default_rng(protocol.split_seed).permutation(len(train)))
    kept = place < np.maximum(np.round(share * count), 1)
    return Pairs.of(train.n_users, train.n_items, train.users[kept], train.items[kept])


def _need_time(rule: str, time: np.ndarray | None, dataset: Dataset) -> None:
    if time is None and rule in ("user-time", "time"):
        raise DisentrecError(
            f"the split {rule!r} needs a time, and these interactions have none", where=dataset.folder,
            how=f"Use another: {', '.join(RULES)}",
        )  # fmt: skip
