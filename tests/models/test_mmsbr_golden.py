"""Numerical identity: with the released switches on, MMSBR is the authors' program, number for number.

tests/golden/mmsbr.npz holds parameters, inputs and what the released code (commit b640ff4) computed from them.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import Tensor

from disentrec.data.files import read_arrays
from disentrec.data.sequences import Sequences
from disentrec.data.sessions import SessionBatch
from disentrec.evaluation.metrics import metrics_from_ranks, overlapping_rows
from disentrec.evaluation.ranking import rank_of_target
from disentrec.models.base import Catalogue
from disentrec.models.mmsbr import MMSBR, MMSBRConfig

TABLES = {
    "text": "text_embedding",
    "image": "image_embedding",
    "pseudo_text": "text_img_embedding",
    "pseudo_image": "img_text_embedding",
}
DTYPES = {"float32": (torch.float32, 1e-5), "float64": (torch.float64, 1e-9)}
#: Float32 itself is this far from float64 in scores and gradients: the squared-distance expansion cancels.
SCORES, GRADIENTS = 3e-5, 2e-4


def released_parts(model: MMSBR) -> dict[str, Tensor]:
    """Returns views into our parameters by released name, so that both can be compared and filled."""
    parts: dict[str, Tensor] = {f"{theirs}.weight": model.tables[ours] for ours, theirs in TABLES.items()}

    def linear(theirs: str, ours: torch.nn.Linear) -> None:
        parts[f"{theirs}.weight"] = ours.weight
        if ours.bias is not None:
            parts[f"{theirs}.bias"] = ours.bias

    fusion, price = model.fusion, model.price
    for step, layer in enumerate(fusion.layers):
        name = f"transformers.{step ^ 1}"  # released: the odd layer reads the text, and first
        for place, kind in enumerate(("query", "key", "value")):
            width = layer.output.weight.shape[0]
            rows = slice(place * width, (place + 1) * width)
            parts[f"{name}.mh.{kind}.weight"] = (layer.query_key_value.weight, rows)
            parts[f"{name}.mh.{kind}.bias"] = (layer.query_key_value.bias, rows)
        linear(f"{name}.mh.concat_weight", layer.output)
        linear(f"{name}.pffn.final1", layer.expand)
        linear(f"{name}.pffn.final2", layer.reduce)
        linear(f"{name}.layer_norm", layer.norm)
    for modality, tokens in zip(("text", "img"), fusion.extract, strict=True):
        for number in range(len(tokens.first)):
            for place, kind in ((1, "first"), (2, "second")):
                name = f"mlp_{modality}.{number}.mlp_{place}"
                parts[f"{name}.weight"] = (getattr(tokens, kind), number)
                parts[f"{name}.bias"] = (getattr(tokens, f"{kind}_bias"), number)
    for number in range(4):
        parts[f"star_emb{number + 1}.weight"] = (fusion.pivots, (slice(None), number))
    linear("mlp_star_f1", fusion.merge)
    linear("mlp_star_f2", fusion.output)
    linear("glu1", model.attend_each)
    linear("glu2", model.attend_mean)
    linear("w_2", model.attend_value)
    parts |= {
        "price_mean_embedding.weight": price.mean,
        "price_cov_embedding.weight": price.variance,
        "cate_embedding.weight": price.category,
    }
    linear("LayerNorm", price.norms[0])
    linear("mean_dense", price.mean_output)
    linear("cov_dense", price.variance_output)
    for stream, maps in (("mean", price.mean_maps), ("cov", price.variance_maps)):
        for kind, module in zip(("query", "key", "value"), maps, strict=True):
            linear(f"{stream}_{kind}", module)
    return parts


def part_of(part, gradient: bool = False) -> Tensor:
    """Returns the values, or the gradient, of a parameter or of a part of one, matrices as (out, in)."""
    whole, place = part if isinstance(part, tuple) else (part, slice(None))
    found = (whole.grad if gradient else whole.detach())[place]
    return found.T if isinstance(place, int) and found.ndim == 2 else found


@pytest.fixture(scope="module")
def reference(golden):
    return read_arrays(golden / "mmsbr.npz")


@pytest.fixture(scope="module", params=DTYPES)
def case(request, reference):
    """The released model with the stored parameters and its batch, in one precision."""
    dtype, tolerance = DTYPES[request.param]
    hyper = json.loads(str(reference["meta"]))["hyper"]
    n = hyper["n_items"]
    config = MMSBRConfig.released(
        dim=hyper["emb"],
        heads=hyper["heads"],
        fusion_dim=hyper["feature_emb"],
        content_dims=(hyper["text_emb"], hyper["img_emb"]),
        tokens=hyper["feature_num"],
        rounds=hyper["layers"] // 2,
        hardest=hyper["num_negatives"],
        weight_contrast=hyper["lam"],
        price_levels=hyper["n_price"],
    )
    nothing = Sequences.from_lists([])
    features = {ours: reference[f"param/{theirs}.weight"] for ours, theirs in TABLES.items()}
    levels = reference["input/price_list"]
    # The importer's rule would stretch levels to their range; here they are what the file says.
    levels_top = np.concatenate([levels[:-1], [hyper["n_price"]]])
    model = MMSBR(
        config,
        Catalogue(n, nothing, nothing, features, None, levels_top, reference["input/category_list"] - 1),
    )
    model.levels = torch.from_numpy(levels)
    model = model.to(dtype).eval()
    with torch.no_grad():
        for name, part in released_parts(model).items():
            part_of(part).copy_(torch.from_numpy(reference[f"param/{name}"]))
    batch = SessionBatch(
        *(torch.from_numpy(reference[f"input/{name}"]) for name in ("session", "session_len", "target"))
    )
    return model, batch, tolerance, request.param


def close(ours: Tensor | float, theirs: np.ndarray, tolerance: float) -> None:
    ours = np.asarray(ours.detach() if isinstance(ours, Tensor) else ours)
    scale = np.abs(theirs).max()
    assert np.abs(ours - theirs).max() <= tolerance * scale, f"off by {np.abs(ours - theirs).max() / scale:.2g}"


def test_every_released_parameter_that_is_used_is_ours(case, reference):
    unused = set(reference["unused"].tolist())
    theirs = {key.removeprefix("param/") for key in reference if key.startswith("param/")} - unused
    assert set(released_parts(case[0])) == theirs


def test_outputs(case, reference):
    model, batch, tolerance, precision = case
    items = model.encode_items()
    scores = model(batch, items)
    if precision == "float64":
        close(scores, reference["output64/scores"], tolerance)
        tolerance = 1e-5  # the parts below were kept in float32 only
    close(scores, reference["output/scores"], SCORES)
    close(items.vectors, reference["output/item_emb"], tolerance)
    interest = model.interest(batch, items)
    close(interest, reference["output/sess_interest"], tolerance)
    close(interest @ items.vectors.T, reference["output/scores_interest"], tolerance)
    close(model.price_distance(batch, items), reference["output/scores_price"], SCORES)
    d = model.config.dim
    close(items.prices[:, :d], reference["output/item_price_mean"], tolerance)
    raw = torch.from_numpy(reference["output/item_price_cov_raw"])
    close(items.prices[:, d:] ** 2, (torch.nn.functional.elu(raw) + 1).numpy(), tolerance)


def test_loss_terms(case, reference):
    model, batch, tolerance, precision = case
    section = "loss64" if precision == "float64" else "loss"
    terms = model.losses(batch)
    close(terms["ce"], reference[f"{section}/ce"], tolerance)
    close(terms["contrast"] / model.config.weight_contrast, reference[f"{section}/contrastive"], tolerance)
    close(sum(terms.values()), reference[f"{section}/total"], tolerance)
    for name, theirs in (("image", "contrastive_image"), ("text", "contrastive_text")):
        close(model.contrast_loss(name).sum() / np.log(10), reference[f"{section}/{theirs}"], tolerance)


def test_gradients(case, reference):
    model, batch, tolerance, precision = case
    section = "gradnorm64" if precision == "float64" else "gradnorm"
    model.zero_grad()
    sum(model.losses(batch).values()).backward()
    for name, part in released_parts(model).items():
        theirs = float(reference[f"{section}/{name}"])
        ours = float(part_of(part, gradient=True).norm())
        allowed = 1e-8 if float(reference[f"gradnorm64/{name}"]) < 1e-15 else max(tolerance, 0) * theirs
        if precision == "float32" and allowed > 1e-8:
            allowed = GRADIENTS * theirs
        assert abs(ours - theirs) <= allowed, f"{name}: {ours} against {theirs}"


@pytest.mark.parametrize("averaging", ["plain", "overlap"])
def test_metrics(reference, averaging):
    scores, target = (torch.from_numpy(reference[f"input/metric_{name}"]) for name in ("score", "target"))
    ranks = rank_of_target(scores, target).numpy()
    if averaging == "overlap":
        size = json.loads(str(reference["meta"]))["hyper"]["batch"]
        rows = {21: 8, 31: 9}[len(ranks)]
        assert size > rows  # the metric test has batches of its own
        ranks = ranks[overlapping_rows(len(ranks), rows)]
    ours = metrics_from_ranks(ranks)
    for k in (1, 5, 10, 20):
        for name, theirs in (("prec", "hit"), ("mrr", "mrr"), ("ndcg", "ndcg")):
            assert ours[f"{name}@{k}"] == pytest.approx(float(reference[f"metric/{averaging}/{theirs}{k}"]), abs=1e-12)
    assert len(ranks) == int(reference[f"metric/{averaging}/rows"])
