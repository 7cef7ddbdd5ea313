"""Measures of disentanglement on representations whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from disentrec.errors import DisentrecError
from disentrec.evaluation.disentanglement import (
    distance_correlation,
    hsic_test,
    linear_cka,
    neighbourhood_preservation,
    probe,
    probe_score,
    probe_value,
    separability,
    silhouette,
    tsne_map,
)


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


def test_tsne_is_the_same_twice_and_keeps_far_clusters_apart():
    rng = np.random.default_rng(5)
    far = np.concatenate([rng.standard_normal((40, 8)), rng.standard_normal((40, 8)) + 12])
    points, trust = tsne_map(far)
    again, _ = tsne_map(far)
    assert np.array_equal(points, again) and trust > 0.9
    centres = points[:40].mean(0), points[40:].mean(0)
    assert np.linalg.norm(centres[0] - centres[1]) > 3 * points[:40].std()


def test_plain_cka_grows_with_the_dimension_and_the_unbiased_does_not(cloud):
    wide = np.random.default_rng(2).standard_normal((200, 150))
    # For independent Gaussians of d1 and d2 dimensions: sqrt(d1 d2 / ((n + d1) (n + d2))).
    expected = np.sqrt(12 * 150 / (212 * 350))
    assert linear_cka(cloud, wide, unbiased=False) == pytest.approx(expected, abs=0.02)
    assert abs(linear_cka(cloud, wide)) < 0.06
    assert linear_cka(cloud, 2 * cloud + 5, unbiased=False) == pytest.approx(1.0)


@pytest.mark.parametrize("measure", [linear_cka, distance_correlation])
def test_similarities_do_not_depend_on_place_scale_or_precision(cloud, measure):
    other = np.random.default_rng(6).standard_normal((200, 4)) + cloud[:, :4]
    expected = measure(cloud, other)
    assert 0.1 < expected < 0.9
    assert measure(1e-4 * cloud + 7, other) == pytest.approx(expected, rel=1e-6)
    assert measure(cloud.astype(np.float32), other.astype(np.float32)) == pytest.approx(expected, abs=1e-5)
    assert measure(other, cloud) == pytest.approx(expected)


def test_a_constant_representation_is_related_to_nothing(cloud):
    flat = np.full((200, 3), 0.1)
    assert linear_cka(cloud, flat) == linear_cka(cloud, flat, unbiased=False) == 0.0
    assert distance_correlation(cloud, flat) == 0.0
    assert hsic_test(cloud, flat, permutations=20)[1] == 1.0


def test_distance_correlation_sees_any_dependence(cloud):
    x = cloud[:, :1]
    assert distance_correlation(x, -3 * x) == pytest.approx(1.0)
    assert distance_correlation(x, x**2) > 0.1 > 0.02 > abs(distance_correlation(x, cloud[:, 1:]))
    assert abs(linear_cka(x, x**2)) < 0.05


def test_hsic_is_the_same_twice(cloud):
    assert hsic_test(cloud, cloud**2, seed=3) == hsic_test(cloud, cloud**2, seed=3)


def test_hsic_p_is_uniform_without_dependence():
    rng = np.random.default_rng(7)
    found = [hsic_test(*rng.standard_normal((2, 30, 2)), permutations=39)[1] for _ in range(200)]
    assert 0.02 <= np.mean(np.array(found) <= 0.1) <= 0.18


def test_probes_of_numbers_and_held_out_scores(cloud):
    assert probe_value(cloud, cloud @ np.arange(12)) > 0.99
    assert probe_value(cloud, np.random.default_rng(8).standard_normal(200)) < 0.05
    assert probe_value(cloud, np.zeros(200)) == 0.0
    label = cloud[:, 0] > 0
    scores = probe_score(cloud, label)
    assert scores.shape == (200,) and ((scores > 0.5) == label).mean() > 0.85


def test_sets_are_told_apart_only_where_they_differ(cloud):
    other = np.random.default_rng(9).standard_normal((200, 12))
    assert abs(separability(cloud, other) - 0.5) < 0.1
    assert separability(cloud + 3, other) > 0.95
    # Both rows of a case are held out together: one in training would betray its partner.
    wide = np.random.default_rng(11).standard_normal((30, 300))
    assert separability(wide, wide) == 0.5
    assert separability(cloud, other, seed=1) == separability(cloud, other, seed=1)


def test_numbers_beside_a_map(cloud):
    assert neighbourhood_preservation(cloud, cloud[:, ::-1]) == 1.0
    luck = neighbourhood_preservation(cloud, np.random.default_rng(10).standard_normal((200, 2)))
    assert luck == pytest.approx(10 / 199, abs=0.03)
    assert silhouette(cloud, cloud + 50) > 0.9 > 0.02 > abs(silhouette(cloud, cloud[::-1]))


def test_other_cases_and_diverged_runs_are_refused(cloud):
    with pytest.raises(DisentrecError, match="200 and 199 cases"):
        linear_cka(cloud, cloud[1:])
    with pytest.raises(DisentrecError, match="not finite"):
        hsic_test(cloud, np.where(cloud > 2, np.nan, cloud))
    with pytest.raises(DisentrecError, match="12 and 11 dimensions"):
        separability(cloud, cloud[:, 1:])
