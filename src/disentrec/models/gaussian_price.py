"""MMSBR's price: every level a Gaussian, read by self-attention under the Wasserstein distance (its Section 3.4).

A Gaussian with diagonal covariance is a mean and a variance per channel, and the squared 2-Wasserstein distance of
two of them is |mean - mean'|^2 + |sqrt(var) - sqrt(var')|^2: a Euclidean distance of [mean; sqrt(var)]. So it is for
every family of one shape that is moved and stretched, Laplace's among them. Where the shape is to matter, Laplace
stands under the 1-Wasserstein distance, which does know it; two Gaussians for one are what no stretching gives.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from disentrec.models.kernels import Dropout, Linear, linear, lookup

#: Both Gaussians of a mixture weigh the same.
KINDS = ("gaussian", "point", "laplace", "mixture")


class GaussianPrice(nn.Module):
    """Price of sessions and of items; kind "point" leaves the variances out and changes nothing else, "laplace" reads
    attention by its own distance.

    shared_norm (M16): one LayerNorm for the means, the variances and both outputs. raw_variances (M17,
    model.py:506-508): the variance of a session is normalised, may become negative, adds the level's raw row and
    passes ELU + 1 a second time.
    """

    def __init__(
        self, dim: int, heads: int, levels: int, categories: int, dropout: float, *, kind: str = "gaussian",
        shared_norm: bool = False, raw_variances: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.heads, self.gaussian, self.raw_variances = heads, kind != "point", raw_variances
        self.laplace = kind == "laplace"
        self.mean = nn.Parameter(torch.empty(levels, dim).normal_(std=0.1))  # M
        self.category = nn.Parameter(torch.empty(categories, dim).normal_(std=0.1))  # C
        self.mean_maps = nn.ModuleList(Linear(dim, dim) for _ in range(3))  # query, key, value
        self.mean_output = Linear(dim, dim)
        n_norms = 5 if self.gaussian else 3
        norm = nn.LayerNorm(dim, eps=1e-12)
        self.norms = nn.ModuleList(norm if shared_norm else nn.LayerNorm(dim, eps=1e-12) for _ in range(n_norms))
        self.variance = nn.Parameter(torch.empty(levels, dim).normal_(std=0.1)) if self.gaussian else None  # S
        self.variance_maps = nn.ModuleList(Linear(dim, dim) for _ in range(3)) if self.gaussian else None
        self.variance_output = Linear(dim, dim) if self.gaussian else None
        if self.gaussian and not raw_variances:
            self.norms = self.norms[:4]  # the clean variance stream is not normalised at its end
        self.dropout = Dropout(dropout)

    def items(self, level: Tensor, category: Tensor) -> Tensor:
        """Returns every item's Gaussian as [mean; sqrt(var)], (m, dim or 2 dim). level, category: (m,), 0 = unknown."""
        price, kind = lookup(self.mean, level), lookup(self.category, category)
        if not self.gaussian:
            return price + kind
        return self._pair(price + kind, F.elu(lookup(self.variance, level) + kind) + 1)

    def session(self, level: Tensor, category: Tensor, mask: Tensor) -> Tensor:
        """Returns what a session says of price as [mean; sqrt(var)], (batch, dim or 2 dim).

        level, category: (batch, length), 0 at padding; mask: (batch, length) bool. Only the last item asks.
        """
        last = mask.sum(1, keepdim=True) - 1  # (batch, 1)
        price, kind = lookup(self.mean, level), lookup(self.category, category)
        mean = self.dropout(self.norms[0](price) + self.norms[1](kind))  # (batch, length, dim)
        streams = [self._attend_parts(mean, self.mean_maps, last)]
        if self.gaussian:
            spread = lookup(self.variance, level)
            variance = F.elu(self.dropout(self.norms[2](spread) + self.norms[1](kind))) + 1
            parts = self._attend_parts(variance, self.variance_maps, last)
            streams.append([F.elu(part) + 1 for part in parts])
        weights = self._weights(streams, mask)  # (batch, heads, 1, length)
        mean_context = (weights @ streams[0][2]).flatten(1)
        residual = _at(price, last)
        mean_out = self.norms[-1](self.dropout(self.mean_output(mean_context)) + residual)
        if not self.gaussian:
            return mean_out
        context = self.dropout(self.variance_output((weights**2 @ streams[1][2]).flatten(1)))
        if self.raw_variances:
            return self._pair(mean_out, F.elu(self.norms[-2](context + _at(spread, last))) + 1)
        return self._pair(mean_out, (F.elu(context) + 1 + _at(variance, last)) / 2)

    def _attend_parts(self, x: Tensor, maps: nn.ModuleList, last: Tensor) -> list[Tensor]:
        """Returns query of the last item (batch, heads, 1, width), keys and values (batch, heads, length, width)."""
        rows = [_at(x, last)[:, None], x, x]
        return [part(row).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part, row in zip(maps, rows, strict=True)]

    def _weights(self, streams: list[list[Tensor]], mask: Tensor) -> Tensor:
        """Returns softmax(-W^2 / sqrt(width)) over the session's items, (batch, heads, 1, length)."""
        roots = [part.clamp(min=1e-24).sqrt() for part in streams[1][:2]] if self.gaussian else []
        if self.laplace:
            distance = laplace_distance(streams[0][0] - streams[0][1], roots[0] - roots[1]).sum(-1)
        else:
            distance = (streams[0][0] - streams[0][1]).square().sum(-1)
        if self.gaussian and not self.laplace:
            distance = distance + (roots[0] - roots[1]).square().sum(-1)
        width = streams[0][0].shape[-1]
        logits = (-distance / math.sqrt(width)).masked_fill(~mask[:, None], -10_000)
        return self.dropout(logits.softmax(-1))[:, :, None]

    def _pair(self, mean: Tensor, variance: Tensor) -> Tensor:
        return torch.cat([mean, variance.clamp(min=1e-24).sqrt()], -1)


