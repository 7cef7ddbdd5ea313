"""Layers that several models share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from disentrec.data.sequences import Sequences
from disentrec.data.sessions import SessionBatch
from disentrec.models.kernels import (
    Dropout,
    Linear,
    arange_of,
    last_positions,
    linear,
    session_means,
    session_softmax,
    weighted_sums,
)


class _SparseProduct(torch.autograd.Function):
    """A @ x as a sum over neighbours; the gradient is A^T @ g, from a transpose stored once."""

    @staticmethod
    def forward(ctx, x: Tensor, matrix: tuple[Tensor, ...], transposed: tuple[Tensor, ...]) -> Tensor:
        ctx.matrix, ctx.transposed = matrix, transposed
        return _neighbour_sum(x, *matrix)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None, None]:
        # Through apply again, so that second derivatives (gradgradcheck) exist.
        return _SparseProduct.apply(gradient.contiguous(), ctx.transposed, ctx.matrix), None, None


def _neighbour_sum(x: Tensor, offsets: Tensor, columns: Tensor, values: Tensor) -> Tensor:
    # A weighted bag of rows is a CSR product, and three times as fast as SciPy's on one CPU thread.
    return F.embedding_bag(
        columns, x, offsets, mode="sum", per_sample_weights=values.to(x.dtype), include_last_offset=True
    )


class Sparse(nn.Module):
    """x -> A x for a fixed sparse matrix A, square or not."""

    def __init__(self, matrix: sp.csr_matrix) -> None:
        super().__init__()
        for name, stored in (("forward", matrix.tocsr()), ("backward", matrix.T.tocsr())):
            self.register_buffer(f"{name}_offsets", torch.from_numpy(stored.indptr).long(), persistent=False)
            self.register_buffer(f"{name}_columns", torch.from_numpy(stored.indices).long(), persistent=False)
            # Float64 costs nothing here and lets a float64 model use the graph unrounded.
            self.register_buffer(f"{name}_values", torch.from_numpy(stored.data).float(), persistent=False)

    def product(self, x: Tensor) -> Tensor:
        """Returns A x, (rows of A, dim)."""
        matrix, transposed = (
            tuple(getattr(self, f"{name}_{part}") for part in ("offsets", "columns", "values"))
            for name in ("forward", "backward")
        )
        return _SparseProduct.apply(x, matrix, transposed)

    def forward(self, x: Tensor) -> Tensor:
        """Returns A x, (rows of A, dim)."""
        return self.product(x)


class Propagation(Sparse):
    """x -> (I + A)^steps x, DIMO Eq. 2: `steps` times x <- x + A x, without normalisation in between."""

    def __init__(self, graph: sp.csr_matrix, steps: int) -> None:
        super().__init__(graph)
        self.steps = steps

    def forward(self, x: Tensor) -> Tensor:
        """Returns the propagated table, (n_items, dim)."""
        for _ in range(self.steps):
            x = x + self.product(x)
        return x


class Hypergraph(nn.Module):
    """x -> D^-1 H B^-1 H^T x: the mean row of every session, then of the sessions an item is in.

    H marks which items a session holds, B counts a session's items and D an item's sessions. The two factors are
    multiplied out only where that leaves fewer numbers than the factors have.
    """

    def __init__(self, sessions: Sequences, n_items: int) -> None:
        super().__init__()
        ones = np.ones(len(sessions.values), dtype=np.float32)
        held = sp.coo_matrix((ones, (sessions.rows, sessions.values)), shape=(len(sessions), n_items)).tocsr()
        held.data[:] = 1  # an item chosen twice is held once
        gather, spread = row_means(held), row_means(held.T)
        whole = (spread @ gather).tocsr()
        parts = [whole] if whole.nnz <= gather.nnz + spread.nnz else [gather, spread]
        self.parts = nn.ModuleList(Sparse(part) for part in parts)

    def forward(self, x: Tensor) -> Tensor:
        """Returns the convolved table, (n_items, dim)."""
        for part in self.parts:
            x = part(x)
        return x


def row_means(matrix: sp.spmatrix) -> sp.csr_matrix:
    """Returns the matrix with rows that sum to 1; empty rows stay empty."""
    matrix = sp.csr_matrix(matrix)
    sums = np.asarray(matrix.sum(1)).ravel()
    scale = np.divide(1, sums, out=np.zeros_like(sums), where=sums > 0)
    return sp.csr_matrix(sp.diags_array(scale) @ matrix).astype(np.float32).sorted_indices()


class GRUCell(nn.GRUCell):
    """torch's gated recurrent unit, with its weights and its start, by the faster library."""

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        """Returns the next state, (rows, dim). x: (rows, width); state: (rows, dim)."""
        return self.next(linear(x, self.weight_ih, self.bias_ih), state)

    def next(self, of_x: Tensor, state: Tensor) -> Tensor:
        """Returns the next state, (rows, dim), with what the input adds to the gates, (rows, 3 dim), at hand."""
        of_x, of_state = of_x.chunk(3, 1), linear(state, self.weight_hh, self.bias_hh).chunk(3, 1)
        reset, keep = (torch.sigmoid(of_x[gate] + of_state[gate]) for gate in (0, 1))
        new = torch.tanh(of_x[2] + reset * of_state[2])
        return new + keep * (state - new)


