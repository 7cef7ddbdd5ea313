"""Tabs of a headless browser, for the tests that open pages of the built book."""

from __future__ import annotations

import pytest

from disentrec.paths import ROOT

from .chromium import Page, find_chromium


@pytest.fixture(scope="module")
def tabs(tmp_path_factory):
    """Returns what gives a tab of a browser that runs: one that has ended fails one test, not all that follow."""
    command = find_chromium()
    if command is None:
        pytest.skip("no Chromium on this machine (on Debian: apt install chromium)")
    if not (ROOT / "_build" / "html" / "index.html").exists():
        pytest.skip("the book is not built here: make book")
    opened = []

    def tab():
        if not opened or opened[-1].ended:
            opened.append(Page(command, tmp_path_factory.mktemp("profile")))
        return opened[-1]

    yield tab
    for each in opened:
        each.close()
