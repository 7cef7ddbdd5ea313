"""Atten-Mixer: multi-level user intent without a graph (Zhang et al., WSDM 2023).

A session asks with several queries: its last item, its last two, its last three, ... Each query attends over the
session's items in several heads; the attention maps are mixed by Lp pooling and read the session once. The paper's
summary was at hand, not its equations. Chosen here: a query is a linear map of its items' mean, the pooled weights
are divided by their sum, and the result is joined with the last item as in SR-GNN.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from disentrec.data.sessions import SessionBatch
from disentrec.models.base import Catalogue, SessionModel
from disentrec.models.kernels import Dropout, Linear, last_positions, linear, session_softmax, tanh, unit, weighted_sums


@dataclass(frozen=True)
class AttenMixerConfig:
    """Settings of Atten-Mixer."""

    dim: int = 100
    #: Queries: the last item, the last two, ..., the last `levels`; a shorter session repeats all of its items.
    levels: int = 5
    heads: int = 4
    #: The p of Lp pooling: 1 is the mean of the maps, many is nearly their maximum.
    power: float = 4.0
    #: On item rows and on the session.
    dropout: float = 0.1
    #: Scores are cosines times this.
    scale: float = 12.0


class AttenMixer(SessionModel):
    """Attention maps of several last-n queries, mixed into one."""

    name = "atten-mixer"
    Config = AttenMixerConfig

    def __init__(self, config: AttenMixerConfig, catalogue: Catalogue) -> None:
        super().__init__(config, catalogue)
        d = config.dim
        self.table = nn.Parameter(torch.empty(self.n_items, d).normal_(std=0.1))
        self.queries = nn.ModuleList(Linear(d, d) for _ in range(config.levels))
        # Without bias: a softmax over keys does not feel a shift of all of them.
        self.key = Linear(d, d, bias=False)
        self.hybrid = Linear(2 * d, d, bias=False)
        self.dropout = Dropout(config.dropout)

    def forward(self, batch: SessionBatch, encoded: None = None) -> Tensor:
        """Returns the cosines of session and items times `scale`, (batch, n_items)."""
        session = self.dropout(self.session(batch))
        return linear(self.config.scale * unit(session), unit(self.table))

    def session(self, batch: SessionBatch) -> Tensor:
        """Returns W [sum of mixed weights x; last item], (batch, dim)."""
        rows = self.dropout(F.embedding(batch.real_items, self.table))  # (positions, dim), session after session
        read = weighted_sums(rows, self.mix(self.maps(rows, batch), batch), batch.length)
        return self.hybrid(torch.cat([read, rows[last_positions(batch.length)]], 1))

    def maps(self, rows: Tensor, batch: SessionBatch) -> Tensor:
        """Returns the attention of every query and head over a session's items, (positions, levels, heads)."""
        means = last_means(rows, batch, self.config.levels)
        asked = torch.cat([query(means[:, level]) for level, query in enumerate(self.queries)], 1)
        heads = self.config.heads
        query = F.embedding(batch.session, tanh(asked))  # (positions, levels dim)
        query = query.unflatten(-1, (self.config.levels, heads, -1))
        key = self.key(rows).unflatten(-1, (1, heads, -1))
        return session_softmax((query * key).sum(-1) / math.sqrt(key.shape[-1]), batch.session, len(batch.length))

    def mix(self, maps: Tensor, batch: SessionBatch) -> Tensor:
        """Returns the maps pooled over queries and heads, weights that sum to 1 in a session, (positions,)."""
        # Clipped, because the root has no finite slope at 0.
        pooled = (maps**self.config.power).mean((1, 2)).clamp(min=1e-20) ** (1 / self.config.power)
        total = pooled.new_zeros(len(batch.length)).index_add(0, batch.session, pooled)
        return pooled / total[batch.session]

    def losses(self, batch: SessionBatch) -> dict[str, Tensor]:
        """Returns the cross-entropy."""
        return {"ce": F.cross_entropy(self(batch), batch.target)}


def last_means(rows: Tensor, batch: SessionBatch, levels: int) -> Tensor:
    """Returns the mean of the last 1, 2, ..., `levels` rows, or of all where there are fewer, (batch, levels, dim).

    rows: (positions, dim), those of the batch's items, session after session.
    """
    read = sum(min(length, level) for length in batch.lengths for level in range(1, levels + 1))
    every = torch.arange(1, levels + 1, device=rows.device)
    counts = torch.minimum(batch.length[:, None], every)  # (batch, levels)
    starts = (last_positions(batch.length)[:, None] + 1 - counts).flatten()
    counts = counts.flatten()
    offsets = counts.cumsum(0) - counts
    chosen = torch.repeat_interleave(starts - offsets, counts, output_size=read)
    chosen = chosen + torch.arange(read, device=rows.device)
    return F.embedding_bag(chosen, rows, offsets, mode="mean").view(len(batch.length), levels, -1)
