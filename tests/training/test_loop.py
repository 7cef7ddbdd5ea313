"""The loop: selection on validation, test untouched, released deviations of training, divergence recorded."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from disentrec import models
from disentrec.data.protocol import Protocol
from disentrec.data.sequences import Sequences
from disentrec.data.sessions import SessionCases, SessionSplit
from disentrec.evaluation.metrics import metrics_from_ranks
from disentrec.evaluation.ranking import rank_cases
from disentrec.training import Training, train
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
    result = train(
        model, hidden, Training(epochs=12, batch_size=16, learning_rate=0.02, patience=3), Protocol(), seed=0
    )
    best = max(entry["valid"]["mrr@20"] for entry in result.curves)
    assert result.curves[result.best_epoch]["valid"]["mrr@20"] == best > 0.8
    assert metrics_from_ranks(rank_cases(model, split.valid))["mrr@20"] == best
    assert result.test_ranks == []


def test_training_stops_when_patience_is_over(split):
    result = train(
        build(split),
        split,
        Training(epochs=50, batch_size=16, learning_rate=0.02, patience=2),
        Protocol(),
        seed=0,
    )
    assert len(result.curves) == result.best_epoch + 3 < 50


def test_same_seed_same_bytes(split):
    states = []
    for seed in (0, 0, 1):
        model = build(split)
        train(model, split, Training(epochs=2, batch_size=16), Protocol(), seed=seed)
        states.append(torch.cat([tensor.flatten() for tensor in model.state_dict().values()]))
    assert torch.equal(states[0], states[1]) and not torch.equal(states[0], states[2])


def test_released_selection_scores_every_epoch_on_test(split):
    protocol = Protocol.clean(select_on_test=True)
    result = train(build(split), split, Training(epochs=3, batch_size=16), protocol, seed=0)
    assert len(result.test_ranks) == 3 and all("valid" not in entry for entry in result.curves)


@pytest.mark.parametrize("once", [False, True])
def test_released_dropout_is_active_in_the_first_epoch_only(split, once):
    model = build(split, "narm", hidden=8)
    seen = []
    model.register_forward_pre_hook(lambda module, _: seen.append(module.training))
    losses = model.losses
    model.losses = lambda batch: (seen.append(("train", model.training)), losses(batch))[1]
    train(
        model,
        split,
        Training(epochs=2, batch_size=120),
        Protocol.clean(dropout_first_epoch_only=once),
        seed=0,
    )
    assert [mode for mode in seen if isinstance(mode, tuple)] == [("train", True), ("train", not once)]


def test_a_loss_that_is_not_finite_ends_as_diverged(split):
    result = train(build(split), split, Training(epochs=3, batch_size=16, learning_rate=1e30), Protocol(), seed=0)
    assert result.status == "diverged" and len(result.curves) < 3


def test_a_model_without_parameters_is_scored_once(split):
    model = models.build("pop", {}, catalogue([[0, 1]], N), seed=0)
    result = train(model, split, Training(), Protocol(), seed=0)
    assert result.best_epoch == 0 and len(result.curves) == 1
