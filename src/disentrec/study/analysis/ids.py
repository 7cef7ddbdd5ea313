"""What the ID rows of LightGCN and IDSF know (IDSF-2): the measures of evaluation/semantics.py, and small pictures.

The released analysis (analysis/analysing.py) draws a heat map and a scatter plot of ten users' items and prints no
number. Here items of every popularity are drawn instead, and what the pictures show is measured beside them.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch

from disentrec.data.interactions import Pairs, TopNSplit
from disentrec.data.schema import Dataset
from disentrec.encode.scaling import covered_rows
from disentrec.errors import DisentrecError
from disentrec.evaluation.disentanglement import tsne_map
from disentrec.evaluation.semantics import STRATA, id_semantics, unit_rows
from disentrec.models.idsf import IDSF
from disentrec.models.lightgcn import LightGCN
from disentrec.study.analysis.base import Analysis

#: Items in the pictures, as many of every popularity.
SHOWN = 200
#: Categories with a colour of their own; the others share one.
COLOURED = 6
OTHERS = "others"


@torch.no_grad()
def analyse_ids(model: LightGCN | IDSF, dataset: Dataset, split: TopNSplit) -> Analysis:
    """Returns what the model's item IDs share with content and structure, and how some items lie to each other.

    Measures are those of `id_semantics`, structure counted in train alone. LightGCN: of its own table, and
    `propagated_*` of the rows it recommends with. IDSF: `<modality>_*` of each of its tables, and their means.

    Arrays, of SHOWN items ordered by category: `heat_id`, `heat_<content>`, `heat_co_users`, the upper triangles of
    cosines and of ln(1 + buyers of both), (SHOWN (SHOWN - 1) / 2,) float16; `map`, (SHOWN, 2), t-SNE of their IDs;
    `map_item`, `map_label` and `map_name`, their numbers, codes of their categories and what those are called.
    """
    content = {name: dataset.feature(name) for name in ("text", "image") if name in dataset.feature_names}
    tables = _tables(model)
    found = {name: id_semantics(table, content, split.train) for name, table in tables.items()}
    measures = {}
    if isinstance(model, LightGCN):
        measures |= found.pop("own")
    else:
        each = list(found.values())
        measures |= {name: float(np.mean([one[name] for one in each])) for name in each[0]}
    for table, values in found.items():
        measures |= {f"{table}_{name}": value for name, value in values.items() if name not in ("items", "pairs")}
    shown = list(tables.values())[:1] if isinstance(model, LightGCN) else list(tables.values())
    arrays, trust = _pictures(shown, content, dataset, split.train)
    return Analysis(measures | {"map_trustworthiness": trust}, arrays)


def _tables(model: LightGCN | IDSF) -> dict[str, np.ndarray]:
    """Returns the model's tables of item IDs by name, (n_items, dim) each."""
    if isinstance(model, LightGCN):
        found = {"own": model.table[model.n_users :], "propagated": model.encode()[1]}
    elif model.ids:
        found = dict(model.ids.items())
    else:
        raise DisentrecError(
            "this IDSF has no item IDs to analyse",
            how="Leave it one of gamma, id_in_content and weight_contrast, or drop `analyse` from this row",
        )
    return {name: rows.double().numpy() for name, rows in found.items()}


def _pictures(
    ids: list[np.ndarray], content: dict[str, np.ndarray], dataset: Dataset, train: Pairs
) -> tuple[dict[str, np.ndarray], float]:
    """Returns the arrays of `analyse_ids` and the trustworthiness of its map. Several ID tables count alike."""
    buyers = np.bincount(train.items, minlength=train.n_items)
    usable = buyers > 0
    for table in content.values():
        usable &= covered_rows(table)
    rows = _drawn(np.flatnonzero(usable), buyers, SHOWN)
    categories = _categories(dataset.items)[rows]
    names, codes = _coloured(categories)
    order = np.lexsort((-buyers[rows], categories, codes))
    rows, codes = rows[order], codes[order]
    beside = np.concatenate([unit_rows(table[rows]) for table in ids], 1) / np.sqrt(len(ids))
    bought = train.matrix[:, rows].astype(np.float64)
    heats = {"id": beside @ beside.T}
    heats |= {name: unit_rows(table[rows]) @ unit_rows(table[rows]).T for name, table in content.items()}
    heats["co_users"] = np.log1p((bought.T @ bought).toarray())
    above = np.triu_indices(len(rows), 1)
    # Two decimals are more than a picture shows, and as small again when packed.
    arrays = {f"heat_{name}": heat[above].round(2).astype(np.float16) for name, heat in heats.items()}
    points, trust = tsne_map(beside)
    labels = {"map_label": codes.astype(np.int16), "map_name": np.asarray(names)}
    return arrays | {"map": points, "map_item": rows.astype(np.int32)} | labels, trust


def _drawn(usable: np.ndarray, buyers: np.ndarray, count: int) -> np.ndarray:
    """Returns at most `count` of the usable items, as many from every fifth of them by their number of buyers."""
    rng = np.random.default_rng(0)
    strata = np.array_split(usable[np.argsort(buyers[usable], kind="stable")], STRATA)
    return np.sort(np.concatenate([rng.permutation(part)[: count // STRATA] for part in strata]))


def _categories(items: pd.DataFrame) -> np.ndarray:
    """Returns every item's category, (n_items,) of str: the first level of "a|b|c" on which items differ much."""
    if "category" not in items:
        return np.full(len(items), OTHERS)
    levels = items["category"].fillna("").astype(str).str.split("|", n=20, expand=True).fillna("")
    for level in levels:
        values = levels[level].str.strip()
        if values.value_counts(normalize=True).iloc[0] <= 0.8:
            return values.replace({"": OTHERS, "Unknown": OTHERS}).to_numpy(dtype=str)
    return levels[0].replace("", OTHERS).to_numpy(dtype=str)


def _coloured(categories: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Returns the commonest categories, the others last, and the place in that list of each item's."""
    values, counts = np.unique(categories[categories != OTHERS], return_counts=True)
    names = [*values[np.argsort(-counts, kind="stable")][:COLOURED].tolist(), OTHERS]
    places = {name: place for place, name in enumerate(names)}
    return names, np.asarray([places.get(name, len(names) - 1) for name in categories])
