"""DIMO as described: every switch does something, and the parts do what their equations say."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from disentrec import models
from disentrec.data.sequences import Sequences
from disentrec.errors import DisentrecError
from disentrec.models.cooccurrence import (
    cooccurrence_counts,
    last_zeros,
    row_normalised,
    sampled_negatives,
    top_neighbours,
)
from disentrec.models.dimo import SWITCHES, DIMOConfig
from disentrec.models.layers import Propagation
from tests.models.worlds import batch_of, catalogue, random_sessions

N = 30
SMALL = {"dim": 8, "heads": 2}


@pytest.fixture(scope="module")
def world():
    return catalogue(random_sessions(N), N)


def loss(world, seed=0, **settings):
    model = models.build("dimo", {**SMALL, **settings}, world, seed=seed).train()
    torch.manual_seed(0)
    terms = model.losses(batch_of(random_sessions(N, 50, seed=5), list(range(25)) * 2))
    return {name: float(value.detach()) for name, value in terms.items()}


CHANGES = {
    "dim": 16, "heads": 4, "steps": 1, "dropout_table": 0.0, "dropout_attention": 0.5, "temperature": 0.5, "lists": 3,
    "constraint_items": 5, "weight_cooccurrence": 0.0, "weight_proxy": 0.0, "weight_counterfactual": 0.0, "use": "id",
    "combine": "gate", "features": ("text", "other"), "features_overwritten": True, "shifted_target": True,
    "swapped_proxy_arguments": True, "log10_sums": True, "shared_weight": 0.5, "propagate_modality": True,
    "filler_negatives": True,
}  # fmt: skip


def test_every_setting_is_tried_here():
    assert set(CHANGES) | {"trainable_features"} == {field.name for field in fields(DIMOConfig)}


@pytest.mark.parametrize("name", [name for name in CHANGES if name != "features"])
def test_every_setting_changes_the_loss(world, name):
    base = {"log10_sums": True} if name == "shared_weight" else {}
    assert loss(world, **base) != loss(world, **base, **{name: CHANGES[name]})


def test_features_are_frozen_unless_told_otherwise(world):
    def trainable(**settings):
        model = models.build("dimo", {**SMALL, **settings}, world, seed=0)
        return model.modality_table.requires_grad, np.array_equal(model.modality_table.detach(), world.features["text"])

    assert trainable() == (False, True)
    assert trainable(trainable_features=True) == (True, True)
    assert trainable(features_overwritten=True) == (True, False)  # D2: a second free ID table


def test_released_turns_every_switch_on():
    config = DIMOConfig.released(dim=8)
    assert all(getattr(config, name) for name in SWITCHES.values()) and config.dim == 8
    assert not any(getattr(DIMOConfig(), name) for name in SWITCHES.values())


def test_without_features_the_way_out_is_named():
    bare = catalogue(random_sessions(N), N, features=None)
    with pytest.raises(DisentrecError, match=r"none of the features.*use=id.*features_overwritten"):
        models.build("dimo", SMALL, bare, seed=0)
    assert loss(bare, use="id").keys() == {"ce", "cooccurrence"}
    with pytest.raises(DisentrecError, match=r"unknown use 'text'.*both, id, modality"):
        models.build("dimo", {**SMALL, "use": "text"}, bare, seed=0)


def test_one_step_lowers_the_loss(world):
    model = models.build("dimo", SMALL, world, seed=0).eval()
    batch = batch_of(random_sessions(N, 50), [3] * 50)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.05)
    before = sum(model.losses(batch).values())
    before.backward()
    optimiser.step()
    assert sum(model.losses(batch).values()) < before


def test_sampled_constraint_has_the_exact_one_as_its_mean(world):
    whole, model = (models.build("dimo", {**SMALL, "constraint_items": n}, world, seed=0).eval() for n in (None, 10))
    with torch.no_grad():
        H, _ = model.encode_items()
        exact = whole.cooccurrence_loss(H)
        every = torch.cat([model.cooccurrence_loss(H, torch.arange(start, start + 10)) for start in (0, 10, 20)])
        assert torch.allclose(exact, every, atol=1e-6)
        torch.manual_seed(0)
        means = [float(model.cooccurrence_loss(H, model._constraint_items()).mean()) for _ in range(400)]
    assert np.mean(means) == pytest.approx(float(exact.mean()), abs=4 * np.std(means) / 20)


def test_propagation_is_a_matrix_power_with_its_gradient():
    graph = row_normalised(cooccurrence_counts(Sequences.from_lists(random_sessions(9, 20)), 9))
    layer = Propagation(graph, 3).double()
    x = torch.randn(9, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    power = torch.matrix_power(torch.eye(9, dtype=torch.float64) + torch.from_numpy(graph.toarray()).double(), 3)
    assert torch.allclose(layer(x), power @ x, atol=1e-6)
    assert gradcheck(layer, (x,)) and gradgradcheck(layer, (x,))


def test_counts_by_hand():
    counts = cooccurrence_counts(Sequences.from_lists([[0, 1, 1], [1, 2], [3, 3]]), 4).toarray()
    assert counts.tolist() == [[0, 2, 0, 0], [2, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0]]


def test_lists_by_hand():
    counts = cooccurrence_counts(Sequences.from_lists([[0, 1], [0, 1], [0, 2], [1, 2], [3, 4]]), 6)
    positives, weights = top_neighbours(counts, 2)
    assert positives[0].tolist() == [1, 2] and weights[0].tolist() == [2, 1]
    assert weights[3].tolist() == [1, 0] and weights[5].tolist() == [0, 0]
    drawn = sampled_negatives(counts, 2, seed=0)
    known = counts.toarray() > 0
    assert not known[np.arange(6)[:, None], drawn].any() and not (drawn == np.arange(6)[:, None]).any()
    # D11: a stable descending sort leaves the last items without a count, so all rows share them.
    assert last_zeros(counts, 2)[:3].tolist() == [[4, 5]] * 3


def test_flags_by_hand():
    world = catalogue([[0, 1], [0, 1], [2, 3]], 6)
    model = models.build("dimo", SMALL, world, seed=0)
    assert model.flags(batch_of([[0], [0, 2], [4], [1, 4]], [1, 3, 0, 5])).tolist() == [1, 1, -1, -1]
