"""Repeat: recommends what the session already holds, the most recent item first."""

from __future__ import annotations

import torch
from torch import Tensor

from disentrec.data.sessions import SessionBatch
from disentrec.models.base import SessionModel
from disentrec.models.popularity import NoSettings


class Repeat(SessionModel):
    """Scores an item by its last position in the session; all others are tied at zero."""

    name = "repeat"
    Config = NoSettings

    def forward(self, batch: SessionBatch, encoded: None = None) -> Tensor:
        """Returns (batch, n_items)."""
        return recency(batch, self.n_items)

    def losses(self, batch: SessionBatch) -> dict[str, Tensor]:
        """Returns nothing: there is nothing to learn."""
        return {}


def recency(batch: SessionBatch, n_items: int) -> Tensor:
    """Returns the 1-based last position of each item in each session, 0 where it is not held, (batch, n_items)."""
    table = torch.zeros(len(batch.items), n_items + 1, device=batch.items.device)
    position = torch.arange(1, batch.items.shape[1] + 1, dtype=table.dtype, device=table.device)
    table.scatter_reduce_(1, batch.items, position.expand(batch.items.shape), reduce="amax")
    return table[:, 1:]
