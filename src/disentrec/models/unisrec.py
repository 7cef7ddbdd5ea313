"""A UniSRec-style model: universal sequence representations (Hou et al., KDD 2022).

Items are known by their features only, never by an ID: whitened features, a mixture of experts that adapts them, a
transformer over the session. Here it is trained on the target data set itself; the paper's pre-training on other
shops, with its contrastive tasks, is left out. Beside the experts' learned whitening (x - b) W, the features are
whitened once by their own covariance, and image features join the text.
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
from disentrec.models.kernels import Dropout, Linear, last_positions, linear, unit
from disentrec.models.layers import Order, SequenceEncoder


@dataclass(frozen=True)
class UniSRecConfig:
    """Settings of the UniSRec-style model."""

    dim: int = 100
    #: Features that describe an item, those of them that the data set has.
    features: tuple[str, ...] = ("text", "image")
    #: Directions of largest variance kept when features are whitened, all features together.
    whitened: int = 300
    experts: int = 8
    layers: int = 2
    heads: int = 2
    dropout: float = 0.2
    #: On the whitened features.
    dropout_features: float = 0.2
    #: Scores are cosines divided by this.
    temperature: float = 0.07
    #: Rows of the position table.
    positions: int = 50


class UniSRec(SessionModel):
    """Two items with equal features cannot be told apart, and an item nobody has chosen is like any other."""

    name = "unisrec"
    Config = UniSRecConfig

    def __init__(self, config: UniSRecConfig, catalogue: Catalogue) -> None:
        super().__init__(config, catalogue)
        content = self._content(catalogue)
        self.register_buffer("content", content, persistent=False)  # (n_items, width)
        width = content.shape[1]
        self.experts = nn.Parameter(torch.empty(width, config.experts * config.dim).normal_(std=width**-0.5))  # W
        self.shifts = nn.Parameter(torch.zeros(config.experts, width))  # b
        self.gate = Linear(width, 2 * config.experts, bias=False)  # W_1 and W_2 of Eq. 3
        nn.init.normal_(self.gate.weight, std=0.02)
        self.dropout = Dropout(config.dropout_features)
        self.encoder = SequenceEncoder(
            config.dim, config.layers, config.heads, 4 * config.dim, config.dropout, config.positions,
            causal=True, pre_norm=False,
        )  # fmt: skip

    def encode_items(self) -> Tensor:
        """Returns the adapted features, Eq. 2 to 4, (n_items, dim)."""
        x = self.dropout(self.content)
        gate, noise = self.gate(x).chunk(2, -1)  # (n_items, experts) each
        if self.training:
            gate = gate + torch.randn_like(gate) * F.softplus(noise)
        share = gate.softmax(-1)
        # (x - b) W = x W - b W, so that one product serves all experts.
        experts = linear(x, self.experts.T).view(self.n_items, self.config.experts, -1)
        offset = torch.einsum("ew,wed->ed", self.shifts, self.experts.view(x.shape[1], self.config.experts, -1))
        return torch.einsum("ie,ied->id", share, experts - offset)

    def plan(self, batch: SessionBatch) -> Order:
        """Returns how the encoder orders the batch."""
        return self.encoder.plan(batch.lengths)

    def forward(self, batch: SessionBatch, encoded: Tensor | None = None) -> Tensor:
        """Returns the cosines of session and items over the temperature, (batch, n_items)."""
        encoded = self.encode_items() if encoded is None else encoded
        states = self.encoder(F.embedding(batch.real_items, encoded), self.plan_of(batch))
        return linear(unit(states[last_positions(batch.length)]) / self.config.temperature, unit(encoded))

    def losses(self, batch: SessionBatch) -> dict[str, Tensor]:
        """Returns the cross-entropy."""
        return {"ce": F.cross_entropy(self(batch), batch.target)}

    def _content(self, catalogue: Catalogue) -> Tensor:
        found = [catalogue.features[name] for name in self.config.features if name in catalogue.features]
        if not found:
            raise DisentrecError(
                f"this data set has none of the features {list(self.config.features)}",
                where="model unisrec",
                how="Encode its text or images first, or choose a model that reads IDs",
            )
        return torch.from_numpy(whiten(np.concatenate([balanced(part) for part in found], 1), self.config.whitened))


def balanced(features: np.ndarray) -> np.ndarray:
    """Returns centred features whose total variance is 1, so that no kind of feature drowns another, float64."""
    centred = features.astype(np.float64) - features.mean(0, dtype=np.float64)
    return centred / max(np.sqrt((centred**2).sum(1).mean()), 1e-12)


def whiten(centred: np.ndarray, kept: int) -> np.ndarray:
    """Returns uncorrelated directions of variance 1, the `kept` largest of those that vary, (n, <= kept) float32."""
    values, vectors = np.linalg.eigh(centred.T @ centred / len(centred))
    chosen = np.flatnonzero(values > 1e-6 * max(values[-1], 1e-12))[::-1][:kept]
    vectors = vectors[:, chosen]
    # An eigenvector's sign is the library's whim; fixed, another machine starts from the same model.
    vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(0), np.arange(len(chosen))])
    return (centred @ vectors / np.sqrt(values[chosen])).astype(np.float32)
