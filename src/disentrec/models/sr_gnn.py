"""SR-GNN: session-based recommendation with graph neural networks (Wu et al., AAAI 2019)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from disentrec.data.sessions import SessionBatch
from disentrec.models.base import Catalogue, SessionModel
from disentrec.models.edges import Edges
from disentrec.models.kernels import Linear, last_positions, linear, weighted_sums
from disentrec.models.layers import GRUCell


@dataclass(frozen=True)
class SRGNNConfig:
    """Settings of SR-GNN, with the paper's values as defaults."""

    dim: int = 100
    #: Rounds of message passing inside the session graph.
    steps: int = 1


class Graph(NamedTuple):
    """The items of all sessions of a batch as nodes, and how they are walked."""

    nodes: Tensor  # (nodes,) items, 0-based, session after session
    place: Tensor  # (positions,) the node of every item
    edges: Edges
    incoming: Tensor  # (edges,) 1 / number of edges to the node that an edge leads to
    outgoing: Tensor  # (edges,) 1 / number of edges from the node that it leaves


class SRGNN(SessionModel):
    """A gated graph network over the items of one session, read by soft attention on the last item."""

    name = "sr-gnn"
    Config = SRGNNConfig

    def __init__(self, config: SRGNNConfig, catalogue: Catalogue) -> None:
        super().__init__(config, catalogue)
        d = config.dim
        self.table = nn.Parameter(torch.empty(self.n_items, d))
        self.edges_in, self.edges_out = Linear(d, d), Linear(d, d)  # H of Eq. 1, one per direction
        self.cell = GRUCell(2 * d, d)  # Eq. 2 to 5
        self.attend_last, self.attend_each = Linear(d, d), Linear(d, d, bias=False)  # W1, W2
        self.attend_value = Linear(d, 1, bias=False)  # q
        self.hybrid = Linear(2 * d, d, bias=False)  # W3
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -1 / math.sqrt(d), 1 / math.sqrt(d))

    def plan(self, batch: SessionBatch) -> Graph:
        """Returns the sessions' graph."""
        nodes, node_of = session_nodes(batch.items)
        place = node_numbers(nodes > 0).gather(1, node_of)  # (batch, length)
        nodes = nodes[nodes > 0] - 1
        edges = session_edges(place, batch.mask, len(nodes))
        weights = ((1 / torch.bincount(ends, minlength=len(nodes)))[ends] for ends in (edges.rows, edges.columns))
        return Graph(nodes, place.flatten()[batch.at], edges, *weights)

    def forward(self, batch: SessionBatch, encoded: None = None) -> Tensor:
        """Returns the inner products of session and items, Eq. 8, (batch, n_items)."""
        return linear(self.session(batch), self.table)

    def session(self, batch: SessionBatch) -> Tensor:
        """Returns s_h = W3 [s_l; s_g], Eq. 7, (batch, dim)."""
        graph = self.plan_of(batch)
        state = F.embedding(graph.nodes, self.table)  # (nodes, dim)
        for _ in range(self.config.steps):
            incoming = graph.edges.to_rows(graph.incoming, self.edges_in(state))
            outgoing = graph.edges.to_columns(graph.outgoing, self.edges_out(state))
            state = self.cell(torch.cat([incoming, outgoing], 1), state)
        states = F.embedding(graph.place, state)  # (positions, dim), session after session
        last = states[last_positions(batch.length)]  # s_l
        energy = torch.sigmoid(F.embedding(batch.session, self.attend_last(last)) + self.attend_each(states))
        read = weighted_sums(states, self.attend_value(energy)[:, 0], batch.length)  # Eq. 6, not normalised
        return self.hybrid(torch.cat([last, read], 1))

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


def node_numbers(real: Tensor) -> Tensor:
    """Returns the row of every node among the real ones of the batch, (batch, nodes)."""
    return real.flatten().cumsum(0).view_as(real) - 1


def session_edges(place: Tensor, mask: Tensor, n_nodes: int) -> Edges:
    """Returns the edges of all sessions, a row per node that is walked to and a column per node that is left.

    An edge joins the items of neighbouring positions once, however often it is walked. place: the node of every
    position, (batch, length), numbered across sessions; mask: (batch, length).
    """
    walked = mask[:, 1:]
    edges = torch.unique(place[:, 1:][walked] * n_nodes + place[:, :-1][walked])
    return Edges(edges // n_nodes, edges % n_nodes, (n_nodes, n_nodes))
