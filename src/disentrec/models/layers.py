"""Layers that several models share."""

from __future__ import annotations

import math

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from disentrec.data.sequences import Sequences


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


class LastItemAttention(nn.Module):
    """Multi-head self-attention of a session, read at its last item.

    No output projection, residual, normalisation, feed-forward or position: a set of items plus which one is last.
    Only the last query is needed, so only it is computed.
    """

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.scale = heads, 1 / math.sqrt(dim // heads)
        self.query, self.key, self.value = nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, rows: Tensor, length: Tensor, mask: Tensor) -> Tensor:
        """Returns (batch, dim). rows: (batch, length, dim); length: (batch,); mask: (batch, length) bool."""
        batch, longest, dim = rows.shape
        last = rows[torch.arange(batch, device=rows.device), length - 1]  # (batch, dim)
        query = self.query(last).view(batch, self.heads, 1, -1)
        key = self.key(rows).view(batch, longest, self.heads, -1).permute(0, 2, 3, 1)
        value = self.value(rows).view(batch, longest, self.heads, -1).transpose(1, 2)
        logits = (query @ key) * self.scale  # (batch, heads, 1, length)
        logits = logits.masked_fill(~mask[:, None, None, :], -10_000)
        weights = self.dropout(logits.softmax(-1))
        return (weights @ value).reshape(batch, dim)


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
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(TransformerBlock(dim, heads, inner, dropout, pre_norm) for _ in range(layers))

    def forward(self, rows: Tensor, length: Tensor) -> Tensor:
        """Returns the state at every position, (batch, length, dim). rows: (batch, length, dim); length: (batch,)."""
        longest = rows.shape[1]
        place = torch.arange(longest, device=rows.device)
        real = place < length[:, None]
        seen = real[:, None, None, :]  # keys, (batch, 1, 1, length)
        if self.causal:
            seen = seen & (place <= place[:, None])
        # All but the attention itself runs on real positions only: most of a batch of sessions is padding.
        x = rows[real] + self.positions[from_end(length, longest, len(self.positions))[real]]
        x = self.dropout(x if self.pre_norm else self.norm(x))  # (real positions, dim)
        for block in self.blocks:
            x = block(x, real, seen)
        return spread(self.norm(x) if self.pre_norm else x, real)


class TransformerBlock(nn.Module):
    """Multi-head self-attention and a two-layer network (GELU), each with residual, dropout and normalisation."""

    def __init__(self, dim: int, heads: int, inner: int, dropout: float, pre_norm: bool) -> None:
        super().__init__()
        self.heads, self.pre_norm = heads, pre_norm
        self.project, self.join = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.network = nn.Sequential(nn.Linear(dim, inner), nn.GELU(), nn.Linear(inner, dim))
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(2))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, real: Tensor, seen: Tensor) -> Tensor:
        """Returns (real positions, dim), as x.

        real: which positions are, (batch, length) bool; seen: the keys of every query, which broadcasts to
        (batch, heads, length, length) bool.
        """
        for part, norm in zip((lambda x: self.attend(x, real, seen), self.network), self.norms, strict=True):
            x = x + self.dropout(part(norm(x))) if self.pre_norm else norm(x + self.dropout(part(x)))
        return x

    def attend(self, x: Tensor, real: Tensor, seen: Tensor) -> Tensor:
        """Returns the attention's output, (real positions, dim)."""
        # Spread one by one: the gradient of the three in one table would be copied twice at its padded size.
        parts = (spread(part, real) for part in self.project(x).chunk(3, -1))
        query, key, value = (part.view(*real.shape, self.heads, -1).transpose(1, 2) for part in parts)
        share = self.dropout.p if self.training else 0.0
        found = F.scaled_dot_product_attention(query, key, value, attn_mask=seen, dropout_p=share)
        return self.join(found.transpose(1, 2)[real].flatten(1))


