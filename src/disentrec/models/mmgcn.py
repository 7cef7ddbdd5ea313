"""MMGCN: multi-modal graph convolution network for personalised recommendation of micro-video (Wei et al., MM 2019)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from disentrec.models.base import PairBatch, TopNModel, UserCatalogue
from disentrec.models.graphs import bipartite, bpr, squared_norm, xavier
from disentrec.models.kernels import linear
from disentrec.models.layers import Sparse, row_means
from disentrec.models.modalities import Contents, Dense


@dataclass(frozen=True)
class MMGCNConfig:
    """Settings of MMGCN, with MMRec's size as default."""

    dim: int = 64
    #: MMRec's setting; its file runs three, whatever the setting says.
    layers: int = 2
    #: Features that describe an item, those of them that the data set has.
    features: tuple[str, ...] = ("text", "image", "audio")
    #: Weight of the squared norm of the batch's ID rows and of its users' preferences.
    regularisation: float = 1e-4


class MMGCN(TopNModel):
    """A graph network per feature, which share the IDs; a user or item is the mean of what they make of it."""

    name = "mmgcn"
    Config = MMGCNConfig

    def __init__(self, config: MMGCNConfig, catalogue: UserCatalogue) -> None:
        super().__init__(config, catalogue)
        self.ids = xavier(self.n_users + self.n_items, config.dim)  # users first; trained, which MMRec's are not
        self.contents = Contents(catalogue, config.features, self.name)
        self.maps = self.contents.layers(config.dim)
        self.preferences = nn.ParameterList(xavier(self.n_users, config.dim) for _ in self.maps)
        self.rounds = nn.ModuleList(
            nn.ModuleList(Round(config.dim) for _ in range(config.layers)) for _ in self.contents.names
        )
        self.graph = Sparse(row_means(bipartite(catalogue.train)))

    def _propagated(self, rows: Tensor | None = None) -> Tensor:
        """Returns the mean over features of the last round, (n_users + n_items, dim), users first; or rows of it."""
        found = []
        for features, embed, preferences, rounds in zip(
            self.contents.tables(), self.maps, self.preferences, self.rounds, strict=True
        ):
            x = F.normalize(torch.cat([preferences, embed(features)]))
            for number, round_ in enumerate(rounds, 1):
                parts = (x, self.graph(x), self.ids)
                if rows is not None and number == len(rounds):
                    parts = tuple(part[rows] for part in parts)  # nobody reads the other nodes of the last round
                x = round_(*parts)
            found.append(x)
        return torch.stack(found).mean(0)

    def encode(self) -> tuple[Tensor, Tensor]:
        """Returns the tables of users and items, (n_users, dim) and (n_items, dim)."""
        return self._propagated().split([self.n_users, self.n_items])

    def forward(self, users: Tensor, encoded: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Returns the inner products of users and items, (batch, n_items)."""
        of_users, of_items = encoded or self.encode()
        return linear(of_users[users], of_items)

    def losses(self, batch: PairBatch) -> dict[str, Tensor]:
        """Returns BPR and the squared norm of the batch's ID rows and of its users' preferences."""
        rows = torch.cat([batch.users, self.n_users + batch.positives, self.n_users + batch.negatives[:, 0]])
        u, i, j = self._propagated(rows).chunk(3)
        own = [*self.ids[rows].chunk(3), *(preferences[batch.users] for preferences in self.preferences)]
        return {
            "bpr": bpr((u * i).sum(1), (u * j).sum(1)),
            "norm": self.config.regularisation * squared_norm(*own),
        }


class Round(nn.Module):
    """What a node's neighbours are, and what it is itself, side by side through one more layer."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.near = Dense(dim, dim, bias=False)  # W_1: what its neighbours are
        self.own = Dense(dim, dim)  # W_2: what the node is, before its ID is added
        self.join = Dense(2 * dim, dim)  # W_3: combination, by concatenation

    def forward(self, x: Tensor, near: Tensor, ids: Tensor) -> Tensor:
        """Returns the nodes after the round, (nodes, dim). x, near, ids: (nodes, dim); near: the neighbours' mean."""
        h = F.leaky_relu(self.near(near))  # the mean of W_1 x is W_1 of the mean
        own = F.leaky_relu(self.own(x)) + ids
        return F.leaky_relu(self.join(torch.cat([h, own], 1)))
