"""GRCN: graph-refined convolutional network for multimedia recommendation with implicit feedback (Wei et al., MM 2020).

What a user likes is routed from the features of the items chosen; items that do not fit it weigh less, down to nothing,
in the graph along which the IDs are propagated.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from disentrec.models.base import PairBatch, TopNModel, UserCatalogue
from disentrec.models.edges import Edges
from disentrec.models.graphs import bpr, squared_norm, xavier
from disentrec.models.kernels import linear
from disentrec.models.modalities import Contents


@dataclass(frozen=True)
class GRCNConfig:
    """Settings of GRCN, with MMRec's as default."""

    #: Of the ID part, and of the part of every feature.
    dim: int = 64
    #: Iterations of the routing.
    rounds: int = 3
    #: Rounds of the IDs' propagation along the refined edges.
    layers: int = 2
    #: Features that describe an item, those of them that the data set has.
    features: tuple[str, ...] = ("text", "image", "audio")
    #: Weight of the squared norm of the batch's rows of every table.
    regularisation: float = 1e-3


class GRCN(TopNModel):
    """Users and items are their IDs, propagated along refined edges, beside what each feature says of them."""

    name = "grcn"
    Config = GRCNConfig

    def __init__(self, config: GRCNConfig, catalogue: UserCatalogue) -> None:
        super().__init__(config, catalogue)
        self.ids = xavier(self.n_users + self.n_items, config.dim)  # users first
        self.contents = Contents(catalogue, config.features, self.name)
        self.maps = self.contents.layers(config.dim)
        self.preferences = nn.ParameterList(xavier(self.n_users, config.dim) for _ in self.maps)
        # How far each feature is to be believed of each node. Ones: drawn around zero, as in MMRec's file, a
        # quarter of the nodes would lose all their edges before anything is learned, and for good.
        self.confidence = nn.Parameter(torch.ones(self.n_users + self.n_items, len(self.contents)))
        users, items = torch.from_numpy(catalogue.train.users), torch.from_numpy(catalogue.train.items)
        self.edges = Edges(users, items, (self.n_users, self.n_items))

    def encode(self) -> tuple[Tensor, Tensor]:
        """Returns the tables of users and items, (n_users, width) and (n_items, width); width: (1 + features) dim."""
        to_users, to_items, of_users, of_items = [], [], [], []
        for features, embed, preferences in zip(self.contents.tables(), self.maps, self.preferences, strict=True):
            f = F.normalize(F.leaky_relu(embed(features)))
            p = self._routed(F.normalize(preferences), f)
            fit = self.edges.dots(p, f)
            by_user, by_item = self.edges.softmax(fit), self.edges.softmax(fit, by_column=True)
            of_users.append(p + self.edges.to_rows(by_user, f))
            of_items.append(f + self.edges.to_columns(by_item, p))
            to_users.append(by_user)
            to_items.append(by_item)
        ids = self._propagated(self._refined(to_users, to_items))
        return torch.cat([ids[0], *of_users], 1), torch.cat([ids[1], *of_items], 1)

    def forward(self, users: Tensor, encoded: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Returns the inner products of users and items, (batch, n_items)."""
        of_users, of_items = encoded or self.encode()
        return linear(of_users[users], of_items)

    def losses(self, batch: PairBatch) -> dict[str, Tensor]:
        """Returns BPR and the squared norm of the batch's rows of every table."""
        of_users, of_items = self.encode()
        items = torch.cat([batch.positives, batch.negatives[:, 0]])
        u, (i, j) = of_users[batch.users], of_items[items].chunk(2)
        rows = torch.cat([batch.users, self.n_users + items])
        own = [table for part in (self.ids, self.confidence) for table in part[rows].chunk(3)]
        own += [preferences[batch.users] for preferences in self.preferences]
        return {
            "bpr": bpr((u * i).sum(1), (u * j).sum(1)),
            "norm": self.config.regularisation * squared_norm(*own),
        }

    def _routed(self, p: Tensor, f: Tensor) -> Tensor:
        """Returns the users' prototypes, (n_users, dim): each time nearer to the items that fit them best."""
        for _ in range(self.config.rounds):
            weights = self.edges.softmax(self.edges.dots(p, f))
            p = F.normalize(p + self.edges.to_rows(weights, f))
        return p

    def _refined(self, to_users: list[Tensor], to_items: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Returns the weights of the edges to users and to items, (edges,) each: the most confident feature's, or 0."""
        of_users, of_items = self.confidence.split([self.n_users, self.n_items])
        # The sender's confidence counts. Nothing below zero is passed on: such an edge is pruned.
        of_edges = of_items[self.edges.columns], of_users[self.edges.rows]
        return tuple(
            (torch.stack(weights, 1) * confidence).amax(1).relu()
            for weights, confidence in zip((to_users, to_items), of_edges, strict=True)
        )

    def _propagated(self, weights: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Returns the sum of all rounds of the IDs, (n_users, dim) and (n_items, dim)."""
        users, items = F.normalize(self.ids).split([self.n_users, self.n_items])
        all_users, all_items = users, items
        for _ in range(self.config.layers):
            users, items = self.edges.to_rows(weights[0], items), self.edges.to_columns(weights[1], users)
            all_users, all_items = all_users + users, all_items + items
        return all_users, all_items
