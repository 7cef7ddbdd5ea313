"""BPR-MF: Bayesian personalised ranking of a matrix factorisation (Rendle et al., UAI 2009)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from disentrec.models.base import PairBatch, TopNModel, UserCatalogue
from disentrec.models.graphs import bpr, penalty, xavier
from disentrec.models.kernels import linear


@dataclass(frozen=True)
class BPRConfig:
    """Settings of BPR-MF, with MMRec's size as default."""

    dim: int = 64
    #: Weight and form of the penalty on the batch's rows: "squared", or "norm" as MMRec has it.
    regularisation: float = 1e-2
    penalty: str = "squared"


class BPR(TopNModel):
    """Inner products of a row per user and a row per item."""

    name = "bpr"
    Config = BPRConfig

    def __init__(self, config: BPRConfig, catalogue: UserCatalogue) -> None:
        super().__init__(config, catalogue)
        self.users, self.items = xavier(self.n_users, config.dim), xavier(self.n_items, config.dim)

    def forward(self, users: Tensor, encoded: None = None) -> Tensor:
        """Returns the inner products of users and items, (batch, n_items)."""
        return linear(self.users[users], self.items)

    def losses(self, batch: PairBatch) -> dict[str, Tensor]:
        """Returns BPR and the penalty on the rows it touches."""
        u, i, j = self.users[batch.users], self.items[batch.positives], self.items[batch.negatives[:, 0]]
        return {
            "bpr": bpr((u * i).sum(1), (u * j).sum(1)),
            "norm": self.config.regularisation * penalty(self.config.penalty, u, i, j),
        }
