"""Numerical identity: with the released switches on, IDSF is the authors' program, number for number.

tests/golden/idsf_head.npz and idsf_first.npz hold parameters, inputs and what two revisions of the released code
(commits 0ed83d7 and 2736138) computed from them.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from torch import Tensor, nn

from disentrec.data.files import read_arrays
from disentrec.data.interactions import Pairs
from disentrec.evaluation.metrics import per_user
from disentrec.evaluation.ranking import rank_pairs
from disentrec.models.base import PairBatch, UserCatalogue
from disentrec.models.idsf import IDSF, IDSFConfig

DTYPES = {"float32": (torch.float32, 1e-5), "float64": (torch.float64, 1e-9)}
CONTRASTS = {
    "projected image": "cl_image_proj__image_att",
    "id image": "cl_iid__image_att",
    "attended image": "cl_image_att__content",
    "projected text": "cl_text_proj__text_att",
    "id text": "cl_tid__text_att",
    "attended text": "cl_text_att__content",
}


def released_parts(model: IDSF) -> dict[str, Tensor]:
    """Returns our parameters by released name."""
    parts = {
        "item_tid_embedding.weight": model.ids["text"],
        "item_iid_embedding.weight": model.ids["image"],
        "user_id_embedding.weight": model.user_ids,
    }

    def linear(theirs: str, ours: nn.Module) -> None:
        parts.update({f"{theirs}.{name}": parameter for name, parameter in ours.named_parameters()})

    gates = {"fusion_model.fusion_item": model.attend_both, "item_fusion": model.item_gate}
    gates["user_fusion"] = model.user_gate
    for name in ("text", "image"):
        parts[f"{name}_embedding.weight"] = getattr(model, f"features_{name}")
        parts[f"user_preference_{name}.weight"] = model.preferences[name]
        linear(f"fusion_model.{name}2item", model.project[name])
        gates[f"fusion_model.{name}_item"] = model.attend[name]
    for name, gate in gates.items():
        linear(f"{name}.query.0", gate.map)
        linear(f"{name}.query.2", gate.value)
    for name, head in {"content2item": model.content_head, "structure2item": model.structure_head}.items():
        if head is not None:
            linear(f"{name}.0", head.map)
            linear(f"{name}.2", head.norm)
    return parts


@pytest.fixture(scope="module", params=["head", "first"])
def reference(request, golden):
    return read_arrays(golden / f"idsf_{request.param}.npz")


def pairs(reference, part: str) -> Pairs:
    rows = reference[f"input/{part}"]
    hyper = json.loads(str(reference["meta"]))["hyper"]
    return Pairs.of(hyper["n_users"], hyper["n_items"], *rows.T)


@pytest.fixture(scope="module", params=DTYPES)
def case(request, reference):
    """The released model with the stored parameters and its batch, in one precision."""
    dtype, tolerance = DTYPES[request.param]
    hyper = json.loads(str(reference["meta"]))["hyper"]
    config = IDSFConfig.released(
        dim=hyper["emb"],
        layers=hyper["layers"],
        gamma=hyper["gamma"],
        weight_contrast=hyper["loss_ratio"],
        fusion=hyper["variant"],
    )
    features = {name: reference[f"input/{name}_feature"] for name in ("text", "image")}
    model = IDSF(config, UserCatalogue(pairs(reference, "train"), features)).to(dtype)
    with torch.no_grad():
        for name, part in released_parts(model).items():
            part.copy_(torch.from_numpy(reference[f"param/{name}"]))
    users, positives, negatives = (
        torch.from_numpy(reference[f"input/batch_{name}"]) for name in ("user", "pos", "neg")
    )
    return model, PairBatch(users, positives, negatives[:, None]), tolerance, request.param


def close(ours: Tensor | float, theirs: np.ndarray, tolerance: float) -> None:
    ours = np.asarray(ours.detach() if isinstance(ours, Tensor) else ours)
    scale = np.abs(theirs).max()
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= tolerance * scale, f"off by {np.abs(ours - theirs).max() / scale:.2g}"


def test_every_released_parameter_is_ours(case, reference):
    theirs = {key.removeprefix("param/") for key in reference if key.startswith("param/")}
    parts = released_parts(case[0])
    assert set(parts) == theirs and not len(reference["unused"])
    assert {id(part) for part in parts.values()} == {id(part) for part in case[0].parameters()}


def test_graph(case, reference):
    graph = case[0].graph
    theirs = sp.coo_array(
        (reference["input/adj_val"], (reference["input/adj_row"], reference["input/adj_col"])),
        shape=reference["input/adj_shape"],
    ).tocsr()
    ours = sp.csr_array(
        (graph.forward_values.numpy(), graph.forward_columns.numpy(), graph.forward_offsets.numpy()), theirs.shape
    )
    assert ours.nnz == theirs.nnz and abs(ours - theirs).max() <= 1e-7


def test_outputs(case, reference):
    model, _, tolerance, precision = case
    d, n_users = model.config.dim, model.n_users
    users, items = model.encode()
    scores = model(torch.arange(n_users), (users, items))
    if precision == "float64":
        close(scores, reference["output64/scores"], tolerance)
        tolerance = 1e-5  # the parts below were kept in float32 only
    projected = model.projected()
    content = model.content(projected)
    found = {"scores": scores, "user_emb": users, "item_emb": items, "content": content.fused}
    parts = dict(zip(model.names, model.structure(projected).split(d, 1), strict=True))
    for name in ("text", "image"):
        found |= {f"{name}_proj": projected[name], f"{name}_att": content.attended[name]}
        found |= {f"user_{name}": parts[name][:n_users], f"item_{name}": parts[name][n_users:]}
    structure = found["item_structure"] = model.item_gate([part[n_users:] for part in parts.values()])
    if model.config.fusion == "head":
        found["item_structure_head"] = model.structure_head(structure)
        found["item_content_head"] = model.content_head(content.fused)
    else:
        found["item_content_norm"] = items - structure
    for name, ours in found.items():
        close(ours, reference[f"output/{name}"], tolerance)
    assert set(found) == {key.removeprefix("output/") for key in reference if key.startswith("output/")}


def test_loss_terms(case, reference):
    model, batch, tolerance, precision = case
    section = "loss64" if precision == "float64" else "loss"
    terms = model.losses(batch)
    parts = model.contrasts(model.content(model.projected()))
    found = {CONTRASTS[name]: term for name, term in parts.items()}
    found |= {"bpr": terms["bpr"], "emb": terms["norm"], "cl_weighted": terms["contrast"]}
    found |= {"cl_sum": sum(parts.values()), "total": sum(terms.values())}
    for name, ours in found.items():
        close(ours, reference[f"{section}/{name}"], tolerance)
    assert set(found) == {key.removeprefix("loss/") for key in reference if key.startswith("loss/")}


def test_gradients(case, reference):
    model, batch, tolerance, precision = case
    section = "gradnorm64" if precision == "float64" else "gradnorm"
    model.zero_grad()
    sum(model.losses(batch).values()).backward()
    for name, part in released_parts(model).items():
        theirs, ours = float(reference[f"{section}/{name}"]), float(part.grad.norm())
        # BPR's gradient of a shift of all items is zero: what is left of the heads' biases in float32 is its round-off.
        allowed = tolerance * theirs + (1e-8 if precision == "float32" else 0)
        assert abs(ours - theirs) <= allowed, f"{name}: {ours} against {theirs}"


def test_metrics(case, reference):
    model, *_ = case
    test = pairs(reference, "test")
    ranks = rank_pairs(model, pairs(reference, "train"), test)
    assert np.array_equal(test.some_users, reference["metric/users"])
    counts = np.diff(test.offsets)[test.some_users]
    names = {"recall": "recall", "precision": "precision", "released-ndcg": "ndcg", "hit": "hit_ratio"}
    for place, cutoff in enumerate(reference["metric/K"]):
        for ours, theirs in names.items():
            found = per_user(ranks, counts, f"{ours}@{cutoff}")
            assert found.mean() == pytest.approx(float(reference[f"metric/{theirs}"][place]), abs=1e-12)
            if f"metric/per_user_{theirs}" in reference:
                assert np.allclose(found, reference[f"metric/per_user_{theirs}"][:, place], atol=1e-12, rtol=0)
