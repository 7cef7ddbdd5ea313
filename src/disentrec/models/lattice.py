"""LATTICE: mining latent structures for multimedia recommendation (Zhang et al., MM 2021).

Every feature gives a graph of similar items, half given by the feature and half learned: which items are neighbours is
found anew in every epoch, how similar they are is learned in every step. Items take up what similar items are.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from disentrec.models.base import PairBatch, TopNModel, UserCatalogue
from disentrec.models.edges import Edges
from disentrec.models.graphs import bipartite, bpr, squared_norm, symmetric, xavier
from disentrec.models.kernels import linear
from disentrec.models.layers import Sparse
from disentrec.models.modalities import Contents, by_degree, cosines, nearest_edges, similar_items


@dataclass(frozen=True)
class LATTICEConfig:
    """Settings of LATTICE, with MMRec's as default; its learning rate falls by 0.96 in 50 epochs (`Training.decay`)."""

    dim: int = 64
    #: Rounds over users and items.
    layers: int = 2
    #: Rounds over similar items.
    item_layers: int = 1
    #: Features that describe an item, those of them that the data set has.
    features: tuple[str, ...] = ("text", "image", "audio")
    #: Neighbours of an item, itself among them.
    neighbours: int = 10
    #: Share of the given graph beside the learned one, lambda.
    frozen: float = 0.9
    #: Weight of the squared norm of the batch's own rows.
    regularisation: float = 1e-4


class LATTICE(TopNModel):
    """LightGCN, to whose items the direction of their convolved latent graph is added."""

    name = "lattice"
    Config = LATTICEConfig

    def __init__(self, config: LATTICEConfig, catalogue: UserCatalogue) -> None:
        super().__init__(config, catalogue)
        self.table = xavier(self.n_users + self.n_items, config.dim)  # users first
        self.graph = Sparse(symmetric(bipartite(catalogue.train)))
        self.contents = Contents(catalogue, config.features, self.name)
        self.maps = self.contents.layers(config.dim)
        self.shares = nn.Parameter(torch.zeros(len(self.contents)))  # alpha before its softmax
        self.given = nn.ModuleList(
            Sparse(similar_items(x, config.neighbours, weighted=True)) for x in self.contents.tables()
        )
        self.learned = self._neighbourhoods()

    def begin_epoch(self, epoch: int) -> None:
        """Finds the neighbours anew, by the features as they are mapped now."""
        self.learned = self._neighbourhoods()

    def encode(self) -> tuple[Tensor, Tensor]:
        """Returns the tables of users and items, (n_users, dim) and (n_items, dim).

        The neighbours are sought here too, so that a state scores the same whichever epoch came after it.
        """
        return self._propagated(self._neighbourhoods()).split([self.n_users, self.n_items])

    def forward(self, users: Tensor, encoded: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Returns the inner products of users and items, (batch, n_items)."""
        of_users, of_items = encoded or self.encode()
        return linear(of_users[users], of_items)

    def losses(self, batch: PairBatch) -> dict[str, Tensor]:
        """Returns BPR and the squared norm of the rows themselves."""
        rows = torch.cat([batch.users, self.n_users + batch.positives, self.n_users + batch.negatives[:, 0]])
        u, i, j = self._propagated(self.learned)[rows].chunk(3)
        return {
            "bpr": bpr((u * i).sum(1), (u * j).sum(1)),
            "norm": self.config.regularisation * squared_norm(*self.table[rows].chunk(3)),
        }

    def _propagated(self, learned: Iterable[Edges]) -> Tensor:
        """Returns the mean of all rounds, to which items add h / |h|, users first, (n_users + n_items, dim)."""
        x = total = self.table
        for _ in range(self.config.layers):
            x = self.graph(x)
            total = total + x
        users, items = (total / (self.config.layers + 1)).split([self.n_users, self.n_items])
        return torch.cat([users, items + F.normalize(self._similar(self.table[self.n_users :], learned))])

    def _similar(self, h: Tensor, learned: Iterable[Edges]) -> Tensor:
        """Returns the items convolved over sum_m alpha_m (lambda S_m + (1 - lambda) A_m), (n_items, dim)."""
        share, weights = self.config.frozen, []
        for features, embed, edges in zip(self.contents.tables(), self.maps, learned, strict=True):
            values = cosines(edges, embed(features))
            weights.append(by_degree(edges.rows, edges.columns, values, self.n_items))  # A_m
        for _ in range(self.config.item_layers):
            h = sum(
                alpha * (share * given(h) + (1 - share) * edges.to_rows(values, h))
                for alpha, given, edges, values in zip(
                    self.shares.softmax(0), self.given, learned, weights, strict=True
                )
            )
        return h

    @torch.no_grad()
    def _neighbourhoods(self) -> nn.ModuleList:
        """Returns the nearest items of every item by each mapped feature; items without it have none."""
        return nn.ModuleList(
            nearest_edges(embed(features), known, self.config.neighbours)
            for features, known, embed in zip(self.contents.tables(), self.contents.known(), self.maps, strict=True)
        )
