"""The best that any model could do for a known user of the shop: the types' posterior from all that the user chose.

    P(k | user) proportional to P(k) prod over the user's sessions of P(session | k)
    P(i is chosen early | user) = sum_k P(k | user) P(i is among the first two choices of a session | k)

Both sums are finite and nothing is approximated. What a later choice is depends on longer histories, whose number is
not: that is where the optimum ends (see `UserOracle.ceiling_ranks`).
"""

from __future__ import annotations

import numpy as np

from disentrec.data.bazaar.choices import World
from disentrec.data.bazaar.truth import Oracle, Terms, Truth, blocks, normalised
from disentrec.data.interactions import Pairs, TopNSplit
from disentrec.data.schema import Dataset
from disentrec.errors import DisentrecError, unknown_name

EARLY = (1, 2)
USER_KNOWING = ("all", "type")


class UserOracle:
    """The Bayes-optimal ranking for users whose history is known, on a data set of the shop with its truth."""

    def __init__(self, truth: Truth, dataset: Dataset) -> None:
        self.truth, self.oracle = truth, Oracle(truth)
        sessions = dataset.sessions
        self.lists = dataset.session_lists()
        self.user, self.time = (sessions[name].to_numpy(dtype=np.int64) for name in ("user", "time"))
        #: The true type of every user, -1 of one without a session, (users,) int64.
        self.types = np.full(int(self.user.max()) + 1, -1)
        self.types[self.user] = truth.session_type

    def type_posterior(self, until: int) -> np.ndarray:
        """Returns P(k | the user's sessions until that time, that one among them), (users, types)."""
        log = np.tile(np.log(self.truth.world.type_prior), (len(self.types), 1))
        known = np.flatnonzero(self.time <= until)
        found = self.oracle.log_types(self.lists.take(known), self.truth.in_test[known])
        np.add.at(log, self.user[known], found - np.log(self.truth.world.type_prior))
        return normalised(log)

    def ceiling_ranks(self, split: TopNSplit, knowing: str = "all", *, early: int = 2) -> np.ndarray:
        """Returns the optimal rank of every test pair among the items its user did not train on, (pairs,) float64.

        The split has to be by time. Known are the world, every session until the last training pair was made (their
        order and repeated choices, too, of which the pairs tell nothing), and which share of the tested sessions cold
        items are on sale in. knowing: "all", or "type" (clairvoyant: the type of the user). Items are ranked by the
        probability of being among the first `early` choices, 1 or 2, of a session to come: no ranking finds more of
        those. Later choices follow longer histories, so for all held-out items together this is a lower bound on what
        can be reached. Ties share their mean rank. It takes memory and time of (items, items) per block of items.
        """
        if knowing not in USER_KNOWING:
            raise unknown_name("kind of knowledge", knowing, USER_KNOWING)
        until, start = self._times(split)
        types = self.type_posterior(until) if knowing == "all" else np.eye(len(self.truth.world.type_prior))[self.types]
        late = self.truth.in_test[self.time >= start].mean()
        chosen = sum(
            share * early_choices(self.truth.world, in_test, early)
            for share, in_test in ((1 - late, False), (late, True))
            if share > 0
        )
        test, ranks = split.test, np.empty(len(split.test))
        trained = split.train.matrix
        for rows in blocks(np.arange(len(test))):
            users = test.users[rows]
            scores = np.where(trained[users].toarray() > 0, -1.0, types[users] @ chosen)
            own = scores[np.arange(len(rows)), test.items[rows]][:, None]
            ranks[rows] = (scores > own).sum(1) + ((scores == own).sum(1) + 1) / 2
        return ranks

    def first_choices(self, pairs: Pairs) -> np.ndarray:
        """Returns which choice made each pair, (pairs,): a place in the sessions' values, the earliest of its kind."""
        rows = self.lists.rows
        keys = self.user[rows] * pairs.n_items + self.lists.values
        order = np.argsort(self.time[rows], kind="stable")
        keys, first = np.unique(keys[order], return_index=True)
        return order[first[np.searchsorted(keys, pairs.keys)]]

    def true_causes(self, pairs: Pairs) -> np.ndarray:
        """Returns the cause of every pair's first choice, (pairs,) int into CAUSES; never a repeat."""
        return self.truth.cause[self.first_choices(pairs)].astype(np.int64)

    def known(self, split: TopNSplit) -> tuple[np.ndarray, np.ndarray]:
        """Returns P(k | the user's training sessions), (users, types), and the `early_causes` of what is held out."""
        until, start = self._times(split)
        late = self.truth.in_test[self.time >= start].mean()
        shares = [(1 - late, False), (late, True)]
        by_cause = sum(share * early_causes(self.truth.world, in_test) for share, in_test in shares if share > 0)
        return self.type_posterior(until), by_cause

    def causes(self, split: TopNSplit, pairs: Pairs) -> tuple[np.ndarray, np.ndarray]:
        """Returns P(cause | user, item), (pairs, 3), and P(price argues more than looks | user, item, modality).

        What the user's training sessions say of the type, and the exact causes of early choices: of later ones, the
        session that a model of users does not see would tell more.
        """
        types, by_cause = self.known(split)
        weights = types[pairs.users, None] * by_cause[:, :, pairs.items].transpose(2, 0, 1)  # (pairs, 3, types)
        priced = self.truth.price_types()[:, pairs.items].T
        found, modality = weights.sum(2), weights[:, 1]
        return found / found.sum(1, keepdims=True), (modality * priced).sum(1) / modality.sum(1)

    def _times(self, split: TopNSplit) -> tuple[int, int]:
        """Returns when the last training pair and the first test pair were made; raises unless all else is later."""

        def made(pairs: Pairs) -> np.ndarray:
            return self.time[self.lists.rows[self.first_choices(pairs)]]

        until, start = made(split.train).max(), made(split.test).min()
        if min([start, *made(split.valid)]) <= until:
            raise DisentrecError("held-out pairs are not later than all of train", how='Use the split "time"')
        return int(until), int(start)


def early_choices(world: World, in_test: bool, early: int = 2) -> np.ndarray:
    """Returns P(item among the first `early` choices of a session | type), (types, items); `early` is 1 or 2."""
    if early not in EARLY:
        raise DisentrecError(f"early={early} choices", how="Give 1 or 2: the optimum is known for those alone")
    if early == 1:
        n_types = len(world.appeal)
        begin = Terms(world, np.empty((n_types, 0), np.int64), np.full(n_types, in_test))
        return begin.distribution(np.eye(n_types), "all")
    return early_causes(world, in_test).sum(0)


def early_causes(world: World, in_test: bool) -> np.ndarray:
    """Returns P(item among the first two choices of a session, for that cause | type), (3, types, items)."""
    n_types, n = world.appeal.shape
    begin = Terms(world, np.empty((n_types, 0), np.int64), np.full(n_types, in_test))
    parts = [np.zeros((n_types, n)), begin.modality(np.eye(n_types)), begin.popular]
    found = np.stack([share[:, None] * part for share, part in zip(begin.shares.T, parts, strict=True)])
    first = found.sum(0)
    for block in blocks(np.arange(n)):
        terms = Terms(world, block[:, None], np.full(len(block), in_test))
        # Repeats are left out: an item taken again is among the first two already.
        weight = first[:, block] * (1 - terms.repeat[:, 0])  # (types, block)
        found[0] += weight @ (terms.shares[:, [0]] * terms.offers)
        found[1] += (weight * terms.shares[:, 1] / terms.norm.T) @ terms.pull * world.appeal
        found[2] += weight @ (terms.shares[:, [2]] * terms.popular)
    return found
