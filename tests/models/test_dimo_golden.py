"""Numerical identity: with the released switches on, DIMO is the authors' program, number for number.

tests/golden/dimo.npz holds parameters, inputs and what the released code (commit 4ff44ea) computed from them.
"""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from disentrec.data.files import read_arrays
from disentrec.data.sequences import Sequences
from disentrec.data.sessions import SessionBatch
from disentrec.evaluation.metrics import metrics_from_ranks, overlapping_rows
from disentrec.evaluation.ranking import rank_of_target
from disentrec.models.base import Catalogue
from disentrec.models.cooccurrence import CooccurrenceTables
from disentrec.models.dimo import DIMO, DIMOConfig

#: Released parameter name -> ours.
NAMES = {
    "embedding": "id_table",
    "text_embedding": "modality_table",
    **{name: f"modality_attention.{name}" for name in ("query", "key", "value")},
    **{f"{name}_id": f"id_attention.{name}" for name in ("query", "key", "value")},
    **{f"mlp_seq{number}": f"proxy_layers.{number - 1}" for number in range(1, 9)},
}
#: Zero in exact arithmetic: a softmax over keys does not feel a shift of all of them.
ZERO_GRADIENTS = {"key.bias", "key_id.bias"}
DTYPES = {"float32": (torch.float32, 1e-5), "float64": (torch.float64, 1e-9)}


def our_name(released: str) -> str:
    """Returns the name of a released parameter in our model."""
    stem, _, kind = released.rpartition(".")
    name = NAMES[stem]
    return name if name.endswith("_table") else f"{name}.{kind}"


@pytest.fixture(scope="module")
def reference(golden):
    return read_arrays(golden / "dimo.npz")


@pytest.fixture(scope="module", params=DTYPES)
def case(request, reference):
    """The released model with the stored parameters, its batch and its flags, in one precision."""
    dtype, tolerance = DTYPES[request.param]
    hyper = json.loads(str(reference["meta"]))["hyper"]
    n = hyper["n_items"]
    coordinates = (reference["input/adj_row"], reference["input/adj_col"])
    tables = CooccurrenceTables(
        graph=sp.coo_matrix((reference["input/adj_val"], coordinates), shape=(n, n)).tocsr(),
        positives=reference["input/pos_item"] - 1,
        counts=-reference["input/pos_count_negated"].astype(np.float64),
        negatives=reference["input/neg_item"] - 1,
    )
    config = DIMOConfig.released(
        dim=hyper["emb"],
        heads=hyper["heads"],
        steps=hyper["co_layer"],
        lists=hyper["lists"],
        shared_weight=hyper["lam"],
    )
    nothing = Sequences.from_lists([])
    model = DIMO(config, Catalogue(n, nothing, nothing), tables).to(dtype).eval()
    # Shares are ratios of counts: in float64 they must not have been rounded to float32 on the way.
    shares = tables.counts / (tables.counts.sum(1, keepdims=True) + 1e-8)
    model.positive_shares = torch.from_numpy(shares).to(dtype)
    with torch.no_grad():
        for released in (key for key in reference if key.startswith("param/")):
            stem = released.removeprefix("param/").rpartition(".")[0]
            if stem in NAMES:
                target = model.get_parameter(our_name(released.removeprefix("param/")))
                target.copy_(torch.from_numpy(reference[released]).view_as(target))
    batch = SessionBatch(
        *(torch.from_numpy(reference[f"input/{name}"]) for name in ("session", "session_len", "target"))
    )
    return model, batch, torch.from_numpy(reference["input/flag"]), tolerance, request.param


def close(ours: torch.Tensor | float, theirs: np.ndarray, tolerance: float) -> None:
    ours = np.asarray(ours.detach() if isinstance(ours, torch.Tensor) else ours)
    scale = np.abs(theirs).max()
    assert np.abs(ours - theirs).max() <= tolerance * scale, f"off by {np.abs(ours - theirs).max() / scale:.2g}"


