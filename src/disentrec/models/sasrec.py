"""SASRec: self-attentive sequential recommendation (Kang & McAuley, ICDM 2018).

Trained by full softmax cross-entropy like every model here, where the paper draws one negative per positive: with
the paper's loss it would be compared by its sampling and not by its architecture. GELU stands for ReLU, and the
attention has an output projection, as the transformer blocks that three models share.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from disentrec.data.sessions import SessionBatch
from disentrec.models.base import Catalogue, SessionModel
from disentrec.models.kernels import last_positions, linear
from disentrec.models.layers import Order, SequenceEncoder


@dataclass(frozen=True)
class SASRecConfig:
    """Settings of SASRec; two blocks as in the paper."""

    dim: int = 100
    layers: int = 2
    heads: int = 1
    dropout: float = 0.2
    #: Rows of the position table.
    positions: int = 50
    #: The paper's objective: the state at every position predicts the next item. False: only the last one does.
    #: With prefix augmentation (protocol.augment) early positions count again with every longer prefix.
    every_position: bool = True


class SASRec(SessionModel):
    """Causal self-attention over the session; the state at its last item is matched with the item rows."""

    name = "sasrec"
    Config = SASRecConfig

    def __init__(self, config: SASRecConfig, catalogue: Catalogue) -> None:
        super().__init__(config, catalogue)
        self.table = nn.Parameter(torch.empty(self.n_items, config.dim).normal_(std=0.1))
        self.encoder = SequenceEncoder(
            config.dim, config.layers, config.heads, config.dim, config.dropout, config.positions,
            causal=True, pre_norm=True,
        )  # fmt: skip

    def plan(self, batch: SessionBatch) -> Order:
        """Returns how the encoder orders the batch."""
        return self.encoder.plan(batch.lengths)

    def forward(self, batch: SessionBatch, encoded: None = None) -> Tensor:
        """Returns r = F . M^T, Eq. 6 of the paper, (batch, n_items)."""
        return linear(self.states(batch)[last_positions(batch.length)], self.table)

    def states(self, batch: SessionBatch) -> Tensor:
        """Returns the state at every real position, which has seen none of the later ones, (positions, dim)."""
        return self.encoder(F.embedding(batch.real_items, self.table), self.plan_of(batch))

    def losses(self, batch: SessionBatch) -> dict[str, Tensor]:
        """Returns the cross-entropy, a mean over sessions, or over all their positions under `every_position`."""
        if not self.config.every_position:
            return {"ce": F.cross_entropy(self(batch), batch.target)}
        return {"ce": F.cross_entropy(linear(self.states(batch), self.table), next_items(batch).flatten()[batch.at])}


def next_items(batch: SessionBatch) -> Tensor:
    """Returns the item after every position, 0-based: the target after the last one, (batch, length)."""
    following = F.pad(batch.items[:, 1:], (0, 1)) - 1
    return following.scatter(1, batch.length[:, None] - 1, batch.target[:, None])