class MixturePrice(nn.Module):
    """Price as two Gaussians of equal weight, each read as GaussianPrice reads its one: [mean; sqrt(var)] twice."""

    def __init__(self, *arguments, **switches) -> None:
        super().__init__()
        self.parts = nn.ModuleList(GaussianPrice(*arguments, **switches) for _ in range(2))

    def items(self, level: Tensor, category: Tensor) -> Tensor:
        """Returns both Gaussians of every item, (m, 4 dim)."""
        return torch.cat([part.items(level, category) for part in self.parts], -1)

    def session(self, level: Tensor, category: Tensor, mask: Tensor) -> Tensor:
        """Returns both Gaussians of every session, (batch, 4 dim)."""
        return torch.cat([part.session(level, category, mask) for part in self.parts], -1)


def build_price(*arguments, kind: str, **switches) -> GaussianPrice | MixturePrice:
    """Returns the price of that kind; see GaussianPrice."""
    if kind == "mixture":
        return MixturePrice(*arguments, **switches)
    return GaussianPrice(*arguments, kind=kind, **switches)


def price_distances(sessions: Tensor, items: Tensor, kind: str = "gaussian") -> Tensor:
    """Returns how far the price of every session is from that of every item, (batch, m), never below 0.

    gaussian, point: the squared 2-Wasserstein distance. laplace: the 1-Wasserstein distance, summed over channels.
    mixture: the squared 2-Wasserstein distance of mixtures whose parts are matched whole, the nearer of both matchings.
    """
    if kind == "laplace":
        # One session against all items at a time: (m, width) is all that a term holds.
        rows = [laplace_distance(*(row - items).chunk(2, -1)).sum(-1) for row in sessions]
        return torch.stack(rows)
    if kind == "mixture":
        (a, b), (c, d) = sessions.chunk(2, -1), items.chunk(2, -1)
        straight, crossed = distances(a, c) + distances(b, d), distances(a, d) + distances(b, c)
        return torch.minimum(straight, crossed) / 2
    return distances(sessions, items)


def laplace_distance(shift: Tensor, spread: Tensor) -> Tensor:
    """Returns E|shift + z scale|, z standard Laplace: the 1-Wasserstein distance of two Laplace laws, elementwise.

    shift: difference of their means; spread: of their standard deviations, sqrt(2) times the scales. In closed form
    |shift| + |scale| exp(-|shift| / |scale|).
    """
    scale, shift = (spread.abs() / math.sqrt(2)).clamp(min=1e-12), shift.abs()
    return shift + scale * torch.exp(-shift / scale)


def distances(sessions: Tensor, items: Tensor) -> Tensor:
    """Returns the squared Wasserstein distance of every session to every item, (batch, m), never below 0.

    sessions: (batch, width); items: (m, width), both as [mean; sqrt(var)].
    """
    squares = sessions.square().sum(1, keepdim=True) + items.square().sum(1)
    return (squares - 2 * linear(sessions, items)).clamp(min=0)


def _at(x: Tensor, last: Tensor) -> Tensor:
    """Returns the rows of the last items, (batch, dim). x: (batch, length, dim); last: (batch, 1)."""
    return x.gather(1, last[..., None].expand(-1, -1, x.shape[-1]))[:, 0]
