"""MSGIFSR: multi-granularity consecutive user intent units (Guo et al., WSDM 2022).

A unit of level k is k items chosen in a row. Units of every level are the nodes of one session graph: equal units are
one node, units that follow each other are joined within their level, and longer units are joined with the single
items before and after. Each level gives its own ranking; learned weights fuse them. Simplified: one round of
one-head attention over all neighbours of a node; a unit starts as the mean of its rows plus a convolution over their
order, in place of a GRU; a session shorter than k is its own only unit of level k.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import accumulate

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from disentrec.data.sessions import SessionBatch
from disentrec.models.base import Catalogue, SessionModel
from disentrec.models.edges import Edges
from disentrec.models.layers import (
    Dropout,
    Linear,
    arange_of,
    last_row,
    linear,
    lookup,
    session_softmax,
    unit,
    weighted_sums,
)
from disentrec.models.sr_gnn import node_numbers, session_nodes


@dataclass(frozen=True)
class MSGIFSRConfig:
    """Settings of MSGIFSR."""

    dim: int = 100
    #: Longest unit, K of the paper, which tunes it.
    levels: int = 3
    dropout: float = 0.1
    #: Scores are cosines times this (w_k).
    scale: float = 12.0
    #: Items of the session and all others are ranked apart, with a learned share for each.
    repeat: bool = True


class MSGIFSR(SessionModel):
    """See the module's docstring."""

    name = "msgifsr"
    Config = MSGIFSRConfig

    def __init__(self, config: MSGIFSRConfig, catalogue: Catalogue) -> None:
        super().__init__(config, catalogue)
        self.table = nn.Parameter(torch.empty(self.n_items, config.dim).normal_(std=0.1))
        self.levels = nn.ModuleList(Level(config.dim, size, config.levels) for size in range(1, config.levels + 1))
        self.explore = Linear(config.dim, 2) if config.repeat else None
        self.fusion = nn.Parameter(torch.zeros(config.levels)) if config.levels > 1 else None
        self.dropout = Dropout(config.dropout)

    def forward(self, batch: SessionBatch, encoded: None = None) -> Tensor:
        """Returns log-probabilities of all items, (batch, n_items)."""
        logits, within, outside = self.rankings(batch)
        inside = torch.zeros(len(logits), self.n_items + 1, dtype=torch.bool, device=logits.device)
        inside = inside.scatter(1, batch.items, True)[:, None, 1:]
        return self.fuse(logits + torch.where(inside, within[..., None], outside[..., None]))

    def losses(self, batch: SessionBatch) -> dict[str, Tensor]:
        """Returns the cross-entropy, from the target's probabilities alone."""
        logits, within, outside = self.rankings(batch)
        target = batch.target[:, None]
        logits = logits.gather(2, target[..., None].expand(-1, logits.shape[1], -1))[..., 0]  # (batch, levels)
        inside = (batch.items == target + 1).any(1, keepdim=True)
        return {"ce": -self.fuse((logits + torch.where(inside, within, outside))[..., None]).mean()}

    def fuse(self, rankings: Tensor) -> Tensor:
        """Returns ln of the levels' weighted probabilities, (batch, items). rankings: (batch, levels, items), in ln."""
        if self.fusion is None:
            return rankings[:, 0]
        return (rankings + self.fusion.log_softmax(0)[:, None]).logsumexp(1)

    def rankings(self, batch: SessionBatch) -> tuple[Tensor, Tensor, Tensor]:
        """Returns logits, (batch, levels, n_items), and what to add to make them log-probabilities.

        The latter are (batch, levels): for items of the session and for all others. Each part has its own softmax,
        times the share of repeating or exploring that the session's state asks for.
        """
        sessions = self.sessions(batch)
        logits = linear(self.config.scale * unit(self.dropout(sessions)), unit(self.table))
        total = logits.logsumexp(2)  # (batch, levels)
        if self.explore is None:
            return logits, -total, -total
        nodes, _ = session_nodes(batch.items)
        own = logits.gather(2, (nodes - 1).clamp(min=0)[:, None].expand(-1, logits.shape[1], -1))
        own = own.masked_fill((nodes == 0)[:, None], -torch.inf).logsumexp(2)
        rest = total + torch.log1p(-(own - total).exp().clamp(max=1 - 1e-6))  # ln(sum of all - sum of own)
        repeat, explore = self.explore(sessions).log_softmax(-1).unbind(-1)
        return logits, repeat - own, explore - rest

    def sessions(self, batch: SessionBatch) -> Tensor:
        """Returns the session's state at every level, (batch, levels, dim)."""
        rows = self.dropout(F.embedding(batch.real_items, self.table))  # (positions, dim), session after session
        units = [units_of(batch, level.size) for level in self.levels]
        starts = [level.start(rows, own, batch.mask) for level, own in zip(self.levels, units, strict=True)]
        found = []
        for k, level in enumerate(self.levels):
            forwards = joined(units[k], units[k], 1)
            # (level of the source, nodes from and to), in the order of the level's relations.
            walks = [(k, forwards), (k, forwards[::-1])]
            if k == 0:
                walks += [(longer, joined(units[longer], units[0], 1)) for longer in range(1, len(units))]
            else:
                walks.append((0, joined(units[0], units[k], level.size)))
            sources = [(starts[source], *ends) for source, ends in walks]
            found.append(level.read(level.pass_messages(starts[k], sources), units[k]))
        return torch.stack(found, 1)


