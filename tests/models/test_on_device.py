"""A training step stays on its device: it asks the host nothing and copies nothing, whatever the model.

Shown without a GPU: tensors of torch's `meta` device have shapes and no values, so that whatever must wait for a value
to go on (`nonzero`, `unique`, `item`, a mask as an index) raises there. Copies are seen by a dispatch mode.
"""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from disentrec import models
from tests.models import user_worlds, worlds
from tests.models.test_registry import SMALL

N = 30
#: Settings beside the defaults that make a batch's shape depend on what is in it.
VARIANTS = [("idsf", {"contrast_items": 0}), ("mmsbr", {"sampled": 5}), ("addrl", {"auxiliary_on_negatives": True})]
FIELD = [(name, {}) for name in models.available()] + VARIANTS


class Crossings(TorchDispatchMode):
    """Notes operators that read on one device and write to another, or read on both."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        result = operator(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, torch.Tensor)]
        # A number on the host may take part in anything: it is sent along with the operator.
        if len({tensor.device.type for tensor in tensors if tensor.ndim or tensor is result}) > 1:
            self.found.append(str(operator))
        return result


def step(name: str, settings: dict) -> list[str]:
    """Returns the crossings of one step of the model on a device that holds no values."""
    if models.get(name).task == "session":
        world = worlds.catalogue(worlds.random_sessions(N), N)
        batch = worlds.batch_of(worlds.random_sessions(N, 40), [1] * 40)
    else:
        world = user_worlds.user_catalogue()
        batch = user_worlds.batch_of(world.train, negatives=4)
    model = models.build(name, SMALL.get(name, {}) | settings, world, seed=0).train()
    if not any(parameter.requires_grad for parameter in model.parameters()):
        pytest.skip("has no parameters")
    if model.task == "top-n":
        model.begin_epoch(0)
    batch = batch.planned(model.plan(batch)).to("meta")
    model.to("meta")
    with Crossings() as crossings:
        torch.stack(list(model.losses(batch).values())).sum().backward()
    return crossings.found


def on_device(name: str, settings: dict):
    reason = "torch has no sampled product of sparse matrices on the meta device"
    marks = [pytest.mark.xfail(raises=NotImplementedError, strict=True, reason=reason)] if name == "dgcf" else []
    return pytest.param(name, settings, marks=marks, id="-".join((name, *settings)))


@pytest.mark.parametrize(("name", "settings"), [on_device(*one) for one in FIELD])
def test_a_step_neither_waits_for_its_device_nor_copies(name, settings):
    assert step(name, settings) == []


@pytest.mark.parametrize(
    "break_it", [lambda x: x.nonzero(), lambda x: x[x > 0], lambda x: x.sum().item(), lambda x: x.unique()]
)
def test_waiting_is_noticed(break_it):
    with pytest.raises((NotImplementedError, RuntimeError)):
        break_it(torch.ones(3, device="meta"))


def test_copies_are_noticed():
    with Crossings() as crossings:
        torch.ones(3).to("meta")
        torch.ones(3, device="meta") * torch.tensor(2.0)
    assert crossings.found == ["aten._to_copy.default"]