class GRU(GRUCell):
    """Gated recurrent units along sessions."""

    def forward(self, rows: Tensor, batch: SessionBatch) -> Tensor:
        """Returns the state after every item of the batch, as rows: (positions, dim), session after session.

        The longest sessions come first inside, so that a step has those that go on, and nothing else, in front of it.
        """
        length = batch.length
        order = length.argsort(descending=True, stable=True)
        first = (length.cumsum(0) - length)[order]
        going = np.bincount(batch.lengths)[::-1].cumsum()[::-1][1:].tolist()  # sessions with an item of that place
        of_x = linear(rows, self.weight_ih, self.bias_ih)
        places = [first[:count] + step for step, count in enumerate(going)]
        state, states = rows.new_zeros(len(length), self.hidden_size), []
        for place in places:
            state = self.next(of_x[place], state[: len(place)])
            states.append(state)
        return F.embedding(torch.cat(places).argsort(), torch.cat(states))


class LastItemAttention(nn.Module):
    """Multi-head self-attention of a session, read at its last item.

    No output projection, residual, normalisation, feed-forward or position: a set of items plus which one is last.
    Only the last query is needed, so only it is computed.
    """

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.scale = heads, 1 / math.sqrt(dim // heads)
        self.query, self.key, self.value = Linear(dim, dim), Linear(dim, dim), Linear(dim, dim)
        self.dropout = Dropout(dropout)

    def forward(self, rows: Tensor, batch: SessionBatch) -> Tensor:
        """Returns (batch, dim). rows: (positions, dim), those of the batch's items, session after session."""
        query = F.embedding(batch.session, self.query(rows[last_positions(batch.length)]))
        # (positions, heads, dim / heads) each
        query, key, value = (x.unflatten(-1, (self.heads, -1)) for x in (query, self.key(rows), self.value(rows)))
        logits = (query * key).sum(-1) * self.scale  # (positions, heads)
        weights = self.dropout(session_softmax(logits, batch.session, len(batch.length)))
        return weighted_sums((weights[..., None] * value).flatten(1), None, batch.length)


class SequenceEncoder(nn.Module):
    """A stack of transformer blocks over sessions, positions counted from the end (0 = the last).

    Counted so because the papers pad on the left: the last item always has the same position. Positions further
    back than the table share its last row.
    """

    def __init__(
        self, dim: int, layers: int, heads: int, inner: int, dropout: float, positions: int, *,
        causal: bool, pre_norm: bool,
    ) -> None:  # fmt: skip
        super().__init__()
        self.causal, self.pre_norm = causal, pre_norm
        self.positions = nn.Parameter(torch.empty(positions, dim).normal_(std=0.02))
        self.norm = nn.LayerNorm(dim)  # before the blocks, or after them under `pre_norm`
        self.dropout = Dropout(dropout)
        self.blocks = nn.ModuleList(TransformerBlock(dim, heads, inner, dropout, pre_norm) for _ in range(layers))

    def forward(self, rows: Tensor, order: Order) -> Tensor:
        """Returns the state at every position, as rows: (positions, dim), session after session; order: their plan.

        Most of a padded batch of sessions is padding, so there is none here. The shortest sessions come first inside:
        those of about one length stand together, and the attention can read them almost without padding, too.
        """
        x = F.embedding(order.source, rows) + F.embedding(order.back, self.positions)
        x = self.dropout(x if self.pre_norm else self.norm(x))
        for block in self.blocks:
            x = block(x, order.groups)
        return F.embedding(order.place, self.norm(x) if self.pre_norm else x)

    def plan(self, lengths: Sequence[int]) -> Order:
        """Returns how the rows of sessions of these lengths are ordered and grouped."""
        length = torch.tensor(lengths)
        order = length.argsort(stable=True)
        rising = length[order]
        place = torch.arange(int(rising[-1]))
        real = place < rising[:, None]
        source = ((length.cumsum(0) - length)[order, None] + place)[real]
        back = (rising[:, None] - 1 - place).clamp(0, len(self.positions) - 1)[real]
        groups, start, bound = [], 0, 2
        while start < len(rising):  # sessions within a factor of two of length
            stop = int(torch.searchsorted(rising, bound, right=True))
            if stop > start:
                longest = int(rising[stop - 1])
                real, near = place[:longest] < rising[start:stop, None], place[:longest]
                seen = real[:, None, None, :] & (near <= near[:, None] if self.causal else torch.tensor(True))
                at = real.flatten().nonzero()[:, 0]
                groups.append(Group(stop - start, longest, at, seen))
            start, bound = stop, 2 * bound
        return Order(source, back, source.argsort(), groups)


class Order(NamedTuple):
    """Where the rows of a batch stand inside a SequenceEncoder, (positions,) each."""

    source: Tensor  # the row that comes to a place
    back: Tensor  # its row in the table of positions
    place: Tensor  # the place that a row comes to
    groups: list[Group]


class Group(NamedTuple):
    """Sessions of about one length, padded to the longest of them."""

    count: int
    longest: int
    at: Tensor  # (positions,): where the real ones stand among all
    seen: Tensor  # (count, 1, 1 or longest, longest) bool: the keys of every query


class TransformerBlock(nn.Module):
    """Multi-head self-attention and a two-layer network (GELU), each with residual, dropout and normalisation."""

    def __init__(self, dim: int, heads: int, inner: int, dropout: float, pre_norm: bool) -> None:
        super().__init__()
        self.heads, self.pre_norm = heads, pre_norm
        self.project, self.join = Linear(dim, 3 * dim), Linear(dim, dim)
        self.network = nn.Sequential(Linear(dim, inner), nn.GELU(), Linear(inner, dim))
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(2))
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, groups: list[Group]) -> Tensor:
        """Returns the next states, as x: (positions, dim), group after group."""
        for part, norm in zip((lambda x: self.attend(x, groups), self.network), self.norms, strict=True):
            x = x + self.dropout(part(norm(x))) if self.pre_norm else norm(x + self.dropout(part(x)))
        return x

    def attend(self, x: Tensor, groups: list[Group]) -> Tensor:
        """Returns the attention's output, (positions, dim)."""
        parts = self.project(x).split([len(group.at) for group in groups])
        return self.join(torch.cat([self.mix(part, group) for part, group in zip(parts, groups, strict=True)]))

    def mix(self, x: Tensor, group: Group) -> Tensor:
        """Returns the heads' values, weighted, (positions, dim). x: (positions, 3 dim), of one group."""
        padded = x.new_zeros(group.count * group.longest, x.shape[1]).index_copy(0, group.at, x)
        padded = padded.view(group.count, group.longest, 3, self.heads, -1)
        query, key, value = padded.permute(2, 0, 3, 1, 4).contiguous()  # (count, heads, longest, dim / heads) each
        logits = query @ key.mT / math.sqrt(query.shape[-1])  # (count, heads, longest, longest)
        weights = self.dropout(logits.masked_fill(~group.seen, -torch.inf).softmax(-1))
        return (weights @ value).transpose(1, 2).flatten(0, 1).flatten(1).index_select(0, group.at)


