"""Which item of a session a reason cites: DIMO's two templates, and simple variants that look at the session.

A reason is a weight and a position per case. Weight above 0: the co-occurrence template, citing that item; else the
feature template. Variants differ in the item they cite or in how they choose the template, and in nothing else, so that
what they are worth (evaluation/explanations.py) is the worth of that one choice.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from disentrec.data.sequences import Sequences
from disentrec.errors import DisentrecError
from disentrec.evaluation.explanations import ItemFacts, cite

#: name -> as printed.
VARIANTS = {
    "count": "the two templates (DIMO)",
    "latest": "cites the latest listed item",
    "lift": "cites by lift, not by count",
    "model": "template chosen by the model's own parts",
    "features": "features alone",
    "last": "the last item, whatever it is",
}


class Reasons(NamedTuple):
    """One reason per case."""

    weight: np.ndarray  # (cases,) float64: above 0 for the co-occurrence template
    cited: np.ndarray  # (cases,) int64: position in the session
    grounded: np.ndarray  # (cases,) bool: it names something that can be checked


class Evidence(NamedTuple):
    """What every variant may look at."""

    prefixes: Sequences
    recommended: np.ndarray  # (cases,) int64
    listed: sp.csr_matrix  # (n_items, n_items): counts of every item's co-occurrence set
    frequency: np.ndarray  # (n_items,) of items in the sessions that were counted
    nearest: np.ndarray  # (cases,) int64: position of the session's item that shares most
    closeness: np.ndarray  # (cases,) float64: how much that is


def evidence(
    prefixes: Sequences, recommended: np.ndarray, listed: sp.csr_matrix, frequency: np.ndarray, facts: ItemFacts
) -> Evidence:
    """Returns the evidence of some recommendations; sessions are not empty."""
    closeness = np.asarray(
        [
            facts.shared(int(item), int(recommended[row]))[0]
            for row, item in zip(prefixes.rows, prefixes.values, strict=True)
        ]
    )
    # Of equally close items the later one.
    order = np.lexsort((prefixes.positions, closeness, prefixes.rows))[prefixes.offsets[1:] - 1]
    return Evidence(prefixes, recommended, listed, frequency, prefixes.positions[order], closeness[order])


def reasons(found: Evidence, variant: str, effect: np.ndarray | None = None) -> Reasons:
    """Returns the reasons of a variant. effect: (cases,), what the ID part argues beyond the other, for "model".

    "model" cites what its template can: where the ID part argues more but no item is listed, features have to do.
    """
    if variant == "features":
        return Reasons(np.zeros(len(found.recommended)), found.nearest, found.closeness > 0)
    if variant == "last":
        lengths = found.prefixes.lengths
        return Reasons(np.zeros(len(lengths)), lengths - 1, np.ones(len(lengths), bool))
    if variant == "model" and effect is None:
        raise DisentrecError("the variant 'model' needs the effect of the model's parts")
    counts = {"latest": presence, "lift": lambda listed: lift(listed, found.frequency)}.get(variant, lambda same: same)
    position, weight = cite(found.prefixes, found.recommended, counts(found.listed))
    by_id = weight > 0 if variant != "model" else (weight > 0) & (effect > 0)
    if variant == "model":
        weight = np.where(by_id, effect, np.minimum(effect, 0))
    return Reasons(
        np.asarray(weight, dtype=np.float64), np.where(by_id, position, found.nearest), by_id | (found.closeness > 0)
    )


def presence(listed: sp.csr_matrix) -> sp.csr_matrix:
    """Returns 1 where items are listed: all weigh the same, so the later one is cited."""
    return (sp.csr_matrix(listed) > 0).astype(np.float64)


def lift(listed: sp.csr_matrix, frequency: np.ndarray) -> sp.csr_matrix:
    """Returns counts over the product of both items' frequencies: what goes with everything is no reason."""
    inverse = sp.diags(1 / np.maximum(np.asarray(frequency, dtype=np.float64), 1))
    return sp.csr_matrix(inverse @ listed.astype(np.float64) @ inverse)
