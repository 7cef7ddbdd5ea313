"""MMSBR: beyond co-occurrence, multi-modal session-based recommendation (Zhang et al., TKDE 2023).

An item has an image, a text and a price, and no ID. Images and texts are first purified by contrast with their
pseudo-modalities (the image drawn from the text, the text read off the image), then fused by a transformer whose
pivots visit one modality after the other. A session's interest adds up its items; its price is a Gaussian, compared
with those of the items by the Wasserstein distance. Both make the score.

Written from the paper's summary and an audit of the released code (commit b640ff4); the paper's equations themselves
were not at hand. Every departure of the released code is a switch, M-numbers as in papers/mmsbr.yaml;
`MMSBRConfig.released()` turns all of this file on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from disentrec.data.sessions import SessionBatch
from disentrec.encode.image import pca
from disentrec.errors import DisentrecError, unknown_name
from disentrec.models import fusion, gaussian_price
from disentrec.models.base import Catalogue, SessionModel
from disentrec.models.contrast import logsumexp_rows
from disentrec.models.fusion import Fusion
from disentrec.models.gaussian_price import build_price, price_distances
from disentrec.models.kernels import Linear, linear, session_means, unit, weighted_sums
from disentrec.models.prices import BINNINGS, price_levels

LN10 = math.log(10)
TERMS = ("closeness", "distance", "subtract")
#: The items of a sampled step are a multiple of this.
SIZES = 128


@dataclass(frozen=True)
class MMSBRConfig:
    """Settings of MMSBR; the defaults are the model as described."""

    dim: int = 64
    heads: int = 4
    #: Modalities of an item, in the order the pivots visit them, and the pseudo-modality each is compared with.
    content: tuple[str, ...] = ("text", "image")
    pseudo: tuple[str, ...] = ("pseudo_text", "pseudo_image")
    #: Principal components kept of each modality, and channels inside the fusion; `dim` where not said.
    content_dims: tuple[int, ...] = ()
    fusion_dim: int | None = None
    # --- fusion
    fusion: str = "pivot"
    tokens: int = 4
    pivots: int = 4
    #: Rounds over the modalities; the released `layer` is two per round.
    rounds: int = 3
    dropout_fusion: float = 0.6
    dropout_output: float = 0.2
    # --- price
    #: "gaussian", "point", "laplace", "mixture" (gaussian_price.py) or "none".
    price: str = "gaussian"
    price_levels: int = 100
    price_binning: str = "logistic"
    dropout_price: float = 0.2
    #: How the distance D of price enters: interest x (1 + exp(-D / dim)), x (1 + D) (M4), or interest - D.
    price_term: str = "closeness"
    #: False leaves interest out: price alone scores.
    interest: bool = True
    #: Where the bias of the interest's weights begins: at 1 an interest starts as the plain sum of its items. None
    #: leaves it to torch's draw, around 0: of either sign, so that a session may start out as against its own items.
    interest_start: float | None = 1.0
    # --- contrast
    weight_contrast: float = 0.1
    temperature: float = 0.1
    #: Items drawn in a step (at least; up to a multiple of SIZES in all) to stand for all that are not in its batch;
    #: only those and the batch's are fused and scored. None: all items, exactly.
    sampled: int | None = None
    #: Feature rows are trained along, as in the released code.
    trainable_features: bool = False
    #: M1: the features loaded, and all other parameters, are overwritten by uniform noise.
    features_overwritten: bool = False
    #: M2: every item has pivots of its own: an ID of 4 x 64 numbers.
    pivots_per_item: bool = False
    #: M3: attention weights of the fusion sum to 1 over queries instead of keys.
    softmax_over_queries: bool = False
    #: M8: log10, sums, raw products, and the `hardest` largest scores alone as negatives.
    log10_sums: bool = False
    hardest: int = 100
    #: M13: a feature and its pseudo-modality are rotated by principal components of their own.
    own_components: bool = False
    #: M16: one LayerNorm for several uses.
    shared_norms: bool = False
    #: M17: a session's variances are normalised, may be negative, and pass ELU + 1 twice.
    raw_variances: bool = False

    @classmethod
    def released(cls, **changes: Any) -> MMSBRConfig:
        """Returns the released model: every deviation of this file on."""
        return cls(**{**RELEASED, **changes})


SWITCHES = {
    "M1": ("features_overwritten", True),
    "M2": ("pivots_per_item", True),
    "M3": ("softmax_over_queries", True),
    "M4": ("price_term", "distance"),
    "M8": ("log10_sums", True),
    "M13": ("own_components", True),
    "M15": ("price_binning", "linear"),
    "M16": ("shared_norms", True),
    "M17": ("raw_variances", True),
}
RELEASED = {**dict(SWITCHES.values()), "trainable_features": True, "weight_contrast": 0.01}


class Items(NamedTuple):
    """What scoring needs of some items; sessions index them 1-based."""

    vectors: Tensor  # (m, dim)
    prices: Tensor | None  # (m, width): [mean; sqrt(var)]
    levels: Tensor  # (m,) 1.., 0 unknown
    categories: Tensor  # (m,) 1.., 0 unknown


class MMSBR(SessionModel):
    """See the module's docstring. Items in tables 0-based, in batches 1-based with 0 = padding."""

    name = "mmsbr"
    Config = MMSBRConfig

    def __init__(self, config: MMSBRConfig, catalogue: Catalogue) -> None:
        super().__init__(config, catalogue)
        _check(config)
        d, n = config.dim, self.n_items
        self.names = [name for name in config.content if name in catalogue.features]
        if not self.names:
            raise DisentrecError(
                f"this data set has none of the features {list(config.content)}",
                where="model mmsbr",
                how="MMSBR knows items by their content alone; encode some: disentrec encode DIR --text tfidf-svd",
            )
        pairs = dict(zip(config.content, config.pseudo, strict=False))
        self.pairs = {name: pairs[name] for name in self.names if pairs.get(name) in catalogue.features}
        self.tables = nn.ParameterDict(self._tables(catalogue))
        widths = [self.tables[name].shape[1] for name in self.names]
        self.fusion = Fusion(
            widths, config.fusion_dim or d, d, kind=config.fusion, tokens=config.tokens, pivots=config.pivots,
            rounds=config.rounds, heads=config.heads, dropout=config.dropout_fusion,
            dropout_output=config.dropout_output, n_items=n, pivots_per_item=config.pivots_per_item,
            shared_norm=config.shared_norms, softmax_over_queries=config.softmax_over_queries,
        )  # fmt: skip
        self.attend_each, self.attend_mean = Linear(d, d), Linear(d, d, bias=False)  # W_1, W_2
        self.attend_value = Linear(d, 1)  # w
        if config.interest_start is not None:
            nn.init.constant_(self.attend_value.bias, config.interest_start)
        levels = price_levels(catalogue, config.price_levels, config.price_binning)
        categories = np.zeros(n, np.int64) if catalogue.categories is None else catalogue.categories + 1
        self.register_buffer("levels", torch.from_numpy(levels), persistent=False)
        self.register_buffer("categories", torch.from_numpy(categories.astype(np.int64)), persistent=False)
        self.price = None
        if config.price != "none" and levels.any():
            self.price = build_price(
                d, config.heads, config.price_levels, max(int(categories.max()), 1), config.dropout_price,
                kind=config.price, shared_norm=config.shared_norms, raw_variances=config.raw_variances,
            )  # fmt: skip
        if config.features_overwritten:  # model.py:393-398: all that was loaded or initialised so far
            for parameter in self.parameters():
                nn.init.uniform_(parameter, -1 / math.sqrt(d), 1 / math.sqrt(d))
        # Noise that stayed as it is would be a random projection of an ID; as released, it is trained.
        trained = config.trainable_features or config.features_overwritten
        for table in self.tables.values():
            table.requires_grad_(trained)
        # Rows without a gradient would only be counted: no contrast, no pseudo-modality.
        if not (trained and config.weight_contrast):
            for pseudo in self.pairs.values():
                self.tables[pseudo].requires_grad_(False)
        self.contrast_maps = None
        if not trained:
            # Frozen rows cannot move towards their pseudo-modality; a map that both share can.
            self.contrast_maps = nn.ModuleDict({name: Linear(w, w) for name, w in zip(self.names, widths, strict=True)})

    # ------------------------------------------------------------------ items

    def content(self, items: Tensor | None = None) -> list[Tensor]:
        """Returns the purified features of some items (all, if None), (m, width) per modality."""
        return [self.purified(name, name, items) for name in self.names]

    def purified(self, name: str, table: str, items: Tensor | None = None) -> Tensor:
        """Returns a feature or pseudo-modality, `table`, of the modality `name`, as the fusion reads it, (m, width)."""
        rows = self.tables[table] if items is None else self.tables[table][items]
        return rows if self.contrast_maps is None else self.contrast_maps[name](rows)

    def encode_items(self, items: Tensor | None = None) -> Items:
        """Returns what scoring needs of some items (all, if None): Sections 3.1, 3.2 and the items of 3.4."""
        levels, categories = self.levels, self.categories
        if items is not None:
            levels, categories = levels[items], categories[items]
        vectors = self.fusion(self.content(items), items)  # (m, dim)
        prices = None if self.price is None else self.price.items(levels, categories)
        return Items(vectors, prices, levels, categories)

    def contrast_loss(self, name: str, items: Tensor | None = None) -> Tensor:
        """Returns ln sum_j exp(x_i . g_j) - x_i . g_i, (m,): a feature is nearest to its own pseudo-modality.

        M8 (model.py:571-594) keeps raw products and the largest of them alone as negatives, the positive among them
        only if it is that large.
        """
        x, g = self.purified(name, name, items), self.purified(name, self.pairs[name], items)
        if self.config.log10_sums:
            return logsumexp_rows(x, g, self.config.hardest) - (x * g).sum(1)
        x, g = unit(x) / self.config.temperature, unit(g)
        return logsumexp_rows(x, g) - (x * g).sum(1)

    # --------------------------------------------------------------- sessions

    def interest(self, batch: SessionBatch, items: Items) -> Tensor:
        """Returns u = sum_t beta_t e_t, beta_t = w^T sigma(W_1 e_t + W_2 mean e), (batch, dim); Section 3.3.

        The weights are not normalised and know no positions: a session's interest is that of a bag of items. A bias
        belongs to w, as in the released code; where it starts decides how soon there is an interest to learn from.
        """
        rows = F.embedding(batch.real_items, items.vectors)  # (positions, dim), session after session
        mean = self.attend_mean(session_means(rows, batch.length))
        energy = torch.sigmoid(self.attend_each(rows) + F.embedding(batch.session, mean))
        return weighted_sums(rows, self.attend_value(energy)[:, 0], batch.length)

    def price_distance(self, batch: SessionBatch, items: Items) -> Tensor:
        """Returns the squared Wasserstein distance of every session's price to every item's, (batch, m)."""
        padded = [F.pad(values, (1, 0))[batch.items] for values in (items.levels, items.categories)]
        return price_distances(self.price.session(*padded, batch.mask), items.prices, self.config.price)

    def forward(self, batch: SessionBatch, encoded: Items | None = None) -> Tensor:
        """Returns the scores of the encoded items, (batch, m); Section 3.5."""
        items = encoded or self.encode_items()
        scores = linear(self.interest(batch, items), items.vectors) if self.config.interest else 1.0
        if self.price is None:
            return scores
        distance = self.price_distance(batch, items)
        if self.config.price_term == "distance":  # M4, model.py:641-642: far is good
            return scores * (1 + distance)
        if self.config.price_term == "subtract":
            return scores - distance
        return scores * (1 + torch.exp(-distance / self.config.dim))

    # ----------------------------------------------------------------- losses

    def losses(self, batch: SessionBatch) -> dict[str, Tensor]:
        """Returns the weighted terms: cross-entropy and contrast."""
        chosen, batch, correction = self.plan_of(batch) or (None, batch, None)
        scores = self(batch, self.encode_items(chosen))
        terms = {"ce": F.cross_entropy(scores if correction is None else scores + correction, batch.target)}
        if self.config.weight_contrast and self.pairs:
            losses = [self.contrast_loss(name, chosen) for name in self.pairs]
            if self.config.log10_sums:
                share = 1 if chosen is None else self.n_items / len(chosen)
                total = sum(loss.sum() for loss in losses) / LN10 * share
            else:
                total = sum(loss.mean() for loss in losses)
            terms["contrast"] = self.config.weight_contrast * total
        return terms

    def plan(self, batch: SessionBatch) -> tuple[Tensor, SessionBatch, Tensor] | None:
        """Returns the items of a step, the batch in terms of them, and what is added to their scores; None: all items.

        All items of the batch take part; the sample of the others counts for those that were not drawn: its exp(score)
        is weighted by their number over the sample's, so the softmax's sum keeps its expectation.
        """
        n = self.n_items
        if self.config.sampled is None or not self.training:
            return None
        device = batch.items.device
        needed = torch.zeros(n + 1, dtype=torch.bool, device=device)
        needed[batch.items.flatten()] = True
        needed[batch.target + 1] = True
        needed = needed[1:]
        sure, rest = needed.nonzero()[:, 0], (~needed).nonzero()[:, 0]
        # A few more than asked for, so that steps come in few sizes: oneDNN compiles its products anew for each.
        whole = -(-(len(sure) + self.config.sampled) // SIZES) * SIZES
        drawn = rest[torch.randperm(len(rest), device=device)[: whole - len(sure)]]
        chosen = torch.cat([sure, drawn])
        place = torch.zeros(n + 1, dtype=torch.int64, device=device)
        place[chosen + 1] = torch.arange(1, len(chosen) + 1, device=device)
        correction = torch.zeros(len(chosen), device=device)
        correction[len(sure) :] = math.log(max(len(rest), 1) / max(len(drawn), 1))
        local = SessionBatch(place[batch.items], batch.length, place[batch.target + 1] - 1)
        return chosen, local, correction

    # ---------------------------------------------------------------- helpers

    def _tables(self, catalogue: Catalogue) -> dict[str, nn.Parameter]:
        """Returns every feature and pseudo-modality in `dim` principal components; a pair shares them but for M13."""
        tables = {}
        dims = dict(zip(self.config.content, self.config.content_dims, strict=False))
        for name in self.names:
            dim = dims.get(name, self.config.dim)
            pair = [name] + ([self.pairs[name]] if name in self.pairs else [])
            values = [catalogue.features[part] for part in pair]
            if self.config.own_components or len({value.shape[1] for value in values}) > 1:
                reduced = [pca(value, dim) for value in values]
            else:
                reduced = np.split(pca(np.concatenate(values), dim), len(values))
            # Rows of norm 1 would put every tanh behind them into its linear part: entries, not rows, get size 1.
            size = math.sqrt(dim)
            tables |= {
                part: nn.Parameter(torch.from_numpy(rows * size)) for part, rows in zip(pair, reduced, strict=True)
            }
        return tables


def _check(config: MMSBRConfig) -> None:
    choices = {
        "fusion": fusion.KINDS,
        "price": (*gaussian_price.KINDS, "none"),
        "price_binning": BINNINGS,
        "price_term": TERMS,
    }
    for setting, valid in choices.items():
        if getattr(config, setting) not in valid:
            raise unknown_name(setting, getattr(config, setting), valid, where="model mmsbr")
    if not config.interest and config.price == "none":
        raise DisentrecError("neither interest nor price is left", where="model mmsbr", how="Set one of them")