class PositionReadout(nn.Module):
    """Soft attention of a session whose items know their place from the end (DHCN Eq. 5 and 6).

    x*_t = tanh(W1 [x_t; p_t] + b), weight_t = f . sigmoid(W2 mean(x) + W3 x*_t + c), result = sum of weight_t x*_t;
    the weights are not normalised. The sum is over x*, not x: inner products of item rows alone are symmetric, so
    after a session of one item the next item would score like the one before.
    """

    def __init__(self, dim: int, positions: int) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.empty(positions, dim).normal_(std=0.1))
        self.join = Linear(2 * dim, dim)  # W1
        self.attend_mean, self.attend_each = Linear(dim, dim, bias=False), Linear(dim, dim)  # W2; W3, c
        self.attend_value = Linear(dim, 1, bias=False)  # f

    def forward(self, rows: Tensor, batch: SessionBatch) -> Tensor:
        """Returns (batch, dim). rows: (positions, dim), those of the batch's items, session after session."""
        back = last_positions(batch.length)[batch.session] - arange_of(rows)  # items that follow
        places = F.embedding(back.clamp(max=len(self.positions) - 1), self.positions)
        placed = torch.tanh(self.join(torch.cat([rows, places], -1)))
        mean = F.embedding(batch.session, self.attend_mean(session_means(rows, batch.length)))
        energy = torch.sigmoid(mean + self.attend_each(placed))
        return weighted_sums(placed, self.attend_value(energy)[:, 0], batch.length)
