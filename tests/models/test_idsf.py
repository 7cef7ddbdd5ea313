"""IDSF as described: blocks and samples change nothing that they should not, every setting does what it says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from disentrec import models
from disentrec.data.interactions import Pairs
from disentrec.encode.image import pca
from disentrec.errors import DisentrecError
from disentrec.models import UserCatalogue, contrast
from disentrec.models.base import PairBatch
from disentrec.models.contrast import info_nce
from disentrec.models.idsf import SWITCHES, IDSFConfig
from disentrec.models.kernels import unit

USERS, ITEMS = 30, 40
SMALL = {"dim": 8}


def world_of(*names: str) -> UserCatalogue:
    """Returns random pairs and features of the given names; the last two items have none."""
    rng = np.random.default_rng(0)
    train = Pairs.of(USERS, ITEMS, rng.integers(USERS, size=200), rng.integers(ITEMS - 1, size=200))
    features = {name: rng.normal(1, 1, (ITEMS, 12)).astype(np.float32) for name in names}
    for rows in features.values():
        rows[-2:] = 0
    return UserCatalogue(train, features)


@pytest.fixture(scope="module")
def world():
    return world_of("text", "image")


@pytest.fixture(scope="module")
def batch(world):
    rows = np.random.default_rng(1).choice(len(world.train), 16, replace=False)
    negatives = np.random.default_rng(2).integers(ITEMS, size=(16, 1))
    return PairBatch(*map(torch.from_numpy, (world.train.users[rows], world.train.items[rows], negatives)))


def build(world, **settings):
    return models.build("idsf", SMALL | settings, world, seed=0)


def gradients(model, batch) -> dict[str, torch.Tensor]:
    model.zero_grad()
    sum(model.losses(batch).values()).backward()
    return {name: part.grad.clone() for name, part in model.named_parameters() if part.grad is not None}


def written_out(a: torch.Tensor, b: torch.Tensor, temperature: float) -> torch.Tensor:
    """The mean over items of -ln of the released ratio (idsf.md, Section 3)."""
    among, between = (a @ a.T / temperature).exp(), (a @ b.T / temperature).exp()
    return -(between.diag() / (among.sum(1) + between.sum(1) - among.diag())).log().mean()


@pytest.mark.parametrize("kept", [0, 300, 10**6])
@pytest.mark.parametrize("block", [1, 70 * 150, 10**6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_contrast_is_exact_in_blocks_of_any_size(dtype, block, kept, monkeypatch):
    torch.manual_seed(0)
    n = 150
    a, b = (unit(torch.randn(n, 6, dtype=torch.float64)).to(dtype).requires_grad_() for _ in range(2))
    reference = [part.detach().double().requires_grad_() for part in (a, b)]
    expected = written_out(*reference, 0.2)
    theirs = torch.autograd.grad(3 * expected, reference)
    monkeypatch.setattr(contrast, "BLOCK", block)  # one row, 64 rows, all rows
    monkeypatch.setattr(contrast, "KEPT", kept)
    found = info_nce(a, b, 0.2)
    tolerance = 1e-12 if dtype == torch.float64 else 2e-6
    assert found.item() == pytest.approx(expected.item(), rel=tolerance)
    for one, two in zip(torch.autograd.grad(3 * found, (a, b)), theirs, strict=True):
        assert (one.double() - two).abs().max() <= tolerance * two.abs().max()


def test_the_contrast_of_one_side_alone():
    torch.manual_seed(0)
    a, b = (unit(torch.randn(9, 4, dtype=torch.float64)).requires_grad_() for _ in range(2))
    both = torch.autograd.grad(info_nce(a, b, 0.5), (a, b))
    assert torch.equal(torch.autograd.grad(info_nce(a, b.detach(), 0.5), a)[0], both[0])
    assert torch.equal(torch.autograd.grad(info_nce(a.detach(), b, 0.5), b)[0], both[1])
    assert not info_nce(a.detach(), b.detach(), 0.5).requires_grad


@pytest.mark.parametrize("fusion", ["first", "head"])
def test_blocks_change_no_gradient_of_the_model(world, batch, fusion, monkeypatch):
    model = build(world, fusion=fusion).double()
    whole = gradients(model, batch)
    monkeypatch.setattr(contrast, "BLOCK", 7 * ITEMS)
    monkeypatch.setattr(contrast, "KEPT", 14 * ITEMS)
    parts = gradients(model, batch)
    assert whole.keys() == parts.keys()
    assert all(torch.allclose(whole[name], parts[name], atol=1e-12) for name in whole)


def test_a_sample_of_all_items_is_the_whole_and_a_smaller_one_is_drawn(world, batch):
    exact = build(world).double()
    sampled = build(world, contrast_items=ITEMS).double()
    ours, theirs = exact.losses(batch), sampled.losses(batch)
    assert all(ours[name].item() == pytest.approx(theirs[name].item(), abs=1e-12) for name in ours)
    one, two = gradients(exact, batch), gradients(sampled, batch)
    assert all(torch.allclose(one[name], two[name], atol=1e-12) for name in one)
    sampled.config = replace(sampled.config, contrast_items=10)
    chosen = torch.cat([batch.positives, batch.negatives[:, 0]])
    draws = [sampled._sample(batch) for _ in range(2)]
    assert all(len(draw.unique()) == len(draw) == 10 for draw in draws) and not torch.equal(*draws)
    sampled.config = replace(sampled.config, contrast_items=0)
    assert torch.equal(sampled._sample(batch), chosen.unique())
    content = exact.content(exact.projected(), chosen.unique())
    expected = sum(
        written_out(unit(one), unit(two), 0.5)
        for name in exact.names
        for one, two in (
            (content.projected[name], content.attended[name]),
            (content.ids[name], content.attended[name]),
            (content.attended[name], content.fused),
        )
    )
    assert sampled.losses(batch)["contrast"].item() == pytest.approx(expected.item(), abs=1e-12)


@pytest.mark.parametrize("symmetric", [False, True])
def test_the_scores_are_those_of_the_paper_written_out(world, symmetric):
    model = build(world, symmetric=symmetric).double()
    nodes = USERS + ITEMS
    adjacency = np.eye(nodes)
    adjacency[world.train.users, USERS + world.train.items] = 1
    adjacency[USERS + world.train.items, world.train.users] = 1
    degree = adjacency.sum(1)
    scale = 1 / np.sqrt(np.outer(degree, degree)) if symmetric else 1 / degree[:, None]
    adjacency = torch.from_numpy((adjacency * scale).astype(np.float32)).double()

    def gate(module, x, y):
        x_weight, y_weight = (module.value(torch.tanh(module.map(part))).exp() for part in (x, y))
        return (x_weight * x + y_weight * y) / (x_weight + y_weight)

    tables, attended = [], []
    for name in ("text", "image"):
        projected = model.project[name](getattr(model, f"features_{name}"))
        attended.append(gate(model.attend[name], projected, model.ids[name]))
        x = torch.cat([model.preferences[name], projected])
        rounds = [x / x.norm(dim=1, keepdim=True)]
        for _ in range(2):
            rounds.append(adjacency @ rounds[-1] + 0.3 * torch.cat([model.user_ids, model.ids[name]]))
        tables.append(sum(rounds) / 3)
    content = gate(model.attend_both, *attended)
    users = gate(model.user_gate, *(table[:USERS] for table in tables))
    items = gate(model.item_gate, *(table[USERS:] for table in tables))
    items = items + content / content.norm(dim=1, keepdim=True)
    found = model(torch.tensor([3, 17]))
    assert torch.allclose(found, users[[3, 17]] @ items.T, atol=1e-12)
    assert torch.equal(found, model(torch.tensor([3, 17]), model.encode()))


VARIANTS = {
    "gamma": {"gamma": 0.0},
    "contrast": {"weight_contrast": 0.0},
    "no id in content": {"id_in_content": False},
    "no id at all": {"id_in_content": False, "gamma": 0.0, "weight_contrast": 0.0},
    "shared": {"shared_ids": True},
    "symmetric": {"symmetric": True},
    "layers": {"layers": 1},
    "content ids": {"initial_ids": "content"},
    "content ids, shared": {"initial_ids": "content", "shared_ids": True},
    "frozen ids": {"freeze_ids": True},
    "reduced": {"feature_dim": 4},
    "sample": {"contrast_items": 12},
    "batch": {"contrast_items": 0},
    **{name: {setting: value} for name, (setting, value) in SWITCHES.items()},
}


@pytest.mark.parametrize("features", [("text", "image"), ("image", "audio"), ("text",), ("text", "image", "audio")])
@pytest.mark.parametrize("variant", ["as described", "released", *VARIANTS])
def test_every_variant_learns_with_any_modalities(variant, features, batch):
    world = world_of("text", "image", "audio")
    settings = {"released": vars(IDSFConfig.released())}.get(variant, VARIANTS.get(variant, {}))
    model = build(world, **{**settings, "dim": 8, "features": features})
    scores = model(torch.arange(5))
    assert scores.shape == (5, ITEMS) and torch.isfinite(scores).all()
    found = gradients(model, batch)
    trained = {name for name, part in model.named_parameters() if part.requires_grad}
    assert {name for name in trained if not (name in found and found[name].abs().sum() > 0)} == set()
    assert all(torch.isfinite(gradient).all() for gradient in found.values())


def test_every_switch_has_an_effect(world, batch):
    config = IDSFConfig.released()
    assert all(getattr(config, setting) == value for setting, value in SWITCHES.values())
    assert all(getattr(IDSFConfig(), setting) != value for setting, value in SWITCHES.values())
    plain = build(world)
    reference, count = plain(torch.arange(USERS)), sum(part.numel() for part in plain.parameters())
    for name, settings in VARIANTS.items():
        model = build(world, **settings)
        same_scores = torch.allclose(model(torch.arange(USERS)), reference, atol=1e-7)
        trained = sum(part.numel() for part in model.parameters() if part.requires_grad)
        same_losses = model.losses(batch).keys() == plain.losses(batch).keys() and torch.allclose(
            sum(model.losses(batch).values()), sum(plain.losses(batch).values()), atol=1e-7
        )
        assert not (same_scores and same_losses and trained == count), name


def test_one_modality_has_no_gate_between_modalities(batch):
    model = build(world_of("image"))
    assert model.names == ["image"] and model.attend_both is model.user_gate is model.item_gate is None
    content = model.content(model.projected())
    assert content.fused is content.attended["image"]
    assert set(model.contrasts(content)) == {"projected image", "id image"}


def test_features_are_frozen_unless_i4_is_on(world, batch):
    frozen, trained = build(world), build(world, trainable_features=True)
    before = frozen.features_text.clone()
    assert not any("features" in name for name in gradients(frozen, batch))
    assert not frozen.features_text.requires_grad and torch.equal(frozen.features_text, before)
    assert "features_text" not in frozen.state_dict()
    assert gradients(trained, batch)["features_text"].abs().sum() > 0
    reduced = build(world, feature_dim=4)
    assert torch.allclose(reduced.features_text, 2 * torch.from_numpy(pca(world.features["text"], 4)))


def test_an_item_without_content_has_that_of_the_mean(world):
    model = build(world)
    assert torch.allclose(model.features_text[-1], model.features_text[:-2].mean(0), atol=1e-6)
    assert torch.equal(model.features_text[:-2], torch.from_numpy(world.features["text"][:-2]))


def test_how_ids_begin(world, batch):
    rows = np.random.default_rng(5).standard_normal((ITEMS, 8)).astype(np.float32)
    held = replace(world, features={**world.features, "pretrained": rows})
    model = build(held, initial_ids="pretrained", freeze_ids=True)
    assert model.names == ["text", "image"]
    assert all(torch.equal(table, torch.from_numpy(rows)) for table in model.ids.values())
    assert not any(name.startswith("ids") for name in gradients(model, batch))
    content = build(world, initial_ids="content").ids["text"].detach()
    parts = torch.from_numpy(pca(world.features["text"], 8)).double()
    gram, expected = content[:-2].double() @ content[:-2].double().T, parts[:-2] @ parts[:-2].T
    assert torch.allclose(gram / gram.trace(), expected / expected.trace(), atol=1e-5)  # pca rounds
    random = build(world).ids["text"].detach()
    assert content[:-2].norm(dim=1).mean().item() == pytest.approx(random.norm(dim=1).mean().item(), rel=0.2)
    assert torch.equal(content[-2:], random[-2:])
    with pytest.raises(DisentrecError, match=r"'pretrained', which has 8 columns, not 6.*Set dim to 8"):
        build(held, initial_ids="pretrained", dim=6)


def test_what_cannot_be_built_says_why(world):
    with pytest.raises(DisentrecError, match=r"none of the features \['text', 'image', 'audio'\].*Encode"):
        build(world_of())
    with pytest.raises(DisentrecError, match=r"unknown fusion 'sum'.*first, head"):
        build(world, fusion="sum")
    with pytest.raises(DisentrecError, match=r"unknown initial_ids 'lightgcn'.*content, image, random, text"):
        build(world, initial_ids="lightgcn")
    with pytest.raises(DisentrecError, match="temperature of 0.001"):
        build(world, temperature=0.001)


def test_same_seed_same_bytes(world):
    one, two = (build(world).state_dict() for _ in range(2))
    assert one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


@pytest.mark.parametrize("fusion", ["first", "head"])
def test_it_learns_whose_items_are_whose(fusion):
    """Users keep to a group of items that the image shows; held-out pairs of the group are then ranked first."""
    rng = np.random.default_rng(0)
    group_of_user, group_of_item = np.arange(40) % 4, np.arange(48) % 4
    users, items = np.nonzero(group_of_user[:, None] == group_of_item)
    kept = rng.random(len(users)) < 0.6
    shown = np.eye(4, dtype=np.float32)[group_of_item] + rng.normal(0, 0.3, (48, 4)).astype(np.float32)
    train = Pairs.of(40, 48, users[kept], items[kept])
    model = models.build("idsf", {"dim": 16, "fusion": fusion}, UserCatalogue(train, {"image": shown}), seed=0)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    history = []
    for _ in range(60):
        rows = rng.permutation(len(train))[:128]
        negatives = rng.integers(48, size=(128, 1))
        terms = model.losses(PairBatch(*map(torch.from_numpy, (train.users[rows], train.items[rows], negatives))))
        optimiser.zero_grad()
        sum(terms.values()).backward()
        optimiser.step()
        history.append(terms["bpr"].item())
    assert np.mean(history[-5:]) < 0.7 * np.mean(history[:5])
    best = model(torch.arange(40)).topk(12).indices.numpy()
    assert (group_of_item[best] == group_of_user[:, None]).mean() > 0.9
