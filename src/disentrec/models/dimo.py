"""DIMO: disentangling ID and modality effects for session-based recommendation (Zhang et al., SIGIR 2024).

An item has two tables of rows: H, its ID after propagation over the co-occurrence graph, and M, its modality
(text and image features). Each gives a session its cause, c_id and c_mo; two proxies, the session's mean rows, keep
the causes apart; a counterfactual loss asks which of the two explains the choice. The scores of both add up.

Written from the paper's summary, its author's answers and an audit of the released code (commit 4ff44ea); the
paper's equations themselves were not at hand. Every departure of the released code is a switch, D-numbers as in
papers/dimo.yaml; `Config.released()` turns all of this file on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from disentrec.data.sessions import SessionBatch
from disentrec.errors import DisentrecError, unknown_name
from disentrec.models.base import Catalogue, SessionModel
from disentrec.models.cooccurrence import CooccurrenceTables
from disentrec.models.edges import Edges
from disentrec.models.kernels import Linear, cosine, dropout, linear, lookup, session_means, unit
from disentrec.models.layers import LastItemAttention, Propagation, Sparse

LN10 = math.log(10)


@dataclass(frozen=True)
class DIMOConfig:
    """Settings of DIMO; the defaults are the model as described."""

    dim: int = 100
    heads: int = 4
    #: Propagation steps over the co-occurrence graph; 0 leaves the graph out.
    steps: int = 4
    dropout_table: float = 0.3
    dropout_attention: float = 0.2
    temperature: float = 1.0
    #: Positive and negative items per item in the co-occurrence constraint.
    lists: int = 10
    #: Items whose constraint is computed in a step, drawn anew each time; None: all of them, exactly.
    constraint_items: int | None = None
    # The paper has one weight for three terms of very different size (D9); here each has its own.
    weight_cooccurrence: float = 0.1
    weight_proxy: float = 0.1
    weight_counterfactual: float = 0.1
    #: Which causes score: "both", "id" or "modality".
    use: str = "both"
    #: How two causes combine: "sum" (Eq. 11), "gate" or "product".
    combine: str = "sum"
    #: Features that make up the modality table, those of them that the data set has.
    features: tuple[str, ...] = ("text", "image")
    #: D2: the features loaded are overwritten by noise, which is then trained: a second ID table.
    features_overwritten: bool = False
    #: D3: the counterfactual loss looks at the item before the target.
    shifted_target: bool = False
    #: D4: the proxy loss is called with its arguments in another order.
    swapped_proxy_arguments: bool = False
    #: D8 (and D9): log10 and sums for ln and means, all three terms under `shared_weight`.
    log10_sums: bool = False
    shared_weight: float = 1e-3
    #: D10: the modality table is propagated over the co-occurrence graph, too.
    propagate_modality: bool = False
    #: D11: negatives are the tie-break of a sort.
    filler_negatives: bool = False
    #: D16: features are trained along.
    trainable_features: bool = False

    @classmethod
    def released(cls, **changes: Any) -> DIMOConfig:
        """Returns the released model: every deviation of this file on."""
        return cls(**{**dict.fromkeys(SWITCHES.values(), True), **changes})


SWITCHES = {
    "D2": "features_overwritten",
    "D3": "shifted_target",
    "D4": "swapped_proxy_arguments",
    "D8": "log10_sums",
    "D10": "propagate_modality",
    "D11": "filler_negatives",
    "D16": "trainable_features",
}


class DIMO(SessionModel):
    """See the module's docstring. Items in tables 0-based, in batches 1-based with 0 = padding."""

    name = "dimo"
    Config = DIMOConfig

    def __init__(self, config: DIMOConfig, catalogue: Catalogue, tables: CooccurrenceTables | None = None) -> None:
        super().__init__(config, catalogue)
        for setting, valid in (("use", ("both", "id", "modality")), ("combine", ("sum", "gate", "product"))):
            if getattr(config, setting) not in valid:
                raise unknown_name(setting, getattr(config, setting), valid, where="model dimo")
        if tables is None:
            # Drawn from torch's generator, which build() seeded: another seed has other negatives.
            seed = int(torch.randint(2**31, ()))
            tables = CooccurrenceTables.from_sessions(
                catalogue.graph_sessions, self.n_items, config.lists,
                filler_negatives=config.filler_negatives, seed=seed,
            )  # fmt: skip
        d, n = config.dim, self.n_items
        self.propagation = Propagation(tables.graph, config.steps)
        # Eq. 3 reads the positives weighted by their share of the counts, and flags those with a count.
        shares = tables.counts / (tables.counts.sum(1, keepdims=True) + 1e-8)
        self._buffer("positives", tables.positives)
        self._buffer("positive_shares", shares.astype(np.float32))
        self._buffer("negatives", tables.negatives)
        if self._constrains_all():  # each item's lists as graphs, whose sums and products copy no row per entry
            ends = np.repeat(np.arange(n), tables.positives.shape[1]), tables.positives.ravel()
            self.attracting = Sparse(sp.coo_matrix((shares.astype(np.float32).ravel(), ends), shape=(n, n)))
            self.repelling = Edges(
                torch.arange(n).repeat_interleave(self.negatives.shape[1]), self.negatives.flatten(), (n, n)
            )
        self._buffer("neighbours", np.where(tables.counts > 0, tables.positives + 1, -1))  # 1-based

        self.id_table = nn.Parameter(torch.empty(n, d))
        self.id_attention = LastItemAttention(d, config.heads, config.dropout_attention)
        self.modality_attention = LastItemAttention(d, config.heads, config.dropout_attention)
        self.proxy_layers = nn.ModuleList(Linear(d, d) for _ in range(8))  # f1 .. f8
        self.gate = Linear(2 * d, 1) if config.combine == "gate" else None
        self.project = None
        content = None if config.features_overwritten or config.use == "id" else self._content(catalogue)
        if content is None:
            self.modality_table = nn.Parameter(torch.empty(n, d))
        elif content.shape[1] != d:
            self.project = Linear(content.shape[1], d)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -1 / math.sqrt(d), 1 / math.sqrt(d))
        if content is not None:
            self.modality_table = nn.Parameter(content, requires_grad=config.trainable_features)
        self._freeze_unused()

    # ------------------------------------------------------------------ items

    def encode_items(self) -> tuple[Tensor, Tensor]:
        """Returns H and M, (n_items, dim) each: Eq. 2 for IDs; for modalities only under D10."""
        H = self.propagation(self._drop(self.id_table)) if self.config.use != "modality" else self.id_table
        M = self.modality_table if self.project is None else self.project(self.modality_table)
        M = self._drop(M)
        return H, self.propagation(M) if self.config.propagate_modality else M

    def cooccurrence_loss(self, H: Tensor, items: Tensor | None = None) -> Tensor:
        """Returns Eq. 3 in nats, (items,): every item close to what it is chosen with, far from what it is not.

        items: (m,), of a model that constrains a sample; None: all of them, of a model that constrains all.
        """
        anchor = unit(H)
        if items is None:
            weighted = self.attracting(H)
            negative = self.repelling.dots(anchor, anchor).view(self.negatives.shape)
        else:
            shares = self.positive_shares[items].to(H.dtype)
            weighted = F.embedding_bag(self.positives[items], H, per_sample_weights=shares, mode="sum")
            others = F.embedding(self.negatives[items], anchor)  # (items, lists, dim)
            anchor = anchor[items]
            negative = torch.einsum("id,ijd->ij", anchor, others)
        positive = (anchor * unit(weighted)).sum(-1)
        logits = torch.cat([positive[:, None], negative], 1) / self.config.temperature
        return logits.logsumexp(1) - logits[:, 0]

    # --------------------------------------------------------------- sessions

    def causes(self, batch: SessionBatch, encoded: tuple[Tensor, Tensor] | None = None) -> dict[str, Tensor]:
        """Returns the causes c_id, c_mo of every session and their proxies p_id, p_mo, (batch, dim) each."""
        found = {}
        names = (("id", self.id_attention), ("mo", self.modality_attention))
        for (name, attention), table in zip(names, encoded or self.encode_items(), strict=True):
            if self.config.use in ("both", {"id": "id", "mo": "modality"}[name]):
                rows = F.embedding(batch.real_items, table)  # (positions, dim), session after session
                found[f"c_{name}"] = attention(rows, batch)
                found[f"p_{name}"] = session_means(rows, batch.length)
        return found

    def forward(self, batch: SessionBatch, encoded: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Returns the scores of all items, (batch, n_items)."""
        encoded = encoded or self.encode_items()
        return self.combine(self.causes(batch, encoded), encoded)

    def combine(self, causes: dict[str, Tensor], encoded: tuple[Tensor, Tensor]) -> Tensor:
        """Returns c_id H^T + c_mo M^T, Eq. 11, or one of its alternatives, (batch, n_items)."""
        if self.config.use != "both":
            name, table = ("c_id", encoded[0]) if self.config.use == "id" else ("c_mo", encoded[1])
            return linear(causes[name], table)
        c_id, c_mo = causes["c_id"], causes["c_mo"]
        if self.config.combine == "product":  # as probabilities: ln sigma(s_id) + ln sigma(s_mo)
            return F.logsigmoid(linear(c_id, encoded[0])) + F.logsigmoid(linear(c_mo, encoded[1]))
        if self.gate is not None:
            share = torch.sigmoid(self.gate(torch.cat([c_id, c_mo], 1)))  # (batch, 1)
            c_id, c_mo = share * c_id, (1 - share) * c_mo
        return linear(torch.cat([c_id, c_mo], 1), torch.cat(encoded, 1))  # one product for both

    # ----------------------------------------------------------------- losses

    def losses(self, batch: SessionBatch, flag: Tensor | None = None) -> dict[str, Tensor]:
        """Returns the weighted terms: cross-entropy, constraint, proxy and counterfactual loss."""
        config, encoded = self.config, self.encode_items()
        causes = self.causes(batch, encoded)
        terms = {"ce": F.cross_entropy(self.combine(causes, encoded), batch.target)}
        reduce = (lambda x: x.sum() / LN10) if config.log10_sums else torch.mean  # D8
        weight = (lambda own: config.shared_weight) if config.log10_sums else (lambda own: own)  # D9
        if config.use != "modality" and config.weight_cooccurrence:
            items = self._constraint_items()
            loss = self.cooccurrence_loss(encoded[0], items)
            rescaled = reduce(loss) * (self.n_items / len(loss) if config.log10_sums else 1)
            terms["cooccurrence"] = weight(config.weight_cooccurrence) * rescaled
        if config.use == "both" and config.weight_proxy:
            terms["proxy"] = weight(config.weight_proxy) * sum(map(reduce, self.proxy_loss(causes)))
        if config.use == "both" and config.weight_counterfactual:
            loss = reduce(self.counterfactual_loss(batch, causes, encoded, flag))
            terms["counterfactual"] = weight(config.weight_counterfactual) * loss
        return terms

    def proxy_loss(self, causes: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Returns both halves in nats, (batch,) each: a cause is nearer to its own proxy than to the other cause."""
        c_id, p_id, c_mo, p_mo = (causes[name] for name in ("c_id", "p_id", "c_mo", "p_mo"))
        layers = [0, 1, 2, 3, 4, 5, 6, 7]
        if self.config.swapped_proxy_arguments:  # D4, model.py:385 against 334; f4 serves twice, f6 never
            p_id, c_mo = c_mo, p_id
            layers = [0, 1, 2, 3, 3, 4, 6, 7]
        f = [self.proxy_layers[layer] for layer in layers]
        id_half = cosine(f[0](c_id), f[1](p_id)) - cosine(f[2](c_id), f[3](c_mo))
        mo_half = cosine(f[4](c_mo), f[5](p_mo)) - cosine(f[6](c_mo), f[7](c_id))
        return -F.logsigmoid(id_half), -F.logsigmoid(mo_half)

    def counterfactual_loss(
        self,
        batch: SessionBatch,
        causes: dict[str, Tensor],
        encoded: tuple[Tensor, Tensor],
        flag: Tensor | None = None,
    ) -> Tensor:
        """Returns (batch,) in nats: the flagged cause explains the target better than the other one.

        Released (with D3 and D8), the flag stands outside the logarithm, so for flag -1 the loss has no floor.
        """
        flag = self.flags(batch) if flag is None else flag
        shift = 0 if self.config.shifted_target else 1  # row 0 of a look-up table is the zero vector
        H, M = (lookup(table, batch.target + shift) for table in encoded)
        gap = cosine(causes["c_id"], H) - cosine(causes["c_mo"], M)
        if self.config.log10_sums:
            return -flag * F.logsigmoid(gap)
        return -F.logsigmoid(flag * gap)

    def flags(self, batch: SessionBatch) -> Tensor:
        """Returns +1 where the target is a listed neighbour of an item of the session ("ID dominates"), else -1."""
        listed = F.pad(self.neighbours, (0, 0, 1, 0), value=-1)[batch.items]  # (batch, length, lists)
        found = (listed == batch.target[:, None, None] + 1).flatten(1).any(1)
        return torch.where(found, 1, -1)

    # ---------------------------------------------------------------- helpers

    def _drop(self, table: Tensor) -> Tensor:
        return dropout(table, self.config.dropout_table, self.training)

    def _constrains_all(self) -> bool:
        """Whether Eq. 3 is summed over all items, not over a sample."""
        return self.config.constraint_items is None or self.config.constraint_items >= self.n_items

    def _constraint_items(self) -> Tensor | None:
        if self._constrains_all():
            return None
        return torch.randperm(self.n_items, device=self.id_table.device)[: self.config.constraint_items]

    def _content(self, catalogue: Catalogue) -> Tensor:
        found = [catalogue.features[name] for name in self.config.features if name in catalogue.features]
        if not found:
            raise DisentrecError(
                f"this data set has none of the features {list(self.config.features)}",
                where="model dimo",
                how="Set use=id for DIMO without modality, or features_overwritten=true for DIMO as released",
            )
        return torch.from_numpy(np.concatenate(found, 1, dtype=np.float32))

    def _freeze_unused(self) -> None:
        """Parameters that no term of this configuration reaches take no part: they would only be counted."""
        config = self.config
        unused: list[nn.Module | nn.Parameter | None] = []
        if config.use == "id":
            unused += [self.modality_table, self.modality_attention]
        if config.use == "modality":
            unused += [self.id_table, self.id_attention]
        if config.use != "both" or not config.weight_proxy:
            unused += [self.proxy_layers]
        elif config.swapped_proxy_arguments:
            unused += [self.proxy_layers[5]]
        for part in unused:
            part.requires_grad_(False)

    def _buffer(self, name: str, values: np.ndarray) -> None:
        self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(values)), persistent=False)
