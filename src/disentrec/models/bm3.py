"""BM3: bootstrap latent representations for multi-modal recommendation (Zhou et al., WWW 2023).

No item is ever a negative: users, items and features are trained to predict each other's rows, as they are under
dropout, and no gradient reaches what is predicted.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from disentrec.models.base import PairBatch, TopNModel, UserCatalogue
from disentrec.models.graphs import bipartite, squared_norm, symmetric, xavier
from disentrec.models.kernels import Dropout, cosine, linear
from disentrec.models.layers import Sparse
from disentrec.models.modalities import Contents, Dense


@dataclass(frozen=True)
class BM3Config:
    """Settings of BM3, with MMRec's as default."""

    dim: int = 64
    layers: int = 1
    #: Features that describe an item, those of them that the data set has.
    features: tuple[str, ...] = ("text", "image", "audio")
    #: Of the rows that are predicted; MMRec searches 0.3 and 0.5.
    dropout: float = 0.3
    #: Weight of the terms in which features predict.
    content: float = 2.0
    #: Weight of the squared norm of the batch's propagated rows. MMRec's 0.1 weighs the norm of the whole tables, not
    #: squared and divided by the number of items, which pulls a row less than 1e-2 does here.
    regularisation: float = 1e-3


class BM3(TopNModel):
    """LightGCN, items with their own rows added once more, learned without negatives."""

    name = "bm3"
    Config = BM3Config

    def __init__(self, config: BM3Config, catalogue: UserCatalogue) -> None:
        super().__init__(config, catalogue)
        self.table = xavier(self.n_users + self.n_items, config.dim)  # users first
        self.graph = Sparse(symmetric(bipartite(catalogue.train)))
        self.contents = Contents(catalogue, config.features, self.name)
        self.maps = self.contents.layers(config.dim)
        self.predict = Dense(config.dim, config.dim)  # one for users, items and features
        self.dropout = Dropout(config.dropout)

    def encode(self) -> tuple[Tensor, Tensor]:
        """Returns what users and items predict, (n_users, dim) and (n_items, dim)."""
        return self.predict(self._propagated()).split([self.n_users, self.n_items])

    def forward(self, users: Tensor, encoded: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Returns the inner products of the predictions of users and items, (batch, n_items)."""
        of_users, of_items = encoded or self.encode()
        return linear(of_users[users], of_items)

    def losses(self, batch: PairBatch) -> dict[str, Tensor]:
        """Returns what users and items, then features, fail to predict; negatives are not looked at."""
        u, i = self._propagated()[torch.cat([batch.users, self.n_users + batch.positives])].chunk(2)
        target_u, target_i = (self.dropout(rows.detach()) for rows in (u, i))
        guess_u, guess_i = self.predict(torch.cat([u, i])).chunk(2)
        of_content = torch.zeros_like(u[0, 0])
        for features, embed in zip(self.contents.tables(), self.maps, strict=True):
            content = embed(features[batch.positives])
            guess = self.predict(content)
            # Across modalities the item's row is predicted, within one the feature itself.
            of_content = of_content + missed(guess, target_i) + missed(guess, self.dropout(content.detach()))
        return {
            "reconstruction": missed(guess_u, target_i) + missed(guess_i, target_u),
            "content": self.config.content * of_content,
            "norm": self.config.regularisation * squared_norm(u, i),
        }

    def _propagated(self) -> Tensor:
        """Returns the mean of all rounds, users first; items add their own rows, (n_users + n_items, dim)."""
        x = total = self.table
        for _ in range(self.config.layers):
            x = self.graph(x)
            total = total + x
        users, items = (total / (self.config.layers + 1)).split([self.n_users, self.n_items])
        return torch.cat([users, items + self.table[self.n_users :]])


def missed(guess: Tensor, target: Tensor) -> Tensor:
    """Returns 1 - the mean cosine of matching rows, a scalar. Both: (batch, dim)."""
    return 1 - cosine(guess, target).mean()
