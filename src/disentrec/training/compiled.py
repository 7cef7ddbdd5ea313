"""A model's loss terms by torch.compile: fewer passes over memory on a CPU, CUDA graphs on an NVIDIA GPU.

For models of users, whose batches have one shape. Sessions differ in theirs from batch to batch, so that no graph of a
step serves for the next; compiled all the same, their steps were hardly shorter (benchmarks/engines.py).
"""

from __future__ import annotations

import os

import pooch
import torch
import torch._dynamo
import torch._inductor.config
from torch import Tensor

from disentrec.errors import DisentrecError
from disentrec.models.base import PairBatch, TopNModel


class CompiledLosses:
    """`model.losses` for batches of `size` pairs; any other batch, the last of an epoch, is computed as always.

    The function is the model's own, with the same masks and draws on a CPU; sums are taken in another order, so that
    results differ as those of another machine do. Raises DisentrecError where torch cannot compile it.
    """

    def __init__(self, model: TopNModel, size: int, device: str) -> None:
        # What was compiled before is found again in the user's own folder, not in one that all users share.
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(pooch.os_cache("disentrec") / "compiled"))
        torch._inductor.config.compile_threads = 1  # a grid has a run on every core already
        torch._dynamo.reset()  # a process trains one model after another
        self.model, self.size, self.device = model, size, device
        self.compiled = None

    def __call__(self, batch: PairBatch) -> dict[str, Tensor]:
        """Returns the weighted loss terms, as `TopNModel.losses` does."""
        if len(batch.users) != self.size:
            return self.model.losses(batch)
        if self.compiled is None:
            # A plan has another shape for every batch. One graph for all shapes from the first batch on: a training
            # that goes on from a checkpoint computes what an uninterrupted one does.
            fixed = batch.plan is None
            graphs = fixed and self.device != "cpu"
            self.compiled = torch.compile(
                self.model.losses, dynamic=not fixed, mode="reduce-overhead" if graphs else "default"
            )
        torch.compiler.cudagraph_mark_step_begin()  # what the last step left may be overwritten
        try:
            return self.compiled(batch)
        except torch._dynamo.exc.TorchDynamoException as error:
            raise DisentrecError(
                f"torch.compile failed: {str(error).strip().splitlines()[0]}",
                where=f"model {self.model.name}",
                how="Train without --compile; on a CPU it needs a C++ compiler, such as g++",
            ) from error
