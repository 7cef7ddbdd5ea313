"""Price levels: cheap and dear inside the own category."""

from __future__ import annotations

import numpy as np
import pytest

from disentrec.data.sequences import Sequences
from disentrec.errors import DisentrecError
from disentrec.models import Catalogue
from disentrec.models.prices import price_levels

NOTHING = Sequences.from_lists([])


def shop(prices, categories=None, ready=None) -> Catalogue:
    prices = None if prices is None else np.asarray(prices, dtype=float)
    categories = None if categories is None else np.asarray(categories)
    return Catalogue(4 if prices is None else len(prices), NOTHING, NOTHING, {}, prices, ready, categories)


def test_linear_levels_are_places_between_the_category_s_ends():
    found = price_levels(shop([1, 2, 5, 100, 300, 200], [0, 0, 0, 1, 1, 1]), 4, "linear")
    assert found.tolist() == [1, 2, 4, 1, 4, 3]


def test_logistic_levels_are_its_distribution_function():
    prices = np.array([1.0, 2.0, 3.0, 10.0])
    z = (prices - prices.mean()) / (prices.std() * np.sqrt(3) / np.pi)
    expected = 1 + np.floor(10 / (1 + np.exp(-z))).astype(int)
    assert price_levels(shop(prices), 10, "logistic").tolist() == expected.tolist()
    # An outlier takes a linear scale for itself; under the logistic one the others stay apart longer.
    many = np.concatenate([np.linspace(1, 9, 9), [60.0]])
    linear, logistic = (price_levels(shop(many), 40, binning) for binning in ("linear", "logistic"))
    assert len(set(linear.tolist())) < len(set(logistic.tolist()))


@pytest.mark.parametrize("binning", ["linear", "logistic", "log-logistic"])
def test_unknown_prices_have_no_level_and_single_prices_the_middle(binning):
    found = price_levels(shop([np.nan, 0.0, 7.0, 7.0], [0, 0, 0, 0]), 10, binning)
    assert found.tolist() == [0, 0, 6, 6]


def test_ready_levels_are_kept_or_made_fewer():
    ready = np.array([0, 1, 50, 100])
    assert price_levels(shop(None, ready=ready), 100).tolist() == ready.tolist()
    assert price_levels(shop(None, ready=ready), 10).tolist() == [0, 1, 5, 10]


def test_without_prices_all_are_unknown_and_a_wrong_binning_lists_the_right_ones():
    assert price_levels(shop(None)).tolist() == [0] * 4
    with pytest.raises(DisentrecError, match=r"unknown price_binning 'log'.*linear, log-logistic, logistic"):
        price_levels(shop([1.0]), 5, "log")


def test_log_logistic_levels_are_the_logistic_ones_of_the_logarithm():
    prices = np.array([1.0, 2.0, 4.0, 50.0, 3.0, 900.0])
    groups = [0, 0, 0, 0, 1, 1]
    found = price_levels(shop(prices, groups), 20, "log-logistic")
    # A factor is a shift of the logarithm: dearer by the same factor throughout changes no level.
    assert found.tolist() == price_levels(shop(7.5 * prices, groups), 20, "log-logistic").tolist()
    log = np.log(prices[:4])
    z = (log - log.mean()) / (log.std() * np.sqrt(3) / np.pi)
    assert found[:4].tolist() == (1 + np.floor(20 / (1 + np.exp(-z))).astype(int)).tolist()
    assert found.tolist() != price_levels(shop(prices, groups), 20, "logistic").tolist()
