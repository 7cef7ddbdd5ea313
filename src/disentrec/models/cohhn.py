"""CoHHN: price DOES matter, a co-guided heterogeneous hypergraph network (Zhang et al., SIGIR 2022).

Items, price levels and categories are nodes of one hypergraph: training sessions join items, and an item joins its
price level with its category. A node hears one mean per kind of neighbour and mixes these by attention. A session
then has a price preference and an interest preference, each of which guides the other; both score. Simplified: the
mean stands for the attention inside a kind of neighbour, gates are shared by all layers, and there are no brands.
A data set without prices, or without categories, is that channel less.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from disentrec.data.sessions import SessionBatch
from disentrec.models.base import Catalogue, SessionModel
from disentrec.models.kernels import Dropout, Linear, linear
from disentrec.models.layers import Hypergraph, LastItemAttention, PositionReadout, Sparse, row_means
from disentrec.models.prices import price_levels


@dataclass(frozen=True)
class CoHHNConfig:
    """Settings of CoHHN."""

    dim: int = 100
    #: Rounds of message passing; the outputs are averaged with the input.
    layers: int = 2
    #: Of the self-attention over prices.
    heads: int = 4
    dropout: float = 0.1
    price_levels: int = 10
    #: "logistic" or "linear", see disentrec.models.prices.
    price_binning: str = "logistic"
    #: Rows of the position table.
    positions: int = 50


class CoHHN(SessionModel):
    """See the module's docstring."""

    name = "cohhn"
    Config = CoHHNConfig

    def __init__(self, config: CoHHNConfig, catalogue: Catalogue) -> None:
        super().__init__(config, catalogue)
        d = config.dim
        levels = price_levels(catalogue, config.price_levels, config.price_binning)  # 0 where not known
        codes = {"price": levels if levels.any() else None, "category": catalogue.categories}
        codes = {kind: code for kind, code in codes.items() if code is not None}
        self.has_prices = "price" in codes
        sizes = {"item": self.n_items} | {kind: int(code.max()) + 1 for kind, code in codes.items()}
        self.tables = nn.ParameterDict({kind: torch.empty(size, d).normal_(std=0.1) for kind, size in sizes.items()})
        self.graphs = nn.ModuleDict({"item item": Hypergraph(catalogue.graph_sessions, self.n_items)})
        self.graphs.update({key: Sparse(graph) for key, graph in joins(catalogue, codes, sizes).items()})
        # With one kind of neighbour there is nothing to choose between.
        self.gates = nn.ModuleDict(
            {kind: KindAttention(d) for kind in sizes if len(codes) > 1 or (codes and kind == "item")}
        )
        self.register_buffer("levels", torch.from_numpy(levels), persistent=False)
        self.interest = PositionReadout(d, config.positions)
        self.dropout = Dropout(config.dropout)
        if self.has_prices:
            self.price_attention = LastItemAttention(d, config.heads, config.dropout)
            self.agree, self.both = Linear(d, d), Linear(d, d)
            self.guide = Linear(2 * d, 2 * d)

    def encode_items(self) -> tuple[Tensor, Tensor | None]:
        """Returns the items' rows and the rows of their prices, (n_items, dim) each; None without prices."""
        x = dict(self.tables.items())
        total = dict(x)
        for _ in range(self.config.layers):
            x = {kind: self.hear(kind, x) for kind in x}
            total = {kind: total[kind] + x[kind] for kind in x}
        total = {kind: rows / (self.config.layers + 1) for kind, rows in total.items()}
        return total["item"], total["price"][self.levels] if self.has_prices else None

    def hear(self, kind: str, x: dict[str, Tensor]) -> Tensor:
        """Returns the rows of one kind of node after hearing its neighbours, (nodes, dim)."""
        heard = [
            self.graphs[f"{kind} {source}"](rows) for source, rows in x.items() if f"{kind} {source}" in self.graphs
        ]
        return self.gates[kind](x[kind], torch.stack(heard, 1)) if kind in self.gates else heard[0]

    def forward(self, batch: SessionBatch, encoded: tuple[Tensor, Tensor | None] | None = None) -> Tensor:
        """Returns interest . item + price preference . price, (batch, n_items)."""
        items, prices = encoded or self.encode_items()
        interest, preference = self.preferences(batch, items, prices)
        if prices is None:
            return linear(interest, items)
        return linear(torch.cat([interest, preference], 1), torch.cat([items, prices], 1))

    def preferences(self, batch: SessionBatch, items: Tensor, prices: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Returns the session's interest and price preference, each guided by the other, (batch, dim)."""
        interest = self.interest(self.dropout(F.embedding(batch.real_items, items)), batch)
        if prices is None:
            return interest, None
        preference = self.price_attention(self.dropout(F.embedding(batch.real_items, prices)), batch)
        # What the two share and what either has; from these, how far each is moved towards the other.
        shared = torch.tanh(self.agree(interest * preference))
        joint = torch.tanh(self.both(interest + preference))
        keep_interest, keep_preference = torch.sigmoid(self.guide(torch.cat([shared, joint], 1))).chunk(2, 1)
        return (
            keep_interest * interest + (1 - keep_interest) * preference,
            keep_preference * preference + (1 - keep_preference) * interest,
        )

    def losses(self, batch: SessionBatch) -> dict[str, Tensor]:
        """Returns the cross-entropy."""
        return {"ce": F.cross_entropy(self(batch), batch.target)}


class KindAttention(nn.Module):
    """x + sum of a_s m_s over kinds s of neighbours, a = softmax of v . tanh(W m_s + U x)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.own, self.heard = Linear(dim, dim), Linear(dim, dim, bias=False)  # U, W
        self.value = Linear(dim, 1, bias=False)  # v

    def forward(self, x: Tensor, heard: Tensor) -> Tensor:
        """Returns (nodes, dim). x: (nodes, dim); heard: (nodes, kinds, dim)."""
        weights = self.value(torch.tanh(self.heard(heard) + self.own(x)[:, None])).softmax(1)
        return x + (weights * heard).sum(1)


def joins(catalogue: Catalogue, codes: dict[str, np.ndarray], sizes: dict[str, int]) -> dict[str, sp.csr_matrix]:
    """Returns the means over neighbours between items, price levels and categories, keyed "to from".

    A price level or category hears its items as often as training sessions choose them.
    """
    chosen = np.bincount(catalogue.graph_sessions.values, minlength=catalogue.n_items).astype(np.float32)
    rows = np.arange(catalogue.n_items)
    has = {
        kind: sp.csr_matrix((np.ones_like(chosen), (rows, code)), shape=(catalogue.n_items, sizes[kind]))
        for kind, code in codes.items()
    }
    found = {}
    for kind, matrix in has.items():
        bought = sp.diags_array(chosen) @ matrix
        found[f"item {kind}"] = row_means(matrix)
        found[f"{kind} item"] = row_means(bought.T)
        found |= {f"{kind} {other}": row_means(bought.T @ has[other]) for other in has if other != kind}
    return found