class PositionReadout(nn.Module):
    """Soft attention of a session whose items know their place from the end (DHCN Eq. 5 and 6).

    x*_t = tanh(W1 [x_t; p_t] + b), weight_t = f . sigmoid(W2 mean(x) + W3 x*_t + c), result = sum of weight_t x*_t;
    the weights are not normalised. The sum is over x*, not x: inner products of item rows alone are symmetric, so
    after a session of one item the next item would score like the one before.
    """

    def __init__(self, dim: int, positions: int) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.empty(positions, dim).normal_(std=0.1))
        self.join = nn.Linear(2 * dim, dim)  # W1
        self.attend_mean, self.attend_each = nn.Linear(dim, dim, bias=False), nn.Linear(dim, dim)  # W2; W3, c
        self.attend_value = nn.Linear(dim, 1, bias=False)  # f

    def forward(self, rows: Tensor, length: Tensor, mask: Tensor) -> Tensor:
        """Returns (batch, dim). rows: (batch, length, dim); length: (batch,); mask: (batch, length) bool."""
        places = self.positions[from_end(length, rows.shape[1], len(self.positions))]
        placed = torch.tanh(self.join(torch.cat([rows, places], -1)))
        energy = torch.sigmoid(self.attend_mean(masked_mean(rows, mask))[:, None] + self.attend_each(placed))
        return (self.attend_value(energy) * mask[..., None] * placed).sum(1)


def from_end(length: Tensor, longest: int, positions: int) -> Tensor:
    """Returns how many items follow each position, at most positions - 1 and 0 at padding, (batch, longest)."""
    place = torch.arange(longest, device=length.device)
    return (length[:, None] - 1 - place).clamp(0, positions - 1)


def spread(rows: Tensor, mask: Tensor) -> Tensor:
    """Returns the rows at the true positions of the mask and zeros elsewhere, (*mask, dim). rows: (true, dim)."""
    found = rows.new_zeros(*mask.shape, rows.shape[-1])
    found[mask] = rows
    return found


def last_row(rows: Tensor, length: Tensor) -> Tensor:
    """Returns the rows at every session's last item, (batch, dim). rows: (batch, length, dim); length: (batch,)."""
    return rows[torch.arange(len(rows), device=rows.device), length - 1]


def softplus(x: Tensor) -> Tensor:
    """Returns ln(1 + exp(x)), of the shape of `x`.

    Without gradient it is written so that a CPU takes a tenth of the time, for it has no vector form of log1p; off by
    at most 2e-7, or by rounding where the value is larger.
    """
    if torch.is_grad_enabled() or x.dtype != torch.float32:
        return F.softplus(x)
    return x.relu() - x.abs().sigmoid().log()


def unit(x: Tensor) -> Tensor:
    """Returns rows of length 1; a zero row stays zero (norms are clipped at 1e-8, as in torch's cosine)."""
    return x / x.norm(dim=-1, keepdim=True).clamp(min=1e-8)


def cosine(x: Tensor, y: Tensor) -> Tensor:
    """Returns the cosine of matching rows, (...,)."""
    return (unit(x) * unit(y)).sum(-1)


def masked_mean(rows: Tensor, mask: Tensor) -> Tensor:
    """Returns the mean over real positions, (batch, dim). rows: (batch, length, dim); mask: (batch, length)."""
    return (rows * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


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
        if not self.training or self.p == 0:
            return x
        if x.device.type != "cpu":
            return F.dropout(x, self.p)
        words = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
        kept = words.view(torch.int16)[: x.numel()].view(x.shape) >= round(self.p * 65_536) - 32_768
        return x * kept * (1 / (1 - self.p))


class _OneDnnLinear(torch.autograd.Function):
    """x W^T + b by oneDNN, in full single precision: on AMD processors twice as fast as the library behind torch's own.

    The gradient of the weights stays with torch: oneDNN would first have to turn both of its factors round.
    """

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        gradient = gradient.contiguous()
        of_x = None
        if ctx.needs_input_grad[0]:
            of_x = torch.ops.mkldnn._linear_pointwise(gradient, weight.T.contiguous(), None, "none", [], "")
        of_weight = gradient.flatten(0, -2).T @ x.flatten(0, -2) if ctx.needs_input_grad[1] else None
        of_bias = gradient.flatten(0, -2).sum(0) if ctx.needs_input_grad[2] else None
        return of_x, of_weight, of_bias


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Returns x W^T + b, (..., out), by the faster library. x: (..., in); weight: (out, in); bias: (out,)."""
    if x.device.type == "cpu" and x.dtype == torch.float32 and torch.backends.mkldnn.is_available():
        return _OneDnnLinear.apply(x.contiguous(), weight.contiguous(), bias)
    return F.linear(x, weight, bias)
