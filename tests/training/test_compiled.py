"""Compiled steps: the same function for every model of users that says so, and the same run twice."""

from __future__ import annotations

import functools
import json

import pytest
import torch

from disentrec import models
from disentrec.cli import main
from disentrec.data.protocol import Protocol
from disentrec.errors import DisentrecError
from disentrec.training import Checkpoint, Training, train
from disentrec.training.compiled import CompiledLosses
from disentrec.training.tasks import TopNTask
from tests.models.user_worlds import batch_of, planted, user_catalogue
from tests.training.test_checkpoint import Deadly, Killed, state

USERS = [name for name in models.available() if models.get(name).task == "top-n"]
TRAINED = [name for name in USERS if models.get(name).compiles]
#: What torch.compile says of its own old functions is not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore:.*:FutureWarning:torch", "ignore:.*:DeprecationWarning:torch")
WORLD = planted()
TRAINING = Training(epochs=3, batch_size=64, patience=3)


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "compiled"))


def traced(monkeypatch):
    """Has torch.compile trace as it does, without a break anywhere, but leave out the compiler of its kernels."""
    real = functools.partial(torch.compile, fullgraph=True, backend="aot_eager")
    monkeypatch.setattr(torch, "compile", lambda losses, dynamic, mode: real(losses, dynamic=dynamic))


def gradients(model, losses_of, batch, epoch):
    torch.manual_seed(epoch)
    model.begin_epoch(epoch)
    planned = batch.planned(model.plan(batch))
    terms = losses_of(planned)
    torch.stack(list(terms.values())).sum().backward()
    found = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    return [term.detach() for term in terms.values()] + found


@pytest.mark.parametrize("name", TRAINED)
@torch._dynamo.config.patch(error_on_recompile=True)
def test_a_compiled_step_is_the_model_s_own_in_one_graph_for_all_epochs(name, monkeypatch):
    traced(monkeypatch)
    world = user_catalogue()
    found = []
    for whole in (False, True):
        model = models.build(name, {}, world, seed=0).train()
        if not any(parameter.requires_grad for parameter in model.parameters()):
            pytest.skip("has no parameters")
        losses_of = CompiledLosses(model, 40, "cpu") if whole else model.losses
        found.append([gradients(model, losses_of, batch_of(world.train, 40, 4, epoch), epoch) for epoch in range(3)])
    for eager, compiled in zip(*found, strict=True):
        for one, other in zip(eager, compiled, strict=True):
            assert torch.allclose(one, other, rtol=1e-4, atol=1e-6)


def run(name, compiled, path=None, last=None):
    model = models.build(name, {}, WORLD.catalogue, seed=0)
    task = TopNTask(WORLD.split, Protocol())
    kept = None if path is None else Checkpoint(path, "k", every=0)
    seen = task if last is None else Deadly(task, last, [])
    return state(model, train(model, seen, TRAINING, 5, checkpoint=kept, compiled=compiled))


@functools.cache
def compiled_run(name):
    return run(name, True)


@pytest.mark.parametrize("name", ["bpr", "dmrl"])  # without and with a plan of every batch
def test_a_training_of_compiled_steps_learns_the_same_and_goes_on_after_a_kill(name, tmp_path):
    eager, compiled = run(name, False), compiled_run(name)
    for epoch, other in zip(json.loads(eager[1]), json.loads(compiled[1]), strict=True):
        assert epoch["loss"] == pytest.approx(other["loss"], rel=1e-3)
    with pytest.raises(Killed):
        run(name, True, tmp_path / "c", last=2)
    assert run(name, True, tmp_path / "c") == compiled


def test_what_cannot_be_compiled_says_so():
    model = models.build("dgcf", {}, WORLD.catalogue, seed=0).train()
    batch = batch_of(WORLD.catalogue.train, 64)
    with pytest.raises(DisentrecError, match="torch.compile failed.*model dgcf.*without --compile"):
        CompiledLosses(model, 64, "cpu")(batch)


@pytest.mark.parametrize("name", ["dimo", "idsf"])
def test_the_command_refuses_what_is_not_compiled(name, capsys):
    assert main(["train", name, "bazaar-tiny", "--compile"]) == 2
    assert f"the steps of '{name}' are not compiled. Drop --compile" in capsys.readouterr().err
