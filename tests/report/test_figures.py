"""Figures as files: the same bytes where a layout differs in its last digits, and nothing in them points nowhere."""

from __future__ import annotations

import re

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import font_manager

from disentrec.report.figures import FONT, figure, myst_figure, use_own_font


def drawn(folder, shift=0.0):
    drawing, axes = figure(columns=2)
    for axis in axes:
        axis.plot([0, 1, 2 + shift], [0.3, 0.1, 0.2], "o-", label="one")
        axis.scatter(np.linspace(0, 2, 5), np.linspace(0, 0.3, 5), c=np.arange(5.0))
        axis.set_xlabel("x, percent")
    axes[0].legend()
    myst_figure(drawing, "two", "Two.", "Two panels", folder=folder)
    return (folder / "two.svg").read_text()


def test_the_last_digits_of_a_layout_do_not_change_a_file(tmp_path):
    assert drawn(tmp_path) == drawn(tmp_path, 1e-9)
    assert drawn(tmp_path) != drawn(tmp_path, 1e-2)


def test_every_reference_in_a_figure_has_its_target_and_glyphs_their_size(tmp_path):
    svg = drawn(tmp_path)
    ids = re.findall(r'id="([^"]+)"', svg)
    assert set(re.findall(r'(?:href="|url\()#([^")]+)', svg)) <= set(ids) and len(ids) == len(set(ids))
    assert "scale(0.015625)" in svg


def test_a_font_of_the_system_does_not_take_the_place_of_the_one_that_figures_are_drawn_in(monkeypatch):
    own = font_manager.findfont(FONT)
    assert own.startswith(mpl.get_data_path())
    system = font_manager.FontEntry(fname="/usr/share/fonts/Other.ttf", name=FONT, size="scalable")
    monkeypatch.setattr(font_manager.fontManager, "ttflist", [system])
    use_own_font()
    assert font_manager.findfont(FONT) == own and system not in font_manager.fontManager.ttflist


def test_a_figure_without_a_text_alternative_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no text alternative"):
        myst_figure(figure()[0], "bare", "A caption.", " ", folder=tmp_path)
    assert not list(tmp_path.iterdir())
