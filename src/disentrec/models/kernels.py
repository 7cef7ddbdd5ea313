"""The arithmetic that models share: sums and softmax of sessions, dropout, products by the faster library."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

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
    return _FewSoftmax.apply(x, dim) if _by_hand(x) else x.softmax(dim)


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
    return _FewLogSoftmax.apply(x) if _by_hand(x) else x.log_softmax(-1)


def _by_hand(x: Tensor) -> bool:
    # torch.compile makes one loop of torch's own softmax, and loses what is written in place above.
    return x.device.type == "cpu" and x.dtype == torch.float32 and not torch.compiler.is_compiling()


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


def tanh(x: Tensor) -> Tensor:
    """Returns the hyperbolic tangent, as x; without gradient by a sigmoid, which is faster, and off by at most 2e-7."""
    if torch.is_grad_enabled() or x.dtype != torch.float32:
        return torch.tanh(x)
    return (2 * x).sigmoid_().mul_(2).sub_(1)


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
    kept = torch.ops.disentrec.kept(x, p) if torch.compiler.is_compiling() else _kept(x, p)
    return x * kept * (1 / (1 - p))


def _kept(x: Tensor, p: float) -> Tensor:
    words = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    return words.view(torch.int16)[: x.numel()].view(x.shape) >= round(p * 65_536) - 32_768


# torch.compile draws its own masks on a CPU one number at a time; it calls this as it is instead.
@torch.library.custom_op("disentrec::kept", mutates_args=(), tags=(torch.Tag.nondeterministic_seeded,))
def _opaque_kept(x: Tensor, p: float) -> Tensor:
    return _kept(x, p)


@_opaque_kept.register_fake
def _(x: Tensor, p: float) -> Tensor:
    return torch.empty_like(x, dtype=torch.bool, memory_format=torch.contiguous_format)


#: Products with a side below this are left to torch: what oneDNN does before it multiplies takes longer than they do.
NARROW = 16
ONEDNN = torch.backends.mkldnn.is_available()


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
    if torch.compiler.is_compiling():
        return torch.ops.disentrec.product(x, weight, bias)
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


# torch.compile would have this product read weights that never change; it calls this as it is instead.
@torch.library.custom_op("disentrec::product", mutates_args=())
def _opaque_product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


@_opaque_product.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return x.new_empty(*x.shape[:-1], weight.shape[0])


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Returns x W^T + b, (..., out), by the faster library. x: (..., in); weight: (out, in); bias: (out,)."""
    # Mixed precision knows what to do with torch's own product, and not with this one.
    plain = ONEDNN and x.device.type == "cpu" and x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    if plain and min(*weight.shape, x.numel() // weight.shape[1]) >= NARROW:
        return _OneDnnLinear.apply(x.contiguous(), weight.contiguous(), bias)
    return F.linear(x, weight, bias)


class Linear(nn.Linear):
    """torch's linear layer, with its weights and its start, by the faster library."""

    def forward(self, x: Tensor) -> Tensor:
        """Returns x W^T + b, (..., out)."""
        return linear(x, self.weight, self.bias)
