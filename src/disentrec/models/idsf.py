"""IDSF: ID embeddings as subtle features of content and structure (Liu et al., ICASSP 2025, arXiv 2311.05956).

An item's ID is mixed into its content, modality by modality, by attention; a graph per modality mixes IDs and content
along the training pairs, a share gamma of the ID being added again in every round. Contrast of all items with all
others holds content, ID and their mixtures together.

Written from the paper's abstract and an audit of the released code (commit 0ed83d7), whose files and lines are quoted;
the paper's equations were not at hand. Departures of the released code are switches, I-numbers as in
papers/idsf.yaml; `IDSFConfig.released()` turns all of this file on. (I2 is a metric, "released-ndcg".)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor, nn

from disentrec.encode.image import pca
from disentrec.errors import DisentrecError, unknown_name
from disentrec.models.base import PairBatch, TopNModel, UserCatalogue
from disentrec.models.contrast import info_nce
from disentrec.models.graphs import bipartite, bpr, squared_norm, symmetric, xavier
from disentrec.models.kernels import Linear, linear, unit
from disentrec.models.layers import Sparse, row_means

FUSIONS = ("first", "head")


@dataclass(frozen=True)
class IDSFConfig:
    """Settings of IDSF; the defaults are the model as described, in the sizes of the README."""

    dim: int = 128
    #: Rounds along the graph.
    layers: int = 2
    #: Share of the ID that is added in every round (gamma; the README's .3 for Baby and Sports, 1 for Clothing).
    gamma: float = 0.3
    #: Modalities of an item, those of them that the data set has.
    features: tuple[str, ...] = ("text", "image", "audio")
    #: Principal components kept of each modality; None: the features as they are.
    feature_dim: int | None = None
    #: I4: the features themselves are trained along (models.py:30-31).
    trainable_features: bool = False
    #: How structure and content become one: "first", s + c / |c|, or, I1, "head", LN(ReLU(W s)) + LN(ReLU(W c)),
    #: which the newest code has "for rebuttal" (models.py:124-132).
    fusion: str = "first"
    #: False: content is the projected feature alone.
    id_in_content: bool = True
    #: One item ID for all modalities instead of one for each (I3: two or three tables where others have one).
    shared_ids: bool = False
    #: How item IDs begin: "random" (Xavier), "content" (principal components of the modality, in the size of random
    #: ones; items without it stay random), or the name of a feature that holds their rows, such as "pretrained".
    initial_ids: str = "random"
    #: Item IDs stay as they began.
    freeze_ids: bool = False
    #: A = D^-1/2 (A + I) D^-1/2 instead of D^-1 (A + I).
    symmetric: bool = False
    # --- losses
    #: Weight of the contrast (lambda; the README's .3 for Baby, 1 for Sports and Clothing).
    weight_contrast: float = 1.0
    temperature: float = 0.5
    #: Items contrasted with each other in a step: None, all; a number, so many, drawn anew; 0, those of the batch.
    #: A sample's sums are over the sample: the loss is smaller by about ln(n_items / contrast_items) a term.
    contrast_items: int | None = None
    #: Weight of the squared norm of the batch's rows, after propagation.
    regularisation: float = 1e-5

    @classmethod
    def released(cls, **changes: Any) -> IDSFConfig:
        """Returns the released model: every deviation of this file on."""
        return cls(**{**RELEASED, **changes})


SWITCHES = {"I1": ("fusion", "head"), "I4": ("trainable_features", True)}
RELEASED = dict(SWITCHES.values())


class Content(NamedTuple):
    """The content module's tables of some items, (m, dim) each; in dictionaries one per modality."""

    projected: dict[str, Tensor]  # v, t
    ids: dict[str, Tensor]
    attended: dict[str, Tensor]  # h_v, h_t
    fused: Tensor  # c


