"""What every session model of the registry must keep, by existing there; users' are in test_user_field.py."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from disentrec import models
from disentrec.errors import DisentrecError
from tests.models.worlds import batch_of, catalogue, random_sessions

N = 30
SMALL = {
    "atten-mixer": {"dim": 8, "heads": 2},
    "bert4rec": {"dim": 8},
    "cohhn": {"dim": 8, "heads": 2},
    "cotrec": {"dim": 8},
    "dhcn": {"dim": 8},
    "dimo": {"dim": 8, "heads": 2},
    "late-fusion": {"dim": 8, "heads": 2},
    "lessr": {"dim": 8},
    "mmsbr": {"dim": 8, "heads": 2, "rounds": 1, "dropout_fusion": 0.2},
    "msgifsr": {"dim": 8},
    "narm": {"dim": 8, "hidden": 8},
    "sasrec": {"dim": 8},
    "sr-gnn": {"dim": 8},
    "two-towers": {"dim": 8},
    "unisrec": {"dim": 8},
}
LEARNED = tuple(SMALL)


@pytest.fixture(params=models.available("session"))
def name(request):
    return request.param


@pytest.fixture(scope="module")
def world():
    return catalogue(random_sessions(N), N)


def test_registry_holds_the_field():
    assert sorted(models.available("session") + models.available("top-n")) == list(models.available())
    assert set(models.available("session")) >= {"pop", "spop", "repeat", "one-hop", "sknn", "narm", "sr-gnn", "dimo"}


def test_scores_depend_on_the_own_session_only(name, world):
    """Neither other sessions of the batch, nor their order, nor padding may move a score."""
    model = models.build(name, SMALL.get(name, {}), world, seed=0).eval()
    prefixes = [[3], [1, 2, 2, 5], [7, 3], [9, 8, 7, 6, 5, 4]]
    with torch.no_grad():
        together = model(batch_of(prefixes, [0] * 4))
        alone = torch.cat([model(batch_of([prefix], [0])) for prefix in prefixes])
        turned = model(batch_of(prefixes[::-1], [0] * 4)).flip(0)
    assert together.shape == (4, N)
    assert torch.allclose(together, alone, atol=1e-6) and torch.allclose(together, turned, atol=1e-6)


def test_scores_are_finite_and_encoded_items_change_nothing(name, world):
    model = models.build(name, SMALL.get(name, {}), world, seed=0).eval()
    batch = batch_of([[0], [5, 6]], [1, 2])
    with torch.no_grad():
        scores = model(batch)
        assert torch.isfinite(scores).all()
        assert torch.equal(scores, model(batch, model.encode_items()))


def test_same_seed_same_bytes(name, world):
    one, two = (models.build(name, SMALL.get(name, {}), world, seed=1).state_dict() for _ in range(2))
    assert one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


@pytest.mark.parametrize("name", LEARNED)
def test_gradient_reaches_every_trainable_parameter(name, world):
    model = models.build(name, SMALL[name], world, seed=0).train()
    torch.manual_seed(0)
    sum(model.losses(batch_of(random_sessions(N, 40), [1] * 40)).values()).backward()
    silent = [
        key
        for key, parameter in model.named_parameters()
        if parameter.requires_grad and (parameter.grad is None or not parameter.grad.abs().sum() > 0)
    ]
    # A softmax over keys does not feel a shift of all of them: these gradients are zero in exact arithmetic.
    assert [key for key in silent if not key.endswith("attention.key.bias")] == []


@pytest.mark.parametrize("name", LEARNED)
def test_losses_in_bf16_are_those_in_float32_but_for_rounding(name, world):
    model = models.build(name, SMALL.get(name, {}), world, seed=0).eval()
    batch = batch_of([[0, 1, 2], [3, 1], [4]], [3, 2, 1])
    found = []
    for enabled in (False, True):
        torch.manual_seed(0)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            terms = model.losses(batch)
        total = sum(term.float() for term in terms.values())
        found.append([total, *torch.autograd.grad(total, [p for p in model.parameters() if p.requires_grad])])
    (full, *slopes), (half, *halves) = found
    assert half.item() == pytest.approx(full.item(), rel=0.03)
    assert all(
        torch.isfinite(slope).all() and slope.shape == one.shape for slope, one in zip(halves, slopes, strict=True)
    )


# MMSBR knows neither IDs nor order: it learns what goes with what (test_mmsbr.py), not what comes next.
@pytest.mark.parametrize("name", [name for name in LEARNED if name != "mmsbr"])
def test_learned_models_learn_a_rule(name):
    """The next item is the last one plus one: a few seconds of training must find that."""
    n = 24
    sessions = [[(start + step) % n for step in range(length)] for start in range(n) for length in (2, 3, 4)]
    # The graph alone gives it away to DIMO, so that is what its ID half is tested on.
    settings = {"dim": 24} | ({"hidden": 24} if name == "narm" else {})
    settings |= {"use": "id", "steps": 1} if name == "dimo" else {}
    settings |= {"share": 1.0, "steps": 1} if name == "late-fusion" else {}
    # UniSRec sees nothing but features: they need as many directions as there are items to tell apart.
    width = 32 if name == "unisrec" else 8
    model = models.build(name, settings, catalogue(sessions, n, features=width), seed=0)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    batch = batch_of([session[:-1] for session in sessions], [session[-1] for session in sessions])
    model.train()
    for _ in range(300):
        optimiser.zero_grad()
        sum(model.losses(batch).values()).backward()
        optimiser.step()
    model.eval()
    hit = (model(batch).argmax(1) == batch.target).float().mean()
    assert hit > 0.95


def test_unknown_names_list_the_valid_ones(world):
    with pytest.raises(DisentrecError, match=r"unknown model 'gru'.*dimo.*narm"):
        models.get("gru")
    with pytest.raises(DisentrecError, match=r"unknown setting 'dims'.*model narm.*dim, dropout"):
        models.build("narm", {"dims": 3}, world, seed=0)


def test_numpy_state_is_not_global(world):
    before = np.random.get_state()[1].copy()
    for name in models.available("session"):
        models.build(name, SMALL.get(name, {}), world, seed=0)
    assert np.array_equal(before, np.random.get_state()[1])
