"""Contrast of every item with every other over a whole catalogue, without ever keeping the table of all pairs.

A catalogue of 18,796 items has 353 million pairs: 1.4 GB for the scores alone and as much again for every step of
their gradient. Blocks of rows are scored, reduced and forgotten. `logsumexp_rows`: the backward pass scores them again,
or, where only the largest scores count, keeps which those were. `info_nce`: a mean, so that its gradient is known but
for a factor as soon as a row's sum is, and is taken from the block while it is there.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from disentrec.models.kernels import linear

#: Scores that are held at a time; 64 MB in float32.
HELD = 1 << 24
#: Scores of a block of `info_nce`, which passes over each several times: 8 MB in float32, for the processor's cache.
BLOCK = 1 << 21
#: Scores of a table with itself that may wait for their gradient; 256 MB in float32. Others are computed again.
KEPT = 1 << 26


def logsumexp_rows(x: Tensor, g: Tensor, top: int | None = None) -> Tensor:
    """Returns ln sum_j exp(x_i . g_j), (n,): over all m rows of g, or over the `top` largest scores of each row.

    x: (n, dim); g: (m, dim). Exact; which scores are largest is taken as given when gradients are computed.
    """
    if top is None or top >= len(g):
        return _AllRows.apply(x, g)
    return _LargestRows.apply(x, g, top)


def info_nce(a: Tensor, b: Tensor, temperature: float) -> Tensor:
    """Returns mean_i -ln[ e(a_i, b_i) / (sum_j e(a_i, b_j) + sum_{j != i} e(a_i, a_j)) ], a scalar.

    e(x, y) = exp(x . y / temperature); a and b, anchors and targets: (n, dim), rows of norm 1 (exp is taken as it is:
    nothing may exceed 88 temperatures in float32). Exact over all n rows, in memory for a few blocks of them.
    """
    return _Pairs.apply(a, b, temperature)


def _largest(scores: Tensor, top: int) -> tuple[Tensor, Tensor]:
    """Returns values and columns of the `top` largest scores of every row, in no order, (rows, top)."""
    if scores.device.type != "cpu":
        return scores.topk(top, dim=1, sorted=False)
    # NumPy selects with vector instructions: twice as fast as torch on a CPU.
    columns = torch.from_numpy(np.argpartition(scores.detach().numpy(), -top, axis=1)[:, -top:].copy())
    return scores.gather(1, columns), columns


def _blocks(n: int, width: int, held: int) -> list[slice]:
    rows = max(1, held // max(width, 1))
    rows -= rows % 64 if rows > 64 else 0  # whole vectors
    return [slice(start, min(start + rows, n)) for start in range(0, n, rows)]


class _AllRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, g: Tensor) -> Tensor:
        out = torch.cat([linear(x[rows], g).logsumexp(1) for rows in _blocks(len(x), len(g), HELD)])
        ctx.save_for_backward(x, g, out)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor]:
        x, g, out = ctx.saved_tensors
        of_x, of_g = torch.empty_like(x), torch.zeros_like(g)
        for rows in _blocks(len(x), len(g), HELD):
            share = linear(x[rows], g).sub_(out[rows, None]).exp_().mul_(gradient[rows, None])  # (rows, m)
            of_x[rows] = share @ g
            of_g.addmm_(share.T, x[rows])
        return of_x, of_g


class _LargestRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, g: Tensor, top: int) -> Tensor:
        found = [_largest(linear(x[rows], g), top) for rows in _blocks(len(x), len(g), HELD)]
        values, columns = (torch.cat(parts) for parts in zip(*found, strict=True))
        out = values.logsumexp(1)
        ctx.save_for_backward(x, g, columns, (values - out[:, None]).exp_())
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        x, g, columns, share = ctx.saved_tensors  # (n, top) both
        weights = share * gradient[:, None]
        of_x = F.embedding_bag(columns, g, per_sample_weights=weights, mode="sum")
        # The same sparse table by its columns: sorted once, then a bag of rows of x for every row of g.
        order = columns.flatten().argsort(stable=True)
        counts = torch.bincount(columns.flatten(), minlength=len(g))
        offsets = F.pad(counts.cumsum(0), (1, 0))
        of_g = F.embedding_bag(
            order // columns.shape[1], x, offsets, mode="sum", per_sample_weights=weights.flatten()[order],
            include_last_offset=True,
        )  # fmt: skip
        return of_x, of_g, None


class _Pairs(torch.autograd.Function):
    @staticmethod
    def forward(ctx, a: Tensor, b: Tensor, temperature: float) -> Tensor:
        n, (for_a, for_b) = len(a), ctx.needs_input_grad[:2]
        blocks = _blocks(n, n, BLOCK)
        powers = a / (temperature * math.log(2))  # torch's 2^x is three times as fast as its e^x
        # Scores among anchors are symmetric: a block begins at its diagonal and also stands for what mirrors it.
        others, kept = a.new_zeros(n), []
        for rows in blocks:
            scores = _among(powers, a, rows)
            others[rows] += scores.sum(1)
            others[rows.stop :] += scores[:, rows.stop - rows.start :].sum(0)
            kept.append(scores if for_a and rows.stop * n <= KEPT else None)
        loss, share = a.new_zeros(()), a.new_empty(n)
        of_a, of_b = torch.zeros_like(a), torch.zeros_like(b)
        # What falls to the other side of a product comes out turned.
        turned, turned_of_a, turned_of_b = a.T.contiguous(), a.new_zeros(a.T.shape), a.new_zeros(a.T.shape)
        for rows in blocks:
            scores = _product(powers[rows], b).exp2_()  # (rows, n)
            sums = others[rows] + scores.sum(1)
            loss += sums.log().sum()
            share[rows] = 1 / sums
            if for_a:
                of_a[rows] = _product(scores, b.T).mul_(share[rows, None])
            if for_b:
                turned_of_b += _product(turned[:, rows] * share[rows], scores.T)
        if for_a:
            for rows, scores in zip(blocks, kept, strict=True):
                scores = _among(powers, a, rows) if scores is None else scores
                scores *= share[rows, None] + share[rows.start :]  # as i's negative j, and as j's negative i
                of_a[rows] += _product(scores, a[rows.start :].T)
                mirrored = _product(turned[:, rows], scores.T)[:, rows.stop - rows.start :]
                turned_of_a[:, rows.stop :] += mirrored
        scale = n * temperature
        ctx.gradients = (
            of_a.add_(turned_of_a.T).sub_(b).div_(scale) if for_a else None,
            of_b.add_(turned_of_b.T).sub_(a).div_(scale) if for_b else None,
        )
        return loss / n - (a * b).sum() / scale

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return *(None if of is None else of * gradient for of in ctx.gradients), None


def _among(powers: Tensor, a: Tensor, rows: slice) -> Tensor:
    """Returns e(a_i, a_j) of the rows i and of all j from the first of them on, zero at i = j."""
    scores = _product(powers[rows], a[rows.start :]).exp2_()
    scores.diagonal().zero_()
    return scores


def _product(x: Tensor, weight: Tensor) -> Tensor:
    """Returns x W^T, as `linear` does, but takes a turned W as it lies; a cut-out one takes oneDNN seconds."""
    if x.device.type == "cpu" and x.dtype == torch.float32 and torch.backends.mkldnn.is_available():
        return torch.ops.mkldnn._linear_pointwise(x.contiguous(), weight, None, "none", [], "")
    return x @ weight.T
