"""Intervals that cover, corrections computed by hand, and nothing that depends on luck."""

from __future__ import annotations

import numpy as np
import pytest

from disentrec.errors import DisentrecError
from disentrec.evaluation.significance import compare_table, holm, paired_bootstrap, seed_interval


def test_effect_is_the_difference_of_means_and_changes_sign():
    rng = np.random.default_rng(0)
    a, b = rng.random((3, 50)), rng.random((2, 50))
    one, other = paired_bootstrap(a, b), paired_bootstrap(b, a)
    assert one.effect == pytest.approx(a.mean() - b.mean()) == -other.effect
    assert (one.n_seeds, one.n_cases) == (2, 50)
    assert one.low < one.effect < one.high


def test_same_seed_same_bytes():
    a, b = np.random.default_rng(1).random((2, 3, 40))
    assert paired_bootstrap(a, b) == paired_bootstrap(a, b) != paired_bootstrap(a, b, seed=1)


def test_exchanging_the_two_mirrors_the_result():
    a, b = np.random.default_rng(6).random((3, 40)), np.random.default_rng(7).random((1, 40))
    one, other = paired_bootstrap(a, b), paired_bootstrap(b, a)
    assert (one.low, one.high, one.p_value) == (-other.high, -other.low, other.p_value)


def test_equal_scores_are_no_evidence_and_a_p_is_never_zero():
    scores = np.random.default_rng(8).random((2, 30))
    same = paired_bootstrap(scores[:1], scores[:1], reps=99)
    assert (same.effect, same.p_value) == (0.0, 1.0)
    assert paired_bootstrap(np.ones((1, 30)), np.zeros((1, 30)), reps=99).p_value >= 1 / 100


def test_interval_of_the_mean_agrees_with_its_formula():
    scores = np.random.default_rng(9).random((1, 2000))
    test = paired_bootstrap(scores, np.zeros((1, 2000)), reps=4000)
    half = 1.96 * scores.std() / np.sqrt(2000)
    assert (test.high - test.low) / 2 == pytest.approx(half, rel=0.05)


@pytest.mark.parametrize("bad", [np.empty((0, 4)), np.full((1, 4), np.nan), np.zeros((1, 2, 4))])
def test_tables_that_are_none_are_refused(bad):
    with pytest.raises(DisentrecError, match="the first scores"):
        paired_bootstrap(bad, np.zeros((1, 4)))


def test_seed_interval_by_hand():
    found = seed_interval(np.array([1.0, 2.0, 3.0]))
    assert (found.mean, found.sd, found.n_seeds) == (2.0, 1.0, 3)
    assert 1.0 <= found.low < 2.0 < found.high <= 3.0
    # A mean of three draws is 1 once in 27, which is more often than 2.5 %.
    assert (found.low, found.high) == (1.0, 3.0)
    assert seed_interval(np.array([0.5, 0.5])).low == 0.5
    one = seed_interval(np.array([0.4]))
    assert one.mean == 0.4 and np.isnan([one.sd, one.low, one.high]).all()
    with pytest.raises(DisentrecError, match="one finite metric per seed"):
        seed_interval(np.array([0.4, np.nan]))


def test_table_corrects_over_all_rivals():
    rng = np.random.default_rng(10)
    reference = rng.random((2, 300))
    rivals = {"far": reference - 0.3, "close": reference + 0.02 * rng.standard_normal((2, 300))}
    rows = compare_table(reference, rivals, reps=500)
    assert [row.rival for row in rows] == ["far", "close"]
    assert rows[0].test == paired_bootstrap(reference, rivals["far"], reps=500)
    assert [row.p_holm for row in rows] == holm([row.test.p_value for row in rows]).tolist()
    assert rows[0].test.effect == pytest.approx(0.3) and rows[0].p_holm < 0.01 < rows[1].p_holm
    assert compare_table(reference, {}) == []


def test_pairing_removes_what_cases_share():
    rng = np.random.default_rng(2)
    hard = rng.random(400) * 10
    a = hard + 0.05 + 0.1 * rng.standard_normal((3, 400))
    b = hard + 0.1 * rng.standard_normal((3, 400))
    test = paired_bootstrap(a, b)
    assert test.low > 0 and test.p_value < 0.01 and test.high - test.low < 0.05


def test_interval_covers_and_null_is_rarely_rejected():
    covered = rejected = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        a, b = rng.standard_normal((1, 150)), rng.standard_normal((1, 150))
        test = paired_bootstrap(a, b, reps=300)
        covered += test.low <= 0 <= test.high
        rejected += test.p_value < 0.05
    assert 0.90 <= covered / 200 <= 0.99
    assert 0.01 <= rejected / 200 <= 0.10


def test_seed_variance_counts():
    cases = np.random.default_rng(3).random(500)
    steady = paired_bootstrap(np.stack([cases] * 4), cases[None])
    shaky = paired_bootstrap(cases + np.array([[-0.2], [-0.1], [0.1], [0.2]]), cases[None])
    assert steady.high - steady.low < 1e-12 < 0.1 < shaky.high - shaky.low


def test_different_cases_are_refused():
    with pytest.raises(DisentrecError, match="3 and 4 cases"):
        paired_bootstrap(np.zeros((1, 3)), np.zeros((1, 4)))


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]).tolist() == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]).tolist() == pytest.approx([1.0, 1.0])
    assert holm([]).tolist() == []
