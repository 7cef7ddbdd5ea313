"""Scores of all items as sums of softplus over chunks: AD-DRL's full ranking.

The released program expands every pair of a user and an item and fuses each pair's chunks anew. As nothing of an item's
fused chunks depends on the user, K products of matrices and K softplus per pair give the same numbers (papers/addrl.md,
section 7). Where users' chunks do enter the fusion, it still splits into products of matrices and few numbers per pair.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from disentrec.models.kernels import unit

#: ln(2 cosh(x / 2)) for |x| <= 1 as a polynomial in x^2, interpolated at Chebyshev's points; off by less than 5e-9.
EVEN = (6.93147184e-01, 1.24999816e-01, -5.20687963e-03, 3.43151952e-04, -2.15859753e-05)


def softplus_sum(items: Items, own: Tensor, weights: Tensor) -> Tensor:
    """Returns sum_k weights_k softplus(x_k), (batch, n_items), where x_k = <p_k / |p_k|, f_k> is within [-1, 1].

    own: (K, batch, chunk), the users' p; weights: (K,). Without gradient and in single precision softplus is x / 2 plus
    a polynomial in x^2: exact to rounding, and three times as fast as the library's on a CPU, for it takes no
    exponential.
    """
    batch, n = own.shape[1], items.n_items
    tiles = [slice(start, start + items.tile) for start in range(0, n, items.tile)]
    if torch.is_grad_enabled() or weights.dtype != torch.float32:
        return torch.cat(
            [sum(w * F.softplus(items.products(own[k], k, tile)) for k, w in enumerate(weights)) for tile in tiles], 1
        )
    c0, c1, c2, c3 = weights.new_tensor(EVEN[:4])
    scores = (c0 * weights.sum()).repeat(batch, n)
    room = weights.new_empty(2, batch * items.tile)
    for tile in tiles:
        block = scores[:, tile]
        y, p = (part[: block.numel()].view(block.shape) for part in room)
        for k, weight in enumerate(weights.tolist()):
            x = items.products(own[k], k, tile)
            torch.mul(x, x, out=y)
            torch.add(c3, y, alpha=EVEN[4], out=p)
            torch.addcmul(c2, p, y, out=p)
            torch.addcmul(c1, p, y, out=p)
            block.addcmul_(p, y, value=weight).add_(x, alpha=weight / 2)
    return scores


class FusedItems(NamedTuple):
    """The fused chunks of all items, where they depend on no user."""

    fused: Tensor  # (K, n_items, chunk)

    #: Items at a time: with a block of 256 users, what a pair needs stays in the cache of a core.
    tile = 1024

    @property
    def n_items(self) -> int:
        """Number of items."""
        return self.fused.shape[1]

    @classmethod
    def of(cls, fused: Tensor) -> FusedItems:
        """Returns them from (n_items, K, chunk)."""
        return cls(fused.transpose(0, 1).contiguous())

    def products(self, own: Tensor, k: int, tile: slice) -> Tensor:
        """Returns <p / |p|, f> of chunk k, (batch, items). own: (batch, chunk), the users' p."""
        return unit(own) @ self.fused[k, tile].T


class AttendedItems(NamedTuple):
    """What of all items' fusion depends on no user, where users' chunks take part in it."""

    sums: Tensor  # (K, n_items, chunk), z: over modalities
    units: Tensor  # (K, modalities, n_items, chunk), of length 1
    energy: Tensor  # (K, modalities, n_items), W_1 z
    attend: nn.Sequential  # W_1, tanh, W_2
    softmax: Callable[[Tensor], Tensor]  # over the first dimension

    tile = 256

    @property
    def n_items(self) -> int:
        """Number of items."""
        return self.sums.shape[1]

    @classmethod
    def of(cls, views: Tensor, attend: nn.Sequential, softmax: Callable[[Tensor], Tensor]) -> AttendedItems:
        """Returns it from (n_items, modalities, K, chunk)."""
        sums = views.sum(1).transpose(0, 1).contiguous()
        energy = (sums @ attend[0].weight.T).transpose(1, 2).contiguous()
        return cls(sums, unit(views).permute(2, 1, 0, 3).contiguous(), energy, attend, softmax)

    def products(self, own: Tensor, k: int, tile: slice) -> Tensor:
        """Returns <p / |p|, f> of chunk k, (batch, items). own: (batch, chunk), the users' p.

        |z + p|^2 is a product of matrices, and so are W_1 (z + p) and the cosines with every modality: there remain a
        few numbers per pair, and no vector. tanh(x) is 2 sigmoid(2x) - 1, which takes half its time.
        """
        first, last = self.attend[0], self.attend[2]
        z = self.sums[k, tile]
        squared = torch.addmm((z * z).sum(1), own, z.T, alpha=2) + (own * own).sum(1)[:, None]
        scale = squared.clamp(min=1e-16).rsqrt()  # (batch, items), 1 / |z + p|
        energy = self.energy[k, :, None, tile] + (own @ first.weight.T).T[:, :, None]  # (modalities, batch, items)
        gate = torch.sigmoid(torch.addcmul(2 * first.bias[:, None, None], energy, scale, value=2))
        shift = (last.bias - last.weight.sum(1))[:, None]
        logits = torch.addmm(shift, last.weight, gate.flatten(1), alpha=2).view(gate.shape)
        cosines = unit(own) @ self.units[k, :, tile].transpose(1, 2)  # (modalities, batch, items)
        return (self.softmax(logits) * cosines).sum(0)


Items = FusedItems | AttendedItems
