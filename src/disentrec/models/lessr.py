"""LESSR: handling information loss of graph neural networks for session-based recommendation (Chen & Wong, KDD 2020).

EOPA, an edge-order preserving aggregation, reads a node's incoming edges in the order they were walked; SGAT, a
shortcut graph attention, joins every item with all earlier ones. The layers alternate and each reads the outputs of
all before it. Layer normalisation stands for the paper's batch normalisation, which sees the batch's other sessions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from disentrec.data.sessions import SessionBatch
from disentrec.models.base import Catalogue, SessionModel
from disentrec.models.edges import Edges
from disentrec.models.kernels import Dropout, Linear, last_row, linear, session_softmax, weighted_sums
from disentrec.models.layers import GRUCell
from disentrec.models.sr_gnn import node_numbers, session_nodes


@dataclass(frozen=True)
class LESSRConfig:
    """Settings of LESSR."""

    dim: int = 100
    #: EOPA, SGAT, EOPA, ...; the paper tunes 1 to 5.
    layers: int = 3
    dropout: float = 0.2


class Graphs(NamedTuple):
    """The items of all sessions of a batch as nodes, session after session, and what joins them."""

    nodes: Tensor  # (nodes,) items, 0-based
    session: Tensor  # (nodes,)
    count: Tensor  # (batch,) nodes of each session
    last: Tensor  # (batch,) the node of its last item
    walk: list[tuple[Tensor, Tensor]]  # see `in_edges`
    shortcuts: Edges  # a row per node, a column per node that comes before it


class LESSR(SessionModel):
    """Order-preserving and shortcut layers over the items of one session, read by soft attention on the last item."""

    name = "lessr"
    Config = LESSRConfig

    def __init__(self, config: LESSRConfig, catalogue: Catalogue) -> None:
        super().__init__(config, catalogue)
        d = config.dim
        self.table = nn.Parameter(torch.empty(self.n_items, d).normal_(std=0.1))
        self.layers = nn.ModuleList(
            (SGAT if layer % 2 else EOPA)((layer + 1) * d, d, config.dropout) for layer in range(config.layers)
        )
        width = (config.layers + 1) * d
        self.norm, self.dropout = nn.LayerNorm(width), Dropout(config.dropout)
        self.attend_each, self.attend_last = Linear(width, d, bias=False), Linear(width, d)  # W1; W2, r
        self.attend_value = Linear(d, 1, bias=False)  # q
        self.hybrid = Linear(2 * width, d, bias=False)  # W_h

    def plan(self, batch: SessionBatch) -> Graphs:
        """Returns the sessions' graphs."""
        nodes, node_of = session_nodes(batch.items)
        real = nodes > 0
        number, at = node_numbers(real), real.flatten().nonzero()[:, 0]
        return Graphs(
            nodes.flatten()[at] - 1,
            at // nodes.shape[1],
            real.sum(1),
            last_row(number.gather(1, node_of), batch.length),
            in_edges(node_of, batch.mask, real),
            shortcut_graph(node_of, batch.mask, number, len(at)),
        )

    def forward(self, batch: SessionBatch, encoded: None = None) -> Tensor:
        """Returns the inner products of session and items, (batch, n_items)."""
        return linear(self.session(batch), self.table)

    def session(self, batch: SessionBatch) -> Tensor:
        """Returns W_h [s_g; s_l], (batch, dim)."""
        graphs = self.plan_of(batch)
        x = F.embedding(graphs.nodes, self.table)  # (nodes of the whole batch, dim)
        for layer in self.layers:
            x = torch.cat([x, layer(x, graphs.walk if isinstance(layer, EOPA) else graphs.shortcuts)], -1)
        x = self.dropout(self.norm(x))  # (nodes, width)
        last = x[graphs.last]  # s_l
        energy = torch.sigmoid(self.attend_each(x) + F.embedding(graphs.session, self.attend_last(last)))
        weights = session_softmax(self.attend_value(energy)[:, 0], graphs.session, len(last))
        return self.hybrid(torch.cat([weighted_sums(x, weights, graphs.count), last], 1))

    def losses(self, batch: SessionBatch) -> dict[str, Tensor]:
        """Returns the cross-entropy."""
        return {"ce": F.cross_entropy(self(batch), batch.target)}


