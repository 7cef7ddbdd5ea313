"""The truth behind the shop and the best that any model could do with it: exact, by Bayes' rule.

    P(next | h) = sum_k P(k | h) sum_z P(z | h) P(next | z, h, k)
    P(k | h) proportional to P(k) prod_t sum_z P(z | x_<t) P(x_t | z, x_<t, k)

The sum over types is finite and only the modality cause depends on the type, so nothing is approximated. The
normaliser of that cause, sum_i appeal[k, i] pull(h, i) free(h, i), is a matrix product for all types at once.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse as sp

from disentrec.data.bazaar.choices import CAUSES, Choices, World, cause_shares, history, make_world
from disentrec.data.bazaar.parameters import BazaarParameters
from disentrec.data.bazaar.shop import ATTRIBUTES
from disentrec.data.sequences import Sequences
from disentrec.data.sessions import SessionCases
from disentrec.errors import DisentrecError, unknown_name

KNOWING = ("all", "type", "id", "modality", "popularity")
BLOCK = 256
#: What a type of customer may prefer by; the order of `Truth.preferences`.
PREFERENCES = (*ATTRIBUTES, "price")


@dataclass(frozen=True)
class Truth:
    """Everything hidden: the world, and why each choice was made."""

    world: World
    cause: np.ndarray  # (choices,) int8 into CAUSES, in the order of the sessions' values
    offsets: np.ndarray  # (sessions + 1,) where each session's choices begin
    session_type: np.ndarray  # (sessions,) the type of the customer
    in_test: np.ndarray  # (sessions,) bool

    def preferences(self) -> np.ndarray:
        """Returns what each attribute adds to every item's appeal to each type, (types, PREFERENCES, items) logits.

        Each attribute's mean over the items is 0; their sum is log(appeal), but for one number per type. It is all that
        a type decides by on its own: similarity and complements come with the session.
        """
        attributes = self.world.shop.attributes
        terms = [taste[:, attributes[:, column]] for column, taste in enumerate(self.world.tastes)]
        terms = np.stack([*terms, self.world.price_term], 1)
        return terms - terms.mean(2, keepdims=True)

    def preference_shares(self) -> np.ndarray:
        """Returns how much of what a type prefers lies in each attribute, (types, PREFERENCES); rows sum to 1.

        The variance of the attribute's term over the items, as a share of the sum of all: an attribute counts by how
        far it parts the items on sale, so that a taste for what few items have counts for little.
        """
        spread = self.preferences().var(2)
        return spread / np.maximum(spread.sum(1, keepdims=True), 1e-12)

    def price_types(self) -> np.ndarray:
        """Returns for which items price says more to a type than all looks together, (types, n_items) bool."""
        terms = self.preferences()
        price = PREFERENCES.index("price")
        return terms[:, price] > np.delete(terms, price, 1).sum(1)


def write_truth(folder: Path, world: World, choices: Choices) -> None:
    """Writes truth/ into a dataset folder."""
    target = folder / "truth"
    target.mkdir()
    (target / "truth.json").write_text(json.dumps({"parameters": world.parameters.to_json()}, indent=1) + "\n")
    arrays = {
        "cause": choices.cause,
        "offsets": choices.sessions.offsets,
        "session_type": choices.user_type[choices.user],
        "in_test": choices.in_test,
        "attributes": world.shop.attributes,
    }
    with open(target / "truth.npz", "wb") as file:
        np.savez_compressed(file, **arrays)


def read_truth(folder: Path | str) -> Truth:
    """Returns the truth of an embedded shop; the world is made again from its parameters."""
    path = Path(folder) / "truth"
    if not (path / "truth.json").exists():
        raise DisentrecError("no truth is known of this data set", where=folder, how="Only the embedded shop has one")
    parameters = BazaarParameters.from_json(json.loads((path / "truth.json").read_text())["parameters"])
    with np.load(path / "truth.npz", allow_pickle=False) as arrays:
        world = make_world(parameters)
        if not np.array_equal(arrays["attributes"], world.shop.attributes):
            raise DisentrecError("the truth was written by another version", where=path, how="Make the data set again")
        return Truth(
            world,
            arrays["cause"],
            arrays["offsets"],
            arrays["session_type"].astype(np.int64),
            arrays["in_test"],
        )


class Oracle:
    """The Bayes-optimal scorer of an anonymous session, and weaker ones that know a single cause."""

    def __init__(self, truth: Truth) -> None:
        self.truth, self.world = truth, truth.world

    def true_causes(self, cases: SessionCases) -> np.ndarray:
        """Returns the cause of every target, (cases,) int into CAUSES. A case is the last choice of its session."""
        return self.truth.cause[self.truth.offsets[cases.session + 1] - 1].astype(np.int64)

    def type_posterior(self, cases: SessionCases) -> np.ndarray:
        """Returns P(k | prefix), (cases, types): the prior, updated by every item of the prefix."""
        return normalised(self.log_types(cases.prefix, self.truth.in_test[cases.session]))

    def log_types(self, items: Sequences, in_test: np.ndarray) -> np.ndarray:
        """Returns log P(k, items) for lists of items that begin a session, (lists, types). in_test: (lists,) bool."""
        log = np.tile(np.log(self.world.type_prior), (len(items), 1))
        table = _rectangle(items)
        for step in range(table.shape[1]):
            rows = np.flatnonzero(table[:, step] >= 0)
            for block in blocks(rows):
                terms = self._terms(table[block, :step], in_test[block])
                log[block] += np.log(terms.of_types(table[block, step]))
        return log

    def probabilities(self, cases: SessionCases, knowing: str = "all") -> np.ndarray:
        """Returns P(next | h) over all items, (cases, n_items); each row sums to 1.

        knowing: "all" (the Bayes optimum), "type" (clairvoyant: the customer's type is known), or one cause alone,
        with the types' posterior where it needs them.
        """
        return np.concatenate([part for _, part in self._parts(cases, knowing)])

    def ceiling_ranks(self, cases: SessionCases, knowing: str = "all") -> np.ndarray:
        """Returns the rank of every target under that knowledge, ties at their mean rank, (cases,) float64."""
        ranks = np.empty(len(cases))
        for rows, part in self._parts(cases, knowing):
            own = part[np.arange(len(rows)), cases.target[rows]][:, None]
            ranks[rows] = (part > own).sum(1) + ((part == own).sum(1) + 1) / 2
        return ranks

    def cause_posterior(self, cases: SessionCases) -> np.ndarray:
        """Returns P(cause | h, target), (cases, 4) in the order of CAUSES: the best possible identification."""
        posterior = np.empty((len(cases), len(CAUSES)))
        types = self.type_posterior(cases)
        table, in_test = _rectangle(cases.prefix), self.truth.in_test[cases.session]
        for block in blocks(np.arange(len(cases))):
            terms = self._terms(table[block], in_test[block])
            by_cause = terms.of_causes(cases.target[block], types[block])
            posterior[block] = by_cause / by_cause.sum(1, keepdims=True)
        return posterior

    def price_decides(self, cases: SessionCases) -> np.ndarray:
        """Returns P(price argues more than looks for the target's kind of customer | h, target), (cases,).

        Given that modality was the cause, whose price term and tastes they are; see `Truth.price_types`.
        """
        types, found = self.type_posterior(cases), np.empty(len(cases))
        table, in_test = _rectangle(cases.prefix), self.truth.in_test[cases.session]
        priced = self.truth.price_types()
        for block in blocks(np.arange(len(cases))):
            terms, chosen = self._terms(table[block], in_test[block]), cases.target[block]
            weights = types[block] * self.world.appeal[:, chosen].T / terms.norm
            found[block] = (weights * priced[:, chosen].T).sum(1) / weights.sum(1)
        return found

    def _parts(self, cases: SessionCases, knowing: str):
        if knowing not in KNOWING:
            raise unknown_name("kind of knowledge", knowing, KNOWING)
        if knowing == "type":
            types = np.eye(len(self.world.type_prior))[self.truth.session_type[cases.session]]
        elif knowing in ("all", "modality"):
            types = self.type_posterior(cases)
        else:
            types = np.tile(self.world.type_prior, (len(cases), 1))
        table, in_test = _rectangle(cases.prefix), self.truth.in_test[cases.session]
        for block in blocks(np.arange(len(cases))):
            yield block, self._terms(table[block], in_test[block]).distribution(types[block], knowing)

    def _terms(self, items: np.ndarray, in_test: np.ndarray) -> Terms:
        return Terms(self.world, items, in_test)


class Terms:
    """The distributions of all causes for a block of histories; items: (cases, steps), -1 = none."""

    def __init__(self, world: World, items: np.ndarray, in_test: np.ndarray) -> None:
        self.world = world
        held = history(items, world.parameters.n_items)
        self.held = (held > 0).toarray()
        free = world.on_sale(in_test) & ~self.held
        self.offers = (held.sign() @ world.shop.complements).multiply(free).toarray()
        mass = self.offers.sum(1, keepdims=True)
        self.shares = cause_shares(world.parameters, mass[:, 0] > 0)
        self.offers = np.divide(self.offers, mass, out=np.zeros_like(self.offers), where=mass > 0)
        self.pull = world.pull(held) * free
        self.norm = self.pull @ world.appeal.T  # (cases, types)
        self.popular = world.shop.popularity * free
        self.popular /= self.popular.sum(1, keepdims=True)
        distinct = self.held.sum(1, keepdims=True)
        self.repeat = np.where(distinct > 0, world.parameters.repeat_rate, 0.0)  # (cases, 1)
        self.again = self.held / np.maximum(distinct, 1)

    def of_types(self, chosen: np.ndarray) -> np.ndarray:
        """Returns P(chosen | h, k), (cases, types)."""
        rows = np.arange(len(chosen))
        modality = self.pull[rows, chosen][:, None] * self.world.appeal[:, chosen].T / self.norm
        others = self.shares[:, [0]] * self.offers[rows, chosen][:, None]
        others = others + self.shares[:, [2]] * self.popular[rows, chosen][:, None]
        new = self.shares[:, [1]] * modality + others
        return self.repeat * self.again[rows, chosen][:, None] + (1 - self.repeat) * new

    def of_causes(self, chosen: np.ndarray, types: np.ndarray) -> np.ndarray:
        """Returns P(chosen, cause | h) with the types averaged out, (cases, 4).

        The types' posterior is that after h; the chosen item itself updates them inside the modality cause.
        """
        rows = np.arange(len(chosen))
        modality = (types * self.world.appeal[:, chosen].T / self.norm).sum(1) * self.pull[rows, chosen]
        new = np.stack([self.offers[rows, chosen], modality, self.popular[rows, chosen]], 1) * self.shares
        again = self.again[rows, chosen][:, None] * self.repeat
        return np.concatenate([new * (1 - self.repeat), again], 1)

    def modality(self, types: np.ndarray) -> np.ndarray:
        """Returns P(next | h) if modality is the cause, (cases, items). types: (cases, types)."""
        return (types / self.norm) @ self.world.appeal * self.pull

    def distribution(self, types: np.ndarray, knowing: str) -> np.ndarray:
        """Returns P(next | h) under a knowledge, (cases, items)."""
        modality = self.modality(types)
        if knowing == "id":
            has = self.offers.any(1, keepdims=True)
            return np.where(has, self.offers, self.popular)
        if knowing in ("modality", "popularity"):
            return modality if knowing == "modality" else self.popular
        new = self.shares[:, [0]] * self.offers + self.shares[:, [1]] * modality + self.shares[:, [2]] * self.popular
        return self.repeat * self.again + (1 - self.repeat) * new


def normalised(log: np.ndarray) -> np.ndarray:
    """Returns probabilities in proportion to exp(log), each row summing to 1."""
    weights = np.exp(log - log.max(1, keepdims=True))
    return weights / weights.sum(1, keepdims=True)


def _rectangle(prefix: Sequences) -> np.ndarray:
    """Returns prefixes as a table of items with -1 at the end of shorter ones."""
    return prefix.padded() - 1


def blocks(rows: np.ndarray):
    """Yields the rows in parts of BLOCK: what is computed of a part is (BLOCK, items) large."""
    return (rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK))


def brute_force(world: World, prefix: list[int], in_test: bool, k: int) -> np.ndarray:
    """Returns P(next | prefix, type k) item by item, straight from the story in choices.py; for tests, (items,)."""
    p, shop, n = world.parameters, world.shop, world.parameters.n_items
    free = [i for i in range(n) if i not in prefix and (in_test or not shop.cold[i])]
    graph = sp.csr_matrix(shop.complements).toarray()
    weights = {0: np.zeros(n), 1: np.zeros(n), 2: np.zeros(n)}
    for i in free:
        weights[0][i] = sum(graph[j, i] for j in set(prefix))
        shared = [float((shop.attributes[i] == shop.attributes[j]).mean()) for j in prefix]
        pull = np.exp(p.similarity * (sum(shared) / len(shared))) if prefix else 1.0
        weights[1][i] = world.appeal[k, i] * pull
        weights[2][i] = shop.popularity[i]
    shares = [p.pi_id if weights[0].sum() > 0 else 0.0, p.pi_modality, p.pi_popularity]
    if sum(shares) == 0:
        shares = [0.0, 0.0, 1.0]
    result = np.zeros(n)
    for number, share in enumerate(shares):
        if share > 0:
            result += share / sum(shares) * weights[number] / weights[number].sum()
    if prefix:
        result *= 1 - p.repeat_rate
        for j in set(prefix):
            result[j] += p.repeat_rate / len(set(prefix))
    return result
