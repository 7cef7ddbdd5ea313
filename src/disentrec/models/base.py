"""The contract every model keeps: tensors in, scores and loss terms out; for sessions, and for users."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from disentrec.data.interactions import Pairs
from disentrec.data.sequences import Sequences
from disentrec.data.sessions import SessionBatch
from disentrec.devices import moved


@dataclass(frozen=True)
class Catalogue:
    """What a model may know of a data set when it is built: the items' features and the training sessions."""

    n_items: int
    sessions: Sequences  # full training sessions, targets included
    graph_sessions: Sequences  # whose co-occurrence is counted; more than `sessions` only under switch D1
    features: dict[str, np.ndarray] = field(default_factory=dict)  # name -> (n_items, dim) float32
    prices: np.ndarray | None = None  # (n_items,) float64 money, NaN where unknown
    price_levels: np.ndarray | None = None  # (n_items,) int64 1.., where the source brings levels instead of money
    categories: np.ndarray | None = None  # (n_items,) int64 0.., a code per finest category


class SessionModel(nn.Module):
    """A session -> next item model.

    Subclasses set `name` (as on the command line) and `Config` (a frozen dataclass of settings), and take
    `(config, catalogue)`. They open no file, pick no device and keep no global state. Weights of loss terms
    live in the config, so an ablation is a config.
    """

    task: ClassVar[str] = "session"
    name: ClassVar[str]
    Config: ClassVar[type]
    #: Whether `--compile` has its steps compiled (training/compiled.py).
    compiles: ClassVar[bool] = False

    def __init__(self, config: Any, catalogue: Catalogue) -> None:
        super().__init__()
        self.config = config
        self.n_items = catalogue.n_items

    def encode_items(self) -> Any:
        """Returns whatever of `forward` depends on no session; computed once per test pass."""
        return None

    def plan(self, batch: SessionBatch) -> Any:
        """Returns what the model wants to know of a batch before it computes: graphs, sizes, draws; None: nothing.

        Asked while the batch is on the host, where finding out how many edges there are holds up no device. Tensors,
        modules, and tuples and lists of these travel with the batch.
        """
        return None

    def plan_of(self, batch: SessionBatch) -> Any:
        """Returns the plan that came with the batch, or one made now."""
        return moved(self.plan(batch), batch.items.device) if batch.plan is None else batch.plan

    def forward(self, batch: SessionBatch, encoded: Any = None) -> Tensor:
        """Returns scores of all items, (batch, n_items); `encoded` is the result of `encode_items`."""
        raise NotImplementedError

    def losses(self, batch: SessionBatch) -> dict[str, Tensor]:
        """Returns the weighted loss terms, whose sum is trained; {} for a model without parameters."""
        raise NotImplementedError


@dataclass(frozen=True)
class UserCatalogue:
    """What a user -> top-N model may know when it is built: the training pairs and what is known of the items."""

    train: Pairs
    features: dict[str, np.ndarray] = field(default_factory=dict)  # name -> (n_items, dim) float32, zero = unknown
    prices: np.ndarray | None = None  # (n_items,) float64 money, NaN where unknown
    sales_rank: np.ndarray | None = None  # (n_items,) float64, 1 = sold most, NaN where unknown
    brands: np.ndarray | None = None  # (n_items,) int64 codes 0.., -1 where unknown
    categories: np.ndarray | None = None  # (n_items,) int64 codes 0.., -1 where unknown

    @property
    def n_users(self) -> int:
        """Number of users; they are called 0..n_users-1."""
        return self.train.n_users

    @property
    def n_items(self) -> int:
        """Number of items; they are called 0..n_items-1."""
        return self.train.n_items


@dataclass(frozen=True)
class PairBatch:
    """Training pairs with items the user did not choose."""

    users: Tensor  # (batch,) int64
    positives: Tensor  # (batch,) int64
    negatives: Tensor  # (batch, negatives) int64
    plan: Any = field(default=None, compare=False)  # what TopNModel.plan made of it, if a model has been asked

    def to(self, device: torch.device | str) -> PairBatch:
        """Returns the batch on `device`."""
        return PairBatch(*moved((self.users, self.positives, self.negatives, self.plan), device))

    def planned(self, plan: Any) -> PairBatch:
        """Returns the batch with a model's plan of it."""
        return replace(self, plan=plan)


class TopNModel(nn.Module):
    """A user -> top-N model; subclasses set `name` and `Config` and take `(config, catalogue)`, like session models."""

    task: ClassVar[str] = "top-n"
    name: ClassVar[str]
    Config: ClassVar[type]
    #: Whether `--compile` has its steps compiled (training/compiled.py); False where torch cannot.
    compiles: ClassVar[bool] = True

    def __init__(self, config: Any, catalogue: UserCatalogue) -> None:
        super().__init__()
        self.config = config
        self.n_users, self.n_items = catalogue.n_users, catalogue.n_items

    def begin_epoch(self, epoch: int) -> None:
        """Called before every epoch, for models that renew a graph then."""

    def plan(self, batch: PairBatch) -> Any:
        """Returns what `losses` wants to know of a batch before it computes; see SessionModel."""
        return None

    def plan_of(self, batch: PairBatch) -> Any:
        """Returns the plan that came with the batch, or one made now."""
        return moved(self.plan(batch), batch.users.device) if batch.plan is None else batch.plan

    def encode(self) -> Any:
        """Returns whatever of `forward` depends on no batch, such as propagated tables; once per test pass."""
        return None

    def forward(self, users: Tensor, encoded: Any = None) -> Tensor:
        """Returns scores of all items, (batch, n_items). users: (batch,) int64; encoded: the result of `encode`."""
        raise NotImplementedError

    def losses(self, batch: PairBatch) -> dict[str, Tensor]:
        """Returns the weighted loss terms, whose sum is trained; {} for a model without parameters."""
        raise NotImplementedError