class EOPA(nn.Module):
    """W_self x_v + W_neigh h, h the last state of a GRU over the in-neighbours of v in order."""

    def __init__(self, width: int, dim: int, dropout: float) -> None:
        super().__init__()
        self.norm, self.dropout = nn.LayerNorm(width), Dropout(dropout)
        self.cell = GRUCell(width, dim)
        self.own, self.neighbours = Linear(width, dim, bias=False), Linear(dim, dim, bias=False)
        self.activation = nn.PReLU(dim)

    def forward(self, x: Tensor, walk: list[tuple[Tensor, Tensor]]) -> Tensor:
        """Returns (nodes, dim). x: (nodes, width), those of all sessions; walk: see `in_edges`."""
        x = self.dropout(self.norm(x))
        state = x.new_zeros(len(x), self.neighbours.in_features)
        for source, target in walk:
            state = state.index_copy(0, target, self.cell(x[source], state[target]))
        return self.activation(self.own(x) + self.neighbours(state))


class SGAT(nn.Module):
    """Attention over the shortcut graph: energy p . sigmoid(W_key x_u + W_query x_v), sum of W_value x_u."""

    def __init__(self, width: int, dim: int, dropout: float) -> None:
        super().__init__()
        self.norm, self.dropout = nn.LayerNorm(width), Dropout(dropout)
        self.query, self.key = Linear(width, dim), Linear(width, dim, bias=False)
        self.value = Linear(width, dim, bias=False)
        self.energy = Linear(dim, 1, bias=False)  # p
        self.activation = nn.PReLU(dim)

    def forward(self, x: Tensor, shortcuts: Edges) -> Tensor:
        """Returns (nodes, dim). x: (nodes, width), those of all sessions; shortcuts: see `shortcut_graph`."""
        x = self.dropout(self.norm(x))
        met = F.embedding(shortcuts.columns, self.key(x)) + F.embedding(shortcuts.rows, self.query(x))
        weights = session_softmax(self.energy(torch.sigmoid(met))[:, 0], shortcuts.rows, len(x))
        return self.activation(shortcuts.to_rows(weights, self.value(x)))


def in_edges(node_of: Tensor, mask: Tensor, real: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Returns the edges of all sessions in the order a node receives them: its first one, its second one, ...

    Each is a pair (from, to) of node numbers; no node receives twice in one pair, so one step of the GRU handles all
    of them. node_of, mask: (batch, length); real: (batch, nodes).
    """
    place = node_numbers(real).gather(1, node_of)  # (batch, length)
    source, target, walked = place[:, :-1], place[:, 1:], mask[:, 1:]
    earlier = (target[:, :, None] == target[:, None, :]).tril(-1) & walked[:, None, :]
    rank = earlier.sum(2)[walked]  # how many edges the node received before
    source, target = source[walked], target[walked]
    ranks = int(rank.max()) + 1 if len(rank) else 0
    return [(source[rank == step], target[rank == step]) for step in range(ranks)]


def shortcut_graph(node_of: Tensor, mask: Tensor, number: Tensor, n_nodes: int) -> Edges:
    """Returns the edges to every node of all sessions from those that come before it in its session, and itself.

    node_of, mask: (batch, length); number: (batch, nodes), a node's among the `n_nodes` of all sessions.
    """
    at = F.one_hot(node_of, number.shape[1]).float() * mask[..., None]  # (batch, length, nodes)
    session, target, source = (at.mT @ at.cumsum(1) > 0).nonzero(as_tuple=True)
    return Edges(number[session, target], number[session, source], (n_nodes, n_nodes))
