"""Full ranking: where the target stands among all items, ties at their mean rank."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from disentrec.data.sessions import SessionCases, batches
from disentrec.errors import DisentrecError

if TYPE_CHECKING:
    from disentrec.models.base import SessionModel


def rank_of_target(scores: Tensor, target: Tensor, *, first: int = 0) -> Tensor:
    """Returns the 1-based rank of each target, (batch,) float32: 1 + #higher + (#equal others) / 2.

    Tied items thus share their mean rank, and a constant scorer ranks every target in the middle, like
    chance. scores: (batch, n_items), -inf for items that may not be recommended; target: (batch,) 0-based.
    Raises DisentrecError on NaN, +inf or a target at -inf, naming the row; `first` is the number of the first
    one.
    """
    own = scores.gather(1, target[:, None])
    better = (scores > own).sum(1)
    equal = (scores == own).sum(1)  # the target itself among them
    usable = (scores < torch.inf).all(1) & torch.isfinite(own[:, 0])  # NaN fails the comparison, too
    if not usable.all():
        row = first + int((~usable).nonzero()[0])
        raise DisentrecError(
            f"the scores of row {row} are not numbers, or its target may not be recommended",
            how="A model that diverged cannot be ranked: lower its learning rate",
        )
    return better + (equal + 1) / 2


@torch.no_grad()
def rank_cases(model: SessionModel, cases: SessionCases, batch_size: int = 512) -> np.ndarray:
    """Returns the rank of every case's target among all items, (cases,) float32.

    The model is scored in evaluation mode and left in the mode it was in; what depends on no session is
    computed once. Raises DisentrecError, naming the case, when scores are not numbers.
    """
    was_training = model.training
    model.eval()
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    try:
        encoded = model.encode_items()
        ranks = [
            rank_of_target(model(batch, encoded), batch.target, first=number * batch_size).cpu()
            for number, batch in enumerate(batch.to(device) for batch in batches(cases, batch_size))
        ]
    finally:
        model.train(was_training)
    return torch.cat(ranks).numpy().astype(np.float32) if ranks else np.empty(0, np.float32)
