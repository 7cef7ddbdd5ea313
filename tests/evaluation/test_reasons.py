"""Which item a reason cites, on a shop of five items."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from disentrec.data.sequences import Sequences
from disentrec.errors import DisentrecError
from disentrec.evaluation.explanations import ItemFacts
from disentrec.evaluation.reasons import VARIANTS, evidence, lift, presence, reasons
from disentrec.models.cooccurrence import cooccurrence_counts

# 0 goes with 4 thrice and with everything; 1 goes with 4 twice and with nothing else; 2 looks like 4; 3 is alone.
SESSIONS = Sequences.from_lists([[0, 4]] * 3 + [[1, 4]] * 2 + [[0, 2], [0, 3], [0, 2], [0, 3], [0, 2]])
COUNTS = cooccurrence_counts(SESSIONS, 5)
FREQUENCY = np.bincount(SESSIONS.values, minlength=5)
ITEMS = pd.DataFrame({"title": ["Hose", "Rake", "Red cup", "Nail", "Blue cup"], "brand": ["A", "B", "C", "D", "C"]})
PREFIXES = Sequences.from_lists([[0, 2, 1], [1, 0, 3], [2, 3], [3]])
FOUND = evidence(PREFIXES, np.array([4, 4, 4, 4]), COUNTS, FREQUENCY, ItemFacts.of(ITEMS))


@pytest.mark.parametrize(
    ("variant", "cited", "by_cooccurrence"),
    [
        ("count", [0, 1, 0, 0], [True, True, False, False]),  # item 0, the commonest with 4; item 2, the closest
        ("latest", [2, 1, 0, 0], [True, True, False, False]),
        ("lift", [2, 0, 0, 0], [True, True, False, False]),  # item 1, which goes with nothing else
        ("features", [1, 2, 0, 0], [False] * 4),  # of equally far items the later
        ("last", [2, 2, 1, 0], [False] * 4),
    ],
)
def test_every_variant_cites_its_item(variant, cited, by_cooccurrence):
    given = reasons(FOUND, variant)
    assert given.cited.tolist() == cited
    assert (given.weight > 0).tolist() == by_cooccurrence


def test_the_model_chooses_the_template_but_cannot_cite_what_is_not_listed():
    given = reasons(FOUND, "model", np.array([0.5, -0.5, 2.0, -1.0]))
    assert given.cited.tolist() == [0, 2, 0, 0]
    assert given.weight.tolist() == [0.5, -0.5, 0.0, -1.0]
    with pytest.raises(DisentrecError, match="needs the effect"):
        reasons(FOUND, "model")


def test_a_reason_is_grounded_when_something_is_named():
    assert reasons(FOUND, "count").grounded.tolist() == [True, True, True, False]
    assert reasons(FOUND, "features").grounded.tolist() == [True, False, True, False]
    assert reasons(FOUND, "last").grounded.all()


def test_lift_is_a_count_over_both_frequencies():
    assert lift(COUNTS, FREQUENCY)[0, 4] == pytest.approx(3 / (FREQUENCY[0] * FREQUENCY[4]))
    assert lift(COUNTS, FREQUENCY)[1, 4] == pytest.approx(2 / (FREQUENCY[1] * FREQUENCY[4]))
    assert presence(COUNTS).max() == 1 and presence(COUNTS).nnz == COUNTS.nnz


def test_every_variant_has_a_name_in_print():
    assert next(iter(VARIANTS)) == "count" and len(set(VARIANTS.values())) == len(VARIANTS)
