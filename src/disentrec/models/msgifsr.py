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
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from disentrec.data.sessions import SessionBatch
from disentrec.errors import DisentrecError
from disentrec.models.base import Catalogue, SessionModel
from disentrec.models.edges import Edges
from disentrec.models.kernels import (
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

#: Scale up to which exp of the scores, and of their negatives, can be summed in single precision.
LARGEST = 40


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


class LevelPlan(NamedTuple):
    """The units of one level in every session of a batch, and which units they hear.

    Equal units are one node, numbered session after session; one that is met several times has as many windows.
    """

    session: Tensor  # (nodes,)
    count: Tensor  # (batch,) nodes of each session
    last: Tensor  # (batch,) the node of the unit at the session's end
    members: Tensor  # (windows, size) positions + 1, by node; 0: before the session's start
    first: Tensor  # (nodes,) a node's first window
    hears: Edges  # a row per node; the columns are the nodes of every relation's source, one relation after another


class Plan(NamedTuple):
    """What the session graph of a batch looks like."""

    levels: list[LevelPlan]
    items: Tensor  # (batch, length): the distinct items of each session, 1-based, zeros at its end


class MSGIFSR(SessionModel):
    """See the module's docstring."""

    name = "msgifsr"
    Config = MSGIFSRConfig

    def __init__(self, config: MSGIFSRConfig, catalogue: Catalogue) -> None:
        super().__init__(config, catalogue)
        if not 0 < config.scale <= LARGEST:
            raise DisentrecError(
                f"cosines times {config.scale:g} leave single precision", where="model msgifsr",
                how=f"Let `scale` be above 0 and at most {LARGEST}",
            )  # fmt: skip
        self.table = nn.Parameter(torch.empty(self.n_items, config.dim).normal_(std=0.1))
        self.levels = nn.ModuleList(Level(config.dim, size, config.levels) for size in range(1, config.levels + 1))
        self.explore = Linear(config.dim, 2) if config.repeat else None
        self.fusion = nn.Parameter(torch.zeros(config.levels)) if config.levels > 1 else None
        self.dropout = Dropout(config.dropout)

    def plan(self, batch: SessionBatch) -> Plan:
        """Returns the units of every level and their edges."""
        units = [units_of(batch, level.size) for level in self.levels]
        found = []
        for k, own in enumerate(units):
            # (level of the source, nodes from and to), in the order of the level's relations.
            forwards = joined(own, own, 1)
            walks = [(k, forwards), (k, forwards[::-1])]
            if k == 0:
                walks += [(longer, joined(units[longer], own, 1)) for longer in range(1, len(units))]
            else:
                walks.append((0, joined(units[0], own, k + 1)))
            found.append(planned(own, [(units[source], *ends) for source, ends in walks], batch.mask, k + 1))
        return Plan(found, session_nodes(batch.items)[0])

    def forward(self, batch: SessionBatch, encoded: None = None) -> Tensor:
        """Returns log-probabilities of all items, (batch, n_items)."""
        plan = self.plan_of(batch)
        sessions = self.sessions(batch, plan)
        # Exponentials are taken once: the softmaxes' sums are over them, and the levels' mixture, too. They are torch's
        # 2^x, which takes a third of the time of its e^x.
        found = self.logits(sessions, 1 / math.log(2)).exp2()  # (batch, levels, n_items)
        own = self.of_session(found, plan, 0)
        within, outside = self.shares(sessions, found.sum(2).log(), own.sum(2).log())
        weights = (outside + self.fusion_weights()).exp()[:, None]  # (batch, 1, levels)
        probabilities = (weights @ found)[:, 0]
        if self.explore is not None:
            weights = (within + self.fusion_weights()).exp()[:, None]
            items = torch.where(plan.items > 0, plan.items, plan.items[:, :1]) - 1  # at padding the first item again
            value = torch.where(plan.items > 0, (weights @ own)[:, 0], (weights @ own)[:, 0, :1])
            probabilities = probabilities.scatter(1, items, value)
        return probabilities.log()

    def losses(self, batch: SessionBatch) -> dict[str, Tensor]:
        """Returns the cross-entropy, from the target's probabilities alone."""
        plan = self.plan_of(batch)
        sessions = self.sessions(batch, plan)
        logits, target = self.logits(sessions), batch.target[:, None]
        own = self.of_session(logits, plan, -torch.inf).logsumexp(2)
        within, outside = self.shares(sessions, logits.logsumexp(2), own)
        logits = logits.gather(2, target[..., None].expand(-1, logits.shape[1], -1))[..., 0]  # (batch, levels)
        inside = (batch.items == target + 1).any(1, keepdim=True)
        found = logits + torch.where(inside, within, outside) + self.fusion_weights()
        return {"ce": -found.logsumexp(1).mean()}

    def logits(self, sessions: Tensor, unit_of: float = 1.0) -> Tensor:
        """Returns w_k times the cosines of sessions and items, times `unit_of`, (batch, levels, n_items)."""
        return linear(unit_of * self.config.scale * unit(self.dropout(sessions)), unit(self.table))

    def of_session(self, values: Tensor, plan: Plan, filling: float) -> Tensor:
        """Returns the values of each session's distinct items, (batch, levels, length), `filling` after the last."""
        items = (plan.items - 1).clamp(min=0)[:, None].expand(-1, values.shape[1], -1)
        return values.gather(2, items).masked_fill((plan.items == 0)[:, None], filling)

    def shares(self, sessions: Tensor, total: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
        """Returns what to add to logits to make them log-probabilities, for items of the session and for all others.

        Each part has its own softmax, times the share of repeating or exploring that the session's state asks for.
        total, own: ln of the sum of exp(logit) over all items and over the session's. All: (batch, levels).
        """
        if self.explore is None:
            return -total, -total
        rest = total + torch.log1p(-(own - total).exp().clamp(max=1 - 1e-6))  # ln(sum of all - sum of own)
        repeat, explore = self.explore(sessions).log_softmax(-1).unbind(-1)
        return repeat - own, explore - rest

    def fusion_weights(self) -> Tensor:
        """Returns ln of the levels' weights, (levels,)."""
        return self.table.new_zeros(1) if self.fusion is None else self.fusion.log_softmax(0)

    def sessions(self, batch: SessionBatch, plan: Plan) -> Tensor:
        """Returns the session's state at every level, (batch, levels, dim)."""
        rows = self.dropout(F.embedding(batch.real_items, self.table))  # (positions, dim), session after session
        starts = [level.start(rows, own) for level, own in zip(self.levels, plan.levels, strict=True)]
        found = []
        for k, (level, own) in enumerate(zip(self.levels, plan.levels, strict=True)):
            sources = [starts[k]] * 2 + (starts[1:] if k == 0 else starts[:1])
            found.append(level.read(level.pass_messages(starts[k], sources, own.hears), own))
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

    def start(self, rows: Tensor, own: LevelPlan) -> Tensor:
        """Returns the units before they hear of each other, (nodes, dim). rows: (positions, dim), by session."""
        windows = lookup(rows, own.members)  # (windows, size, dim)
        found = windows.sum(1) / (own.members > 0).sum(1, keepdim=True)
        if self.order is not None:
            found = found + self.order(windows.mT.flatten(1))
        # Equal units met several times differ by dropout only: their node is the mean.
        return F.embedding_bag(arange_of(found), found, own.first, mode="mean")

    def pass_messages(self, own: Tensor, sources: list[Tensor], edges: Edges) -> Tensor:
        """Returns the units after one round, as own: (nodes, dim).

        sources: the rows of every relation's source; edges: from all of them, one after another, to the nodes.
        """
        values = torch.cat([relation(rows) for relation, rows in zip(self.relations, sources, strict=True)])
        logits = edges.dots(self.query(own), values) / math.sqrt(own.shape[1])
        weights = session_softmax(logits, edges.rows, len(own))
        return own + edges.to_rows(weights, values)  # a node without neighbours hears nothing

    def read(self, states: Tensor, own: LevelPlan) -> Tensor:
        """Returns W [global; local], the local state being the last unit's, (batch, dim). states: (nodes, dim)."""
        last = states[own.last]
        energy = torch.sigmoid(F.embedding(own.session, self.attend_last(last)) + self.attend_each(states))
        weights = session_softmax(self.attend_value(energy)[:, 0], own.session, len(last))
        return self.hybrid(torch.cat([weighted_sums(states, weights, own.count), last], 1))


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


def planned(own: Units, walks: list[tuple[Units, Tensor, Tensor]], mask: Tensor, size: int) -> LevelPlan:
    """Returns the plan of a level of units of `size` items.

    walks, one per relation: its units, and the nodes from and to of every edge, which may be named twice; mask:
    (batch, length), where the batch's items stand.
    """
    number = F.pad(node_numbers(mask).masked_fill(~mask, -1) + 1, (size - 1, 0))  # 0: before the start
    members = number.unfold(1, size, 1)[own.ends]  # (windows, size)
    met, by_node = own.node[own.ends].sort(stable=True)
    first = torch.searchsorted(met, arange_of(own.session))
    sizes = [len(source.session) for source, _, _ in walks]
    width = sum(sizes)
    named = [
        end * width + start + source
        for start, (_, source, end) in zip(accumulate(sizes, initial=0), walks, strict=False)
    ]
    named = torch.unique(torch.cat(named))  # an edge joins two nodes once, sorted by where it ends
    hears = Edges(named // width, named % width, (len(own.session), width))
    return LevelPlan(own.session, own.count, own.last, members[by_node], first, hears)


def joined(source: Units, target: Units, gap: int) -> tuple[Tensor, Tensor]:
    """Returns the nodes from and to of units that end `gap` positions apart, once per place, (edges,) each."""
    kept = max(source.ends.shape[1] - gap, 0)
    met = source.ends[:, :kept] & target.ends[:, gap:]
    return source.node[:, :kept][met], target.node[:, gap:][met]
