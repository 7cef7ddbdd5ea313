"""What every user -> top-N model must keep, by existing; test_collaborative.py has what defines some of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from disentrec import models
from disentrec.data.protocol import Protocol
from disentrec.evaluation.metrics import topn_from_ranks
from disentrec.evaluation.ranking import rank_pairs
from disentrec.training import Training, train
from disentrec.training.tasks import TopNTask
from tests.models.user_worlds import batch_of, planted, user_catalogue

FIELD = models.available("top-n")
#: Models that need other settings than their defaults in a world this small.
SMALL: dict[str, dict] = {}
#: Parameters that are documented to get no gradient from one batch, by the end of their name.
SILENT: dict[str, tuple[str, ...]] = {}


@pytest.fixture(params=FIELD)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def world():
    return user_catalogue()


@pytest.fixture(scope="module")
def rule():
    return planted()


def build(name, world, seed=0, **settings):
    model = models.build(name, {**SMALL.get(name, {}), **settings}, world, seed)
    torch.manual_seed(seed)
    model.begin_epoch(0)
    return model


def learned(name, world):
    return any(parameter.requires_grad for parameter in build(name, world).parameters())


def test_registry_holds_the_field():
    assert set(FIELD) >= {"most-popular", "item-knn", "bpr", "lightgcn", "ngcf", "dgcf"}
    assert not set(FIELD) & set(models.available("session"))


def test_scores_are_finite_and_what_is_encoded_once_changes_nothing(name, world):
    model = build(name, world).eval()
    users = torch.tensor([3, 0, 39, 3])
    with torch.no_grad():
        scores = model(users)
        assert scores.shape == (4, world.n_items) and torch.isfinite(scores).all()
        assert torch.equal(scores, model(users, model.encode()))


def test_a_user_scores_the_same_in_any_company(name, world):
    model = build(name, world).eval()
    with torch.no_grad():
        together, alone = model(torch.arange(40)), torch.cat([model(torch.tensor([user])) for user in range(40)])
    assert torch.allclose(together, alone, atol=1e-5)


def test_scores_may_be_written_over(name, world):
    """Ranking masks training items in the scores themselves: neither the model nor its tables may feel that."""
    model = build(name, world).eval()
    with torch.no_grad():
        encoded = model.encode()
        first = model(torch.tensor([1]), encoded)
        kept = first.clone()
        first.fill_(-torch.inf)
        assert torch.equal(model(torch.tensor([1]), encoded), kept)


def test_same_seed_same_bytes(name, world):
    one, two, other = (build(name, world, seed) for seed in (1, 1, 2))
    states = [torch.cat([tensor.detach().flatten() for tensor in model.parameters()] or [torch.ones(0)])
              for model in (one, two, other)]  # fmt: skip
    assert torch.equal(states[0], states[1])
    assert not len(states[0]) or not torch.equal(states[0], states[2])
    with torch.no_grad():
        assert torch.equal(one.eval()(torch.arange(5)), two.eval()(torch.arange(5)))


def test_loss_terms_are_finite_numbers_and_gradient_reaches_every_parameter(name, world):
    model = build(name, world).train()
    terms = model.losses(batch_of(world.train, negatives=4))
    if not learned(name, world):
        assert terms == {}
        return
    assert all(term.ndim == 0 and torch.isfinite(term) for term in terms.values())
    sum(terms.values()).backward()
    silent = [
        key
        for key, parameter in model.named_parameters()
        if parameter.requires_grad and (parameter.grad is None or not parameter.grad.abs().sum() > 0)
    ]
    assert [key for key in silent if not key.endswith(SILENT.get(name, ("\0",)))] == []


def test_losses_in_bf16_are_those_in_float32_but_for_rounding(name, world):
    if not learned(name, world):
        pytest.skip("has no parameters")
    found = []
    for enabled in (False, True):
        model = build(name, world).eval()
        torch.manual_seed(0)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            terms = model.losses(batch_of(world.train, negatives=4))
        total = sum(term.float() for term in terms.values())
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        found.append([total, *torch.autograd.grad(total, parameters, allow_unused=True)])
    (full, *_), (half, *halves) = found
    assert half.item() == pytest.approx(full.item(), rel=0.03)
    assert all(torch.isfinite(slope).all() for slope in halves if slope is not None)


def test_evaluation_draws_nothing(name, world):
    model = build(name, world).eval()
    before = torch.get_rng_state()
    with torch.no_grad():
        assert torch.equal(model(torch.arange(9)), model(torch.arange(9)))
    assert torch.equal(before, torch.get_rng_state())


def test_a_few_epochs_find_the_planted_rule(name, rule):
    """Users choose within their group: what is learned must rank the rest of the group before all else."""
    task = TopNTask(rule.split, Protocol())
    model = models.build(name, SMALL.get(name, {}), rule.catalogue, seed=0)
    training = Training(epochs=25, batch_size=64, learning_rate=0.01, patience=25, negatives=1)
    result = train(model, task, training, seed=0)
    found = topn_from_ranks(rank_pairs(model, rule.split.train, rule.split.test), np.full(rule.split.n_users, 2))
    assert result.status == "finished"
    if name == "most-popular":  # every item is as popular as the next: it must not know the rule
        assert abs(found["recall@20"] - 20 / 44) < 0.1
        return
    # At random: 10 of the 44 items that did not train.
    assert found["recall@10"] > 0.6
    if learned(name, rule.catalogue):
        first, last = (sum(result.curves[epoch]["loss"].values()) for epoch in (0, -1))
        assert last < first


def test_building_leaves_numpy_alone(name, world):
    before = np.random.get_state()[1].copy()
    build(name, world)
    assert np.array_equal(before, np.random.get_state()[1])
