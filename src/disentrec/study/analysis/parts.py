"""The parts of a model that are said to hold one cause each: one small interface for four models and their controls.

What "effect" means:

- DIMO and two towers: what the ID rows and what the modality rows add to a score;
- VBPR, the control of users: what the ID half and what the content half add;
- IDSF: what the structural and what the content part of an item's row add, structure standing for the ID;
- AD-DRL: what the ID chunks and what the text and image chunks of an item add before softplus, attention applied; and
  what the price chunk adds to the score against all other chunks;
- MMSBR, which has no ID: what interest in content and what the price term add.

A model without such a split has none.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import singledispatch
from typing import NamedTuple

import torch
from torch import Tensor, nn

from disentrec.data.sessions import SessionBatch
from disentrec.models.addrl import ADDRL
from disentrec.models.dimo import DIMO
from disentrec.models.idsf import IDSF
from disentrec.models.kernels import unit
from disentrec.models.mmsbr import MMSBR
from disentrec.models.two_towers import TwoTowers
from disentrec.models.vbpr import VBPR

#: What may be asked of every choice, with the part that says yes and the one that says no.
QUESTIONS = {"id": ("id", "modality"), "price": ("price", "looks")}


class Parts(NamedTuple):
    """A model in parts by name; both parts of a question are there, or neither."""

    #: What each part is to an item, (n_items, dim of the part).
    items: dict[str, Tensor]
    #: A batch of sessions, or users, -> what each part adds to the scores of all items, (batch, n_items).
    scores: Callable[[SessionBatch | Tensor], dict[str, Tensor]]

    def questions(self) -> list[str]:
        """Returns the questions that these parts answer."""
        return [name for name, sides in QUESTIONS.items() if set(sides) <= set(self.items)]


@singledispatch
def parts_of(model: nn.Module) -> Parts:
    """Returns the parts of a trained model; none of one that has no such split."""
    return Parts({}, lambda batch: {})


@parts_of.register
def _(model: DIMO) -> Parts:
    if model.config.use != "both" or model.config.combine != "sum":
        return Parts({}, lambda batch: {})
    encoded = model.encode_items()

    def scores(batch: SessionBatch) -> dict[str, Tensor]:
        causes = model.causes(batch, encoded)
        return {"id": causes["c_id"] @ encoded[0].T, "modality": causes["c_mo"] @ encoded[1].T}

    return Parts(dict(zip(QUESTIONS["id"], encoded, strict=True)), scores)


@parts_of.register
def _(model: TwoTowers) -> Parts:
    encoded = model.encode_items()
    return Parts(
        dict(zip(QUESTIONS["id"], encoded, strict=True)),
        lambda batch: dict(zip(QUESTIONS["id"], model.towers(batch, encoded), strict=True)),
    )


@parts_of.register
def _(model: VBPR) -> Parts:
    dim = model.config.dim
    tables = model.encode().split(dim, 1)

    def scores(users: Tensor) -> dict[str, Tensor]:
        halves = zip(QUESTIONS["id"], model.users[users].split(dim, 1), tables, strict=True)
        return {name: own @ table.T for name, own, table in halves}

    return Parts(dict(zip(QUESTIONS["id"], tables, strict=True)), scores)


@parts_of.register
def _(model: IDSF) -> Parts:
    users, whole = model.encode()
    content = model.content(model.projected()).fused
    content = unit(content) if model.content_head is None else model.content_head(content)
    items = {"id": whole - content, "modality": content}
    return Parts(items, lambda batch: {name: users[batch] @ rows.T for name, rows in items.items()})


@parts_of.register
def _(model: MMSBR) -> Parts:
    items = model.encode_items()
    if model.price is None or not model.config.interest:
        return Parts({}, lambda batch: {})

    def scores(batch: SessionBatch) -> dict[str, Tensor]:
        looks = model.interest(batch, items) @ items.vectors.T
        return {"price": model(batch, items) - looks, "looks": looks}

    return Parts({"price": items.prices, "looks": items.vectors}, scores)


@parts_of.register
def _(model: ADDRL) -> Parts:
    views, encoded = model.views(), model.encode()  # (n_items, modalities, K, chunk)
    if not model.features:
        return Parts({}, lambda batch: {})
    items = {"id": views[:, 0].flatten(1), "modality": views[:, 1:].flatten(1)}
    price = model.attributes.index("price") if "price" in model.attributes and model.K > 1 else None
    if price is not None:
        fused = model.fuse(views)  # (n_items, K, chunk)
        others = [k for k in range(model.K) if k != price]
        items |= {"price": fused[:, price], "looks": fused[:, others].flatten(1)}

    def scores(users: Tensor) -> dict[str, Tensor]:
        own = unit(model.table[users].view(len(users), model.K, -1))  # (batch, K, chunk)
        raw = model.table[users].view(len(users), 1, model.K, -1).expand(-1, len(views), -1, -1)
        weights = model.attention(views.expand(len(users), *views.shape), raw)  # (batch, n_items, modalities, K)
        cosines = torch.einsum("bkc,nmkc->bnmk", own, unit(views))
        each = (weights * cosines).sum(3)  # (batch, n_items, modalities)
        found = {"id": each[..., 0], "modality": each[..., 1:].sum(2)}
        if price is not None:
            chunks = model.chunk_scores(users, encoded)  # (K, batch, n_items)
            found |= {"price": chunks[price], "looks": chunks[others].sum(0)}
        return found

    return Parts(items, scores)
