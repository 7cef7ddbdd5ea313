"""Full ranking: where the target stands among all items, ties at their mean rank."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from disentrec.data.sessions import SessionCases, batches
from disentrec.errors import DisentrecError

if TYPE_CHECKING:
    from disentrec.data.interactions import Pairs
    from disentrec.models.base import SessionModel, TopNModel


def rank_of_target(scores: Tensor, target: Tensor, *, first: int = 0) -> Tensor:
    """Returns the 1-based rank of each target, (batch,) float32: 1 + #higher + (#equal others) / 2.

    Tied items thus share their mean rank, and a constant scorer ranks every target in the middle, like
    chance. scores: (batch, n_items), -inf for items that may not be recommended; target: (batch,) 0-based.
    Raises DisentrecError on NaN, +inf or a target at -inf, naming the row; `first` is the number of the first
    one.
    """
    own = scores.gather(1, target[:, None])
    usable = (scores.amax(1) < torch.inf) & torch.isfinite(own[:, 0])  # NaN is the largest of its row, and not below
    if not usable.all():
        row = first + int((~usable).nonzero()[0])
        raise DisentrecError(
            f"the scores of row {row} are not numbers, or its target may not be recommended",
            how="A model that diverged cannot be ranked: lower its learning rate",
        )
    return _mean_rank(scores, own)


def _mean_rank(scores: Tensor, own: Tensor, flags: Tensor | None = None) -> Tensor:
    """Returns 1 + #higher + (#equal others) / 2 of `own`, (rows, 1), in each row of `scores`, (rows,) float32.

    `flags`: room for one number per score, where it is at hand.
    """
    # Comparisons are kept as numbers: summing these is ten times as fast as counting bools, and exact to 2^24.
    scores, own = scores.detach(), own.detach()
    flags = torch.empty(scores.shape, device=scores.device) if flags is None else flags
    better = torch.gt(scores, own, out=flags).sum(1)
    equal = torch.eq(scores, own, out=flags).sum(1)  # itself among them
    return better + (equal + 1) / 2


#: Scores of sessions held at a time, 16 MB of them, and sessions up to which more of them are ranked the faster.
HELD, MOST = 2**22, 2048


@torch.no_grad()
def rank_cases(model: SessionModel, cases: SessionCases, batch_size: int | None = None) -> np.ndarray:
    """Returns the rank of every case's target among all items, (cases,) float32.

    The model is scored in evaluation mode and left in the mode it was in; what depends on no session is
    computed once. `batch_size`: cases scored at a time; None: as many as fit the caches. Raises DisentrecError, naming
    the case, when scores are not numbers.
    """
    batch_size = batch_size or min(MOST, max(HELD // model.n_items, 1))
    was_training = model.training
    model.eval()
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    try:
        encoded = model.encode_items()
        planned = (batch.planned(model.plan(batch)).to(device) for batch in batches(cases, batch_size))
        ranks = [
            rank_of_target(model(batch, encoded), batch.target, first=number * batch_size).cpu()
            for number, batch in enumerate(planned)
        ]
    finally:
        model.train(was_training)
    return torch.cat(ranks).numpy().astype(np.float32) if ranks else np.empty(0, np.float32)


#: Ranks beyond are kept as this one: no metric reads further.
FURTHEST = 101


@torch.no_grad()
def rank_pairs(model: TopNModel, train: Pairs, held_out: Pairs, block: int = 256) -> np.ndarray:
    """Returns the rank of every held-out pair among the items its user did not train on, (pairs,) float32.

    Ties share their mean rank; ranks beyond 100 read 101. Users are scored a block at a time, whose scores, (block,
    n_items), are all that is held. Raises DisentrecError, naming the user, when scores are not numbers.
    """
    was_training = model.training
    model.eval()
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    ranks = np.empty(len(held_out), np.float32)
    try:
        encoded = model.encode()
        for start in range(0, len(held_out.some_users), block):
            users = held_out.some_users[start : start + block]
            scores = model(torch.from_numpy(users).to(device), encoded)
            # A sum that is a number has no NaN and no infinity in it; one that overflowed is looked at again.
            if not bool(torch.isfinite(scores.sum())) and not bool(torch.isfinite(scores).all()):
                row = int((~torch.isfinite(scores).all(1)).nonzero()[0])
                raise DisentrecError(
                    f"the scores of user {users[row]} are not numbers",
                    how="A model that diverged cannot be ranked: lower its learning rate",
                )
            rows, items, _ = (part.to(device) for part in _pairs_of(train, users))
            scores[rows, items] = -torch.inf
            first, last = held_out.offsets[users[0]], held_out.offsets[users[-1] + 1]
            ranks[first:last] = _ranks(scores, *_pairs_of(held_out, users)).numpy()
    finally:
        model.train(was_training)
    return ranks


def _pairs_of(pairs: Pairs, users: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
    """Returns (place of the user in `users`, item, place among the user's pairs) of all pairs, (m,) int64 each."""
    first, last = pairs.offsets[users], pairs.offsets[users + 1]
    count = last - first
    inside = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    rows = np.repeat(np.arange(len(users)), count)
    items = pairs.items[np.repeat(first, count) + inside]
    return torch.from_numpy(rows), torch.from_numpy(items), torch.from_numpy(inside)


def _ranks(scores: Tensor, rows: Tensor, items: Tensor, place: Tensor) -> Tensor:
    """Returns the mean rank of scores[row, item] in its row, at most FURTHEST, (m,); `place` counts a row's pairs.

    Every row has a pair; all but the scores is on the host. Pairs are ranked as many at a time as there are rows: first
    that of every row, in order, without copying the scores.
    """
    order = place.argsort(stable=True)
    flags, found = torch.empty(scores.shape, device=scores.device), []
    parts = (part[order].to(scores.device).split(len(scores)) for part in (rows, items))
    for chosen, wanted in zip(*parts, strict=True):
        lines = scores[chosen] if found else scores
        found.append(_mean_rank(lines, lines.gather(1, wanted[:, None]), flags[: len(lines)]))
    ranks = torch.empty(len(rows))
    ranks[order] = torch.cat(found).clamp(max=FURTHEST).cpu()
    return ranks
