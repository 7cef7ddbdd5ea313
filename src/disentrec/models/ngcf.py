"""NGCF: neural graph collaborative filtering (Wang et al., SIGIR 2019)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from disentrec.models.base import PairBatch, TopNModel, UserCatalogue
from disentrec.models.graphs import bipartite, bpr, squared_norm, symmetric, xavier
from disentrec.models.kernels import Dropout, linear
from disentrec.models.layers import Sparse


@dataclass(frozen=True)
class NGCFConfig:
    """Settings of NGCF, with the paper's as defaults."""

    dim: int = 64
    layers: int = 3
    dropout: float = 0.1
    #: Slope of LeakyReLU below zero: the paper gives none, this is its code's (NGCF.py, TensorFlow's default).
    slope: float = 0.2
    #: The code gives the rows of every layer length 1 before they are joined; the paper's Eq. 9 does not.
    normalise: bool = False
    #: Weight of the squared norm of the batch's own rows, before propagation, and of the layers' weights.
    regularisation: float = 1e-5


class NGCF(TopNModel):
    """Rows of users and items and of what every layer makes of them and their neighbours, side by side."""

    name = "ngcf"
    Config = NGCFConfig

    def __init__(self, config: NGCFConfig, catalogue: UserCatalogue) -> None:
        super().__init__(config, catalogue)
        self.table = xavier(self.n_users + self.n_items, config.dim)  # users first
        # W1 and W2 of Eq. 7, transposed and side by side: both products are one.
        self.weights = nn.ParameterList(
            nn.Parameter(torch.cat([xavier(config.dim, config.dim).detach() for _ in range(2)], 1))
            for _ in range(config.layers)
        )
        self.graph = Sparse(symmetric(bipartite(catalogue.train)))  # L of Eq. 8
        self.dropout = Dropout(config.dropout)

    def propagated(self) -> list[Tensor]:
        """Returns the table of every layer, the rows themselves first, users first in each, (n, dim) each."""
        x = self.table
        found = [x]
        for weight in self.weights:
            near = self.graph(x)
            # Eq. 7: ((L + I) E) W1 + ((L E) * E) W2, where Eq. 3 tells that the product comes before W2.
            x = F.leaky_relu(linear(torch.cat([near + x, near * x], 1), weight), self.config.slope)
            # Message dropout, as the code places it: on what a layer hands on.
            x = self.dropout(x)
            found.append(F.normalize(x) if self.config.normalise else x)
        return found

    def encode(self) -> tuple[Tensor, Tensor]:
        """Returns the layers side by side, Eq. 9, (n_users, dim x (layers + 1)) and (n_items, the same)."""
        joined = torch.cat(self.propagated(), 1)
        return joined[: self.n_users], joined[self.n_users :]

    def forward(self, users: Tensor, encoded: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Returns the inner products of users and items, Eq. 10, (batch, n_items)."""
        of_users, of_items = encoded or self.encode()
        return linear(of_users[users], of_items)

    def losses(self, batch: PairBatch) -> dict[str, Tensor]:
        """Returns BPR and the squared norms, Eq. 11."""
        rows = torch.cat([batch.users, self.n_users + batch.positives, self.n_users + batch.negatives[:, 0]])
        # A look-up per layer and not in the tables side by side, which would be written and split once more.
        own, *layers = (table[rows] for table in self.propagated())
        u, i, j = torch.cat([own, *layers], 1).chunk(3)
        of_weights = sum((weight * weight).sum() for weight in self.weights) / 2
        return {
            "bpr": bpr((u * i).sum(1), (u * j).sum(1)),
            "norm": self.config.regularisation * (squared_norm(*own.chunk(3)) + of_weights),
        }
