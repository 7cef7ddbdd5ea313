"""Identification of causes: exact where it can be computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from disentrec.errors import DisentrecError
from disentrec.evaluation.identification import (
    auc_difference,
    brier_skill,
    calibration_error,
    identification,
    reliability,
    standardised,
)

TRUTH = np.tile([True, False], 50)


def test_an_effect_that_is_the_truth_is_perfect_and_its_opposite_the_reverse():
    found = identification(np.where(TRUTH, 1.0, -1.0), TRUTH, TRUTH.astype(float))
    assert found["auc"] == found["informedness"] == found["bayes_auc"] == found["bayes_skill"] == 1
    assert found["true_share"] == found["share"] == 0.5 and found["bayes_ece"] == 0
    swapped = identification(np.where(TRUTH, -1.0, 1.0), TRUTH)
    assert swapped["auc"] == 0 and swapped["informedness"] == -1
    # Skill is of probabilities fitted on other cases: that the sign is wrong, they learn.
    assert swapped["skill"] == pytest.approx(found["skill"]) and found["skill"] > 0.5


def test_a_constant_says_nothing():
    found = identification(np.zeros(100), TRUTH)
    assert found["auc"] == 0.5 and found["informedness"] == 0 and found["ece"] == 0
    assert found["skill"] == pytest.approx(0, abs=1e-3)


def test_of_one_cause_alone_only_shares_are_told():
    assert identification(np.r_[np.ones(3), -np.ones(7)], np.ones(10, bool)) == {
        "cases": 10.0, "true_share": 1.0, "share": 0.3,
    }  # fmt: skip


def test_the_calibration_error_is_the_distance_of_saying_from_happening():
    assert calibration_error(np.full(100, 0.9), TRUTH) == pytest.approx(0.4)
    said = np.where(TRUTH, 0.8, 0.1)
    assert calibration_error(said, TRUTH) == pytest.approx((0.2 + 0.1) / 2)


def test_skill_is_relative_to_the_constant_that_names_the_share():
    rare = np.arange(100) < 20
    assert brier_skill(np.full(100, 0.2), rare) == pytest.approx(0)
    assert brier_skill(rare.astype(float), rare) == 1 and brier_skill(np.full(100, 0.5), rare) < 0


def test_reliability_is_what_happens_where_something_is_said():
    said, happens = reliability(np.where(TRUTH, 0.8, 0.1), TRUTH)
    assert said.tolist() == pytest.approx([0.1, 0.8]) and happens.tolist() == [0, 1]


def test_standardised_rows_have_one_scale_and_constant_rows_are_zero():
    rows = standardised(np.array([[1.0, 3.0], [10.0, 30.0], [5.0, 5.0]]))
    assert rows.tolist() == [[-1, 1], [-1, 1], [0, 0]]


def test_the_difference_of_a_perfect_model_and_its_opposite_is_one_in_every_draw():
    effect = np.where(TRUTH, 1.0, -1.0)
    assert auc_difference(effect, -effect, TRUTH, reps=20) == (1, 1, 1)
    gap, low, high = auc_difference(effect, effect, TRUTH, reps=20)
    assert gap == low == high == 0


def test_the_difference_of_two_blind_models_is_not_clear():
    one, two = np.random.default_rng(0).standard_normal((2, 3, 100))
    gap, low, high = auc_difference(one, two, TRUTH, reps=100)
    assert low < 0 < high and low < gap < high
    aucs = [[identification(effect, TRUTH)["auc"] for effect in rows] for rows in (one, two)]
    assert gap == pytest.approx(np.mean(aucs[0]) - np.mean(aucs[1]), abs=1e-12)
    assert auc_difference(one, two, TRUTH, reps=100) == (gap, low, high)


@pytest.mark.parametrize("effect", [np.full(100, np.nan), np.zeros(99), np.zeros((100, 1))])
def test_effects_that_cannot_be_compared_are_refused(effect):
    with pytest.raises(DisentrecError, match="of the same cases"):
        identification(effect, TRUTH)
