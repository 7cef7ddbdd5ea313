"""AD-DRL: attribute-driven disentangled representation learning for multimodal recommendation (Li et al., MM 2024).

A user's row, an item's row, and its text and image brought to their width fall into K chunks. Each of the first chunks
stands for one attribute (price, popularity, brand, category), the last are free. Within a modality a classifier tells
the chunks apart; between modalities equal chunks of an item attract each other; the chunks of an item, fused over its
modalities by attention, must give its attribute's value away. A pair's score is the sum of its chunks' softplus.

Written from the paper's abstract and summaries and an audit of the released code (commit e622b08); the paper's own
equations were not at hand, so where the code looks like a slip, the default is what it seems to be meant to do, said at
each setting. Every departure of the released code is a switch, A-numbers as in papers/addrl.yaml;
`ADDRLConfig.released()` turns all of this file on. Selection on test, the NDCG over retrieved items and repeated
negatives (A1, A2, A16) belong to the protocol and the metrics.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from disentrec.errors import DisentrecError, unknown_name
from disentrec.models.attributes import ATTRIBUTES, Attribute, item_attributes
from disentrec.models.base import PairBatch, TopNModel, UserCatalogue
from disentrec.models.chunk_losses import ChunkLosses
from disentrec.models.chunk_scores import AttendedItems, FusedItems, Items, softplus_sum
from disentrec.models.kernels import Linear, unit

FUSIONS = ("attention", "mean")
#: Weights of terms are the README's, for a ranking loss that is summed over batches of this size.
README_BATCH = 1024


@dataclass(frozen=True)
class ADDRLConfig:
    """Settings of AD-DRL; weights and sizes are the README's for Baby."""

    #: Numbers in a chunk; 32 in all released settings, so that a row has 32 K.
    chunk: int = 32
    #: K; None: an attribute each and one free, as in all released settings.
    factors: int | None = None
    #: Attributes that have a chunk, those of them that the data set has.
    attributes: tuple[str, ...] = ATTRIBUTES
    #: Levels of price and popularity beside "unknown", and how they are cut (attributes.py).
    bins: int = 4
    binning: str = "quantile"
    popularity: str = "auto"
    #: Brands and categories of fewer training items are one class.
    rare: int = 5
    #: Modalities beside the ID, those of them that the data set has.
    features: tuple[str, ...] = ("text", "image", "audio")
    #: A11: width of a hidden layer (LeakyReLU) between a feature and its chunks. 0: one linear map, as released; its
    #: options for more are parsed and never used, and what the paper has is not known.
    hidden: int = 0
    fusion: str = "attention"
    #: On the input of every classifier.
    dropout: float = 0.2
    weight_norm: float = 0.0
    weight_intra: float = 1.0
    weight_inter: float = 1.0
    weight_low: float = 50.0
    temperature: float = 1.0
    #: A3: fusion weights depend on the user. The released attention is given the user's chunk and never reads it; here
    #: it joins the sum of the item's, the only place without new parameters.
    user_attention: bool = True
    #: A4: a softmax of the softmax, which keeps every modality's weight within [.212, .576] if there are three.
    softmax_twice: bool = False
    #: A7: the ranking loss is a sum over the batch; by default its mean, and other terms weigh 1 / 1024 of theirs.
    summed_bpr: bool = False
    #: A8: classifiers and contrast also see the negatives.
    auxiliary_on_negatives: bool = False
    #: A9: the best-scored negative of a pair alone counts; by default each does, and their mean is taken.
    hardest: bool = False
    #: A10: chunks of two modalities are compared by inner products; by default by cosines, for what is to agree is
    #: what a chunk says, not how long it is.
    raw_products: bool = False

    @classmethod
    def released(cls, **changes: Any) -> ADDRLConfig:
        """Returns the released model: every deviation of this file on."""
        return cls(**{**RELEASED, **changes})


SWITCHES = {
    "A3": ("user_attention", False),
    "A4": ("softmax_twice", True),
    "A7": ("summed_bpr", True),
    "A8": ("auxiliary_on_negatives", True),
    "A9": ("hardest", True),
    "A10": ("raw_products", True),
}
RELEASED = dict(SWITCHES.values())


class Drawn(NamedTuple):
    """The items of a batch of pairs, once each."""

    items: Tensor  # (items,)
    place: Tensor  # (batch, 1 + negatives): which of them a pair has
    count: Tensor  # (items,) pairs that have it
    seen: Tensor  # (seen,): those of them that the auxiliary terms read


