"""Measures of disentanglement on representations whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from disentrec.evaluation.disentanglement import dci, hsic_test, linear_cka, probe, tsne_map


@pytest.fixture
def cloud():
    return np.random.default_rng(0).standard_normal((200, 12))


def test_cka_ignores_rotation_and_scale_and_sees_independence(cloud):
    rotation, _ = np.linalg.qr(np.random.default_rng(1).standard_normal((12, 12)))
    assert linear_cka(cloud, 3 * cloud @ rotation) == pytest.approx(1.0)
    assert abs(linear_cka(cloud, np.random.default_rng(2).standard_normal((200, 150)))) < 0.06
    half = np.concatenate([cloud[:, :6], np.random.default_rng(3).standard_normal((200, 6))], 1)
    assert 0.3 < linear_cka(cloud, half) < 0.8


def test_hsic_finds_dependence_that_no_correlation_shows(cloud):
    x = cloud[:, :1]
    assert hsic_test(x, x**2)[1] < 0.01
    assert hsic_test(x, cloud[:, 1:2])[1] > 0.05


def test_probe_reads_what_is_there_and_nothing_else(cloud):
    labels = (cloud[:, 0] > 0).astype(int) + 2 * (cloud[:, 1] > 0)
    assert probe(cloud, labels) > 0.75
    assert probe(cloud, np.random.default_rng(4).integers(4, size=200)) < 0.15
    assert probe(cloud, np.zeros(200)) == 0.0


def test_dci_by_hand():
    assert dci(np.eye(3)) == pytest.approx((1.0, 1.0))
    assert dci(np.ones((3, 3))) == pytest.approx((0.0, 0.0), abs=1e-9)
    # Two codes share a factor, each serves only it: disentangled, not complete.
    disentanglement, completeness = dci(np.array([[1.0, 0.0], [1.0, 0.0]]))
    assert disentanglement == pytest.approx(1.0) and completeness == pytest.approx(0.0)
    assert dci(np.zeros((2, 2))) == (0.0, 0.0)


def test_tsne_is_the_same_twice_and_keeps_far_clusters_apart():
    rng = np.random.default_rng(5)
    far = np.concatenate([rng.standard_normal((40, 8)), rng.standard_normal((40, 8)) + 12])
    points, trust = tsne_map(far)
    again, _ = tsne_map(far)
    assert np.array_equal(points, again) and trust > 0.9
    centres = points[:40].mean(0), points[40:].mean(0)
    assert np.linalg.norm(centres[0] - centres[1]) > 3 * points[:40].std()
