"""Two models that never meet: DIMO's ID half and its modality half, trained apart, whose scores are added.

The plain answer to a joint model. Both halves are DIMO with one cause (use "id", use "modality"), share no parameter
and get no gradient of each other; only the epoch at which they stop is one, that of the best sum on validation. Scores
of different units are added in standard deviations of their own row.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from disentrec.data.sessions import SessionBatch
from disentrec.errors import DisentrecError
from disentrec.models.base import Catalogue, SessionModel
from disentrec.models.cooccurrence import CooccurrenceTables
from disentrec.models.dimo import DIMO, DIMOConfig


@dataclass(frozen=True)
class LateFusionConfig:
    """Settings of both halves, as in DIMO, and the share of the ID half in the sum."""

    dim: int = 100
    heads: int = 4
    steps: int = 4
    dropout_table: float = 0.3
    dropout_attention: float = 0.2
    lists: int = 10
    constraint_items: int | None = None
    weight_cooccurrence: float = 0.1
    features: tuple[str, ...] = ("text", "image")
    #: Chosen on validation, as any other setting; 1 is the ID half alone, 0 the modality half.
    share: float = 0.5


class LateFusion(SessionModel):
    """See the module's docstring."""

    name = "late-fusion"
    Config = LateFusionConfig

    def __init__(self, config: LateFusionConfig, catalogue: Catalogue) -> None:
        super().__init__(config, catalogue)
        if not 0 <= config.share <= 1:
            raise DisentrecError(f"share is {config.share:g}", where="model late-fusion", how="Take one from 0 to 1")
        settings = {name: value for name, value in asdict(config).items() if name != "share"}
        seed = int(torch.randint(2**31, ()))
        tables = CooccurrenceTables.from_sessions(
            catalogue.graph_sessions, self.n_items, config.lists, filler_negatives=False, seed=seed
        )
        self.by_id, self.by_modality = (
            DIMO(DIMOConfig(**settings, use=use), catalogue, tables) for use in ("id", "modality")
        )

    def encode_items(self) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Returns both halves' items."""
        return self.by_id.encode_items(), self.by_modality.encode_items()

    def forward(self, batch: SessionBatch, encoded: tuple | None = None) -> Tensor:
        """Returns share * z(ID scores) + (1 - share) * z(modality scores), (batch, n_items)."""
        ids, modalities = encoded or self.encode_items()
        share = self.config.share
        return share * standard(self.by_id(batch, ids)) + (1 - share) * standard(self.by_modality(batch, modalities))

    def losses(self, batch: SessionBatch) -> dict[str, Tensor]:
        """Returns each half's own terms: a sum of losses without a shared parameter trains both apart."""
        halves = {"id": self.by_id, "modality": self.by_modality}
        return {f"{name}_{term}": loss for name, half in halves.items() for term, loss in half.losses(batch).items()}


def standard(scores: Tensor) -> Tensor:
    """Returns scores in standard deviations of their row, (batch, n_items); a constant row is zero."""
    centred = scores - scores.mean(1, keepdim=True)
    return centred / centred.square().mean(1, keepdim=True).sqrt().clamp(min=1e-8)
