"""Checkpoints: a training that is killed between epochs ends as if it had not been, for every model there is."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from safetensors import safe_open

from disentrec import models
from disentrec.data.protocol import Protocol
from disentrec.data.sequences import Sequences
from disentrec.data.sessions import SessionSplit
from disentrec.training import Checkpoint, Training, train
from disentrec.training.tasks import SessionTask, TopNTask
from tests.models.test_registry import SMALL
from tests.models.user_worlds import planted
from tests.models.worlds import all_cases, catalogue, random_sessions

N = 20
SESSIONS = random_sessions(N, 60)
WORLD = planted()


class Killed(Exception):  # noqa: N818
    """What stands in for the signal."""


@dataclass(frozen=True)
class Deadly:
    """A task whose training is killed when it ranks for the `last` time."""

    task: SessionTask | TopNTask
    last: int
    seen: list

    def __getattr__(self, name):
        return getattr(self.task, name)

    def rank(self, model, part, training):
        self.seen.append(part)
        if len(self.seen) == self.last:
            raise Killed
        return self.task.rank(model, part, training)


def task_of(kind, protocol):
    if kind == "top-n":
        return TopNTask(WORLD.split, protocol)
    parts = [all_cases(random_sessions(N, n, seed)) for n, seed in ((60, 0), (15, 1), (15, 2))]
    lists = Sequences.from_lists(SESSIONS)
    return SessionTask(SessionSplit(N, *parts, lists, lists), protocol)


def build(name):
    if models.get(name).task == "top-n":
        return models.build(name, {}, WORLD.catalogue, seed=0)
    return models.build(name, SMALL.get(name, {}), catalogue(SESSIONS, N), seed=0)


def state(model, result):
    tensors = {name: tensor.numpy().tobytes() for name, tensor in model.state_dict().items()}
    ranks = [ranks.tobytes() for ranks in result.test_ranks]
    return tensors, json.dumps(result.curves), result.best_epoch, result.status, ranks


def interrupted(name, path, protocol, training, kills=(2, 2), key="k"):
    """Returns model and result of a training that is killed while it ranks, once per entry of `kills`."""
    task = task_of(models.get(name).task, protocol)
    for last in kills:
        torch.rand(7)  # a process that begins elsewhere in its random numbers
        with pytest.raises(Killed):
            train(build(name), Deadly(task, last, []), training, 5, checkpoint=Checkpoint(path, key, every=0))
    model = build(name)
    torch.rand(3)
    return model, train(model, task, training, 5, checkpoint=Checkpoint(path, key, every=0))


def whole(name, protocol, training):
    model = build(name)
    return model, train(model, task_of(models.get(name).task, protocol), training, 5)


@pytest.mark.parametrize("name", models.available())
def test_every_model_ends_with_the_same_bytes(name, tmp_path):
    training = Training(epochs=4, batch_size=48, learning_rate=0.01, decay=0.5)
    expected = state(*whole(name, Protocol(), training))
    learned = any(parameter.requires_grad for parameter in build(name).parameters())
    found = interrupted(name, tmp_path / "c", Protocol(), training, kills=(3, 2) if learned else ())
    assert state(*found) == expected
    assert (tmp_path / "c").exists() == learned


@pytest.mark.parametrize("name", ["narm", "addrl"])
def test_so_does_the_released_protocol_with_its_test_ranks(name, tmp_path):
    protocol = Protocol.clean(select_on_test=True, dropout_first_epoch_only=True, repeated_negatives=True)
    training = Training(epochs=4, batch_size=48, learning_rate=0.01)
    expected = state(*whole(name, protocol, training))
    assert len(expected[-1]) == 4 and state(*interrupted(name, tmp_path / "c", protocol, training)) == expected


def test_patience_counts_epochs_from_before_the_kill(tmp_path):
    training = Training(epochs=40, batch_size=16, learning_rate=0.05, patience=2)
    expected = state(*whole("sr-gnn", Protocol(), training))
    epochs = len(json.loads(expected[1]))
    assert 3 <= epochs < 40
    assert state(*interrupted("sr-gnn", tmp_path / "c", Protocol(), training, kills=(epochs,))) == expected


def test_it_really_goes_on_from_where_it_was(tmp_path):
    """Without this the test above would hold for a checkpoint that is never read."""
    task, training = task_of("session", Protocol()), Training(epochs=4, batch_size=48)
    with pytest.raises(Killed):
        train(build("narm"), Deadly(task, 4, []), training, 5, checkpoint=Checkpoint(tmp_path / "c", "k", every=0))
    seen: list[str] = []
    train(build("narm"), Deadly(task, 9, seen), training, 5, checkpoint=Checkpoint(tmp_path / "c", "k"))
    assert seen == ["valid"]  # three of four epochs were kept


@pytest.mark.parametrize("damage", ["other key", "cut short"])
def test_what_is_of_other_code_or_damaged_is_said_and_not_read(damage, tmp_path, caplog):
    training = Training(epochs=3, batch_size=48, learning_rate=0.01)
    path = tmp_path / "c"
    expected = state(*whole("sr-gnn", Protocol(), training))
    interrupted("sr-gnn", path, Protocol(), training, kills=(3,))
    if damage == "cut short":
        path.write_bytes(path.read_bytes()[:-9])
    with caplog.at_level(logging.WARNING):
        found = interrupted("sr-gnn", path, Protocol(), training, kills=(), key="k" if damage == "cut short" else "j")
    assert "the run begins anew" in caplog.text and state(*found) == expected


def test_nothing_is_written_before_its_time_and_nothing_is_pickled(tmp_path):
    training, path = Training(epochs=3, batch_size=48), tmp_path / "c"
    kept = Checkpoint(path, "k", every=3600)
    train(build("bpr"), task_of("top-n", Protocol()), training, 5, checkpoint=kept)
    assert not path.exists() and not kept.due()
    interrupted("bpr", path, Protocol(), training)
    with safe_open(path, framework="np") as file:
        assert json.loads(file.metadata()["result"])["best_epoch"] >= 0
        assert file.get_tensor("torch").dtype == np.uint8


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    from disentrec.errors import DisentrecError

    (tmp_path / "file").write_text("")
    kept = Checkpoint(tmp_path / "file" / "c", "k", every=0)
    with pytest.raises(DisentrecError, match=r"cannot be written.*file/c.*start the same command again"):
        train(build("bpr"), task_of("top-n", Protocol()), Training(epochs=3), 5, checkpoint=kept)
