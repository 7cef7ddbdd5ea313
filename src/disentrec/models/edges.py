"""Graphs with learned weights: sums over neighbours and inner products along edges, each the other's gradient."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class Edges(nn.Module):
    """Where a sparse matrix A has entries; their values, (edges,) in the order of `rows`, come with every call."""

    def __init__(self, rows: Tensor, columns: Tensor, shape: tuple[int, int]) -> None:
        """rows, columns: (edges,) int64, sorted by row; an edge may occur more than once."""
        super().__init__()
        self.shape = shape
        turn = torch.argsort(columns, stable=True)  # edges by column
        parts = {
            "rows": rows, "columns": columns, "offsets": _offsets(rows, shape[0]),
            "turn": turn, "turned_rows": rows[turn], "turned_columns": columns[turn],
            "turned_offsets": _offsets(columns[turn], shape[1]),
        }  # fmt: skip
        for name, part in parts.items():
            self.register_buffer(name, part, persistent=False)

    def to_rows(self, values: Tensor, x: Tensor) -> Tensor:
        """Returns A x, (rows of A, dim). values: (edges,); x: (columns of A, dim)."""
        return _Sum.apply(values.to(x.dtype), x, self, False)

    def to_columns(self, values: Tensor, x: Tensor) -> Tensor:
        """Returns A^T x, (columns of A, dim). values: (edges,); x: (rows of A, dim)."""
        return _Sum.apply(values.to(x.dtype), x, self, True)

    def dots(self, x: Tensor, y: Tensor) -> Tensor:
        """Returns x_row . y_column of every edge, (edges,). x: (rows of A, dim); y: (columns of A, dim)."""
        dtype = torch.promote_types(torch.promote_types(x.dtype, y.dtype), torch.float32)  # no kernel for less
        return _Dots.apply(x.to(dtype), y.to(dtype), self)

    def softmax(self, logits: Tensor, *, by_column: bool = False) -> Tensor:
        """Returns the softmax over the edges of a row (or of a column), (edges,); for logits that exp can take."""
        places, n = (self.columns, self.shape[1]) if by_column else (self.rows, self.shape[0])
        weights = logits.exp()
        return weights / weights.new_zeros(n).index_add(0, places, weights)[places]


def _offsets(places: Tensor, n: int) -> Tensor:
    return F.pad(torch.bincount(places, minlength=n).cumsum(0), (1, 0))


def _sum(edges: Edges, values: Tensor, x: Tensor, transposed: bool) -> Tensor:
    if transposed:
        columns, offsets, values = edges.turned_rows, edges.turned_offsets, values[edges.turn]
    else:
        columns, offsets = edges.columns, edges.offsets
    # A weighted bag of rows is a CSR product (see layers.Sparse).
    return F.embedding_bag(
        columns, x.contiguous(), offsets, mode="sum", per_sample_weights=values, include_last_offset=True
    )


def _dots(edges: Edges, x: Tensor, y: Tensor) -> Tensor:
    # The gradient of a bag's weights is just this, computed without copying a row per edge: five times as fast.
    return torch.ops.aten._embedding_bag_per_sample_weights_backward(
        x.contiguous(), y.contiguous(), edges.columns, edges.offsets, edges.rows, 0
    )


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx, values: Tensor, x: Tensor, edges: Edges, transposed: bool) -> Tensor:
        ctx.edges, ctx.transposed = edges, transposed
        ctx.save_for_backward(values, x)
        return _sum(edges, values, x, transposed)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        values, x = ctx.saved_tensors
        of_values = of_x = None
        if ctx.needs_input_grad[0]:
            of_values = _dots(ctx.edges, *((x, gradient) if ctx.transposed else (gradient, x)))
        if ctx.needs_input_grad[1]:
            of_x = _sum(ctx.edges, values, gradient, not ctx.transposed)
        return of_values, of_x, None, None


class _Dots(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, y: Tensor, edges: Edges) -> Tensor:
        ctx.edges = edges
        ctx.save_for_backward(x, y)
        return _dots(edges, x, y)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, y = ctx.saved_tensors
        of_x = _sum(ctx.edges, gradient, y, False) if ctx.needs_input_grad[0] else None
        of_y = _sum(ctx.edges, gradient, x, True) if ctx.needs_input_grad[1] else None
        return of_x, of_y, None
