"""SR-GNN: session-based recommendation with graph neural networks (Wu et al., AAAI 2019)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from disentrec.data.sessions import SessionBatch
from disentrec.models.base import Catalogue, SessionModel
from disentrec.models.layers import lookup


@dataclass(frozen=True)
class SRGNNConfig:
    """Settings of SR-GNN, with the paper's values as defaults."""

    dim: int = 100
    #: Rounds of message passing inside the session graph.
    steps: int = 1


class SRGNN(SessionModel):
    """A gated graph network over the items of one session, read by soft attention on the last item."""

    name = "sr-gnn"
    Config = SRGNNConfig

    def __init__(self, config: SRGNNConfig, catalogue: Catalogue) -> None:
        super().__init__(config, catalogue)
        d = config.dim
        self.table = nn.Parameter(torch.empty(self.n_items, d))
        self.edges_in, self.edges_out = nn.Linear(d, d), nn.Linear(d, d)  # H of Eq. 1, one per direction
        self.cell = nn.GRUCell(2 * d, d)  # Eq. 2 to 5
        self.attend_last, self.attend_each = nn.Linear(d, d), nn.Linear(d, d, bias=False)  # W1, W2
        self.attend_value = nn.Linear(d, 1, bias=False)  # q
        self.hybrid = nn.Linear(2 * d, d, bias=False)  # W3
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -1 / math.sqrt(d), 1 / math.sqrt(d))

    def forward(self, batch: SessionBatch, encoded: None = None) -> Tensor:
        """Returns the inner products of session and items, Eq. 8, (batch, n_items)."""
        return self.session(batch) @ self.table.T

    def session(self, batch: SessionBatch) -> Tensor:
        """Returns s_h = W3 [s_l; s_g], Eq. 7, (batch, dim)."""
        nodes, node_of = session_nodes(batch.items)
        incoming, outgoing = session_graph(node_of, batch.mask, nodes.shape[1])
        state = lookup(self.table, nodes)  # (batch, nodes, dim)
        for _ in range(self.config.steps):
            message = torch.cat([incoming @ self.edges_in(state), outgoing @ self.edges_out(state)], -1)
            state = self.cell(message.flatten(0, 1), state.flatten(0, 1)).view_as(state)
        states = state.gather(1, node_of[..., None].expand(-1, -1, state.shape[-1]))  # (batch, length, dim)
        last = states[torch.arange(len(states), device=states.device), batch.length - 1]  # s_l
        energy = torch.sigmoid(self.attend_last(last)[:, None] + self.attend_each(states))
        weights = self.attend_value(energy) * batch.mask[..., None]  # Eq. 6, not normalised
        return self.hybrid(torch.cat([last, (weights * states).sum(1)], 1))

    def losses(self, batch: SessionBatch) -> dict[str, Tensor]:
        """Returns the cross-entropy, Eq. 10."""
        return {"ce": F.cross_entropy(self(batch), batch.target)}


def session_nodes(items: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the distinct items of each session and the node of every position, both (batch, length).

    Nodes are numbered by item id; a session with fewer distinct items than positions leaves zero nodes at its end.
    Padding maps to node 0, where the mask keeps it from being read.
    """
    ordered, place = items.sort(1)
    first = F.pad(ordered[:, 1:] != ordered[:, :-1], (1, 0), value=True) & (ordered > 0)
    rank = (first.cumsum(1) - 1).clamp(min=0)
    node_of = torch.zeros_like(items).scatter_(1, place, rank)
    nodes = torch.zeros_like(items).scatter_reduce_(1, rank, ordered, reduce="amax")
    return nodes, node_of


def session_graph(node_of: Tensor, mask: Tensor, n_nodes: int) -> tuple[Tensor, Tensor]:
    """Returns the incoming and outgoing connections, (batch, nodes, nodes) each.

    An edge joins the items of neighbouring positions once, however often it is walked; rows are divided by their
    degree, as in the paper's Figure 2.
    """
    batch = len(node_of)
    edges = torch.zeros(batch, n_nodes * n_nodes, device=node_of.device)
    walked = mask[:, 1:].to(edges.dtype)
    edges.scatter_reduce_(1, node_of[:, :-1] * n_nodes + node_of[:, 1:], walked, reduce="amax")
    outgoing = edges.view(batch, n_nodes, n_nodes)  # from row to column
    incoming = outgoing.transpose(1, 2)
    return tuple(matrix / matrix.sum(2, keepdim=True).clamp(min=1) for matrix in (incoming, outgoing))
