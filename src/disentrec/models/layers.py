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
from torch.autograd.function import once_differentiable

from disentrec.data.sequences import Sequences
from disentrec.data.sessions import SessionBatch


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


# What follows knows no padding: the positions of a batch, or its nodes, follow each other session after session.


def weighted_sums(rows: Tensor, weights: Tensor | None, length: Tensor) -> Tensor:
    """Returns the weighted sum of every session's rows, (batch, dim).

    rows: (positions, dim); weights: (positions,), None: 1 each; length: (batch,).
    """
    weights = None if weights is None else weights.to(rows.dtype)
    return F.embedding_bag(
        arange_of(rows), rows, length.cumsum(0) - length, mode="sum", per_sample_weights=weights
    )  # as fast as the rows are read


def session_means(rows: Tensor, length: Tensor) -> Tensor:
    """Returns the mean of every session's rows, (batch, dim). rows: (positions, dim); length: (batch,)."""
    return weighted_sums(rows, None, length) / length[:, None]


def session_softmax(logits: Tensor, session: Tensor, count: int) -> Tensor:
    """Returns the softmax over a session's positions, as logits: (positions, ...).

    session: (positions,), whose they are, one of `count`.
    """
    index = session.view(-1, *[1] * (logits.dim() - 1)).expand_as(logits)
    largest = logits.new_zeros(count, *logits.shape[1:])
    largest = largest.scatter_reduce(0, index, logits.detach(), "amax", include_self=False)
    weights = (logits - largest[session]).exp()
    return weights / torch.zeros_like(largest).scatter_add(0, index, weights).gather(0, index)


class _FewSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, dim: int) -> Tensor:
        weights = (x - x.amax(dim, keepdim=True)).exp_()
        weights /= weights.sum(dim, keepdim=True)
        ctx.dim = dim
        ctx.save_for_backward(weights)
        return weights

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        (weights,) = ctx.saved_tensors
        of_x = weights * gradient
        return of_x.sub_(weights * of_x.sum(ctx.dim, keepdim=True)), None


def few_softmax(x: Tensor, dim: int) -> Tensor:
    """Returns the softmax over a dimension of a few, as x: torch's own takes five times as long there on a CPU."""
    return _FewSoftmax.apply(x, dim) if x.device.type == "cpu" and x.dtype == torch.float32 else x.softmax(dim)


class _FewLogSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        x = x - x.amax(-1, keepdim=True)
        found = x.sub_(x.exp().sum(-1, keepdim=True).log_())
        ctx.save_for_backward(found)
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> Tensor:
        (found,) = ctx.saved_tensors
        return gradient - found.exp() * gradient.sum(-1, keepdim=True)


def few_log_softmax(x: Tensor) -> Tensor:
    """Returns the logarithm of the softmax over a last dimension of a few, as x; see `few_softmax`."""
    return _FewLogSoftmax.apply(x) if x.device.type == "cpu" and x.dtype == torch.float32 else x.log_softmax(-1)


def arange_of(rows: Tensor) -> Tensor:
    """Returns the numbers of the rows, (rows,) int64."""
    return torch.arange(len(rows), device=rows.device)


def last_positions(length: Tensor) -> Tensor:
    """Returns the last position of every session, (batch,). length: (batch,)."""
    return length.cumsum(0) - 1


def last_row(rows: Tensor, length: Tensor) -> Tensor:
    """Returns the rows at every session's last item, (batch, dim). rows: (batch, length, dim); length: (batch,)."""
    return rows[torch.arange(len(rows), device=rows.device), length - 1]


def softplus(x: Tensor) -> Tensor:
    """Returns ln(1 + exp(x)), of the shape of `x`.

    Without gradient it is -ln of a sigmoid, which takes less time; off by at most 2e-7, or by rounding where the value
    is larger.
    """
    if torch.is_grad_enabled() or x.dtype != torch.float32:
        return F.softplus(x)
    return x.relu().sub_(x.abs().sigmoid_().sub_(1).log1p_())  # log1p: log itself can be a slower library's


def unit(x: Tensor) -> Tensor:
    """Returns rows of length 1; a zero row stays zero (norms are clipped at 1e-8, as in torch's cosine)."""
    return x / x.norm(dim=-1, keepdim=True).clamp(min=1e-8)


def cosine(x: Tensor, y: Tensor) -> Tensor:
    """Returns the cosine of matching rows, (...,)."""
    return (unit(x) * unit(y)).sum(-1)


def lookup(table: Tensor, items: Tensor) -> Tensor:
    """Returns the rows of 1-based items, zero at padding. table: (n_items, dim); items: (...)."""
    return F.embedding(items, F.pad(table, (0, 0, 1, 0)))


class Dropout(nn.Module):
    """Dropout with masks drawn 16 bits at a time: on a CPU, torch's own take as long as the layers around them.

    The probability is exact to 1/65,536; on other devices this is torch's dropout.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Returns `x` with a share p of its entries zero and the others scaled by 1 / (1 - p)."""
        return dropout(x, self.p, self.training)


def dropout(x: Tensor, p: float, training: bool) -> Tensor:
    """Returns `x` as `Dropout` does, or as it is outside of training."""
    if not training or p == 0:
        return x
    if x.device.type != "cpu":
        return F.dropout(x, p)
    words = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    kept = words.view(torch.int16)[: x.numel()].view(x.shape) >= round(p * 65_536) - 32_768
    return x * kept * (1 / (1 - p))


#: Products with a side below this are left to torch: what oneDNN does before it multiplies takes longer than they do.
NARROW = 16


class _OneDnnLinear(torch.autograd.Function):
    """x W^T + b by oneDNN, in full single precision: on AMD processors twice as fast as the library behind torch's own.

    Its products read a matrix by columns as well as by rows, so nothing is turned round before a gradient.
    """

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        gradient = gradient.contiguous()
        of_x = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            of_x = _product(gradient, weight.T)
        rows, received = x.flatten(0, -2), gradient.flatten(0, -2)
        if ctx.needs_input_grad[1]:
            wide = weight.shape[0] > weight.shape[1]  # the smaller factor first: it is the one that is copied inside
            of_weight = _product(rows.T, received.T).T if wide else _product(received.T, rows.T)
        if ctx.needs_input_grad[2]:
            of_bias = received.sum(0)
        return of_x, of_weight, of_bias


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Returns x W^T + b, (..., out), by the faster library. x: (..., in); weight: (out, in); bias: (out,)."""
    plain = x.device.type == "cpu" and x.dtype == torch.float32 and torch.backends.mkldnn.is_available()
    # Mixed precision and torch.compile know what to do with torch's own product, and not with this one.
    plain = plain and not (torch.is_autocast_enabled("cpu") or torch.compiler.is_compiling())
    if plain and min(*weight.shape, x.numel() // weight.shape[1]) >= NARROW:
        return _OneDnnLinear.apply(x.contiguous(), weight.contiguous(), bias)
    return F.linear(x, weight, bias)


class Linear(nn.Linear):
    """torch's linear layer, with its weights and its start, by the faster library."""

    def forward(self, x: Tensor) -> Tensor:
        """Returns x W^T + b, (..., out)."""
        return linear(x, self.weight, self.bias)
