"""Training with selection on validation (or, as released, on test): one code path for all models."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from disentrec.devices import mixed, trained_in
from disentrec.models.base import SessionModel, TopNModel
from disentrec.training.checkpoint import Checkpoint
from disentrec.training.tasks import Task

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Training:
    """Settings of the optimiser and of early stopping."""

    epochs: int = 20
    batch_size: int = 512
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    #: Stop after so many epochs without a better validation MRR@20 (top-N: Recall@20).
    patience: int = 3
    #: The learning rate is multiplied by this over every 50 epochs.
    decay: float = 1.0
    #: Top-N: how positives are drawn ("interaction": every pair once an epoch; "user": as many distinct users as a
    #: batch holds, one of their items each), and how many negatives per positive.
    sampler: str = "interaction"
    negatives: int = 1
    #: Top-N: epochs are judged by so many users of the validation part, drawn once for all runs; 0: by all of them.
    validation_users: int = 0


@dataclass
class TrainingResult:
    """What a training left behind, besides the model, which holds the selected state."""

    status: str = "finished"  # or "diverged"
    best_epoch: int = -1
    curves: list[dict] = field(default_factory=list)
    train_seconds: float = 0.0
    #: Test ranks after every epoch; filled only where the protocol selects on test (D6).
    test_ranks: list[np.ndarray] = field(default_factory=list)
    #: The selected state so far; None under D6, which keeps the last one.
    best_state: dict[str, torch.Tensor] | None = None


def train(
    model: SessionModel | TopNModel,
    task: Task,
    training: Training,
    seed: int,
    device: str = "cpu",
    checkpoint: Checkpoint | None = None,
    precision: str = "float32",
    compiled: bool = False,
) -> TrainingResult:
    """Trains `model` in place and leaves it in the selected state.

    Clean protocol: the state with the best validation value of the task's selection metric; the test part is not looked
    at. Under `select_on_test` every epoch is scored on test, as released (DIMO main.py:61-73), and the last state
    stays. A non-finite loss ends the training with status "diverged". With a `checkpoint`, a training that was killed
    goes on after its last kept epoch, to the same numbers. `precision`: one of devices.PRECISIONS; epochs are ranked in
    float32 whatever it is. `compiled`: steps by torch.compile, for a model that `compiles`.
    """
    result = TrainingResult()
    protocol = task.protocol
    model.to(device)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        return _score_untrained(model, task, training, result)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    losses_of = model.losses
    if compiled and model.compiles:
        from disentrec.training.compiled import CompiledLosses  # takes seconds to import

        losses_of = CompiledLosses(model, training.batch_size, device)
    optimiser = torch.optim.Adam(
        model.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay, fused=True
    )
    best_value = -math.inf
    if checkpoint and checkpoint.restore(result, model, optimiser, rng) and result.best_state is not None:
        best_value = result.curves[result.best_epoch]["valid"][task.selection]
    for epoch in range(len(result.curves), training.epochs):
        if checkpoint and checkpoint.due():
            checkpoint.write(result, model, optimiser, rng)
        started = time.perf_counter()
        for group in optimiser.param_groups:
            group["lr"] = training.learning_rate * training.decay ** (epoch / 50)
        model.train(epoch == 0 or not protocol.dropout_first_epoch_only)  # D5: DIMO model.py:433
        if isinstance(model, TopNModel):
            model.begin_epoch(epoch)
        with trained_in(precision):
            losses = _run_epoch(model, losses_of, task, training, optimiser, rng, device, precision)
        result.train_seconds += time.perf_counter() - started
        # A last step can break the weights after every loss was fine: both are looked at before anything is ranked.
        if not all(map(math.isfinite, losses.values())) or not _finite(model):
            result.status = "diverged"
            break
        entry = {"epoch": epoch, "loss": losses}
        result.curves.append(entry)
        if protocol.select_on_test:
            result.test_ranks.append(task.rank(model, "test", training))
            entry["test"] = task.metrics(result.test_ranks[-1], "test", training)
            result.best_epoch = epoch
            continue
        entry["valid"] = task.metrics(task.rank(model, "valid", training), "valid", training)
        value = entry["valid"][task.selection]
        log.info("epoch %d: %s, validation %s %.4f", epoch, _brief(losses), task.selection, value)
        if value > best_value:
            best_value, result.best_epoch = value, epoch
            result.best_state = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
        elif epoch - result.best_epoch >= training.patience:
            break
    if result.best_state is not None:
        model.load_state_dict(result.best_state)
    return result


def _run_epoch(
    model: SessionModel | TopNModel,
    losses_of: Callable[[Any], dict[str, torch.Tensor]],
    task: Task,
    training: Training,
    optimiser: torch.optim.Optimizer,
    rng: np.random.Generator,
    device: str,
    precision: str,
) -> dict[str, float]:
    """Returns the mean of every loss term over the batches of one epoch."""
    totals: dict[str, torch.Tensor] = {}
    n_batches = 0
    for batch in task.batches(training, rng):
        batch = batch.planned(model.plan(batch)).to(device)
        with mixed(device, precision):
            terms = losses_of(batch)
        terms = {name: term.to(torch.promote_types(term.dtype, torch.float32)) for name, term in terms.items()}
        optimiser.zero_grad(set_to_none=True)
        torch.stack(list(terms.values())).sum().backward()
        optimiser.step()
        n_batches += 1
        for name, term in terms.items():  # summed on the device: no copy to the host inside a step
            totals[name] = totals.get(name, 0) + term.detach()
    return {name: float(total) / n_batches for name, total in totals.items()}


def _finite(model: torch.nn.Module) -> bool:
    return all(bool(torch.isfinite(parameter).all()) for parameter in model.parameters())


def _score_untrained(
    model: SessionModel | TopNModel, task: Task, training: Training, result: TrainingResult
) -> TrainingResult:
    """Scores a model without parameters as if it had been trained for one epoch."""
    result.best_epoch = 0
    if task.protocol.select_on_test:
        result.test_ranks.append(task.rank(model, "test", training))
    else:
        valid = task.metrics(task.rank(model, "valid", training), "valid", training)
        result.curves.append({"epoch": 0, "valid": valid})
    return result


def _brief(losses: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in losses.items())
