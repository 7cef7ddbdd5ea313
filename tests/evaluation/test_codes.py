"""DCI, MIG and SAP on codes that hold their factors perfectly, twice, mixed, or not at all."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from disentrec.errors import DisentrecError
from disentrec.evaluation.codes import dci, dci_of_codes, mig, sap


@pytest.fixture(scope="module")
def factors():
    """Every combination of 2, 3 and 4 values, 20 times: the factors are exactly independent."""
    return np.tile(np.array(list(product(range(2), range(3), range(4)))), (20, 1))


@pytest.fixture(scope="module")
def rotated(factors):
    """The same factors, each spread over all three codes as 2 : 2 : 1."""
    rotation = np.array([[2, 2, -1], [-1, 2, 2], [2, -1, 2]]) / 3
    return (factors / factors.std(0)) @ rotation


def test_dci_by_hand():
    assert dci(np.eye(3)) == pytest.approx((1.0, 1.0))
    assert dci(np.ones((3, 3))) == pytest.approx((0.0, 0.0), abs=1e-9)
    # Two codes share a factor, each serves only it: disentangled, not complete.
    disentanglement, completeness = dci(np.array([[1.0, 0.0], [1.0, 0.0]]))
    assert disentanglement == pytest.approx(1.0) and completeness == pytest.approx(0.0)
    assert dci(np.zeros((2, 2))) == (0.0, 0.0)


def test_an_axis_aligned_code_is_perfect(factors):
    found = dci_of_codes(factors[:, [1, 0, 2]], factors)
    assert found.disentanglement > 0.99 and found.completeness > 0.99
    assert found.informativeness == pytest.approx(1.0)
    assert found.importance.argmax(0).tolist() == [1, 0, 2]
    assert mig(factors, factors) == pytest.approx(1.0)
    # The best code is always right; the second best names the commonest value: 1/2, 1/3, 1/4.
    assert sap(factors, factors) == pytest.approx(1 - (1 / 2 + 1 / 3 + 1 / 4) / 3, abs=0.05)


def test_a_rotated_code_knows_the_same_but_not_apart(factors, rotated):
    found = dci_of_codes(rotated, factors)
    assert found.informativeness > 0.95
    assert found.disentanglement < 0.2 and found.completeness < 0.2
    assert mig(rotated, factors) < 0.5
    assert sap(rotated, factors) < sap(factors, factors) / 2


def test_a_factor_held_twice_has_no_gap(factors):
    twice = np.repeat(factors, 2, axis=1)
    assert mig(twice, factors) == pytest.approx(0.0, abs=1e-12)
    assert sap(twice, factors) == pytest.approx(0.0, abs=1e-12)


def test_a_code_of_noise_holds_nothing(factors):
    noise = np.random.default_rng(1).standard_normal((len(factors), 5))
    assert dci_of_codes(noise, factors).informativeness < 0.1
    assert mig(noise, factors) < 0.05 and sap(noise, factors) < 0.08


def test_constant_codes_are_harmless(factors):
    padded = np.concatenate([factors, np.zeros((len(factors), 2))], 1)
    assert mig(padded, factors) == pytest.approx(1.0)
    assert dci_of_codes(padded, factors).disentanglement > 0.99
    assert sap(padded, factors) == pytest.approx(sap(factors, factors), abs=0.05)


def test_sap_knows_how_common_the_values_are():
    # Neither a constant nor noise can do better than naming the commonest value.
    factor = (np.arange(1000) % 10 == 0)[:, None]
    codes = np.stack([np.zeros(1000), np.random.default_rng(2).standard_normal(1000)], 1)
    assert sap(codes, factor) == pytest.approx(0.0, abs=1e-12)


def test_mig_by_hand():
    # The first code is the factor (ln 2), the second tells it in half of the cases: 1 bit against half a bit.
    factor = np.array([[0], [0], [1], [1]] * 2)
    codes = np.array([[0, 0], [0, 1], [1, 1], [1, 2]] * 2)
    assert mig(codes, factor) == pytest.approx(0.5)


def test_factors_without_choice_are_refused(factors):
    with pytest.raises(DisentrecError, match="single value"):
        mig(factors, np.zeros_like(factors))
    with pytest.raises(DisentrecError, match="2 or more"):
        sap(factors[:, :1], factors)
