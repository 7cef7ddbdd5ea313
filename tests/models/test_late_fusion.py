"""Two halves that never meet: their scores add up, and nothing of one reaches the other."""

from __future__ import annotations

import pytest
import torch

from disentrec import models
from disentrec.errors import DisentrecError
from disentrec.models.late_fusion import standard
from tests.models.worlds import batch_of, catalogue, random_sessions

N = 30
SMALL = {"dim": 8, "heads": 2, "lists": 3}


@pytest.fixture(scope="module")
def world():
    return catalogue(random_sessions(N), N, features=12)


@pytest.fixture(scope="module")
def batch():
    return batch_of([[3], [1, 2, 5], [7, 3]], [4, 6, 8])


def build(world, **settings):
    return models.build("late-fusion", SMALL | settings, world, seed=0)


def test_scores_in_standard_deviations_of_their_row():
    found = standard(torch.tensor([[1.0, 2.0, 3.0], [4.0, 4.0, 4.0]]))
    assert torch.allclose(found, torch.tensor([[-(1.5**0.5), 0.0, 1.5**0.5], [0.0, 0.0, 0.0]]))


def test_the_share_weighs_both_halves(world, batch):
    model = build(world, share=0.25).eval()
    by_id, by_modality = standard(model.by_id(batch)), standard(model.by_modality(batch))
    assert torch.allclose(model(batch), 0.25 * by_id + 0.75 * by_modality)
    # The ends are one half alone, in another unit: the same order.
    for share, half in ((1.0, by_id), (0.0, by_modality)):
        assert torch.equal(build(world, share=share).eval()(batch).argsort(1), half.argsort(1))


def test_nothing_of_one_half_reaches_the_other(world, batch):
    model = build(world)
    shared = {id(one) for one in model.by_id.parameters()} & {id(one) for one in model.by_modality.parameters()}
    assert not shared
    terms = model.losses(batch)
    assert set(terms) == {"id_ce", "id_cooccurrence", "modality_ce"}
    terms["modality_ce"].backward()
    assert all(parameter.grad is None for parameter in model.by_id.parameters())
    assert any(parameter.grad is not None for parameter in model.by_modality.parameters())


def test_the_halves_are_dimo_with_one_cause(world, batch):
    """The parameters that a DIMO of that cause trains, and no other."""
    model = build(world)
    for half, use in ((model.by_id, "id"), (model.by_modality, "modality")):
        alone = models.build("dimo", SMALL | {"use": use}, world, seed=0)
        names = {name for name, parameter in alone.named_parameters() if parameter.requires_grad}
        assert {name for name, parameter in half.named_parameters() if parameter.requires_grad} == names


def test_a_share_that_is_none_is_refused(world):
    with pytest.raises(DisentrecError, match="share is 1.5"):
        build(world, share=1.5)
