"""The loop: selection on validation, test untouched, released deviations of training, divergence recorded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from disentrec import models
from disentrec.data.interactions import Pairs, TopNSplit
from disentrec.data.protocol import Protocol
from disentrec.data.sequences import Sequences
from disentrec.data.sessions import SessionCases, SessionSplit
from disentrec.evaluation.metrics import metrics_from_ranks, topn_from_ranks
from disentrec.evaluation.ranking import rank_cases, rank_pairs
from disentrec.models.base import TopNModel
from disentrec.training import Training, train
from disentrec.training.tasks import SessionTask, TopNTask
from tests.models.user_worlds import planted
from tests.models.worlds import all_cases, catalogue

N = 20
SETTINGS = {"dim": 8}


def rule(n: int, seed: int) -> list[list[int]]:
    starts = np.random.default_rng(seed).integers(N, size=n)
    return [[int(start), int(start + 1) % N, int(start + 2) % N] for start in starts]


@pytest.fixture
def split():
    train_sessions = rule(120, 0)
    parts = [all_cases(sessions) for sessions in (train_sessions, rule(30, 1), rule(30, 2))]
    lists = Sequences.from_lists(train_sessions)
    return SessionSplit(N, *parts, lists, lists)


def build(split, name="sr-gnn", **settings):
    sessions = [row.tolist() for row in (split.train_sessions[i] for i in range(len(split.train_sessions)))]
    return models.build(name, {**SETTINGS, **settings}, catalogue(sessions, N), seed=0)


class Forbidden(SessionCases):
    """Test cases that must not be looked at."""

    def __len__(self):
        raise AssertionError("the test part was looked at during training")


def test_clean_training_learns_and_keeps_the_best_validation_state_without_seeing_test(split):
    hidden = SessionSplit(
        N, split.train, split.valid, Forbidden(split.test.prefix, split.test.target, split.test.session),
        split.train_sessions, split.graph_sessions,
    )  # fmt: skip
    model = build(split)
    training = Training(epochs=12, batch_size=16, learning_rate=0.02, patience=3)
    result = train(model, SessionTask(hidden, Protocol()), training, seed=0)
    best = max(entry["valid"]["mrr@20"] for entry in result.curves)
    assert result.curves[result.best_epoch]["valid"]["mrr@20"] == best > 0.8
    assert metrics_from_ranks(rank_cases(model, split.valid))["mrr@20"] == best
    assert result.test_ranks == []


def test_training_in_bf16_learns_the_same_and_is_ranked_in_float32(split):
    training = Training(epochs=12, batch_size=16, learning_rate=0.02, patience=3)
    full, half = (
        train(build(split), SessionTask(split, Protocol()), training, seed=0, precision=precision)
        for precision in ("float32", "bf16")
    )
    assert all(tensor.dtype == torch.float32 for tensor in half.best_state.values())
    first = [result.curves[0]["loss"]["ce"] for result in (full, half)]
    assert first[0] != first[1] and first[0] == pytest.approx(first[1], rel=0.02)
    assert max(entry["valid"]["mrr@20"] for entry in half.curves) > 0.8


def test_training_stops_when_patience_is_over(split):
    training = Training(epochs=50, batch_size=16, learning_rate=0.02, patience=2)
    result = train(build(split), SessionTask(split, Protocol()), training, seed=0)
    assert len(result.curves) == result.best_epoch + 3 < 50


def test_same_seed_same_bytes(split):
    states = []
    for seed in (0, 0, 1):
        model = build(split)
        train(model, SessionTask(split, Protocol()), Training(epochs=2, batch_size=16), seed=seed)
        states.append(torch.cat([tensor.flatten() for tensor in model.state_dict().values()]))
    assert torch.equal(states[0], states[1]) and not torch.equal(states[0], states[2])


def test_released_selection_scores_every_epoch_on_test(split):
    task = SessionTask(split, Protocol.clean(select_on_test=True))
    result = train(build(split), task, Training(epochs=3, batch_size=16), seed=0)
    assert len(result.test_ranks) == 3 and all("valid" not in entry for entry in result.curves)


@pytest.mark.parametrize("once", [False, True])
def test_released_dropout_is_active_in_the_first_epoch_only(split, once):
    model = build(split, "narm", hidden=8)
    seen = []
    model.register_forward_pre_hook(lambda module, _: seen.append(module.training))
    losses = model.losses
    model.losses = lambda batch: (seen.append(("train", model.training)), losses(batch))[1]
    task = SessionTask(split, Protocol.clean(dropout_first_epoch_only=once))
    train(model, task, Training(epochs=2, batch_size=120), seed=0)
    assert [mode for mode in seen if isinstance(mode, tuple)] == [("train", True), ("train", not once)]


def test_a_loss_that_is_not_finite_ends_as_diverged(split):
    training = Training(epochs=3, batch_size=16, learning_rate=1e30)
    result = train(build(split), SessionTask(split, Protocol()), training, seed=0)
    assert result.status == "diverged" and len(result.curves) < 3


def test_a_model_without_parameters_is_scored_once(split):
    model = models.build("pop", {}, catalogue([[0, 1]], N), seed=0)
    result = train(model, SessionTask(split, Protocol()), Training(), seed=0)
    assert result.best_epoch == 0 and len(result.curves) == 1


# Users.


@pytest.fixture(scope="module")
def world():
    return planted()


class Hidden(Pairs):
    """Held-out pairs that must not be looked at."""

    @property
    def some_users(self):
        raise AssertionError("the test part was looked at during training")


def recall(split, ranks, part):
    pairs = getattr(split, part)
    return topn_from_ranks(ranks, np.diff(pairs.offsets)[pairs.some_users])["recall@20"]


def test_users_keep_the_state_of_the_best_validation_recall_without_seeing_test(world):
    split = world.split
    test = Hidden(split.n_users, split.n_items, split.test.users, split.test.items)
    task = TopNTask(TopNSplit(split.train, split.valid, test), Protocol())
    model = models.build("lightgcn", {"dim": 16}, world.catalogue, seed=0)
    result = train(model, task, Training(epochs=15, batch_size=64, learning_rate=0.01, patience=3), seed=0)
    found = [entry["valid"]["recall@20"] for entry in result.curves]
    assert found[result.best_epoch] == max(found) > 0.7 and found.index(max(found)) == result.best_epoch
    assert recall(split, rank_pairs(model, split.train, split.valid), "valid") == max(found)
    assert result.test_ranks == []


def test_users_selected_on_test_are_reported_from_the_epoch_of_the_best_test_recall(world):
    task = TopNTask(world.split, Protocol.clean(select_on_test=True))
    training = Training(epochs=6, batch_size=64, learning_rate=0.02)
    model = models.build("bpr", {"dim": 16}, world.catalogue, seed=0)
    result = train(model, task, training, seed=0)
    assert len(result.test_ranks) == 6 and all("valid" not in entry for entry in result.curves)
    # The best stands first here: it must be found there, and not where the training ended.
    history = result.test_ranks[::-1]
    metrics, arrays = task.selected_on_test(history, training)
    found = [recall(world.split, ranks, "test") for ranks in history]
    best = found.index(max(found))
    assert max(found) > found[-1] and metrics["recall@20"] == max(found)
    assert np.array_equal(arrays["test_rank"], history[best]) and set(arrays) == {"test_rank"}
    counts = task.cases()["test_count"]
    assert counts.tolist() == [2] * 60 and topn_from_ranks(arrays["test_rank"], counts) == metrics


def test_some_users_judge_every_run_and_all_are_tested(world):
    task, training = TopNTask(world.split, Protocol()), Training(epochs=2, batch_size=64, validation_users=20)
    valid, judges = world.split.valid, []
    for seed in (0, 1):
        model, asked = models.build("bpr", {"dim": 4}, world.catalogue, seed=seed), []
        model.register_forward_pre_hook(lambda _, given, asked=asked: asked.append(given[0].numpy()))
        result = train(model, task, training, seed=seed)
        judges += asked
        assert len(task.rank(model, "test", training)) == len(world.split.test)
        assert np.array_equal(asked[-1], world.split.test.some_users)
        mine = np.isin(valid.users, asked[0])
        counts = np.unique(valid.users[mine], return_counts=True)[1]
        found = topn_from_ranks(task.rank(model, "valid", Training())[mine], counts)
        assert result.curves[result.best_epoch]["valid"] == found
    assert len(judges[0]) == 20 < len(valid.some_users)
    assert all(np.array_equal(users, judges[0]) for users in judges)


def test_users_of_the_same_seed_have_the_same_bytes(world):
    states = []
    for seed in (0, 0, 1):
        model = models.build("bpr", {"dim": 4}, world.catalogue, seed=0)
        train(model, TopNTask(world.split, Protocol()), Training(epochs=2, batch_size=64), seed=seed)
        states.append(torch.cat([tensor.flatten() for tensor in model.state_dict().values()]))
    assert torch.equal(states[0], states[1]) and not torch.equal(states[0], states[2])


@dataclass(frozen=True)
class Steps:
    """Nothing to set."""


class Walker(TopNModel):
    """A model whose one parameter walks by the learning rate each step: Adam's steps under an even gradient."""

    Config = Steps

    def __init__(self, catalogue):
        super().__init__(Steps(), catalogue)
        self.place = torch.nn.Parameter(torch.zeros(1))
        self.epochs, self.walked = [], []

    def begin_epoch(self, epoch):
        self.epochs.append(epoch)
        self.walked.append(self.place.item())

    def forward(self, users, encoded=None):
        return self.place.expand(len(users), self.n_items).clone()

    def losses(self, batch):
        return {"walk": self.place.sum()}


