"""VBPR: visual Bayesian personalised ranking from implicit feedback (He and McAuley, AAAI 2016).

In the form in which the field compares with it (MMRec): all features of an item, concatenated, take the place of the
visual ones, and the paper's biases of items and of looks are left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from disentrec.models.base import PairBatch, TopNModel, UserCatalogue
from disentrec.models.graphs import bpr, squared_norm, xavier
from disentrec.models.kernels import linear
from disentrec.models.modalities import Contents, Dense


@dataclass(frozen=True)
class VBPRConfig:
    """Settings of VBPR, with MMRec's size as default."""

    #: Of the ID half and of the content half.
    dim: int = 64
    #: Features that describe an item, those of them that the data set has.
    features: tuple[str, ...] = ("text", "image", "audio")
    #: Weight of the squared norm of the batch's rows.
    regularisation: float = 1e-2


class VBPR(TopNModel):
    """Inner products of users and items in two spaces: one of IDs, one that the features are mapped to."""

    name = "vbpr"
    Config = VBPRConfig

    def __init__(self, config: VBPRConfig, catalogue: UserCatalogue) -> None:
        super().__init__(config, catalogue)
        content = torch.cat(Contents(catalogue, config.features, self.name).tables(), 1)
        self.register_buffer("content", content, persistent=False)  # f, (n_items, width)
        self.users = xavier(self.n_users, 2 * config.dim)  # gamma_u and theta_u
        self.items = xavier(self.n_items, config.dim)  # gamma_i
        self.embed = Dense(content.shape[1], config.dim)  # E

    def encode(self) -> Tensor:
        """Returns gamma_i and theta_i = E f_i side by side, (n_items, 2 dim)."""
        return torch.cat([self.items, self.embed(self.content)], 1)

    def forward(self, users: Tensor, encoded: Tensor | None = None) -> Tensor:
        """Returns gamma_u . gamma_i + theta_u . E f_i, (batch, n_items)."""
        encoded = self.encode() if encoded is None else encoded
        return linear(self.users[users], encoded)

    def losses(self, batch: PairBatch) -> dict[str, Tensor]:
        """Returns BPR and the squared norm of the rows it touches."""
        chosen = torch.cat([batch.positives, batch.negatives[:, 0]])
        u = self.users[batch.users]
        # Only the batch's items pass through E: they are fewer than all, and their features need no gradient.
        i, j = torch.cat([self.items[chosen], self.embed(self.content[chosen])], 1).chunk(2)
        return {
            "bpr": bpr((u * i).sum(1), (u * j).sum(1)),
            "norm": self.config.regularisation * squared_norm(u, i, j),
        }
