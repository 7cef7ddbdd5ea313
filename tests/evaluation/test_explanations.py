"""Two templates on a shop of six items, and measures whose answer is known."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch

from disentrec.data.sequences import Sequences
from disentrec.errors import DisentrecError
from disentrec.evaluation.explanations import (
    cause_agreement,
    cite,
    coverage,
    explain,
    explain_all,
    fidelity_by_deletion,
    strongest,
)
from disentrec.models.cooccurrence import cooccurrence_counts

ITEMS = pd.DataFrame(
    {
        "item": range(6),
        "title": ["Red tea cup", "Tea pot <b>", "Green tea leaves", "Garden hose", None, "Blue tea cup"],
        "brand": ["Aria", "Aria", "Bora", None, None, "Cora"],
        "category": ["Home|Kitchen|Cups", "Home|Kitchen|Pots", "Food|Tea", "Plot", None, "Home|Kitchen|Cups"],
    }
)
SESSIONS = Sequences.from_lists([[0, 1], [0, 1], [1, 2], [0, 2], [2, 3]])
COUNTS = cooccurrence_counts(SESSIONS, 6)


def test_cooccurrence_names_the_item_chosen_most_often_with_it():
    found = explain([2, 0, 3], 1, COUNTS, ITEMS)
    assert found.template == "cooccurrence" and found.grounded
    assert found.evidence == {"item": 0, "count": 2}
    assert found.text == "“Tea pot <b>” was chosen together with “Red tea cup” of this session 2 times."
    assert explain([3], 2, COUNTS, ITEMS).text.endswith("“Garden hose” of this session once.")


def test_of_equal_counts_the_later_item_is_cited():
    assert cite(Sequences.from_lists([[0, 1, 3], [1, 0, 0]]), np.array([2, 2]), COUNTS)[0].tolist() == [2, 2]
    assert cite(Sequences.from_lists([[4]]), np.array([2]), COUNTS)[0].tolist() == [-1]


def test_feature_names_what_the_closest_item_shares():
    found = explain([3, 1, 2], 5, COUNTS, ITEMS)
    assert found.template == "feature" and found.grounded
    assert found.evidence == {"item": 1, "shared": {"category": ("Home", "Kitchen"), "words": ("tea",)}}
    assert found.text == (
        "“Blue tea cup” resembles “Tea pot <b>” of this session: the category Home > Kitchen; the words tea."
    )
    assert explain([0], 5, sp.csr_matrix((6, 6)), ITEMS).evidence["shared"]["words"] == ("cup", "tea")
    assert explain([0], 1, sp.csr_matrix((6, 6)), ITEMS).evidence["shared"]["brand"] == "Aria"


def test_of_equally_close_items_the_later_is_cited_and_small_words_count_for_nothing():
    same = pd.DataFrame({"item": range(3), "title": ["Lamp with shade", "Lamp with foot", "Lamp with cord"]})
    found = explain([0, 1], 2, sp.csr_matrix((3, 3)), same)
    assert found.evidence == {"item": 1, "shared": {"words": ("lamp",)}}


def test_what_has_no_name_is_said_to_have_none():
    found = explain([0], 4, COUNTS, ITEMS)
    assert not found.grounded and "item 4" in found.text and "no attribute" in found.text
    # Missing brands and categories are not something to share.
    assert not explain([3], 4, COUNTS, ITEMS).grounded


def test_a_repeated_item_is_explained_by_itself():
    found = explain([3, 5], 5, COUNTS, ITEMS)
    assert found.evidence["item"] == 5 and found.evidence["repeat"] and found.grounded
    assert found.text == "“Blue tea cup” is in this session already."


def test_items_without_content_still_have_numbers():
    found = explain([0], 1, COUNTS, ITEMS[["item"]])
    assert found.text == "“item 1” was chosen together with “item 0” of this session 2 times."
    assert not explain([4], 1, COUNTS, ITEMS[["item"]]).grounded


def test_a_column_without_any_value_is_no_content():
    empty = ITEMS.assign(brand=np.nan, category=np.nan, title=np.nan)
    assert not explain([0], 5, COUNTS, empty).grounded


def test_only_listed_neighbours_count_in_the_papers_sets():
    listed = strongest(COUNTS, 1)
    assert np.diff(listed.indptr).max() == 1
    assert explain([0], 1, listed, ITEMS).template == "cooccurrence"
    # 2 met 0, 1 and 3 once each; the first of them is its only listed neighbour.
    assert explain([2], 0, listed, ITEMS).template == "cooccurrence"
    assert explain([2], 3, listed, ITEMS).template == "feature"
    assert explain([2], 3, COUNTS, ITEMS).template == "cooccurrence"


def test_coverage():
    prefixes = Sequences.from_lists([[0], [0], [0], [0]])
    found = coverage(explain_all(prefixes, np.array([1, 2, 4, 5]), COUNTS, ITEMS))
    assert found == {"cooccurrence": 0.5, "feature": 0.5, "grounded": 0.75}


def additive(weights):
    """Returns a scorer that adds weights[prefix item] over the session; (n, n)."""
    table = torch.cat([torch.zeros(1, weights.shape[1]), torch.as_tensor(weights, dtype=torch.float32)])
    return lambda batch: table[batch.items].sum(1)


def test_fidelity_by_hand():
    # Item 0 argues for 3, item 1 for 4, item 2 for nothing; equal scores share their mean rank.
    weights = np.zeros((5, 5))
    weights[0, 3] = weights[1, 4] = 1
    prefixes = Sequences.from_lists([[0, 2], [0, 0, 2, 2], [0], [0, 0], [2, 0]])
    recommended = np.full(5, 3)
    found = fidelity_by_deletion(additive(weights), prefixes, recommended, np.array([0, 1, 0, 0, -1]))
    # Without 0 all five tie at rank 3; without 2 the rank stays 1. Single items and no citation: left out.
    assert found.rows.tolist() == [0, 1]
    assert found.per_case == pytest.approx([math.log(3)] * 2)
    assert found.effect == pytest.approx(math.log(3)) and found.wins == 1.0 and math.isnan(found.effect_inner)
    wrong = fidelity_by_deletion(additive(weights), prefixes, recommended, np.array([1, 2, 0, 0, -1]))
    assert wrong.effect == pytest.approx(-math.log(3)) and wrong.wins == 0.0


def test_fidelity_of_luck_is_nothing_and_of_the_strongest_is_something():
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((40, 40))
    prefixes = Sequences.from_lists([rng.permutation(40)[: rng.integers(3, 7)] for _ in range(600)])
    recommended = rng.integers(40, size=600)
    score = additive(weights)
    lucky = fidelity_by_deletion(score, prefixes, recommended, rng.integers(3, size=600))
    assert abs(lucky.effect) < 0.1 and abs(lucky.wins - 0.5) < 0.06
    told = weights[prefixes.values, recommended[prefixes.rows]]
    best = np.array([part.argmax() for part in np.split(told, prefixes.offsets[1:-1])])
    told_right = fidelity_by_deletion(score, prefixes, recommended, best)
    assert told_right.effect > 0.4 and told_right.wins > 0.9 and told_right.effect_inner > 0.4
    again = fidelity_by_deletion(score, prefixes, recommended, best, batch_size=7)
    assert np.array_equal(again.per_case, told_right.per_case)


def test_fidelity_without_a_usable_case_is_refused():
    with pytest.raises(DisentrecError, match="no case"):
        fidelity_by_deletion(additive(np.eye(3)), Sequences.from_lists([[0]]), np.array([1]), np.array([0]))


def test_agreement_with_the_cause_by_hand():
    causes = np.array([0, 0, 0, 1, 1, 2, 3])
    flag = np.array([1, 1, -1, 1, -1, 1, 1])
    found = cause_agreement(flag, causes)
    assert (found.precision, found.recall, found.base_rate, found.n_cases) == (2 / 3, 2 / 3, 3 / 5, 5)
    assert found.informedness == pytest.approx(2 / 3 - 1 / 2)
    assert found.auc == pytest.approx((2 / 3 * 1 / 2) + (2 / 3 * 1 / 2 + 1 / 3 * 1 / 2) / 2)
    assert found.ceiling is None
    # The same as a boolean, and as scores in any unit.
    assert cause_agreement(flag > 0, causes) == found == cause_agreement(0.1 * flag, causes)


def test_agreement_stands_beside_its_ceiling():
    rng = np.random.default_rng(1)
    posterior = rng.dirichlet(np.ones(4), size=4000)
    causes = np.array([rng.choice(4, p=row) for row in posterior])
    found = cause_agreement(rng.standard_normal(4000), causes, posterior)
    assert abs(found.auc - 0.5) < 0.05 and abs(found.informedness) < 0.06
    assert found.ceiling.auc > 0.75 and found.ceiling.n_cases == found.n_cases
    noisy = posterior[:, 0] - posterior[:, 1] + 0.3 * rng.standard_normal(4000)
    assert 0.55 < cause_agreement(noisy, causes, posterior).auc < found.ceiling.auc


def test_a_shop_with_one_cause_cannot_judge_a_flag():
    with pytest.raises(DisentrecError, match="never occurs"):
        cause_agreement(np.ones(3), np.array([0, 0, 2]))
    assert math.isnan(cause_agreement(-np.ones(2), np.array([0, 1])).precision)
