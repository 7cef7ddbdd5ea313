"""MMSBR as described: every part has its effect, blocks and samples change nothing that they should not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from disentrec import models
from disentrec.data.sessions import SessionBatch
from disentrec.errors import DisentrecError
from disentrec.models import fusion, mmsbr
from disentrec.models.contrast import logsumexp_rows
from disentrec.models.gaussian_price import GaussianPrice, MixturePrice, distances, price_distances
from disentrec.models.kernels import Dropout, unit
from disentrec.models.mmsbr import SWITCHES, MMSBRConfig
from tests.models.worlds import batch_of, catalogue, random_sessions

N = 40
SMALL = {"dim": 8, "heads": 2, "rounds": 1}
ALL = ("text", "image", "pseudo_text", "pseudo_image")


@pytest.fixture(scope="module")
def world():
    return catalogue(random_sessions(N), N, names=ALL)


@pytest.fixture(scope="module")
def batch():
    sessions = random_sessions(N, 30, seed=1)
    return batch_of([session[:-1] for session in sessions], [session[-1] for session in sessions])


def build(world, **settings):
    return models.build("mmsbr", SMALL | settings, world, seed=0)


def test_the_scores_are_those_of_the_paper_written_out(world, batch):
    model = build(world).eval()
    items = model.encode_items()
    scores = model(batch, items)
    row = 3
    prefix = batch.items[row, : batch.length[row]] - 1
    e = items.vectors[prefix]
    weights = [model.attend_value(torch.sigmoid(model.attend_each(one) + model.attend_mean(e.mean(0)))) for one in e]
    interest = sum(weight * one for weight, one in zip(weights, e, strict=True))
    own = model.price.session(
        model.levels[prefix][None], model.categories[prefix][None], torch.ones(1, len(prefix)) > 0
    )
    d = (own - items.prices).square().sum(1)
    expected = (items.vectors @ interest) * (1 + torch.exp(-d / model.config.dim))
    assert torch.allclose(scores[row], expected, atol=1e-5)


def test_interest_does_not_know_the_order_but_price_knows_the_last_item(world):
    model = build(world).eval()
    items = model.encode_items()
    one, two = batch_of([[4, 9, 7]], [0]), batch_of([[9, 4, 7]], [0])
    other = batch_of([[7, 9, 4]], [0])
    assert torch.allclose(model(one, items), model(two, items), atol=1e-6)
    assert torch.allclose(model.interest(one, items), model.interest(other, items), atol=1e-6)
    assert not torch.allclose(model.price_distance(one, items), model.price_distance(other, items), atol=1e-4)


@pytest.mark.parametrize("kind", fusion.KINDS)
def test_fusing_in_blocks_and_fusing_again_change_nothing(world, batch, kind, monkeypatch):
    model = build(world, fusion=kind, trainable_features=True, pivots_per_item=True).train()

    def gradients() -> list[torch.Tensor]:
        torch.manual_seed(0)
        model.zero_grad()
        sum(model.losses(batch).values()).backward()
        return [p.grad.clone() for p in model.parameters() if p.grad is not None]

    monkeypatch.setattr(fusion, "BLOCK", 16)
    kept = gradients()
    monkeypatch.setattr(fusion, "KEPT", 8)
    again = gradients()
    assert len(kept) == len(again)
    assert all(torch.allclose(one, two, atol=1e-6) for one, two in zip(kept, again, strict=True))


def test_blocks_do_not_touch_each_other(world, monkeypatch):
    model = build(world).eval()
    whole = model.encode_items().vectors
    monkeypatch.setattr(fusion, "BLOCK", 7)
    assert torch.allclose(model.encode_items().vectors, whole, atol=1e-6)
    assert torch.allclose(model.encode_items(torch.tensor([5, 0, 39])).vectors, whole[[5, 0, 39]], atol=1e-6)


@pytest.mark.parametrize("top", [None, 7])
def test_the_sum_over_the_catalogue_is_exact(top, monkeypatch):
    from disentrec.models import contrast

    torch.manual_seed(0)
    x, g = (torch.randn(25, 6, dtype=torch.float64, requires_grad=True) for _ in range(2))
    weights = torch.randn(25, dtype=torch.float64)
    scores = x @ g.T
    expected = (scores if top is None else scores.topk(top, dim=1).values).logsumexp(1)
    theirs = torch.autograd.grad((weights * expected).sum(), (x, g))
    monkeypatch.setattr(contrast, "HELD", 100)  # four rows at a time
    ours = logsumexp_rows(x, g, top)
    assert torch.allclose(ours, expected, atol=1e-12)
    for one, two in zip(torch.autograd.grad((weights * ours).sum(), (x, g)), theirs, strict=True):
        assert torch.allclose(one, two, atol=1e-12)


def test_a_sample_of_items_keeps_the_expected_softmax(world, batch, monkeypatch):
    """exp of the drawn scores, weighted, has the mean of the sum over all others; drawing all is exact."""
    monkeypatch.setattr(mmsbr, "SIZES", 1)
    model = build(world, weight_contrast=0.0, dropout_fusion=0.0, dropout_output=0.0, dropout_price=0.0)
    exact = model.losses(batch)["ce"].item()
    model.config = replace(model.config, sampled=N)
    assert model.losses(batch)["ce"].item() == pytest.approx(exact, abs=1e-5)
    small = SessionBatch(batch.items[:2], batch.length[:2], batch.target[:2])
    with torch.no_grad():
        logits = model(small)
        whole = logits.exp().sum(1)
        model.config = replace(model.config, sampled=5)
        draws = []
        for seed in range(400):
            torch.manual_seed(seed)
            chosen, local, correction = model.plan(small)
            draws.append((model(local, model.encode_items(chosen)) + correction).exp().sum(1))
    mean, error = torch.stack(draws).mean(0), torch.stack(draws).std(0) / 20
    assert ((mean - whole).abs() < 4 * error + 1e-6).all()


def test_the_target_of_a_sampled_step_is_the_same_item(world, batch, monkeypatch):
    monkeypatch.setattr(mmsbr, "SIZES", 4)
    model = build(world, sampled=3)
    chosen, local, _ = model.plan(batch)
    assert len(chosen) % 4 == 0
    assert torch.equal(chosen[local.target], batch.target)
    assert torch.equal(F.pad(chosen + 1, (1, 0))[local.items], batch.items)
    assert len(chosen.unique()) == len(chosen)


def test_contrast_moves_a_feature_to_its_own_pseudo_modality(world):
    model = build(world, trainable_features=True, dropout_fusion=0.0)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.05)
    before = model.contrast_loss("text").mean().item()
    for _ in range(30):
        optimiser.zero_grad()
        model.contrast_loss("text").mean().backward()
        optimiser.step()
    assert model.contrast_loss("text").mean().item() < 0.5 * before
    similarity = unit(model.purified("text", "text", None)) @ unit(model.purified("text", "pseudo_text", None)).T
    assert (similarity.argmax(1) == torch.arange(N)).float().mean() > 0.9


def test_distances_are_those_of_gaussians():
    torch.manual_seed(0)
    mean, variance = torch.randn(2, 3, dtype=torch.float64), torch.rand(2, 3, dtype=torch.float64)
    pair = torch.cat([mean, variance.sqrt()], 1)
    found = distances(pair, pair)
    expected = (mean[0] - mean[1]).square().sum() + (variance[0].sqrt() - variance[1].sqrt()).square().sum()
    assert torch.allclose(found[0, 1], expected) and torch.allclose(
        found.diagonal(), torch.zeros(2, dtype=torch.float64)
    )


def test_the_distance_of_laplace_laws_is_that_of_their_quantiles():
    """W1 = the mean distance of equal quantiles, here by a fine grid; std = sqrt(2) scale."""
    one, other = (torch.tensor([0.3, 0.5]), torch.tensor([1.0, -0.2]))  # [mean; std] of one channel each
    u = (torch.arange(400_000, dtype=torch.float64) + 0.5) / 400_000
    quantile = torch.where(u < 0.5, (2 * u).log(), -(2 * (1 - u)).log()) / 2**0.5  # of std 1
    expected = (one[0] - other[0] + (one[1] - abs(other[1])) * quantile).abs().mean()
    pair = torch.stack([one, other.abs()]).double()
    pair[1, 0] = other[0]
    found = price_distances(pair, pair, "laplace")
    assert torch.allclose(found[0, 1], expected, atol=1e-4) and torch.equal(found, found.T)
    assert found.diagonal().max() < 1e-9
    # Laws of one width are as far apart as their means.
    same = torch.tensor([[0.0, 0.7], [2.5, 0.7]])
    assert price_distances(same, same, "laplace")[0, 1].item() == pytest.approx(2.5)


def test_the_distance_of_mixtures_takes_the_nearer_matching():
    one = torch.tensor([[0.0, 1.0, 5.0, 1.0]])  # N(0, 1) and N(5, 1)
    turned, far = torch.tensor([[5.0, 1.0, 0.0, 1.0]]), torch.tensor([[0.0, 1.0, 9.0, 3.0]])
    assert price_distances(one, torch.cat([one, turned, far]), "mixture").tolist() == [[0.0, 0.0, (16 + 4) / 2]]


def test_kinds_of_prices_differ_and_all_parts_of_a_mixture_learn(world, batch):
    scores = {kind: build(world, price=kind).eval()(batch) for kind in ("gaussian", "point", "laplace", "mixture")}
    for kind, found in scores.items():
        assert all(not torch.allclose(found, other) for name, other in scores.items() if name != kind)
    mixture = build(world, price="mixture")
    assert isinstance(mixture.price, MixturePrice)
    sum(mixture.losses(batch).values()).backward()
    assert all(part.mean.grad.abs().sum() > 0 and part.variance.grad.abs().sum() > 0 for part in mixture.price.parts)


@pytest.mark.parametrize("kind", ["gaussian", "point", "laplace"])
def test_padding_does_not_reach_the_price_of_a_session(kind):
    torch.manual_seed(0)
    price = GaussianPrice(8, 2, 10, 3, 0.0, kind=kind).eval()
    short = price.session(torch.tensor([[4, 2]]), torch.tensor([[1, 3]]), torch.ones(1, 2) > 0)
    padded = price.session(torch.tensor([[4, 2, 0, 0]]), torch.tensor([[1, 3, 0, 0]]), torch.tensor([[1, 1, 0, 0]]) > 0)
    assert torch.allclose(short, padded, atol=1e-6)
    assert price.items(torch.tensor([1, 2]), torch.tensor([1, 1])).shape == (2, 8 if kind == "point" else 16)


def test_every_switch_has_an_effect(world, batch):
    plain = build(world, hardest=5).eval()
    reference = torch.stack([sum(plain.losses(batch).values()), plain(batch).mean()])
    for name, (setting, value) in SWITCHES.items():
        model = build(world, hardest=5, **{setting: value}).eval()
        found = torch.stack([sum(model.losses(batch).values()), model(batch).mean()])
        fewer = sum(p.numel() for p in model.parameters()) < sum(p.numel() for p in plain.parameters())
        # Fresh layer norms are alike, so sharing one shows in their number alone.
        assert fewer if name == "M16" else not torch.allclose(found, reference, atol=1e-7), name
    released = MMSBRConfig.released()
    assert all(getattr(released, setting) == value for setting, value in SWITCHES.values())


def test_content_decides_and_ids_do_not_exist(world):
    """Two items of equal content score alike, unless each has pivots of its own."""
    twins = catalogue(random_sessions(N), N, names=ALL)
    for table in twins.features.values():
        table[11] = table[3]
    twins.prices[11], twins.categories[11] = twins.prices[3], twins.categories[3]
    prefix = batch_of([[5, 6]], [0])
    # The same category members give both the same price level.
    shared = models.build("mmsbr", SMALL, twins, seed=0).eval()(prefix)[0].detach()
    own = models.build("mmsbr", SMALL | {"pivots_per_item": True}, twins, seed=0).eval()(prefix)[0].detach()
    assert shared[3] == pytest.approx(float(shared[11]), abs=1e-6)
    assert own[3] != pytest.approx(float(own[11]), abs=1e-6)


def test_a_set_with_text_alone_needs_no_image(batch):
    model = models.build("mmsbr", SMALL, catalogue(random_sessions(N), N, names=("text",)), seed=0)
    assert model.names == ["text"] and not model.pairs and set(model.losses(batch)) == {"ce"}


def test_what_cannot_be_built_says_why(world):
    with pytest.raises(DisentrecError, match=r"none of the features.*disentrec encode"):
        models.build("mmsbr", SMALL, catalogue(random_sessions(N), N, features=None), seed=0)
    with pytest.raises(DisentrecError, match=r"unknown fusion 'sum'.*concat, gate, pivot, transformer"):
        build(world, fusion="sum")
    with pytest.raises(DisentrecError, match="neither interest nor price"):
        build(world, interest=False, price="none")


def test_dropout_is_a_share_and_keeps_the_mean():
    torch.manual_seed(0)
    layer, x = Dropout(0.6), torch.ones(400, 501)
    out = layer(x)
    assert (out == 0).float().mean() == pytest.approx(0.6, abs=0.005)
    assert out.mean() == pytest.approx(1.0, abs=0.01)
    assert torch.equal(layer.eval()(x), x)
    torch.manual_seed(0)
    assert torch.equal(Dropout(0.6)(x), out)


@pytest.mark.parametrize("kind", fusion.KINDS)
def test_it_learns_that_like_goes_with_like(kind):
    """Sessions stay inside a group that only the text shows: after training, so does the recommendation."""
    rng = np.random.default_rng(0)
    group = np.arange(48) % 4
    sessions = [rng.choice(np.flatnonzero(group == number), 3).tolist() for number in range(4) for _ in range(40)]
    shop = catalogue(sessions, 48, names=("text",), features=12)
    shop.features["text"][:] += 3 * np.eye(12, dtype=np.float32)[group]
    settings = {"dim": 32, "rounds": 1, "fusion": kind, "price": "none", "dropout_fusion": 0.1}
    model = models.build("mmsbr", settings, shop, seed=0).train()
    optimiser = torch.optim.Adam(model.parameters(), lr=0.005)
    cases = batch_of([session[:-1] for session in sessions], [session[-1] for session in sessions])
    for _ in range(250):
        optimiser.zero_grad()
        sum(model.losses(cases).values()).backward()
        optimiser.step()
    best = model.eval()(cases).argmax(1).numpy()
    assert (group[best] == group[cases.target.numpy()]).mean() > 0.95
