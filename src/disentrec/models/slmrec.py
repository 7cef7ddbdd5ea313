"""SLMRec: self-supervised learning for multimedia recommendation (Tao et al., TMM 2022), with its task FAC.

Users walk the same graph once with the items' IDs and once with each of their features. The task, "fine and coarse":
the ID of an item finds its image among those of the batch in a space of the two; what it became there finds the text
in a coarser space of all three.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from disentrec.models.base import PairBatch, TopNModel, UserCatalogue
from disentrec.models.graphs import bipartite, squared_norm, symmetric, xavier
from disentrec.models.kernels import linear, unit
from disentrec.models.layers import Sparse
from disentrec.models.modalities import Contents, Dense


@dataclass(frozen=True)
class SLMRecConfig:
    """Settings of SLMRec, with MMRec's as default; those that its grid searches are named."""

    dim: int = 64
    layers: int = 3
    #: Features that describe an item, those of them that the data set has, from the finest space to the coarsest.
    features: tuple[str, ...] = ("image", "audio", "text")
    #: Cosines of users and items are divided by this.
    temperature: float = 0.2
    #: Inner products of the task are divided by this: 0.1, 0.2, 0.5 or 1.
    task_temperature: float = 0.2
    #: Weight of the task: 0.01, 0.05, 0.1, 0.5 or 1.
    task: float = 0.1
    #: Weight of the squared norm of the batch's ID rows. MMRec reads its setting `reg` nowhere, and decays all weights.
    regularisation: float = 1e-4


class SLMRec(TopNModel):
    """LightGCN once per modality, the modalities joined by one layer; the other items of the batch are negatives."""

    name = "slmrec"
    Config = SLMRecConfig

    def __init__(self, config: SLMRecConfig, catalogue: UserCatalogue) -> None:
        super().__init__(config, catalogue)
        self.users, self.items = xavier(self.n_users, config.dim), xavier(self.n_items, config.dim)
        graph = symmetric(bipartite(catalogue.train))
        self.to_users = Sparse(graph[: self.n_users, self.n_users :])
        self.to_items = Sparse(graph[self.n_users :, : self.n_users])
        self.contents = Contents(catalogue, config.features, self.name)
        self.maps = self.contents.layers(config.dim)
        width = (1 + len(self.contents)) * config.dim
        self.join_users, self.join_items = Dense(width, config.dim), Dense(width, config.dim)
        # Into the space of a feature: from the one before (or from the ID), and from the feature itself.
        self.before = nn.ModuleList(Dense(config.dim, config.dim) for _ in self.contents.names)
        self.itself = nn.ModuleList(Dense(config.dim, config.dim) for _ in self.contents.names)

    def encode(self) -> tuple[Tensor, Tensor]:
        """Returns the joined tables of users and items, (n_users, dim) and (n_items, dim)."""
        users, items = self._propagated()
        return self.join_users(users), self.join_items(items)

    def forward(self, users: Tensor, encoded: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Returns the inner products of users and items, (batch, n_items)."""
        of_users, of_items = encoded or self.encode()
        return linear(of_users[users], of_items)

    def losses(self, batch: PairBatch) -> dict[str, Tensor]:
        """Returns the softmax over the batch's items and the task FAC; drawn negatives are not looked at."""
        users, items = self._propagated()
        users, items = users[batch.users], items[batch.positives]
        u, i = unit(self.join_users(users)), unit(self.join_items(items))
        ids, *contents = items.chunk(1 + len(self.contents), 1)
        x, task = ids, torch.zeros_like(ids[0, 0])
        for before, itself, content in zip(self.before, self.itself, contents, strict=True):
            x = before(x)
            task = task + contrast(x, itself(content), self.config.task_temperature)
        own = self.users[batch.users], self.items[batch.positives]
        return {
            "softmax": contrast(u, i, self.config.temperature),
            "task": self.config.task * task,
            "norm": self.config.regularisation * squared_norm(*own),
        }

    def _propagated(self) -> tuple[Tensor, Tensor]:
        """Returns the mean of all rounds, the modalities side by side, (n_users, width) and (n_items, width)."""
        tables = [embed(F.normalize(x)) for embed, x in zip(self.maps, self.contents.tables(), strict=True)]
        # The graph has two sides and the mean is linear: what begins at the users is the same for all modalities.
        items, users = self._walk(torch.cat([self.items, *tables], 1), self.to_users, self.to_items)
        same_users, same_items = self._walk(self.users, self.to_items, self.to_users)
        of_all = 1 + len(tables)
        return users + same_users.repeat(1, of_all), items + same_items.repeat(1, of_all)

    def _walk(self, x: Tensor, there: Sparse, back: Sparse) -> tuple[Tensor, Tensor]:
        """Returns the sums of the rounds that find x on its own side, and on the other, over the number of rounds."""
        sides = [x, torch.zeros_like(x[:1])]
        for number in range(self.config.layers):
            x = back(x) if number % 2 else there(x)
            sides[1 - number % 2] = sides[1 - number % 2] + x
        own, other = (side / (self.config.layers + 1) for side in sides)
        return own, other


def contrast(x: Tensor, y: Tensor, temperature: float) -> Tensor:
    """Returns how badly each row of x finds its own among the rows of y (InfoNCE), a scalar. Both: (batch, dim)."""
    return F.cross_entropy(linear(x / temperature, y), torch.arange(len(x), device=x.device))
