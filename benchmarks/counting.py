"""What a piece of a program does: operations of its products, and bytes its operators read and write."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

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
    """What was counted: operations (a multiply-add is two) and bytes."""

    flop: float = 0.0
    bytes: float = 0.0


@contextmanager
def counted() -> Iterator[Count]:
    """Yields a count, filled when the block ends.

    Operations are those of products, by PyTorch's own counter, with two added that the package uses: oneDNN's product
    and the sum of neighbours' rows. Bytes are what each operator reads and writes once, views apart and gathered rows
    in place of their tables: what caches keep and what an operator does inside are not known to it.
    """
    found = Count()
    with FlopCounterMode(display=False, custom_mapping=_own()) as flops, _Traffic() as traffic:
        yield found
    found.flop, found.bytes = float(flops.get_total_flops()), float(traffic.bytes)


class _Traffic(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if not func.is_view:
            read, written = _tensors((args, kwargs)), _tensors(result)
            if func.overloadpacket in GATHERS:
                read = [*written, *(tensor for tensor in read if not tensor.is_floating_point())]
            self.bytes += sum(map(_size, (*read, *written)))
            if func.overloadpacket in BAGS:
                table, indices = args[:2]
                self.bytes += indices.numel() * table.shape[1] * table.element_size() - _size(table)
        return result


def _tensors(tree: object) -> list[torch.Tensor]:
    return [leaf for leaf in tree_flatten(tree)[0] if isinstance(leaf, torch.Tensor)]


def _size(tensor: torch.Tensor) -> int:
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
