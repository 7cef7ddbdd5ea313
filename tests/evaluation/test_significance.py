"""Intervals that cover, corrections computed by hand, and nothing that depends on luck."""

from __future__ import annotations

import numpy as np
import pytest

from disentrec.errors import DisentrecError
from disentrec.evaluation.significance import holm, paired_bootstrap


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
