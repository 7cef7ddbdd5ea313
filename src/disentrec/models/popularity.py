"""Two baselines without a parameter: what sells everywhere (POP) and what this session already holds (S-POP)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from disentrec.data.sessions import SessionBatch
from disentrec.models.base import Catalogue, SessionModel


@dataclass(frozen=True)
class NoSettings:
    """These models have nothing to set."""


class Popularity(SessionModel):
    """Scores an item by how often it occurs in the training sessions."""

    name = "pop"
    Config = NoSettings

    def __init__(self, config: NoSettings, catalogue: Catalogue) -> None:
        super().__init__(config, catalogue)
        counts = torch.bincount(torch.from_numpy(catalogue.sessions.values).long(), minlength=self.n_items)
        self.register_buffer("counts", counts.float())

    def forward(self, batch: SessionBatch, encoded: None = None) -> Tensor:
        """Returns the same scores for every session, (batch, n_items)."""
        return self.counts.expand(len(batch.items), -1)

    def losses(self, batch: SessionBatch) -> dict[str, Tensor]:
        """Returns nothing: there is nothing to learn."""
        return {}


class SessionPopularity(Popularity):
    """Scores an item by how often the session holds it; popularity breaks ties and orders the rest."""

    name = "spop"

    def forward(self, batch: SessionBatch, encoded: None = None) -> Tensor:
        """Returns (batch, n_items)."""
        popularity = self.counts / (self.counts.max() + 1)  # below 1: it never outweighs an occurrence
        return occurrences(batch, self.n_items) + popularity


def occurrences(batch: SessionBatch, n_items: int) -> Tensor:
    """Returns how often each session holds each item, (batch, n_items)."""
    table = torch.zeros(len(batch.items), n_items + 1, device=batch.items.device)
    return table.scatter_add_(1, batch.items, batch.mask.to(table.dtype))[:, 1:]