class Gate(nn.Module):
    """Att(x, y): a mean weighted by the softmax of g(x) and g(y), g(z) = w . tanh(W z + b) (models.py:140-157)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.map = Linear(dim, dim)  # W, b
        self.value = Linear(dim, 1, bias=False)  # w

    def forward(self, parts: list[Tensor]) -> Tensor:
        """Returns the weighted mean of the parts, (m, dim) as each of them."""
        energy = [self.value(torch.tanh(linear(part, self.map.weight, self.map.bias))) for part in parts]
        shares = torch.cat(energy, 1).softmax(1).split(1, 1)  # (m, 1) each
        return sum(share * part for share, part in zip(shares, parts, strict=True))


class Head(nn.Module):
    """LN(ReLU(W x + b)), I1."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.map, self.norm = Linear(dim, dim), nn.LayerNorm(dim, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """Returns (m, dim)."""
        return self.norm(torch.relu(linear(x, self.map.weight, self.map.bias)))


class IDSF(TopNModel):
    """See the module's docstring. A single modality has nothing to be fused with: its gates are left out."""

    name = "idsf"
    compiles = False  # the contrast over all items picks its blocks' largest scores by NumPy
    Config = IDSFConfig

    def __init__(self, config: IDSFConfig, catalogue: UserCatalogue) -> None:
        super().__init__(config, catalogue)
        d, n = config.dim, self.n_items
        self.names = [name for name in config.features if name in catalogue.features]
        _check(config, self.names, catalogue)
        self.project = nn.ModuleDict()
        for name in self.names:
            rows = torch.from_numpy(_prepared(catalogue.features[name], config.feature_dim))
            if config.trainable_features:
                self.register_parameter(f"features_{name}", nn.Parameter(rows))
            else:
                self.register_buffer(f"features_{name}", rows, persistent=False)
            self.project[name] = Linear(rows.shape[1], d)
        self.preferences = nn.ParameterDict({name: xavier(self.n_users, d) for name in self.names})  # P_v, P_t
        self.ids = nn.ParameterDict()
        if config.gamma or config.id_in_content or config.weight_contrast:
            for name in ["shared"] if config.shared_ids else self.names:
                of = self.names if config.shared_ids else [name]
                self.ids[name] = _initial_ids(config, catalogue, of).requires_grad_(not config.freeze_ids)
        self.user_ids = xavier(self.n_users, d) if config.gamma else None
        several = len(self.names) > 1
        attended = self.names if config.id_in_content else []
        self.attend = nn.ModuleDict({name: Gate(d) for name in attended})
        self.attend_both, self.user_gate, self.item_gate = (Gate(d) if several else None for _ in range(3))
        head = config.fusion == "head"
        self.structure_head, self.content_head = (Head(d) if head else None for _ in range(2))
        # Self loops: an item nobody has chosen keeps its own row.
        edges = bipartite(catalogue.train) + sp.eye_array(self.n_users + n, dtype=np.float32, format="csr")
        self.graph = Sparse((symmetric if config.symmetric else row_means)(edges))

    def projected(self) -> dict[str, Tensor]:
        """Returns the features in the model's space, (n_items, dim) per modality (models.py:160-187)."""
        return {
            name: linear(getattr(self, f"features_{name}"), map.weight, map.bias) for name, map in self.project.items()
        }

    def id_rows(self, name: str) -> Tensor:
        """Returns the item IDs of a modality, (n_items, dim)."""
        return self.ids["shared" if self.config.shared_ids else name]

    def content(self, projected: dict[str, Tensor], items: Tensor | None = None) -> Content:
        """Returns the content of some items (all, if None): each modality with its ID, then the modalities."""
        ids = {name: self.id_rows(name) for name in self.names} if self.ids else {}
        if items is not None:
            projected, ids = ({name: rows[items] for name, rows in tables.items()} for tables in (projected, ids))
        attended = {name: gate([projected[name], ids[name]]) for name, gate in self.attend.items()} or projected
        return Content(projected, ids, attended, _mixed(self.attend_both, list(attended.values())))

    def structure(self, projected: dict[str, Tensor]) -> Tensor:
        """Returns all modalities' tables of the structural module side by side, users first (models.py:99-122).

        X_0 = [P; projected], rows of norm 1; X_l+1 = A X_l + gamma [user ID; item ID]; the mean over all rounds,
        (n_users + n_items, modalities x dim).
        """
        x = torch.cat([unit(torch.cat([self.preferences[name], projected[name]])) for name in self.names], 1)
        added = None
        if self.config.gamma:
            each = [torch.cat([self.user_ids, self.id_rows(name)]) for name in self.names]
            added = self.config.gamma * torch.cat(each, 1)
        total = x
        for _ in range(self.config.layers):
            x = self.graph(x) if added is None else self.graph(x) + added
            total = total + x
        return total / (self.config.layers + 1)

    def fuse(self, structure: list[Tensor], content: Tensor) -> Tensor:
        """Returns the final rows of some items, (m, dim). structure: (m, dim) per modality; content: (m, dim)."""
        structure = _mixed(self.item_gate, structure)
        if self.structure_head is not None:
            return self.structure_head(structure) + self.content_head(content)
        return structure + unit(content)

    def encode(self) -> tuple[Tensor, Tensor]:
        """Returns the final tables, (n_users, dim) and (n_items, dim)."""
        projected = self.projected()
        parts = self.structure(projected).split(self.config.dim, 1)
        users = _mixed(self.user_gate, [part[: self.n_users] for part in parts])
        return users, self.fuse([part[self.n_users :] for part in parts], self.content(projected).fused)

    def forward(self, users: Tensor, encoded: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Returns the inner products of users and items, (batch, n_items)."""
        of_users, of_items = encoded or self.encode()
        return linear(of_users[users], of_items)

    def contrasts(self, content: Content) -> dict[str, Tensor]:
        """Returns the unweighted contrastive terms, scalars, by their anchor (main.py:101-117).

        Per modality: the feature and the ID, each with their mixture (the feature only where there is an ID in it),
        and the mixture with the content of all modalities, where there are several.
        """
        terms = {}
        t, fused = self.config.temperature, unit(content.fused)
        for name in self.names:
            attended = unit(content.attended[name])
            if self.config.id_in_content:
                terms[f"projected {name}"] = info_nce(unit(content.projected[name]), attended, t)
            terms[f"id {name}"] = info_nce(unit(content.ids[name]), attended, t)
            if len(self.names) > 1:
                terms[f"attended {name}"] = info_nce(attended, fused, t)
        return terms

    def losses(self, batch: PairBatch) -> dict[str, Tensor]:
        """Returns the weighted terms: BPR, squared norm and contrast."""
        config, count = self.config, len(batch.users)
        projected = self.projected()
        chosen = torch.cat([batch.positives, batch.negatives[:, 0]])
        # One look-up per table: each one's gradient is a table of zeros to begin with.
        rows = self.structure(projected)[torch.cat([batch.users, self.n_users + chosen])].split(config.dim, 1)
        contrasted = None
        if config.weight_contrast and config.contrast_items is None:
            contrasted = self.content(projected)
            of_chosen = contrasted.fused[chosen]
        else:
            content = self.content(projected, torch.cat([chosen, self._sample(batch)]))
            of_chosen = content.fused[: 2 * count]
            if config.weight_contrast:
                parts = [{name: rows[2 * count :] for name, rows in tables.items()} for tables in content[:3]]
                contrasted = Content(*parts, content.fused[2 * count :])
        u = _mixed(self.user_gate, [part[:count] for part in rows])
        i, j = self.fuse([part[count:] for part in rows], of_chosen).chunk(2)
        terms = {
            "bpr": bpr((u * i).sum(1), (u * j).sum(1)),
            "norm": config.regularisation * squared_norm(u, i, j),
        }
        if contrasted is not None:
            terms["contrast"] = config.weight_contrast * sum(self.contrasts(contrasted).values())
        return terms

    def plan(self, batch: PairBatch) -> Tensor | None:
        """Returns the batch's items, once each, (m,), if these are what a step contrasts."""
        if not self.config.weight_contrast or self.config.contrast_items != 0:
            return None
        return torch.cat([batch.positives, batch.negatives[:, 0]]).unique()

    def _sample(self, batch: PairBatch) -> Tensor:
        """Returns the items to be contrasted in a step, (m,)."""
        if not self.config.weight_contrast:
            return batch.positives[:0]
        if not self.config.contrast_items:
            return self.plan_of(batch)
        return torch.randperm(self.n_items, device=batch.users.device)[: self.config.contrast_items]


def _mixed(gate: Gate | None, parts: list[Tensor]) -> Tensor:
    return parts[0] if gate is None else gate(parts)


def _prepared(features: np.ndarray, dim: int | None) -> np.ndarray:
    """Returns a modality's rows, (n_items, width) float32; an item without gets the mean (build_data.py:132-156)."""
    if dim is not None:  # centred, so the mean is zero; entries, not rows, get size 1
        return pca(features, dim) * np.float32(math.sqrt(dim))
    known = features.any(1)
    return np.where(known[:, None], features, features[known].mean(0) if known.any() else 0).astype(np.float32)


def _initial_ids(config: IDSFConfig, catalogue: UserCatalogue, names: list[str]) -> nn.Parameter:
    """Returns the item IDs of these modalities as they begin, (n_items, dim)."""
    ids = xavier(catalogue.n_items, config.dim)
    if config.initial_ids == "content":
        parts = [pca(catalogue.features[name], config.dim) for name in names]
        rows = pca(np.concatenate(parts, 1), config.dim)  # of norm 1 in the mean
        size = math.sqrt(2 * config.dim / sum(ids.shape))  # of a random row
        ids.data = torch.where(torch.from_numpy(rows.any(1))[:, None], size * torch.from_numpy(rows), ids.data)
    elif config.initial_ids != "random":
        ids.data = torch.from_numpy(catalogue.features[config.initial_ids].astype(np.float32))
    return ids


def _check(config: IDSFConfig, names: list[str], catalogue: UserCatalogue) -> None:
    where = "model idsf"
    if not names:
        what = f"this data set has none of the features {list(config.features)}"
        raise DisentrecError(
            what, where=where, how="Encode its text or images first, or choose a model that reads IDs alone"
        )
    if config.fusion not in FUSIONS:
        raise unknown_name("fusion", config.fusion, FUSIONS, where=where)
    begins = ("random", "content", *catalogue.features)
    if config.initial_ids not in begins:
        raise unknown_name("initial_ids", config.initial_ids, begins, where=where)
    held = catalogue.features.get(config.initial_ids)
    if held is not None and held.shape[1] != config.dim:
        what = f"IDs are to begin as {config.initial_ids!r}, which has {held.shape[1]} columns, not {config.dim}"
        raise DisentrecError(what, where=where, how=f"Set dim to {held.shape[1]}")
    if config.temperature < 0.02:
        what = f"at a temperature of {config.temperature} the contrast leaves single precision"
        raise DisentrecError(what, where=where, how="Take 0.02 or more")