def test_the_learning_rate_decays_over_50_epochs_and_every_epoch_is_announced(world):
    walkers = []
    for decay in (1.0, 0.5):
        walkers.append(Walker(world.catalogue))
        training = Training(epochs=101, batch_size=10_000, learning_rate=0.01, patience=1000, decay=decay)
        train(walkers[-1], TopNTask(world.split, Protocol.clean(select_on_test=True)), training, seed=0)
        assert walkers[-1].epochs == list(range(101))
    even, falling = (-np.diff(walker.walked) for walker in walkers)
    assert even == pytest.approx(np.full(100, 0.01), rel=1e-3)
    assert falling == pytest.approx(0.01 * 0.5 ** (np.arange(100) / 50), rel=1e-3)


def test_a_user_model_without_parameters_is_scored_once(world):
    model = models.build("most-popular", {}, world.catalogue, seed=0)
    result = train(model, TopNTask(world.split, Protocol()), Training(), seed=0)
    assert result.best_epoch == 0 and len(result.curves) == 1 and result.test_ranks == []
    found = recall(world.split, rank_pairs(model, world.split.train, world.split.valid), "valid")
    assert result.curves[0]["valid"]["recall@20"] == found
    result = train(model, TopNTask(world.split, Protocol.clean(select_on_test=True)), Training(), seed=0)
    assert len(result.test_ranks) == 1 and result.curves == []
