"""Every page of the built book in a real browser: no network, no errors, nothing wider than the window."""

from __future__ import annotations

from pathlib import Path

import pytest

from disentrec.paths import ROOT

from .chromium import Page, find_chromium

HTML = ROOT / "_build" / "html"
PAGES = sorted(path.relative_to(HTML).as_posix() for path in HTML.glob("book/**/*.html"))
WINDOWS = [(width, scheme) for width in (390, 1280) for scheme in ("light", "dark")]
#: What sticks out of the window and is not inside a box that scrolls.
OVERFLOW = """
(() => {
  const boxes = ['auto', 'scroll', 'hidden', 'clip'];
  const scrolls = (node) => node && node !== document.body &&
    (boxes.includes(getComputedStyle(node).overflowX) || scrolls(node.parentElement));
  return [...document.querySelectorAll('.bd-article *')]
    .filter((node) => node.getBoundingClientRect().right > innerWidth + 1 && !scrolls(node.parentElement))
    .map((node) => node.tagName + '.' + node.className).slice(0, 5);
})()
"""
OUTSIDE = """
[...document.querySelectorAll('[src], link[href]')].map((node) => node.src || node.href)
  .filter((address) => /^https?:/.test(address))
"""
UNDESCRIBED = """
[...document.querySelectorAll('.bd-article img')].filter((i) => !i.alt.trim()).map((i) => i.src)
"""
BROKEN = "[...document.images].filter((i) => i.complete && !i.naturalWidth).map((i) => i.src)"
BACKGROUND = "getComputedStyle(document.body).backgroundColor"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A tab of a headless browser."""
    command = find_chromium()
    if command is None:
        pytest.skip("no Chromium on this machine (on Debian: apt install chromium)")
    if not PAGES:
        pytest.skip("the book is not built here: make book")
    tab = Page(command, tmp_path_factory.mktemp("profile"))
    yield tab
    tab.close()


@pytest.mark.parametrize("name", PAGES or ["the book"])
def test_a_page_loads_offline_and_fits_every_window(page, name):
    address = Path(HTML / name).as_uri()
    backgrounds = {}
    for width, scheme in WINDOWS:
        page.resize(width, 900, scheme)
        page.open(address)
        where = (name, width, scheme)
        assert page.errors() == [], where
        assert [url for url in page.requests() if not url.startswith(("file:", "data:"))] == [], where
        assert page.evaluate("document.documentElement.dataset.theme") == scheme, where
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), where
        assert page.evaluate(OVERFLOW) == [], where
        backgrounds[scheme] = page.evaluate(BACKGROUND)
    assert backgrounds["light"] != backgrounds["dark"]
    assert page.evaluate(OUTSIDE) == [], name
    assert page.evaluate(BROKEN) == [], name
    assert page.evaluate(UNDESCRIBED) == [], name


def test_the_search_finds_the_model(page):
    page.resize(1280, 900, "light")
    page.open((HTML / "search.html").as_uri() + "?q=DIMO")
    # The index is a script; results appear one by one.
    found = page.evaluate(
        "new Promise((done) => { let left = 50; const look = () => {"
        " const links = document.querySelectorAll('#search-results li a');"
        " if (links.length || !left--) done(links.length); else setTimeout(look, 100); }; look(); })"
    )
    assert found > 0


def test_every_internal_link_leads_somewhere(page):
    broken = []
    for name in PAGES:
        page.open((HTML / name).as_uri())
        links = page.evaluate("[...document.querySelectorAll('.bd-main a[href]')].map((link) => link.href)")
        for link in {link for link in links if link.startswith("file:")}:
            target, _, anchor = link.removeprefix("file://").partition("#")
            found = Path(target).read_bytes() if Path(target).is_file() else b""
            if not found or (anchor and target.endswith(".html") and f'id="{anchor}"'.encode() not in found):
                broken.append((name, link))
    assert broken == []
