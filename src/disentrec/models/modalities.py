"""What items look and read like, as the multimodal models take it: features as tensors, graphs of similar items."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from disentrec.errors import DisentrecError
from disentrec.models.base import UserCatalogue
from disentrec.models.edges import Edges
from disentrec.models.kernels import Linear, linear

#: Similarities held at a time while neighbours are sought, 64 MB of them.
HELD = 2**24


class Contents(nn.Module):
    """The features that the data set has of those a model asks for, by name, (n_items, width of the feature) each."""

    def __init__(self, catalogue: UserCatalogue, names: Sequence[str], model: str) -> None:
        super().__init__()
        self.names = tuple(name for name in names if name in catalogue.features)
        if not self.names:
            raise DisentrecError(
                f"this data set has none of the features {list(names)}",
                where=f"model {model}",
                how="Encode its text or images first, or choose a model that reads IDs",
            )
        for name in self.names:
            table = np.array(catalogue.features[name], dtype=np.float32)
            self.register_buffer(f"of_{name}", torch.from_numpy(table), persistent=False)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, name: str) -> Tensor:
        return getattr(self, f"of_{name}")

    def tables(self) -> list[Tensor]:
        """Returns the features in the order of their names."""
        return [self[name] for name in self.names]

    def layers(self, dim: int) -> nn.ModuleList:
        """Returns a linear layer to `dim` for every feature, in the order of their names."""
        return nn.ModuleList(Dense(table.shape[1], dim) for table in self.tables())

    def known(self) -> list[Tensor]:
        """Returns which items have the feature, for every feature, (n_items,) bool: a zero row is a missing one."""
        return [table.any(1) for table in self.tables()]


class Dense(Linear):
    """A linear layer that begins as all models of this family do: Xavier-uniform, bias zero."""

    def reset_parameters(self) -> None:
        """Draws the weights."""
        nn.init.xavier_uniform_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)


def nearest(x: Tensor, known: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Returns (item, neighbour) of the k largest cosines of every item, itself among them, (edges,) int64 each.

    Sorted by item, then neighbour. Items that are not `known`, (n_items,) bool, have no neighbour and are nobody's.
    x: (n_items, dim). No more than HELD cosines are kept at a time.
    """
    items = known.nonzero()[:, 0]
    if not len(items):
        return items, items
    rows = F.normalize(x[items])
    k = min(k, len(items))
    step = max(HELD // len(items), 1)
    found = [linear(block, rows).topk(k, sorted=False).indices for block in rows.split(step)]
    places = torch.cat(found).sort(1).values  # (known items, k)
    return items.repeat_interleave(k), items[places.flatten()]


def by_degree(rows: Tensor, columns: Tensor, values: Tensor, n: int) -> Tensor:
    """Returns the values of D^-1/2 A D^-1/2, D the sums of A's rows, for A given by its entries, (edges,)."""
    degree = values.new_zeros(n).index_add(0, rows, values)
    root = torch.where(degree > 0, degree, 1).rsqrt()
    return values * root[rows] * root[columns]


def nearest_edges(x: Tensor, known: Tensor, k: int) -> Edges:
    """Returns the edges from every item to its k nearest; see `nearest`."""
    return Edges(*nearest(x, known, k), (len(x), len(x)))


def cosines(edges: Edges, x: Tensor) -> Tensor:
    """Returns the cosine along every edge, zero instead of a negative one, (edges,). x: (n_items, dim)."""
    x = F.normalize(x)
    return edges.dots(x, x).relu()


def similar_items(x: Tensor, k: int, *, weighted: bool) -> sp.csr_matrix:
    """Returns the normalised graph of every item's k nearest, (n_items, n_items); see `nearest`.

    All of an item's nearest count alike or, `weighted`, as much as they are similar.
    """
    edges = nearest_edges(x, x.any(1), k)
    values = cosines(edges, x) if weighted else torch.ones(len(edges.rows))
    values = by_degree(edges.rows, edges.columns, values, len(x))
    return sp.csr_matrix((values.numpy(), edges.columns.numpy(), edges.offsets.numpy()), shape=edges.shape)
