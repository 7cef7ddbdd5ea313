"""BERT4Rec: sequential recommendation with bidirectional transformers (Sun et al., CIKM 2019).

The paper trains on every sequence once with random masks and once with only its last item masked; here a session
gets one of the two in a step, drawn by `last_only`, which costs half. The sequence is prefix and target.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from disentrec.data.sessions import SessionBatch
from disentrec.models.base import Catalogue, SessionModel
from disentrec.models.kernels import Linear, last_positions, linear
from disentrec.models.layers import Order, SequenceEncoder


@dataclass(frozen=True)
class BERT4RecConfig:
    """Settings of BERT4Rec, with the paper's values as defaults."""

    dim: int = 100
    layers: int = 2
    heads: int = 2
    dropout: float = 0.1
    #: Share of items masked in the cloze task; the paper uses 0.2 to 0.6.
    mask_share: float = 0.3
    #: Share of sessions in a step whose last item is the only mask: what recommending asks.
    last_only: float = 0.5
    #: Rows of the position table.
    positions: int = 50


class Masks(NamedTuple):
    """What is known of a batch with an item appended to every session before it is read."""

    real: Tensor  # (positions,): where the items stand among all positions, padding too
    order: Order
    masked: Tensor | None  # (masks,): the positions, without padding, that a step fills; None outside of training


class BERT4Rec(SessionModel):
    """Fills masks in a session; recommending is a mask appended to it."""

    name = "bert4rec"
    Config = BERT4RecConfig

    def __init__(self, config: BERT4RecConfig, catalogue: Catalogue) -> None:
        super().__init__(config, catalogue)
        d = config.dim
        # Row 0 is padding's, never trained; rows 1 .. n_items are the items; the last one is the mask.
        self.table = nn.Embedding(self.n_items + 2, d, padding_idx=0)
        self.encoder = SequenceEncoder(
            d, config.layers, config.heads, 4 * d, config.dropout, config.positions, causal=False, pre_norm=False
        )
        self.output = Linear(d, d)  # W^P, b^P
        self.bias = nn.Parameter(torch.zeros(self.n_items))  # b^O
        for parameter in (self.table.weight, self.output.weight):
            nn.init.trunc_normal_(parameter, std=0.02, a=-0.04, b=0.04)

    @property
    def mask_token(self) -> int:
        """The row of the mask."""
        return self.n_items + 1

    def plan(self, batch: SessionBatch) -> Masks:
        """Returns the order of the sessions with their targets, and in training which of their items to hide."""
        full = append(batch.items, batch.length, batch.target + 1)
        real = (full > 0).flatten().nonzero()[:, 0]
        masked = self.draw_masks(full, batch.length).flatten()[real].nonzero()[:, 0] if self.training else None
        return Masks(real, self.encoder.plan([length + 1 for length in batch.lengths]), masked)

    def forward(self, batch: SessionBatch, encoded: None = None) -> Tensor:
        """Returns the scores at a mask after the session, (batch, n_items)."""
        appended = append(batch.items, batch.length, torch.full_like(batch.target, self.mask_token))
        real, order, _ = self.plan_of(batch)
        return self.scores(self.states(appended.flatten()[real], order)[last_positions(batch.length + 1)])

    def states(self, items: Tensor, order: Order) -> Tensor:
        """Returns the state at every item, (positions, dim). items: (positions,), 1-based, session after session."""
        return self.encoder(self.table(items), order)

    def scores(self, states: Tensor) -> Tensor:
        """Returns GELU(h W^P + b^P) E^T + b^O, Eq. 7, (..., n_items)."""
        return linear(F.gelu(self.output(states)), self.table.weight[1:-1], self.bias)

    def losses(self, batch: SessionBatch) -> dict[str, Tensor]:
        """Returns the cross-entropy at the masks, Eq. 8."""
        real, order, masked = self.plan_of(batch)
        full = append(batch.items, batch.length, batch.target + 1)
        items = full.flatten()[real]
        if masked is None:
            masked = self.draw_masks(full, batch.length).flatten()[real].nonzero()[:, 0]
        states = self.states(items.index_fill(0, masked, self.mask_token), order)
        return {"ce": F.cross_entropy(self.scores(states[masked]), items[masked] - 1)}

    def draw_masks(self, full: Tensor, last: Tensor) -> Tensor:
        """Returns what is masked, (batch, length) bool: at least one item of each session.

        last: the position of each last item. A session that drew nothing has its last item masked.
        """
        cloze = torch.rand(full.shape, device=full.device) < self.config.mask_share
        cloze &= (torch.rand(len(full), 1, device=full.device) >= self.config.last_only) & (full > 0)
        is_last = torch.arange(full.shape[1], device=full.device) == last[:, None]
        return torch.where(cloze.any(1, keepdim=True), cloze, is_last)


def append(items: Tensor, length: Tensor, added: Tensor) -> Tensor:
    """Returns the padded rows with one more item each, (batch, length + 1). length, added: (batch,)."""
    return F.pad(items, (0, 1)).scatter(1, length[:, None], added[:, None])
