"""S2-DHCN: self-supervised dual-channel hypergraph convolution (Xia et al., AAAI 2021).

One channel convolves the items over the hypergraph whose hyperedges are the training sessions; the other convolves
the sessions of a batch over their line graph, where sessions that share items meet. The first one scores; a
contrastive term draws the two views of a session together. The second channel depends on the batch, so it exists in
training only. The term is a mean over sessions, so its weight does not depend on the batch size.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from disentrec.data.sessions import SessionBatch
from disentrec.models.base import Catalogue, SessionModel
from disentrec.models.kernels import linear, session_means
from disentrec.models.layers import Hypergraph, PositionReadout
from disentrec.models.sr_gnn import session_nodes


@dataclass(frozen=True)
class DHCNConfig:
    """Settings of S2-DHCN."""

    dim: int = 100
    #: Convolutions in both channels; their outputs are averaged with the input.
    layers: int = 3
    #: Weight of the contrastive term; 0 is DHCN without self-supervision.
    weight_contrast: float = 0.01
    #: Rows of the position table.
    positions: int = 50


class DHCN(SessionModel):
    """See the module's docstring."""

    name = "dhcn"
    Config = DHCNConfig

    def __init__(self, config: DHCNConfig, catalogue: Catalogue) -> None:
        super().__init__(config, catalogue)
        self.table = nn.Parameter(torch.empty(self.n_items, config.dim).normal_(std=0.1))
        self.hypergraph = Hypergraph(catalogue.graph_sessions, self.n_items)
        self.readout = PositionReadout(config.dim, config.positions)

    def encode_items(self) -> Tensor:
        """Returns the mean of X, AX, A^2 X, ... with A the hypergraph convolution, Eq. 4, (n_items, dim)."""
        x, total = self.table, self.table
        for _ in range(self.config.layers):
            x = self.hypergraph(x)
            total = total + x
        return total / (self.config.layers + 1)

    def forward(self, batch: SessionBatch, encoded: Tensor | None = None) -> Tensor:
        """Returns the inner products of session and items, Eq. 7, (batch, n_items)."""
        encoded = self.encode_items() if encoded is None else encoded
        return linear(self.session(batch, encoded), encoded)

    def session(self, batch: SessionBatch, encoded: Tensor) -> Tensor:
        """Returns theta_h, Eq. 6, (batch, dim)."""
        return self.readout(F.embedding(batch.real_items, encoded), batch)

    def losses(self, batch: SessionBatch) -> dict[str, Tensor]:
        """Returns the cross-entropy and the contrastive term."""
        encoded = self.encode_items()
        session = self.session(batch, encoded)
        terms = {"ce": F.cross_entropy(linear(session, encoded), batch.target)}
        if self.config.weight_contrast:
            start = session_means(F.embedding(batch.real_items, self.table), batch.length)
            line = line_convolution(start, line_graph(batch.items, self.n_items), self.config.layers)
            terms["contrast"] = self.config.weight_contrast * contrast(session, line)
        return terms


def line_graph(items: Tensor, n_items: int) -> Tensor:
    """Returns how alike the sessions of a batch are, (batch, batch), rows summing to 1.

    An entry is the share of items two sessions have in common (intersection over union), 1 on the diagonal; one
    more is added there as a self-loop, before the rows are normalised.
    """
    nodes, _ = session_nodes(items)
    held = torch.zeros(n_items + 1, len(items), device=items.device)
    held[nodes, torch.arange(len(items), device=items.device)[:, None]] = 1
    held[0] = 0  # padding is no item
    common = F.embedding_bag(nodes, held, mode="sum")  # (batch, batch)
    size = common.diagonal()
    weights = common / (size[:, None] + size - common) + torch.eye(len(items), device=items.device)
    return weights / weights.sum(1, keepdim=True)


def line_convolution(start: Tensor, graph: Tensor, layers: int) -> Tensor:
    """Returns theta_l, the mean of the sessions before and after every convolution, Eq. 8, (batch, dim)."""
    x, total = start, start
    for _ in range(layers):
        x = linear(graph, x.T)
        total = total + x
    return total / (layers + 1)


def contrast(one: Tensor, other: Tensor) -> Tensor:
    """Returns Eq. 9: a session's two views agree, and neither view agrees with a corrupted one, mean in nats.

    Corrupted is the first view with its rows and its columns shuffled, as in the paper.
    """
    rows = torch.randperm(len(one), device=one.device)
    columns = torch.randperm(one.shape[1], device=one.device)
    positive, negative = (one * other).sum(1), (one[rows][:, columns] * other).sum(1)
    return -(F.logsigmoid(positive) + F.logsigmoid(-negative)).mean()
