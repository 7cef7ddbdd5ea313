"""COTREC: self-supervised graph co-training for session-based recommendation (Xia et al., CIKM 2021).

Two views: the graph of items that follow each other in training sessions, and the line graph of a batch's sessions.
Each view scores the items and so tells the other which ones to draw near and which to keep far (co-training). The
item view recommends. Left out: the divergence constraint, which keeps the two views apart by adversarial noise.
The session view depends on the batch, so it exists in training only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from disentrec.data.sequences import Sequences
from disentrec.data.sessions import SessionBatch
from disentrec.models.base import Catalogue, SessionModel
from disentrec.models.dhcn import line_convolution, line_graph
from disentrec.models.kernels import Linear, linear, session_means, unit
from disentrec.models.layers import PositionReadout, Sparse, row_means


@dataclass(frozen=True)
class COTRECConfig:
    """Settings of COTREC."""

    dim: int = 100
    #: Convolutions in both views; their outputs are averaged with the input.
    layers: int = 2
    #: Scores are cosines times this: a softmax over cosines alone could not become sharp.
    scale: float = 12.0
    #: Positives and negatives a view names for the other one, per session.
    mined: int = 10
    #: Negatives are drawn from this share of the ranking, below the positives: hard ones.
    candidates: float = 0.1
    temperature: float = 0.2
    #: Weight of the co-training term; 0 leaves the session view out.
    weight_contrast: float = 0.01
    #: Rows of the position table.
    positions: int = 50


class COTREC(SessionModel):
    """See the module's docstring."""

    name = "cotrec"
    Config = COTRECConfig

    def __init__(self, config: COTRECConfig, catalogue: Catalogue) -> None:
        super().__init__(config, catalogue)
        d = config.dim
        self.table = nn.Parameter(torch.empty(self.n_items, d).normal_(std=0.1))
        self.graph = Sparse(item_graph(catalogue.graph_sessions, self.n_items))
        self.maps = nn.ModuleList(Linear(d, d, bias=False) for _ in range(config.layers))  # W_I of Eq. 1
        for layer in self.maps:
            # Started as the identity: a convolution first of all averages neighbours.
            nn.init.eye_(layer.weight)
        self.readout = PositionReadout(d, config.positions)

    def encode_items(self) -> Tensor:
        """Returns X_I, the mean of the items before and after every convolution, (n_items, dim)."""
        x, total = self.table, self.table
        for layer in self.maps:
            x = self.graph(layer(x))
            total = total + x
        return total / (len(self.maps) + 1)

    def forward(self, batch: SessionBatch, encoded: Tensor | None = None) -> Tensor:
        """Returns the cosines of session and items times `scale`, (batch, n_items)."""
        encoded = self.encode_items() if encoded is None else encoded
        return self.scores(self.session(batch, encoded), encoded)

    def session(self, batch: SessionBatch, encoded: Tensor) -> Tensor:
        """Returns theta_I, (batch, dim)."""
        return self.readout(F.embedding(batch.real_items, encoded), batch)

    def scores(self, session: Tensor, items: Tensor) -> Tensor:
        """Returns scaled cosines, (batch, n_items)."""
        return linear(self.config.scale * unit(session), unit(items))

    def losses(self, batch: SessionBatch) -> dict[str, Tensor]:
        """Returns the cross-entropy of the item view and the co-training term."""
        encoded = self.encode_items()
        session = self.session(batch, encoded)
        scores = self.scores(session, encoded)
        terms = {"ce": F.cross_entropy(scores, batch.target)}
        if self.config.weight_contrast:
            terms["contrast"] = self.config.weight_contrast * self.co_training(batch, encoded, session, scores)
        return terms

    def co_training(self, batch: SessionBatch, encoded: Tensor, session: Tensor, scores: Tensor) -> Tensor:
        """Returns both directions of Eq. 9, a mean over sessions in nats.

        The session view's items are the rows of the table, not propagated.
        """
        start = session_means(F.embedding(batch.real_items, self.table), batch.length)
        line = line_convolution(start, line_graph(batch.items, self.n_items), self.config.layers)
        by_items = self.mine(scores.detach())
        by_sessions = self.mine(self.scores(line, self.table).detach())
        last = batch.items[torch.arange(len(start), device=start.device), batch.length - 1] - 1
        toward_items = self.contrast(encoded[last], session, encoded, *by_sessions)
        toward_sessions = self.contrast(self.table[last], line, self.table, *by_items)
        return toward_items + toward_sessions

    def mine(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the best items and draws of those that follow, (batch, mined) each; scores: (batch, n_items)."""
        n = scores.shape[1]
        mined = min(self.config.mined, n // 2)
        pool = min(max(int(self.config.candidates * n), 2 * mined), n)
        best, followers = leading(scores, mined, pool)
        drawn = torch.randint(pool - mined, (len(scores), mined), device=scores.device)
        return best, followers.gather(1, drawn)

    def contrast(self, last: Tensor, session: Tensor, items: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
        """Returns Eq. 9 for one view: psi = exp(cosine(last + session, last + item) / temperature)."""
        chosen = F.embedding(torch.cat([positives, negatives], 1), items)  # (batch, 2 mined, dim)
        # cos(q, last + item) from inner products of the items alone: no vector is made per pair.
        query = unit(last + session)
        by_query, by_last = ((chosen * x[:, None]).sum(2) for x in (query, last))  # (batch, 2 mined) each
        lengths = last.square().sum(1, keepdim=True) + 2 * by_last + chosen.square().sum(2)
        cosines = (by_query + (query * last).sum(1, keepdim=True)) * lengths.clamp(min=1e-16).rsqrt()
        near = cosines / self.config.temperature
        return (near.logsumexp(1) - near[:, : positives.shape[1]].logsumexp(1)).mean()


def leading(scores: Tensor, best: int, pool: int) -> tuple[Tensor, Tensor]:
    """Returns which items are the best of a row, (batch, best), and which others its best `pool`, in no order."""
    if scores.device.type != "cpu":
        ranked = scores.topk(pool, 1).indices
        return ranked[:, :best], ranked[:, best:]
    # A partition has no order to make, and takes a quarter of the time.
    scores, rest = scores.float().numpy(), pool - best
    among = np.argpartition(scores, -pool, axis=1)[:, -pool:]
    inside = np.argpartition(np.take_along_axis(scores, among, 1), rest - 1, axis=1)
    among = torch.from_numpy(np.take_along_axis(among, inside, 1))
    return among[:, rest:], among[:, :rest]


def item_graph(sessions: Sequences, n_items: int) -> sp.csr_matrix:
    """Returns how often items stand next to each other, in either order, plus self-loops; rows sum to 1."""
    follows = np.flatnonzero(sessions.rows[:-1] == sessions.rows[1:])
    ones = np.ones(len(follows), dtype=np.float32)
    steps = sp.coo_matrix((ones, (sessions.values[follows], sessions.values[follows + 1])), shape=(n_items, n_items))
    return row_means((steps + steps.T + sp.eye_array(n_items, dtype=np.float32)).tocsr())
