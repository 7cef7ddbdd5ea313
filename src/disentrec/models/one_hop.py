"""One hop: scores an item by how often it was chosen together with the session's items. Nothing is learned."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from disentrec.data.sessions import SessionBatch
from disentrec.models.base import Catalogue, SessionModel
from disentrec.models.cooccurrence import cooccurrence_counts, row_normalised
from disentrec.models.repeat import recency


@dataclass(frozen=True)
class OneHopConfig:
    """Settings of one-hop scoring."""

    #: Put the session's own items first, the most recent one first.
    repeat: bool = False


class OneHop(SessionModel):
    """Scores = the sum of the session's rows of A, the row-normalised co-occurrence counts."""

    name = "one-hop"
    Config = OneHopConfig

    def __init__(self, config: OneHopConfig, catalogue: Catalogue) -> None:
        super().__init__(config, catalogue)
        # SciPy on purpose: a session touches a few rows of A, so the product is sparse times sparse.
        self.graph = row_normalised(cooccurrence_counts(catalogue.graph_sessions, self.n_items))

    def forward(self, batch: SessionBatch, encoded: None = None) -> Tensor:
        """Returns (batch, n_items)."""
        scores = torch.from_numpy((session_matrix(batch, self.n_items) @ self.graph).toarray())
        if self.config.repeat:
            # A row of A sums to 1, so no sum of them exceeds the longest session.
            held = recency(batch, self.n_items).cpu()
            scores = scores + torch.where(held > 0, held + batch.items.shape[1], 0)
        return scores.to(batch.items.device)

    def losses(self, batch: SessionBatch) -> dict[str, Tensor]:
        """Returns nothing: there is nothing to learn."""
        return {}


def session_matrix(batch: SessionBatch, n_items: int) -> sp.csr_matrix:
    """Returns how often each session holds each item, (batch, n_items) float32 CSR."""
    rows, places = np.nonzero(batch.items.cpu().numpy())
    columns = batch.items.cpu().numpy()[rows, places] - 1
    ones = np.ones(len(rows), dtype=np.float32)
    return sp.coo_matrix((ones, (rows, columns)), shape=(len(batch.items), n_items)).tocsr()
