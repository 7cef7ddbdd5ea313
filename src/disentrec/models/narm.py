"""NARM: neural attentive session-based recommendation (Li et al., CIKM 2017)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from disentrec.data.sessions import SessionBatch
from disentrec.models.base import Catalogue, SessionModel
from disentrec.models.kernels import Dropout, Linear, last_positions, linear, weighted_sums
from disentrec.models.layers import GRU


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
        self.gru = GRU(config.dim, config.hidden)
        self.attend_last = Linear(config.hidden, config.hidden, bias=False)  # A1
        self.attend_each = Linear(config.hidden, config.hidden, bias=False)  # A2
        self.attend_value = Linear(config.hidden, 1, bias=False)  # v
        self.bilinear = Linear(2 * config.hidden, config.dim, bias=False)  # B
        self.dropout = Dropout(config.dropout)
        self.dropout_session = Dropout(config.dropout_session)

    def forward(self, batch: SessionBatch, encoded: None = None) -> Tensor:
        """Returns item . B c, Eq. 11, (batch, n_items)."""
        return linear(self.bilinear(self.dropout_session(self.session(batch))), self.table)

    def session(self, batch: SessionBatch) -> Tensor:
        """Returns c = [global; local], Eq. 10, (batch, 2 hidden)."""
        rows = self.dropout(F.embedding(batch.real_items, self.table))  # (positions, dim), session after session
        states = self.gru(rows, batch)  # (positions, hidden)
        last = states[last_positions(batch.length)]
        energy = torch.sigmoid(F.embedding(batch.session, self.attend_last(last)) + self.attend_each(states))  # Eq. 8
        weights = self.attend_value(energy)[:, 0]  # (positions,), not normalised
        return torch.cat([last, weighted_sums(states, weights, batch.length)], 1)  # Eq. 6, Eq. 7

    def losses(self, batch: SessionBatch) -> dict[str, Tensor]:
        """Returns the cross-entropy, Eq. 12."""
        return {"ce": F.cross_entropy(self(batch), batch.target)}