class ADDRL(TopNModel):
    """See the module's docstring. `chunk_weights`, (K,), turns chunks up and down in ranking; 1 each as trained."""

    name = "addrl"
    Config = ADDRLConfig

    def __init__(
        self, config: ADDRLConfig, catalogue: UserCatalogue, attributes: dict[str, Attribute] | None = None
    ) -> None:
        super().__init__(config, catalogue)
        if config.fusion not in FUSIONS:
            raise unknown_name("fusion", config.fusion, FUSIONS, where="model addrl")
        if attributes is None:
            attributes = item_attributes(
                catalogue, config.attributes, bins=config.bins, binning=config.binning, popularity=config.popularity,
                rare=config.rare,
            )  # fmt: skip
        self.attributes = tuple(attributes)  # chunk k is of attribute k, chunks beyond are free
        self.K = config.factors or len(attributes) + 1
        if len(attributes) > self.K:
            raise DisentrecError(
                f"{self.K} factors cannot hold the attributes {list(attributes)}",
                where="model addrl",
                how="Raise `factors` or name fewer `attributes`",
            )
        self.features = [name for name in config.features if name in catalogue.features]
        self.modalities = ("id", *self.features)
        M, K, d = len(self.modalities), self.K, config.chunk
        self.table = nn.Parameter(torch.empty(self.n_users + self.n_items, K * d))  # users first
        self.project = nn.ModuleDict()
        for name in self.features:
            content = F.normalize(torch.from_numpy(catalogue.features[name]).float(), dim=1)
            self.register_buffer(f"content_{name}", content, persistent=False)  # (n_items, width), a row of 0 stays
            self.project[name] = _projection(content.shape[1], config.hidden, K * d)
        self.attend = None
        if config.fusion == "attention" and M > 1:
            self.attend = nn.Sequential(Linear(d, M), nn.Tanh(), Linear(M, M))
        self.disentangle = ChunkLosses(
            ("user", *self.modalities) if config.weight_intra and K > 1 else (),
            attributes if config.weight_low else {}, self.modalities, K=K, chunk=d, dropout=config.dropout,
            temperature=config.temperature, raw_products=config.raw_products,
        )  # fmt: skip
        self.register_buffer("chunk_weights", torch.ones(K), persistent=False)
        # Xavier for all weights, main.py:188-190; users and items are tables of their own to it.
        for part in (self.table[: self.n_users], self.table[self.n_users :]):
            nn.init.xavier_uniform_(part.data)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)

    # ------------------------------------------------------------------ chunks

    def views(self, items: Tensor | None = None, rows: Tensor | None = None) -> Tensor:
        """Returns the chunks of some items (all, if None) in every modality, (m, modalities, K, chunk).

        `rows`: their ID rows, (m, K chunk), where they have been looked up.
        """
        if rows is None:
            rows = self.table[self.n_users :] if items is None else self.table[self.n_users + items]
        parts = [rows]
        for name in self.features:
            content = getattr(self, f"content_{name}")
            parts.append(self.project[name](content if items is None else content[items]))
        return torch.stack(parts, 1).view(len(rows), len(parts), self.K, -1)

    def attention(self, views: Tensor, users: Tensor | None = None) -> Tensor:
        """Returns the weights of the modalities in each chunk, (..., modalities, K); they sum to 1.

        views: (..., modalities, K, chunk); users: (..., K, chunk), not read under A3; None: as the item alone has it.
        """
        if self.attend is None:
            return views.new_full(views.shape[:-1], 1 / len(self.modalities))
        total = views.sum(-3)
        if self.config.user_attention and users is not None:
            total = total + users
        logits = self.attend(unit(total)).movedim(-1, 0)  # (modalities, ..., K)
        return self._softmax(logits).movedim(0, -2)

    def _softmax(self, logits: Tensor) -> Tensor:
        """Returns the weights of the modalities, which come first; A4 takes the softmax of the softmax."""
        weights = logits.softmax(0)
        return weights.softmax(0) if self.config.softmax_twice else weights

    def fuse(self, views: Tensor, users: Tensor | None = None) -> Tensor:
        """Returns f_k = sum_m a_km c_km / |c_km| over modalities, (..., K, chunk); arguments as for `attention`."""
        return (self.attention(views, users)[..., None] * unit(views)).sum(-3)

    # ----------------------------------------------------------------- ranking

    @property
    def per_user(self) -> bool:
        """Whether an item's fused chunks depend on the user."""
        return self.attend is not None and self.config.user_attention

    def encode(self) -> Items:
        """Returns the fused chunks of all items, or all that of their fusion depends on no user."""
        views = self.views()  # (n_items, modalities, K, chunk)
        if self.per_user:
            return AttendedItems.of(views, self.attend, self._softmax)
        return FusedItems.of(self.fuse(views))

    def forward(self, users: Tensor, encoded: Items | None = None) -> Tensor:
        """Returns sum_k w_k softplus(<p_k / |p_k|, f_k>) of all items, exactly, (batch, n_items)."""
        return softplus_sum(encoded or self.encode(), self._own(users), self.chunk_weights)

    def chunk_scores(self, users: Tensor, encoded: Items | None = None) -> Tensor:
        """Returns what each chunk adds to the scores of all items, (K, batch, n_items)."""
        items, everything = encoded or self.encode(), slice(0, self.n_items)
        x = torch.stack([items.products(own, k, everything) for k, own in enumerate(self._own(users))])
        return self.chunk_weights[:, None, None] * F.softplus(x)

    def shares(self, users: Tensor, encoded: Items | None = None) -> Tensor:
        """Returns each chunk's share of the scores of all items, (K, batch, n_items); over chunks they sum to 1."""
        parts = self.chunk_scores(users, encoded)
        return parts / parts.sum(0)

    def _own(self, users: Tensor) -> Tensor:
        """Returns the users' chunks, (K, batch, chunk)."""
        return self.table[users].view(len(users), self.K, -1).transpose(0, 1).contiguous()

    # ------------------------------------------------------------------ losses

    def plan(self, batch: PairBatch) -> Drawn:
        """Returns the items of the batch, once each."""
        pairs = torch.cat([batch.positives[:, None], batch.negatives], 1)
        items, place, count = torch.unique(pairs, return_inverse=True, return_counts=True)
        used = place if self.config.auxiliary_on_negatives else place[:, 0]
        return Drawn(items, place, count, used.unique())

    def losses(self, batch: PairBatch) -> dict[str, Tensor]:
        """Returns the weighted terms: ranking, norm, intra- and inter-modality, and attribute values."""
        config, size = self.config, len(batch.users)
        drawn = torch.cat([batch.positives[:, None], batch.negatives], 1)  # (batch, 1 + negatives)
        # Everything of an item is computed once, however often the batch holds it, and weighed by how often; so
        # dropout, too, is drawn once for it.
        items, place, count, seen = self.plan_of(batch)
        rows = F.embedding(torch.cat([batch.users, self.n_users + items]), self.table)  # one look-up of the table
        users, views = rows[:size].view(size, self.K, -1), self.views(items, rows[size:])
        if self.per_user:
            pairs = self.fuse(_at(views, place), users[:, None].expand(*drawn.shape, -1, -1))
        else:
            fused = self.fuse(views)
            pairs = _at(fused, place)  # (batch, 1 + negatives, K, chunk)
        scores = F.softplus((unit(users)[:, None] * pairs).sum(-1)).sum(-1)  # (batch, 1 + negatives)
        terms = {"bpr": self.ranking_loss(scores)}
        scale = 1 if config.summed_bpr else 1 / README_BATCH  # A7
        if config.weight_norm:
            terms["norm"] = config.weight_norm * scale * self.norm(users, views, count)
        # Weights of the drawn pairs in what follows: positives together 1, negatives together 1 under A8.
        even = torch.full(drawn.shape, 1 / size, dtype=views.dtype, device=views.device)
        even[:, 1:] = 1 / batch.negatives.numel() if config.auxiliary_on_negatives else 0
        weights = even.new_zeros(len(items)).index_add(0, place.flatten(), even.flatten())
        chunks, own = views[seen], weights[seen]
        if self.disentangle.tell_chunk:
            intra = self.disentangle.intra(chunks, own) | {"user": self.disentangle.chunk("user", users, even.sum(1))}
            terms["intra"] = config.weight_intra * scale * sum(intra.values())
        if config.weight_inter and len(self.modalities) > 1 and self.K > 1:
            terms["inter"] = config.weight_inter * scale * sum(self.disentangle.inter(chunks, own).values())
        if self.disentangle.tell_value:
            if self.per_user:
                used = drawn.shape[1] if config.auxiliary_on_negatives else 1  # columns
                low = self.disentangle.low(*(part[:, :used].flatten(0, 1) for part in (pairs, drawn, even)))
            else:
                low = self.disentangle.low(fused[seen], items[seen], own)
            terms["low"] = config.weight_low * scale * sum(low.values())
        return terms

    def ranking_loss(self, scores: Tensor) -> Tensor:
        """Returns BPR of the first column against the others, a scalar. scores: (batch, 1 + negatives)."""
        gaps = scores[:, 1:] - scores[:, :1]
        loss = F.softplus(gaps.max(1).values) if self.config.hardest else F.softplus(gaps).mean(1)  # A9
        return loss.sum() if self.config.summed_bpr else loss.mean()  # A7

    def norm(self, users: Tensor, views: Tensor, count: Tensor) -> Tensor:
        """Returns half the squared norm of all rows of the batch per pair, items as often as drawn, a scalar."""
        squares = (views * views).sum((1, 2, 3)) @ count.to(views.dtype)
        return ((users * users).sum() + squares) / (2 * len(users))


def _at(values: Tensor, place: Tensor) -> Tensor:
    """Returns the values of each drawn item, (batch, 1 + negatives, ...). values: (items, ...)."""
    return F.embedding(place, values.flatten(1)).view(*place.shape, *values.shape[1:])


def _projection(width: int, hidden: int, out: int) -> nn.Module:
    if not hidden:
        return Linear(width, out)
    return nn.Sequential(Linear(width, hidden), nn.LeakyReLU(0.2), Linear(hidden, out))
