"""Two towers without any loss that tells them apart: the control of what DIMO calls disentanglement.

A session has one row by the IDs of its items and one by their content, each a linear map of their mean and the last of
them; items have an ID row and their features, mapped. The scores of both towers add up and are trained by
cross-entropy alone. Of users the same control is VBPR.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from disentrec.data.sessions import SessionBatch
from disentrec.errors import DisentrecError
from disentrec.models.base import Catalogue, SessionModel
from disentrec.models.kernels import Linear, dropout, last_positions, linear, session_means


@dataclass(frozen=True)
class TwoTowersConfig:
    """Settings of the control; sizes as of DIMO."""

    #: Of either tower.
    dim: int = 100
    #: On item rows, of both towers.
    dropout: float = 0.3
    #: Features that make up the content, those of them that the data set has.
    features: tuple[str, ...] = ("text", "image")


class TwoTowers(SessionModel):
    """See the module's docstring."""

    name = "two-towers"
    Config = TwoTowersConfig

    def __init__(self, config: TwoTowersConfig, catalogue: Catalogue) -> None:
        super().__init__(config, catalogue)
        found = [catalogue.features[name] for name in config.features if name in catalogue.features]
        if not found:
            raise DisentrecError(
                f"this data set has none of the features {list(config.features)}",
                where="model two-towers",
                how="Encode its text or images first, or choose a model that reads IDs alone",
            )
        content = torch.from_numpy(np.concatenate(found, 1, dtype=np.float32))
        self.register_buffer("content", content, persistent=False)  # (n_items, width)
        self.table = nn.Parameter(torch.empty(self.n_items, config.dim).normal_(std=0.1))
        self.embed = Linear(content.shape[1], config.dim)
        self.read_id, self.read_content = (Linear(2 * config.dim, config.dim, bias=False) for _ in range(2))

    def encode_items(self) -> tuple[Tensor, Tensor]:
        """Returns the rows of all items in either tower, (n_items, dim) each: IDs first."""
        return self._drop(self.table), self._drop(self.embed(self.content))

    def towers(self, batch: SessionBatch, encoded: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """Returns the scores of all items by IDs and by content, (batch, n_items) each."""
        readers = (self.read_id, self.read_content)
        return tuple(
            linear(self._session(batch, table, read), table)
            for table, read in zip(encoded or self.encode_items(), readers, strict=True)
        )

    def forward(self, batch: SessionBatch, encoded: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Returns the sum of both towers' scores, (batch, n_items)."""
        by_id, by_content = self.towers(batch, encoded)
        return by_id + by_content

    def losses(self, batch: SessionBatch) -> dict[str, Tensor]:
        """Returns the cross-entropy of the sum."""
        return {"ce": F.cross_entropy(self(batch), batch.target)}

    def _session(self, batch: SessionBatch, table: Tensor, read: nn.Linear) -> Tensor:
        """Returns W [mean; last], (batch, dim)."""
        rows = F.embedding(batch.real_items, table)  # (positions, dim), session after session
        return read(torch.cat([session_means(rows, batch.length), rows[last_positions(batch.length)]], 1))

    def _drop(self, table: Tensor) -> Tensor:
        return dropout(table, self.config.dropout, self.training)
