"""Numerical identity: with the released switches on, AD-DRL is the authors' program, number for number.

tests/golden/addrl_*.npz hold parameters, inputs and what the released code (commit e622b08) computed from them, dropout
off: Baby with four factors and no category, Sports with five.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from disentrec.data.files import read_arrays
from disentrec.data.interactions import Pairs
from disentrec.evaluation.metrics import per_user
from disentrec.evaluation.ranking import rank_pairs
from disentrec.models.addrl import ADDRL, ADDRLConfig
from disentrec.models.attributes import Attribute
from disentrec.models.base import PairBatch, TopNModel, UserCatalogue

DTYPES = {"float32": (torch.float32, 1e-5), "float64": (torch.float64, 1e-9)}
#: Our names of what the release calls otherwise.
FEATURES = {"text": "text", "image": "visual"}
VALUES = {"price": "price", "popularity": "salesrank", "brand": "brand", "category": "category"}


def released_parts(model: ADDRL, gradient: bool = False) -> dict[str, Tensor]:
    """Returns our parameters, or their gradients, by released name."""
    table = model.table.grad if gradient else model.table.data
    found = {"user_embedding.weight": table[: model.n_users], "item_embedding.weight": table[model.n_users :]}
    layers = {"textual_mlp_2": model.project["text"], "visual_mlp_2": model.project["image"]}
    layers |= {f"modality_attention_net1.{number}": model.attend[number] for number in (0, 2)}
    layers |= {f"{VALUES[name]}_mlp.2": head[2] for name, head in model.disentangle.tell_value.items()}
    layers |= {f"{name}_mlp.2": head[2] for name, head in model.disentangle.tell_chunk.items()}
    for name, layer in layers.items():
        for kind, part in layer.named_parameters():
            found[f"{name}.{kind}"] = part.grad if gradient else part.data
    return found


@pytest.fixture(scope="module", params=["addrl_baby", "addrl_sports"])
def reference(request, golden):
    return read_arrays(golden / f"{request.param}.npz")


@pytest.fixture(scope="module", params=DTYPES)
def case(request, reference):
    """The released model with the stored parameters and its batch, in one precision."""
    dtype, tolerance = DTYPES[request.param]
    hyper = json.loads(str(reference["meta"]))["hyper"]
    labels = {
        name: Attribute(reference[f"input/{theirs}_label"], hyper[f"{theirs}_classes"])
        for name, theirs in VALUES.items()
        if hyper[f"{theirs}_classes"]
    }
    content = {name: reference[f"input/{theirs}_feature"] for name, theirs in FEATURES.items()}
    assert all((rows == 0).all(1).any() for rows in content.values())  # items without a feature are among them
    config = ADDRLConfig.released(
        chunk=hyper["emb"] // hyper["n_factors"],
        factors=hyper["n_factors"],
        temperature=hyper["temp"],
        weight_norm=hyper["decay_r"],
        weight_intra=hyper["decay_f"],
        weight_inter=hyper["decay_n"],
        weight_low=hyper["decay_a"],
        dropout=0.0,
    )
    pairs = reference["input/pairs"]
    shop = UserCatalogue(Pairs.of(hyper["n_users"], hyper["n_items"], *pairs.T), content)
    model = ADDRL(config, shop, labels).to(dtype)
    for name, rows in content.items():  # not rounded to float32 on the way
        setattr(model, f"content_{name}", F.normalize(torch.from_numpy(rows).to(dtype), dim=1))
    for name, part in released_parts(model).items():
        part.copy_(torch.from_numpy(reference[f"param/{name}"]))
    batch = PairBatch(*torch.from_numpy(pairs).T, torch.from_numpy(reference["input/negatives"]))
    return model, batch, tolerance, request.param


def close(ours: Tensor | float, theirs: np.ndarray, tolerance: float) -> None:
    ours = np.asarray(ours.detach() if isinstance(ours, Tensor) else ours)
    assert ours.shape == theirs.shape
    scale = np.abs(theirs).max()
    assert np.abs(ours - theirs).max() <= tolerance * scale, f"off by {np.abs(ours - theirs).max() / scale:.2g}"


def test_every_released_parameter_is_ours(case, reference):
    theirs = {key.removeprefix("param/") for key in reference if key.startswith("param/")}
    ours = released_parts(case[0])
    assert set(ours) == theirs and not len(reference["unused"])
    assert sum(part.numel() for part in ours.values()) == sum(part.numel() for part in case[0].parameters())


@torch.no_grad()
def test_scores_of_all_pairs(case, reference):
    model, batch, tolerance, precision = case
    users = torch.arange(model.n_users)
    encoded = model.encode()
    if precision == "float64":
        close(model(users, encoded), reference["output64/scores"], tolerance)
    scores = model(users)
    close(scores, reference["output/scores"], 1e-5)
    close(model.chunk_scores(users, encoded), reference["output/factor_scores"], 1e-5)
    drawn = torch.cat([batch.positives[:, None], batch.negatives], 1)
    own = scores[batch.users[:, None], drawn]
    close(own[:, 0], reference["output/pos_score"], 1e-5)
    close(own[:, 1:], reference["output/neg_score"], 1e-5)
    ours, theirs = scores.topk(20).indices.numpy(), torch.from_numpy(reference["output/scores"]).topk(20).indices
    assert np.array_equal(ours, theirs)


@torch.no_grad()
def test_what_scores_are_made_of(case, reference):
    model, batch, _, _ = case
    views = model.views()
    close(views[:, 1].flatten(1), reference["output/text_projection"], 1e-5)
    close(views[:, 2].flatten(1), reference["output/visual_projection"], 1e-5)
    close(model.attention(views).permute(2, 0, 1), reference["output/attention"], 1e-5)
    fused = model.fuse(views).transpose(0, 1)
    close(fused, reference["output/fused_factors"], 1e-5)
    close(fused[:, batch.positives], reference["output/fused_pos"], 1e-5)
    close(fused[:, batch.negatives.flatten()], reference["output/fused_neg"], 1e-5)


def test_loss_terms(case, reference):
    model, batch, tolerance, precision = case
    section = {name[5:]: value for name, value in reference.items() if name.startswith("loss/")}
    if precision == "float64":
        section = {name: reference[f"loss64/{name}"] for name in section}
    config, terms = model.config, model.losses(batch)
    close(terms["bpr"], section["bpr"], tolerance)
    for ours, theirs, weight in (
        ("intra", "intra", config.weight_intra),
        ("inter", "inter", config.weight_inter),
        ("low", "low", config.weight_low),
    ):
        close(terms[ours] / weight, section[f"{theirs}_pos"] + section[f"{theirs}_neg"], tolerance)
    close(sum(terms.values()), section["total"], tolerance)
    users = model.table[batch.users].unflatten(1, (model.K, -1))
    count = torch.bincount(torch.cat([batch.positives, batch.negatives.flatten()]), minlength=model.n_items)
    close(model.norm(users, model.views(), count), section["reg"], tolerance)


def test_parts_of_loss_terms(case, reference):
    model, batch, tolerance, precision = case
    section = "loss64" if precision == "float64" else "loss"
    n = batch.negatives.shape[1]
    sides = {
        "pos": (batch.users, batch.positives),
        "neg": (batch.users.repeat_interleave(n), batch.negatives.flatten()),
    }
    for side, (users, items) in sides.items():
        views = model.views(items)
        even = views.new_full((len(items),), 1 / len(items))
        parts = {f"intra_{side}_{name}": loss for name, loss in model.disentangle.intra(views, even).items()}
        rows = model.table[users].unflatten(1, (model.K, -1))
        parts[f"intra_{side}_user"] = model.disentangle.chunk("user", rows, even)
        for name, loss in model.disentangle.inter(views, even).items():
            parts[f"inter_{side}_{name.replace('-', '_')}"] = loss
        for name, loss in model.disentangle.low(model.fuse(views), items, even).items():
            parts[f"low_{side}_{VALUES[name]}"] = loss
        assert set(parts) == {
            key.removeprefix("loss/") for key in reference if key.startswith("loss/") and f"_{side}_" in key
        }
        for name, loss in parts.items():
            close(loss, reference[f"{section}/{name}"], tolerance)


def test_gradients(case, reference):
    model, batch, tolerance, precision = case
    section = "gradnorm64" if precision == "float64" else "gradnorm"
    model.zero_grad()
    sum(model.losses(batch).values()).backward()
    gradients = released_parts(model, gradient=True)
    assert set(gradients) == {key.removeprefix("gradnorm/") for key in reference if key.startswith("gradnorm/")}
    for name, gradient in gradients.items():
        assert float(gradient.norm()) == pytest.approx(float(reference[f"{section}/{name}"]), rel=tolerance, abs=0), (
            name
        )


class Given(TopNModel):
    """Scores that are given."""

    def __init__(self, scores: np.ndarray) -> None:
        torch.nn.Module.__init__(self)
        self.scores = torch.from_numpy(scores)

    def forward(self, users: Tensor, encoded: None = None) -> Tensor:
        return self.scores[users]


def test_metrics(reference):
    scores = reference["input/metric_score"]
    train, test = (Pairs.of(*scores.shape, *reference[f"input/metric_{part}"].T) for part in ("train", "test"))
    ranks, counts = rank_pairs(Given(scores), train, test), np.diff(test.offsets)[test.some_users]
    assert np.array_equal(test.some_users, reference["metric/users"])
    names = {"recall": "recall", "precision": "precision", "hit": "hit", "released-ndcg": "ndcg"}
    for ours, theirs in names.items():
        found = per_user(ranks, counts, f"{ours}@20")
        assert np.abs(found - reference[f"metric/per_user_{theirs}20"]).max() < 1e-12
        assert found.mean() == pytest.approx(float(reference[f"metric/{theirs}20"]), abs=1e-12)
    assert (per_user(ranks, counts, "ndcg@20") <= per_user(ranks, counts, "released-ndcg@20") + 1e-12).all()
    assert counts.max() > 20
