"""DMRL: disentangled multimodal representation learning for recommendation (Liu et al., TMM 2022).

The rows of users, IDs and features are cut into factors. Factors of one row are held apart by their distance
correlation, and how much a modality counts is decided for every user, item and factor.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from disentrec.errors import DisentrecError
from disentrec.models.base import PairBatch, TopNModel, UserCatalogue
from disentrec.models.graphs import bpr, squared_norm, xavier
from disentrec.models.kernels import softplus
from disentrec.models.modalities import Contents, Dense


@dataclass(frozen=True)
class DMRLConfig:
    """Settings of DMRL."""

    dim: int = 64
    #: Factors of a row; a divisor of dim.
    factors: int = 4
    #: Inner width of the networks that map the features.
    hidden: int = 256
    #: Features that describe an item, those of them that the data set has.
    features: tuple[str, ...] = ("text", "image", "audio")
    #: Weight of the factors' distance correlation; the released code's 1e-3 stands beside a sum over the batch.
    correlation: float = 1e-2
    #: Rows of the batch on which it is measured, at a cost of their square; the released code takes all.
    measured: int = 512
    #: Weight of the squared norm of the batch's rows.
    regularisation: float = 1e-4


class DMRL(TopNModel):
    """The sum, over factors, of what the user's factor makes of each modality's, as the user attends to it."""

    name = "dmrl"
    Config = DMRLConfig

    def __init__(self, config: DMRLConfig, catalogue: UserCatalogue) -> None:
        super().__init__(config, catalogue)
        if config.dim % config.factors:
            raise DisentrecError(
                f"rows of {config.dim} cannot be cut into {config.factors} factors", where="model dmrl",
                how="Let `factors` divide `dim`",
            )  # fmt: skip
        self.users, self.items = xavier(self.n_users, config.dim), xavier(self.n_items, config.dim)
        self.contents = Contents(catalogue, config.features, self.name)
        # Trained here; the released code updates nothing but the rows of users and items (DMRL.py, optimize).
        self.inner = self.contents.layers(config.hidden)
        self.maps = nn.ModuleList(Dense(config.hidden, config.dim) for _ in self.inner)
        modalities, size = 1 + len(self.contents), config.dim // config.factors
        # The attention's first layer, cut into the parts that read the user and the item; one for all factors.
        self.read_user = Dense(size, modalities)
        self.read_item = Dense(modalities * size, modalities, bias=False)
        self.attend = Dense(modalities, modalities, bias=False)

    def encode(self) -> tuple[Tensor, Tensor, Tensor]:
        """Returns what `_described` does, of all items, as `_ranked` reads it: factor by factor, items last.

        rows: (factors, modalities, size, n_items); read: (factors, modalities, n_items); squares: (factors, n_items).
        """
        rows, read, squares = self._described(torch.arange(self.n_items, device=self.items.device))
        return rows.permute(2, 0, 3, 1).contiguous(), read.permute(1, 2, 0).contiguous(), squares.T.contiguous()

    def forward(self, users: Tensor, encoded: tuple[Tensor, Tensor, Tensor] | None = None) -> Tensor:
        """Returns the scores of all items, (batch, n_items)."""
        encoded = self.encode() if encoded is None else encoded
        # A few users and one factor at a time: each takes several numbers per item, which then stay in the cache.
        return torch.cat([self._ranked(self._cut(self.users[some]), *encoded) for some in users.split(24)])

    def plan(self, batch: PairBatch) -> tuple[Tensor, Tensor]:
        """Returns the items of the batch, once each, (items,), and where its pairs' are, (batch, 1 + negatives)."""
        return torch.unique(torch.cat([batch.positives[:, None], batch.negatives], 1), return_inverse=True)

    def losses(self, batch: PairBatch) -> dict[str, Tensor]:
        """Returns BPR against the hardest negative, the factors' distance correlation, and the squared norm."""
        items, place = self.plan_of(batch)
        rows, read, squares = self._described(items)
        rows, read, squares = rows[:, place], read[place], squares[place]
        u = self._cut(self.users[batch.users])[:, None]  # (batch, 1, factors, size)
        fit = (u * rows).sum(-1)  # (modalities, batch, 1 + negatives, factors)
        norm = (u.square().sum(-1) + squares).clamp(min=1e-24).rsqrt()
        heard = (u @ self.read_user.weight.T + read).movedim(-1, 0)
        scores = self._weighed(fit, heard, norm).sum(-1)  # (batch, 1 + negatives)
        apart = torch.cat([u[None, :, 0], rows[:, :, 0]])[:, : self.config.measured]  # positives only
        return {
            "bpr": bpr(scores[:, 0], scores[:, 1:].amax(1)),
            "correlation": self.config.correlation * neighbour_correlation(apart.transpose(1, 2)),
            "norm": self.config.regularisation * squared_norm(u.flatten(1), rows.transpose(0, 1).flatten(1)),
        }

    def _ranked(self, u: Tensor, rows: Tensor, read: Tensor, squares: Tensor) -> Tensor:
        """Returns the scores of all items, (batch, n_items). u: (batch, factors, size); the others as `encode`."""
        user_read, user_squares = u @ self.read_user.weight.T, u.square().sum(-1)
        scores = 0
        for k in range(self.config.factors):
            fit = u[:, k] @ rows[k]  # (modalities, batch, n_items)
            heard = user_read[:, k].T[:, :, None] + read[k, :, None]  # (modalities, batch, n_items)
            norm = (user_squares[:, k, None] + squares[k]).clamp(min=1e-24).rsqrt()
            scores = scores + self._weighed(fit, heard, norm)
        return scores

    def _cut(self, rows: Tensor) -> Tensor:
        """Returns rows as factors, (..., factors, size). rows: (..., dim)."""
        return rows.unflatten(-1, (self.config.factors, -1))

    def _described(self, items: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the factors of the items' modalities, the ID first, and their part in the attention's first layer.

        rows: (modalities, items, factors, size); read: (items, factors, modalities); squares: (items, factors).
        """
        found = [self.items[items]]
        for features, inner, embed in zip(self.contents.tables(), self.inner, self.maps, strict=True):
            found.append(embed(F.normalize(F.leaky_relu(inner(F.normalize(features[items]))))))
        rows = self._cut(torch.stack(found))
        read = self.read_item(rows.movedim(0, 2).flatten(2))
        return rows, read, rows.square().sum((0, -1))

    def _weighed(self, fit: Tensor, heard: Tensor, norm: Tensor) -> Tensor:
        """Returns the modalities' softplus of `fit`, weighed by the attention, (...). fit, heard: (modalities, ...)."""
        bias, weight = (
            part.view(-1, *[1] * (heard.dim() - 1)) for part in (self.read_user.bias, self.attend.weight.sum(1))
        )
        # W tanh x = 2 W sigmoid 2x - W 1, which takes a third of the time.
        inner = torch.addcmul(2 * bias, heard, norm, value=2).sigmoid_()
        logits = torch.addmm(-weight.flatten()[:, None], 2 * self.attend.weight, inner.flatten(1)).view_as(inner)
        return (logits.softmax(0) * softplus(fit)).sum(0)


def neighbour_correlation(x: Tensor) -> Tensor:
    """Returns the mean distance correlation of each factor and the next, a scalar. x: (..., factors, n, size).

    Székely et al., Annals of Statistics 2007: 0 for what is independent, 1 for what is the same but for a rotation,
    a shift and a scale. As in the released code, only neighbouring factors are compared.
    """
    distances = torch.cdist(x, x)  # (..., factors, n, n)
    ways = distances - distances.mean(-1, keepdim=True)
    ways = ways - ways.mean(-2, keepdim=True)  # centred by row, column and in all
    variance = ways.square().mean((-1, -2))
    covariance = (ways[..., :-1, :, :] * ways[..., 1:, :, :]).mean((-1, -2))
    product = variance[..., :-1] * variance[..., 1:]
    return (covariance.clamp(min=0).add(1e-12).sqrt() / product.add(1e-24).pow(0.25)).mean()
