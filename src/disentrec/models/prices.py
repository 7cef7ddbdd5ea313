"""Prices as levels: what a model that embeds prices reads.

A level says where a price stands among those of its own category, because cheap for a lamp is dear for a sock.
"""

from __future__ import annotations

import numpy as np

from disentrec.errors import unknown_name
from disentrec.models.base import Catalogue

BINNINGS = ("linear", "logistic", "log-logistic")


def price_levels(catalogue: Catalogue, levels: int = 100, binning: str = "logistic") -> np.ndarray:
    """Returns the price level of every item, (n_items,) int64: 1 to `levels`, 0 where the price is not known.

    linear: the place between the category's lowest and highest price, as released by MMSBR (M15). logistic: the
    logistic distribution function with the category's mean and standard deviation, which the released notebook
    defines and its folders are named after; log-logistic: the same of the price's logarithm, a log-normal price being a
    Gaussian there. A category of one price is in the middle. Levels that the source brings
    are only brought to `levels` of them.
    """
    if binning not in BINNINGS:
        raise unknown_name("price_binning", binning, BINNINGS)
    if catalogue.price_levels is not None:
        ready = catalogue.price_levels
        return np.where(ready > 0, 1 + (ready - 1) * levels // max(ready.max(), 1), 0)
    if catalogue.prices is None:
        return np.zeros(catalogue.n_items, dtype=np.int64)
    prices = catalogue.prices
    known = np.isfinite(prices) & (prices > 0)
    groups = np.zeros(catalogue.n_items, dtype=np.int64) if catalogue.categories is None else catalogue.categories
    group, n_groups = groups[known], int(groups.max(initial=0)) + 1
    values = np.log(prices[known]) if binning == "log-logistic" else prices[known]
    share = _linear(values, group, n_groups) if binning == "linear" else _logistic(values, group, n_groups)
    found = np.zeros(catalogue.n_items, dtype=np.int64)
    found[known] = 1 + np.minimum((share * levels).astype(np.int64), levels - 1)
    return found


def _linear(values: np.ndarray, group: np.ndarray, n_groups: int) -> np.ndarray:
    low, high = np.full(n_groups, np.inf), np.full(n_groups, -np.inf)
    np.minimum.at(low, group, values)
    np.maximum.at(high, group, values)
    width = (high - low)[group]
    return np.where(width > 0, (values - low[group]) / np.where(width > 0, width, 1), 0.5)


def _logistic(values: np.ndarray, group: np.ndarray, n_groups: int) -> np.ndarray:
    count = np.maximum(np.bincount(group, minlength=n_groups), 1)
    mean = np.bincount(group, values, minlength=n_groups) / count
    variance = np.bincount(group, (values - mean[group]) ** 2, minlength=n_groups) / count
    scale = np.sqrt(3 * variance)[group] / np.pi  # a logistic distribution's own, from its standard deviation
    z = np.where(scale > 1e-12, (values - mean[group]) / np.where(scale > 1e-12, scale, 1), 0)
    return 1 / (1 + np.exp(-np.clip(z, -40, 40)))
