"""FREEDOM: freezing and denoising graph structures for multimodal recommendation (Zhou and Shen, MM 2023).

LATTICE's graph of similar items, made once and never learned, beside a graph of users and items that loses most of its
edges anew in every epoch, those between popular nodes first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from disentrec.data.interactions import Pairs
from disentrec.models.base import PairBatch, TopNModel, UserCatalogue
from disentrec.models.graphs import bipartite, bpr, symmetric, xavier
from disentrec.models.kernels import linear
from disentrec.models.layers import Sparse
from disentrec.models.modalities import Contents, similar_items


@dataclass(frozen=True)
class FREEDOMConfig:
    """Settings of FREEDOM, with MMRec's as default."""

    dim: int = 64
    #: Rounds over users and items.
    layers: int = 2
    #: Rounds over similar items.
    item_layers: int = 1
    #: Features that describe an item, those of them that the data set has.
    features: tuple[str, ...] = ("text", "image", "audio")
    #: Neighbours of an item, itself among them.
    neighbours: int = 10
    #: Share of the images in the graph of similar items; the other features have equal shares of the rest.
    image_weight: float = 0.1
    #: Share of the edges of users and items that an epoch goes without.
    dropout: float = 0.8
    #: Weight of every feature's own BPR. MMRec searches 0 and 1e-5 to 1e-3, and has no norm of parameters beside it.
    content: float = 1e-3


class FREEDOM(TopNModel):
    """LightGCN on a thinned graph; items also take up what similar items are."""

    name = "freedom"
    Config = FREEDOMConfig

    def __init__(self, config: FREEDOMConfig, catalogue: UserCatalogue) -> None:
        super().__init__(config, catalogue)
        self.train_pairs = catalogue.train
        self.contents = Contents(catalogue, config.features, self.name)
        self.maps = self.contents.layers(config.dim)
        self.table = xavier(self.n_users + self.n_items, config.dim)  # users first
        shares = feature_shares(self.contents.names, config.image_weight)
        graphs = (similar_items(x, config.neighbours, weighted=False) for x in self.contents.tables())
        self.similar = Sparse(sum(share * graph for share, graph in zip(shares, graphs, strict=True)))
        self.whole = self.thinned = Sparse(symmetric(bipartite(catalogue.train)))

    def begin_epoch(self, epoch: int) -> None:
        """Draws the edges that this epoch does with, and normalises their graph by its own degrees."""
        kept = thin(self.train_pairs, self.config.dropout)
        self.thinned = Sparse(symmetric(bipartite(kept))).to(self.table.device)

    def encode(self) -> tuple[Tensor, Tensor]:
        """Returns the tables of users and items over all edges, (n_users, dim) and (n_items, dim)."""
        return self._propagated(self.whole).split([self.n_users, self.n_items])

    def forward(self, users: Tensor, encoded: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Returns the inner products of users and items, (batch, n_items)."""
        of_users, of_items = encoded or self.encode()
        return linear(of_users[users], of_items)

    def losses(self, batch: PairBatch) -> dict[str, Tensor]:
        """Returns BPR over this epoch's edges, and BPR of the users and the items' features."""
        items = torch.cat([batch.positives, batch.negatives[:, 0]])
        rows = torch.cat([batch.users, self.n_users + items])
        u, i, j = self._propagated(self.thinned)[rows].chunk(3)
        of_content = torch.zeros_like(u[0, 0])
        for features, embed in zip(self.contents.tables(), self.maps, strict=True):
            p, q = embed(features[items]).chunk(2)
            of_content = of_content + bpr((u * p).sum(1), (u * q).sum(1))
        return {"bpr": bpr((u * i).sum(1), (u * j).sum(1)), "content": self.config.content * of_content}

    def _propagated(self, graph: Sparse) -> Tensor:
        """Returns the mean of all rounds over users and items, to which items add the last round over similar ones."""
        x = total = self.table
        for _ in range(self.config.layers):
            x = graph(x)
            total = total + x
        users, items = (total / (self.config.layers + 1)).split([self.n_users, self.n_items])
        h = self.table[self.n_users :]
        for _ in range(self.config.item_layers):
            h = self.similar(h)
        return torch.cat([users, items + h])


def thin(train: Pairs, dropout: float) -> Pairs:
    """Returns a share 1 - dropout of the pairs, drawn without repetition, each with weight 1 / sqrt(d_u d_i)."""
    of_users, of_items = (
        np.bincount(nodes, minlength=n) for nodes, n in ((train.users, train.n_users), (train.items, train.n_items))
    )
    weights = torch.from_numpy(1 / np.sqrt(of_users[train.users] * of_items[train.items]))
    # The largest of log w + Gumbel noise are a draw without repetition, of more pairs than torch.multinomial takes.
    noise = -torch.empty_like(weights).exponential_().log()
    count = int(len(train) * (1 - dropout))
    kept = (weights.log() + noise).topk(count, sorted=False).indices.sort().values.numpy()
    return train.where(kept)


def feature_shares(names: tuple[str, ...], image_weight: float) -> list[float]:
    """Returns the share of each feature in the graph of similar items; one feature alone has all of it."""
    if "image" not in names or len(names) == 1:
        return [1 / len(names)] * len(names)
    return [image_weight if name == "image" else (1 - image_weight) / (len(names) - 1) for name in names]
