"""LESSR: handling information loss of graph neural networks for session-based recommendation (Chen & Wong, KDD 2020).

EOPA, an edge-order preserving aggregation, reads a node's incoming edges in the order they were walked; SGAT, a
shortcut graph attention, joins every item with all earlier ones. The layers alternate and each reads the outputs of
all before it. Layer normalisation stands for the paper's batch normalisation, which sees the batch's other sessions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from disentrec.data.sessions import SessionBatch
from disentrec.models.base import Catalogue, SessionModel
from disentrec.models.layers import (
    Dropout,
    GRUCell,
    Linear,
    last_row,
    linear,
    session_softmax,
    spread,
    weighted_sums,
)
from disentrec.models.sr_gnn import node_numbers, session_nodes


@dataclass(frozen=True)
class LESSRConfig:
    """Settings of LESSR."""

    dim: int = 100
    #: EOPA, SGAT, EOPA, ...; the paper tunes 1 to 5.
    layers: int = 3
    dropout: float = 0.2


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

    def forward(self, batch: SessionBatch, encoded: None = None) -> Tensor:
        """Returns the inner products of session and items, (batch, n_items)."""
        return linear(self.session(batch), self.table)

    def session(self, batch: SessionBatch) -> Tensor:
        """Returns W_h [s_g; s_l], (batch, dim)."""
        nodes, node_of = session_nodes(batch.items)
        real = nodes > 0
        walk = in_edges(node_of, batch.mask, real)
        shortcuts = shortcut_graph(node_of, batch.mask, nodes.shape[1])
        x = F.embedding(nodes[real] - 1, self.table)  # (nodes of the whole batch, dim)
        for layer in self.layers:
            x = torch.cat([x, layer(x, walk) if isinstance(layer, EOPA) else layer(x, shortcuts, real)], -1)
        x, count = self.dropout(self.norm(x)), real.sum(1)  # (nodes, width); nodes of each session
        last = x[last_row(node_numbers(real).gather(1, node_of), batch.length)]  # s_l
        session = real.nonzero()[:, 0]
        energy = torch.sigmoid(self.attend_each(x) + F.embedding(session, self.attend_last(last)))
        weights = session_softmax(self.attend_value(energy)[:, 0], session, len(count))
        return self.hybrid(torch.cat([weighted_sums(x, weights, count), last], 1))

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

    def forward(self, x: Tensor, edges: Tensor, real: Tensor) -> Tensor:
        """Returns (nodes, dim). x: (nodes, width); edges: (batch, from, to) bool; real: (batch, nodes) bool."""
        x = self.dropout(self.norm(x))
        number = node_numbers(real)
        session, source, target = edges.nonzero(as_tuple=True)
        # Energies are computed on edges alone: (batch, nodes, nodes, dim) would be mostly padding.
        met = self.key(x)[number[session, source]] + self.query(x)[number[session, target]]
        energy = self.energy(torch.sigmoid(met))[:, 0].to(x.dtype)
        logits = x.new_full(edges.shape, -1e9).index_put((session, source, target), energy)
        weights = logits.softmax(1).transpose(1, 2)  # (batch, to, from)
        return self.activation((weights @ spread(self.value(x), real))[real])


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


def shortcut_graph(node_of: Tensor, mask: Tensor, n_nodes: int) -> Tensor:
    """Returns which node comes before which in its session, itself included, (batch, from, to) bool."""
    at = F.one_hot(node_of, n_nodes).float() * mask[..., None]  # (batch, length, nodes)
    return at.cumsum(1).transpose(1, 2) @ at > 0
