"""NARM: neural attentive session-based recommendation (Li et al., CIKM 2017)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from disentrec.data.sessions import SessionBatch
from disentrec.models.base import Catalogue, SessionModel
from disentrec.models.layers import lookup


@dataclass(frozen=True)
class NARMConfig:
    """Settings of NARM, with the paper's values as defaults (its 50-d items are 100-d here, as DIMO's)."""

    dim: int = 100
    hidden: int = 100
    #: On item rows, as in the paper.
    dropout: float = 0.25
    #: On the session representation, as in the paper.
    dropout_session: float = 0.5


class NARM(SessionModel):
    """A GRU over the session; its last state is the global encoder, an attention over its states the local one."""

    name = "narm"
    Config = NARMConfig

    def __init__(self, config: NARMConfig, catalogue: Catalogue) -> None:
        super().__init__(config, catalogue)
        self.table = nn.Parameter(torch.empty(self.n_items, config.dim).normal_(std=0.1))
        self.gru = nn.GRU(config.dim, config.hidden, batch_first=True)
        self.attend_last = nn.Linear(config.hidden, config.hidden, bias=False)  # A1
        self.attend_each = nn.Linear(config.hidden, config.hidden, bias=False)  # A2
        self.attend_value = nn.Linear(config.hidden, 1, bias=False)  # v
        self.bilinear = nn.Linear(2 * config.hidden, config.dim, bias=False)  # B
        self.dropout = nn.Dropout(config.dropout)
        self.dropout_session = nn.Dropout(config.dropout_session)

    def forward(self, batch: SessionBatch, encoded: None = None) -> Tensor:
        """Returns item . B c, Eq. 11, (batch, n_items)."""
        return self.bilinear(self.dropout_session(self.session(batch))) @ self.table.T

    def session(self, batch: SessionBatch) -> Tensor:
        """Returns c = [global; local], Eq. 10, (batch, 2 hidden)."""
        rows = self.dropout(lookup(self.table, batch.items))  # (batch, length, dim)
        # Padding stands on the right, so a state at a real position never saw it.
        states, _ = self.gru(rows)  # (batch, length, hidden)
        last = states[torch.arange(len(states), device=states.device), batch.length - 1]
        energy = torch.sigmoid(self.attend_last(last)[:, None] + self.attend_each(states))  # Eq. 8
        weights = self.attend_value(energy) * batch.mask[..., None]  # (batch, length, 1), not normalised
        return torch.cat([last, (weights * states).sum(1)], 1)  # Eq. 6, Eq. 7

    def losses(self, batch: SessionBatch) -> dict[str, Tensor]:
        """Returns the cross-entropy, Eq. 12."""
        return {"ce": F.cross_entropy(self(batch), batch.target)}
