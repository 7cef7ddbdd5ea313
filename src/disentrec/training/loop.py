"""Training with selection on validation (or, as released, on test): one code path for all session models."""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass, field

import numpy as np
import torch

from disentrec.data.protocol import Protocol
from disentrec.data.sessions import SessionCases, SessionSplit, batches
from disentrec.evaluation.metrics import metrics_from_ranks
from disentrec.evaluation.ranking import rank_cases
from disentrec.models.base import SessionModel

log = logging.getLogger(__name__)
SELECTION_METRIC = "mrr@20"


@dataclass(frozen=True)
class Training:
    """Settings of the optimiser and of early stopping."""

    epochs: int = 20
    batch_size: int = 512
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    #: Stop after so many epochs without a better validation MRR@20.
    patience: int = 3


@dataclass
class TrainingResult:
    """What a training left behind, besides the model, which holds the selected state."""

    status: str = "finished"  # or "diverged"
    best_epoch: int = -1
    curves: list[dict] = field(default_factory=list)
    train_seconds: float = 0.0
    #: Test ranks after every epoch; filled only where the protocol selects on test (D6).
    test_ranks: list[np.ndarray] = field(default_factory=list)


def train(
    model: SessionModel,
    split: SessionSplit,
    training: Training,
    protocol: Protocol,
    seed: int,
    device: str = "cpu",
) -> TrainingResult:
    """Trains `model` in place and leaves it in the selected state.

    Clean protocol: the state with the best validation MRR@20; the test part is not looked at. Under
    `select_on_test` every epoch is scored on test, as released (main.py:61-73), and the last state stays.
    A non-finite loss ends the training with status "diverged".
    """
    result = TrainingResult()
    model.to(device)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        return _score_untrained(model, split, protocol, result)
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    optimiser = torch.optim.Adam(
        model.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay, fused=True
    )
    best_value, best_state = -math.inf, None
    for epoch in range(training.epochs):
        started = time.perf_counter()
        model.train(epoch == 0 or not protocol.dropout_first_epoch_only)  # D5: model.py:433
        losses = _run_epoch(model, split.train, training, protocol, optimiser, rng, device)
        result.train_seconds += time.perf_counter() - started
        # A last step can break the weights after every loss was fine: both are looked at before anything is ranked.
        if not all(map(math.isfinite, losses.values())) or not _finite(model):
            result.status = "diverged"
            break
        entry = {"epoch": epoch, "loss": losses}
        result.curves.append(entry)
        if protocol.select_on_test:
            result.test_ranks.append(rank_cases(model, split.test))
            entry["test"] = metrics_from_ranks(result.test_ranks[-1])
            result.best_epoch = epoch
            continue
        entry["valid"] = metrics_from_ranks(rank_cases(model, split.valid))
        value = entry["valid"][SELECTION_METRIC]
        log.info("epoch %d: %s, validation MRR@20 %.4f", epoch, _brief(losses), value)
        if value > best_value:
            best_value, result.best_epoch = value, epoch
            best_state = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
        elif epoch - result.best_epoch >= training.patience:
            break
    if best_state is not None:
        model.load_state_dict(best_state)
    return result


def _run_epoch(
    model: SessionModel,
    cases: SessionCases,
    training: Training,
    protocol: Protocol,
    optimiser: torch.optim.Optimizer,
    rng: np.random.Generator,
    device: str,
) -> dict[str, float]:
    """Returns the mean of every loss term over the batches of one epoch."""
    totals: dict[str, torch.Tensor] = {}
    n_batches = 0
    for batch in batches(cases, training.batch_size, rng, overlap_last=protocol.overlap_last_batch):
        terms = model.losses(batch.to(device))
        optimiser.zero_grad(set_to_none=True)
        torch.stack(list(terms.values())).sum().backward()
        optimiser.step()
        n_batches += 1
        for name, term in terms.items():  # summed on the device: no copy to the host inside a step
            totals[name] = totals.get(name, 0) + term.detach()
    return {name: float(total) / n_batches for name, total in totals.items()}


def _finite(model: SessionModel) -> bool:
    return all(bool(torch.isfinite(parameter).all()) for parameter in model.parameters())


def _score_untrained(
    model: SessionModel, split: SessionSplit, protocol: Protocol, result: TrainingResult
) -> TrainingResult:
    """Scores a model without parameters as if it had been trained for one epoch."""
    result.best_epoch = 0
    if protocol.select_on_test:
        result.test_ranks.append(rank_cases(model, split.test))
    else:
        result.curves.append({"epoch": 0, "valid": metrics_from_ranks(rank_cases(model, split.valid))})
    return result


def _brief(losses: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in losses.items())
