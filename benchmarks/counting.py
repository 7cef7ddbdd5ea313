"""What a piece of a program does: operations of its products, and bytes its operators read and write."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten
from torch.utils.flop_counter import FlopCounterMode

ATEN = torch.ops.aten
#: Read the rows they are asked for, not their whole table.
GATHERS = (ATEN.embedding, ATEN.index, ATEN.index_select, ATEN.gather)
BAGS = (ATEN._embedding_bag, ATEN._embedding_bag_forward_only)


@dataclass
class Count:
    """What was counted of every operator: operations (a multiply-add is two) and bytes."""

    operators: list[tuple[float, float]] = field(default_factory=list)

    @property
    def flop(self) -> float:
        """The operations of all."""
        return sum(flop for flop, _ in self.operators)

    @property
    def bytes(self) -> float:
        """The bytes of all."""
        return sum(size for _, size in self.operators)

    @property
    def launches(self) -> int:
        """How many operators read or write anything: on a GPU each is a kernel, or several."""
        return sum(size > 0 for _, size in self.operators)

    def floor(self, product: float, copy: float) -> float:
        """Returns the seconds of all at ceilings in operations and bytes a second.

        Operators follow each other, and each is held up by the slower of its two needs.
        """
        return sum(max(flop / product, size / copy) for flop, size in self.operators)


@contextmanager
def counted() -> Iterator[Count]:
    """Yields a count, filled when the block ends.

    Operations are those of products, by PyTorch's own counter, with two added that the package uses: oneDNN's product
    and the sum of neighbours' rows. Bytes are what each operator reads and writes once, views apart and gathered rows
    in place of their tables: what caches keep and what an operator does inside are not known to it.
    """
    found = Count()
    flops = FlopCounterMode(display=False, custom_mapping=_own())
    flops.mod_tracker = _Whole()
    with flops, _Traffic(found, flops):
        yield found


class _Whole:
    """Stands for the tracker of modules: it fails on gradients that go around a module, and only sums are asked."""

    parents: ClassVar = {"Global"}

    def __enter__(self) -> _Whole:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class _Traffic(TorchDispatchMode):
    def __init__(self, found: Count, flops: FlopCounterMode) -> None:
        super().__init__()
        self.found, self.flops = found, flops

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        before = self.flops.get_total_flops()
        result = func(*args, **(kwargs or {}))
        flop, size = self.flops.get_total_flops() - before, 0
        sparse = [leaf for leaf in _tensors((args, kwargs)) if _is_sparse(leaf)]
        if sparse:  # a product and a sum for each entry, as often as the rows of the next factor are wide
            width = next((leaf.shape[-1] for leaf in _tensors(args) if not _is_sparse(leaf)), 0)
            flop = 2 * width * sparse[0].values().numel()
        if not func.is_view:
            read, written = _tensors((args, kwargs)), _tensors(result)
            if func.overloadpacket in GATHERS:
                read = [*written, *(tensor for tensor in read if not tensor.is_floating_point())]
            size = sum(map(_size, (*read, *written)))
            if func.overloadpacket in BAGS:
                table, indices = args[:2]
                size += indices.numel() * table.shape[1] * table.element_size() - _size(table)
        self.found.operators.append((float(flop), float(size)))
        return result


def _tensors(tree: object) -> list[torch.Tensor]:
    return [leaf for leaf in tree_flatten(tree)[0] if isinstance(leaf, torch.Tensor)]


def _is_sparse(tensor: torch.Tensor) -> bool:
    return tensor.layout == torch.sparse_csr


def _size(tensor: torch.Tensor) -> int:
    if _is_sparse(tensor):  # its entries, not the table they stand in
        return sum(map(_size, (tensor.values(), tensor.col_indices(), tensor.crow_indices())))
    return tensor.numel() * tensor.element_size()


def _own() -> dict:
    """Returns how to count the products PyTorch's counter does not know; a shape stands for each tensor."""

    def product(x, weight, *_, **__) -> int:
        rows = 1
        for size in x[:-1]:
            rows *= size
        return 2 * rows * weight[0] * weight[1]

    def bag(table, indices, *_, **__) -> int:
        return 2 * indices[0] * table[1]

    return {torch.ops.mkldnn._linear_pointwise: product, **dict.fromkeys(BAGS, bag)}
