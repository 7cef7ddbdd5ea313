"""What keeps chunks of rows apart and true to their attributes: AD-DRL's losses within and between modalities."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from disentrec.models.attributes import Attribute
from disentrec.models.kernels import Dropout, Linear, few_log_softmax, unit


class ChunkLosses(nn.Module):
    """Classifiers of chunks and their values, and the contrast of chunks over modalities.

    Chunk k is of attribute k. `told`: views whose chunks are told apart; `raw_products`: AD-DRL's A10.
    """

    def __init__(
        self, told: tuple[str, ...], attributes: dict[str, Attribute], modalities: tuple[str, ...], *,
        K: int, chunk: int, dropout: float, temperature: float, raw_products: bool,
    ) -> None:  # fmt: skip
        super().__init__()
        self.modalities, self.K, self.temperature, self.raw_products = modalities, K, temperature, raw_products
        self.tell_chunk = nn.ModuleDict({view: _head(chunk, K, dropout) for view in told})
        self.tell_value = nn.ModuleDict({name: _head(chunk, of.classes, dropout) for name, of in attributes.items()})
        for name, attribute in attributes.items():
            self.register_buffer(f"codes_{name}", torch.from_numpy(attribute.codes), persistent=False)

    def chunk(self, view: str, chunks: Tensor, weights: Tensor) -> Tensor:
        """Returns how badly a chunk's number can be told from it: cross-entropy, summed over chunks, a scalar.

        chunks: (m, K, chunk) of one view, "user" or a modality; weights: (m,).
        """
        found = few_log_softmax(self.tell_chunk[view](chunks))  # (m, K, K)
        return -found.diagonal(dim1=1, dim2=2).sum(1) @ weights

    def intra(self, views: Tensor, weights: Tensor) -> dict[str, Tensor]:
        """Returns `chunk` of every modality. views: (m, modalities, K, chunk); weights: (m,)."""
        return {name: self.chunk(name, views[:, m], weights) for m, name in enumerate(self.modalities)}

    def inter(self, views: Tensor, weights: Tensor) -> dict[str, Tensor]:
        """Returns, per pair of modalities, how badly chunks find their equals in the other, both ways, scalars.

        The candidates are the chunks of the same item, as released; other items take no part (A10).
        """
        chunks = (views if self.raw_products else unit(views)).flatten(1, 2)  # (m, modalities K, chunk)
        products = chunks @ chunks.transpose(1, 2) / self.temperature
        found = few_log_softmax(products.unflatten(1, (-1, self.K)).unflatten(3, (-1, self.K)))
        loss = -torch.einsum("m,makbk->ab", weights, found)  # from modality a to b
        names = list(enumerate(self.modalities))
        return {f"{of}-{to}": loss[a, b] + loss[b, a] for a, of in names for b, to in names[a + 1 :]}

    def low(self, fused: Tensor, items: Tensor, weights: Tensor) -> dict[str, Tensor]:
        """Returns the cross-entropy of every attribute's value, read off its own chunk alone, scalars.

        fused: (m, K, chunk); items: (m,), which they are; weights: (m,).
        """
        found = {}
        for k, (name, head) in enumerate(self.tell_value.items()):
            values = getattr(self, f"codes_{name}")[items]
            found[name] = F.cross_entropy(head(fused[:, k]), values, reduction="none") @ weights
        return found


def _head(width: int, classes: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.LeakyReLU(0.2), Dropout(dropout), Linear(width, classes))
