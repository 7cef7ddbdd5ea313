"""LightGCN: simplifying and powering graph convolution network for recommendation (He et al., SIGIR 2020)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from disentrec.models.base import PairBatch, TopNModel, UserCatalogue
from disentrec.models.graphs import bipartite, bpr, penalty, symmetric, xavier
from disentrec.models.kernels import linear
from disentrec.models.layers import Sparse


@dataclass(frozen=True)
class LightGCNConfig:
    """Settings of LightGCN, with MMRec's size as default."""

    dim: int = 64
    layers: int = 2
    #: Weight and form of the penalty on the batch's own rows, before propagation: "squared", or "norm" as MMRec has it.
    regularisation: float = 1e-4
    penalty: str = "squared"


class LightGCN(TopNModel):
    """Rows of users and items, averaged over the rounds of their propagation along the training pairs."""

    name = "lightgcn"
    Config = LightGCNConfig

    def __init__(self, config: LightGCNConfig, catalogue: UserCatalogue) -> None:
        super().__init__(config, catalogue)
        self.table = xavier(self.n_users + self.n_items, config.dim)  # users first
        self.graph = Sparse(symmetric(bipartite(catalogue.train)))

    def propagated(self) -> Tensor:
        """Returns the sum over all rounds, users first, (n_users + n_items, dim): Eq. 8 without its constant factor."""
        x = total = self.table
        for _ in range(self.config.layers):
            x = self.graph(x)  # Eq. 7
            total = total + x
        return total

    def encode(self) -> tuple[Tensor, Tensor]:
        """Returns the propagated tables, Eq. 8, (n_users, dim) and (n_items, dim)."""
        mean = self.propagated() / (self.config.layers + 1)
        return mean[: self.n_users], mean[self.n_users :]

    def forward(self, users: Tensor, encoded: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Returns the inner products of users and items, Eq. 9, (batch, n_items)."""
        of_users, of_items = encoded or self.encode()
        return linear(of_users[users], of_items)

    def losses(self, batch: PairBatch) -> dict[str, Tensor]:
        """Returns BPR and the penalty on the rows themselves, Eq. 15."""
        # One look-up for all rows: each one's gradient is a table of zeros to begin with.
        rows = torch.cat([batch.users, self.n_users + batch.positives, self.n_users + batch.negatives[:, 0]])
        u, i, j = (self.propagated()[rows] / (self.config.layers + 1)).chunk(3)
        return {
            "bpr": bpr((u * i).sum(1), (u * j).sum(1)),
            "norm": self.config.regularisation * penalty(self.config.penalty, *self.table[rows].chunk(3)),
        }
