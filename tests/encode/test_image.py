"""Image encoders: pictures whose colours and edges are known, and components that ignore missing rows."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from disentrec.encode import image as encode
from disentrec.encode.image import CELLS, COLOURS, DIM, ORIENTATIONS, colour_hog, pca
from disentrec.encode.scaling import GRID, unit_mean_norm
from disentrec.errors import DisentrecError


def picture(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(out, kind)
    return out.getvalue()


def plain(colour: tuple[int, ...], side: int = 64) -> np.ndarray:
    return np.tile(np.array(colour), (side, side, 1))


def stripes(axis: int) -> np.ndarray:
    bands = (np.arange(64) // 8 % 2) * 255
    grey = np.broadcast_to(bands[:, None] if axis == 0 else bands[None, :], (64, 64))
    return np.repeat(grey[..., None], 3, axis=2)


def test_upper_and_lower_colours_are_told_apart():
    red_over_blue = np.concatenate([plain((255, 0, 0))[:32], plain((0, 0, 255))[:32]])
    out = colour_hog([picture(red_over_blue), picture(red_over_blue[::-1])])
    upper, lower = out[:, :COLOURS], out[:, COLOURS : 2 * COLOURS]
    np.testing.assert_allclose(upper[0].max(), np.sqrt(0.5), atol=1e-6)  # half of the pixels, one colour
    np.testing.assert_array_equal(upper[0], lower[1])
    assert upper[0].argmax() != lower[0].argmax()


def test_edge_directions():
    out = colour_hog([picture(stripes(1)), picture(stripes(0)), picture(plain((9, 9, 9)))])
    edges = out[:, 2 * COLOURS :].reshape(3, CELLS * CELLS, ORIENTATIONS) ** 2
    assert edges[0, :, 0].sum() == pytest.approx(1, abs=1e-5)  # vertical stripes change along x only
    # 90 degrees lies between two of nine bins.
    assert edges[1].sum(0)[[4, 5]].tolist() == pytest.approx([0.5, 0.5], abs=1e-5)
    assert not edges[2].any()


def test_missing_images_sizes_kinds_and_chunks():
    images = [None, picture(plain((0, 255, 0), 20)), picture(plain((0, 255, 0), 96), "JPEG"), None]
    out = colour_hog(images)
    assert out.shape == (4, DIM) and out.dtype == np.float32
    assert not out[[0, 3]].any()
    assert out[1, :COLOURS].argmax() == out[2, :COLOURS].argmax()
    np.testing.assert_array_equal(colour_hog(iter(images), chunk=1), out)
    assert colour_hog([]).shape == (0, DIM)


def test_transparency_is_white_as_on_a_page():
    clear = np.concatenate([plain((200, 0, 0)), np.zeros((64, 64, 1))], axis=2)
    np.testing.assert_array_equal(colour_hog([picture(clear)]), colour_hog([picture(plain((255, 255, 255)))]))


def test_an_unreadable_image_is_named():
    with pytest.raises(DisentrecError, match=r"image of item 3 is not readable.*None for no image"):
        colour_hog([None, picture(plain((1, 2, 3))), None, b"not an image"], chunk=2)


@pytest.mark.parametrize("exact", [1024, 10])
def test_components_are_those_of_the_covered_rows(monkeypatch, exact):
    monkeypatch.setattr(encode, "EXACT", exact)  # the seeded method finds the same
    rng = np.random.default_rng(0)
    features = rng.normal(size=(200, 3)) @ rng.normal(size=(3, 20)) + 5
    features[[4, 7]] = 0
    out = pca(features, 6)
    assert out.shape == (200, 6) and out.dtype == np.float32
    assert not out[[4, 7]].any() and not out[:, 3:].any()  # missing rows, and directions beyond the rank
    covered = np.delete(np.arange(200), [4, 7])
    np.testing.assert_allclose(out[covered].mean(0), 0, atol=1e-4)
    # Three directions hold everything: distances are kept up to the one scale.
    kept = np.linalg.norm(out[covered[1:]] - out[covered[0]], axis=1)
    given = np.linalg.norm(features[covered[1:]] - features[covered[0]], axis=1)
    np.testing.assert_allclose(kept / given, np.mean(kept / given), rtol=2e-3)
    assert np.linalg.norm(out[covered], axis=1).mean() == pytest.approx(1, abs=1e-3)
    variance = out.var(axis=0)
    assert variance[0] > variance[1] > variance[2]


def test_nothing_to_see():
    assert not pca(np.zeros((3, 5)), 2).any()
    assert not pca(np.ones((3, 5)), 2).any()  # all alike: no direction


def test_scaling_keeps_relative_lengths_and_a_common_grid():
    out = unit_mean_norm(np.array([[3.0, 4.0], [0, 0], [0, 15.0]]))
    np.testing.assert_allclose(np.linalg.norm(out, axis=1), [0.5, 0, 1.5], atol=1e-4)
    np.testing.assert_array_equal(out / GRID, np.round(out / GRID))