def test_outputs(case, reference):
    model, batch, _, tolerance, precision = case
    encoded = model.encode_items()
    causes = model.causes(batch, encoded)
    if precision == "float64":
        close(model(batch, encoded), reference["output64/scores"], tolerance)
        tolerance = 1e-5  # the parts below were kept in float32 only
    close(model(batch), reference["output/scores"], tolerance)
    close(encoded[0], reference["output/item_id_emb"], tolerance)
    close(encoded[1], reference["output/item_mo_emb"], tolerance)
    names = {"c_id": "sess_id_emb", "c_mo": "sess_mo_emb", "p_id": "sess_id_proxy", "p_mo": "sess_mo_proxy"}
    for ours, theirs in names.items():
        close(causes[ours], reference[f"output/{theirs}"], tolerance)
    close(causes["c_id"] @ encoded[0].T, reference["output/scores_id"], tolerance)
    close(causes["c_mo"] @ encoded[1].T, reference["output/scores_mo"], tolerance)


def test_loss_terms(case, reference):
    model, batch, flag, tolerance, precision = case
    section = "loss64" if precision == "float64" else "loss"
    terms = model.losses(batch, flag)
    weight = model.config.shared_weight
    close(terms["ce"], reference[f"{section}/ce"], tolerance)
    close(terms["cooccurrence"] / weight, reference[f"{section}/item_co"], tolerance)
    close(terms["proxy"] / weight, reference[f"{section}/proxy"], tolerance)
    close(terms["counterfactual"] / weight, reference[f"{section}/criterion"], tolerance)
    close(sum(terms.values()), reference[f"{section}/total"], tolerance)
    close(sum(terms.values()) - terms["ce"], reference[f"{section}/con_weighted"], tolerance)
    halves = model.proxy_loss(model.causes(batch))
    for half, name in zip(halves, ("proxy_id_part", "proxy_mo_part"), strict=True):
        close(half.sum() / math.log(10), reference[f"{section}/{name}"], tolerance)


def test_gradient_norms(case, reference):
    model, batch, flag, tolerance, precision = case
    section = "gradnorm64" if precision == "float64" else "gradnorm"
    model.zero_grad()
    sum(model.losses(batch, flag).values()).backward()
    released = [key.removeprefix(f"{section}/") for key in reference if key.startswith(f"{section}/")]
    assert len(released) == 28
    for name in released:
        gradient = model.get_parameter(our_name(name)).grad
        if name in ZERO_GRADIENTS:
            assert gradient.norm() < 1e-8
        else:
            close(gradient.norm(), reference[f"{section}/{name}"], tolerance)


def test_parameters_without_gradient_are_those_of_the_release(case, reference):
    model, *_ = case
    left_out = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert left_out == {"proxy_layers.5.weight", "proxy_layers.5.bias"}
    assert {"mlp_seq6.weight", "mlp_seq6.bias"} <= set(reference["unused"].tolist())


def test_what_the_losses_would_be_as_written(case, reference):
    """D3 and D4 undone: the authors' own functions with the arguments of their signatures."""
    model, batch, flag, _, _ = case
    causes = model.causes(batch)
    swapped = dict(causes, p_id=causes["c_mo"], c_mo=causes["p_id"])  # undoes the swap, keeps the layers
    for half, part in zip(model.proxy_loss(swapped), ("id_part", "mo_part"), strict=True):
        close(half.sum() / math.log(10), reference[f"extra/proxy_signature_order_{part}"], 1e-5)
    right = DIMO.counterfactual_loss
    config = model.config
    try:
        model.config = DIMOConfig.released(**{**vars(config), "shifted_target": False})
        value = right(model, batch, causes, model.encode_items(), flag).sum() / math.log(10)
    finally:
        model.config = config
    close(value, reference["extra/criterion_label_plus1"], 1e-5)


@pytest.mark.parametrize("how", ["plain", "overlap"])
def test_metrics(reference, how):
    scores, target = (torch.from_numpy(reference[f"input/metric_{name}"]) for name in ("score", "target"))
    ranks = rank_of_target(scores, target).numpy()
    if how == "overlap":  # D7
        batch = json.loads(str(reference["meta"]))["hyper"].get("metric", {})
        size = batch.get("batch", 8) if isinstance(batch, dict) else 8
        ranks = ranks[overlapping_rows(len(ranks), size)]
    assert len(ranks) == reference[f"metric/{how}/rows"]
    ours = metrics_from_ranks(ranks)
    for cutoff in (1, 5, 10, 20):
        for name, released in (("prec", "hit"), ("mrr", "mrr"), ("ndcg", "ndcg")):
            assert ours[f"{name}@{cutoff}"] == pytest.approx(
                float(reference[f"metric/{how}/{released}{cutoff}"]), abs=1e-7
            )