class Level(nn.Module):
    """The layers of one granularity: units of `size` items."""

    def __init__(self, dim: int, size: int, levels: int) -> None:
        super().__init__()
        self.size = size
        self.order = Linear(size * dim, dim, bias=False) if size > 1 else None
        self.query = Linear(dim, dim)
        # Forwards, backwards, and from single items; for these, from every longer unit.
        self.relations = nn.ModuleList(Linear(dim, dim) for _ in range(2 + (levels - 1 if size == 1 else 1)))
        self.attend_last, self.attend_each = Linear(dim, dim), Linear(dim, dim, bias=False)
        self.attend_value = Linear(dim, 1, bias=False)
        self.hybrid = Linear(2 * dim, dim, bias=False)

    def start(self, rows: Tensor, units: Units, mask: Tensor) -> Tensor:
        """Returns the units before they hear of each other, (nodes, dim).

        rows: (positions, dim), session after session; mask: (batch, length), where those stand.
        """
        number = F.pad(node_numbers(mask).masked_fill(~mask, -1) + 1, (self.size - 1, 0))  # 0: before the start
        members = number.unfold(1, self.size, 1)[units.ends]  # (ends, size)
        windows = lookup(rows, members)  # (ends, size, dim)
        found = windows.sum(1) / (members > 0).sum(1, keepdim=True)
        if self.order is not None:
            found = found + self.order(windows.mT.flatten(1))
        # Equal units met several times differ by dropout only: their node is the mean.
        met, by_node = units.node[units.ends].sort(stable=True)
        return F.embedding_bag(by_node, found, torch.searchsorted(met, arange_of(units.session)), mode="mean")

    def pass_messages(self, own: Tensor, sources: list[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
        """Returns the units after one round, as own: (nodes, dim).

        sources, one per relation: its rows, and the nodes from and to of every edge, which may be named twice.
        """
        values = torch.cat([relation(rows) for relation, (rows, _, _) in zip(self.relations, sources, strict=True)])
        first = accumulate((len(rows) for rows, _, _ in sources), initial=0)
        named = [end * len(values) + start + source for start, (_, source, end) in zip(first, sources, strict=False)]
        named = torch.unique(torch.cat(named))  # an edge joins two nodes once, sorted by where it ends
        edges = Edges(named // len(values), named % len(values), (len(own), len(values)))
        logits = edges.dots(self.query(own), values) / math.sqrt(own.shape[1])
        shift = logits.detach().new_zeros(len(own))
        shift.scatter_reduce_(0, edges.rows, logits.detach(), "amax", include_self=False)
        weights = edges.softmax(logits - shift[edges.rows])
        return own + edges.to_rows(weights, values)  # a node without neighbours hears nothing

    def read(self, states: Tensor, units: Units) -> Tensor:
        """Returns W [global; local], the local state being the last unit's, (batch, dim). states: (nodes, dim)."""
        last = states[units.last]
        energy = torch.sigmoid(F.embedding(units.session, self.attend_last(last)) + self.attend_each(states))
        weights = session_softmax(self.attend_value(energy)[:, 0], units.session, len(units.count))
        return self.hybrid(torch.cat([weighted_sums(states, weights, units.count), last], 1))


@dataclass(frozen=True)
class Units:
    """The units of one level in every session of a batch; equal ones are one node, numbered session after session."""

    ends: Tensor  # (batch, length) bool: where a unit ends
    node: Tensor  # (batch, length): the node of the unit that ends there
    count: Tensor  # (batch,) nodes
    session: Tensor  # (nodes,)
    last: Tensor  # (batch,) node of the unit at the session's end


def units_of(batch: SessionBatch, size: int) -> Units:
    """Returns the units of `size` items; a session that is shorter is one unit."""
    _, node_of = session_nodes(batch.items)
    longest = node_of.shape[1]
    # A unit's name: its items, numbered inside the session, as digits; 0 stands for "before the start".
    digits = F.pad(node_of + 1, (size - 1, 0)).unfold(1, size, 1)  # (batch, length, size)
    names = (digits * (longest + 1) ** torch.arange(size, device=digits.device)).sum(2)
    place = torch.arange(longest, device=names.device)
    names = names * (batch.mask & (place >= batch.length.clamp(max=size)[:, None] - 1))
    nodes, node_of = session_nodes(names)
    node, count = node_numbers(nodes > 0).gather(1, node_of), (nodes > 0).sum(1)
    return Units(names > 0, node, count, (nodes > 0).nonzero()[:, 0], last_row(node, batch.length))


def joined(source: Units, target: Units, gap: int) -> tuple[Tensor, Tensor]:
    """Returns the nodes from and to of units that end `gap` positions apart, once per place, (edges,) each."""
    kept = max(source.ends.shape[1] - gap, 0)
    met = source.ends[:, :kept] & target.ends[:, gap:]
    return source.node[:, :kept][met], target.node[:, gap:][met]
