"""Every page of the built book in a real browser: no network, no errors, nothing too wide, nothing inaccessible."""

from __future__ import annotations

import json

import pytest

from disentrec import models
from disentrec.paths import ROOT
from disentrec.study.papers import load_paper, paper_names

from . import axe

HTML = ROOT / "_build" / "html"
PAGES = sorted(path.relative_to(HTML).as_posix() for path in HTML.glob("book/**/*.html"))
#: Pages of Sphinx, without an article of ours.
OTHERS = ["genindex.html", "py-modindex.html", "search.html"]
SCHEMES = ("light", "dark")
#: One page of each kind, whose frame and narrow colours stand for all.
WHOLE = ["book/chapters/dimo_main.html", "book/explore.html", "book/intro.html", "book/models/dimo.html", *OTHERS]
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
#: Results of the search, which appear one by one.
FOUND = """
new Promise((done) => { let left = 50; const look = () => {
  const links = document.querySelectorAll('#search-results li a');
  if (links.length || !left--) done(links.length); else setTimeout(look, 100); }; look(); })
"""
#: What is seen on paper: hidden parts, colours, and tables and code that their box cuts off.
PAPER = """
(() => {
  const style = (one) => getComputedStyle(document.querySelector(one));
  const tables = [...document.querySelectorAll('table.table')].map((table) => table.parentElement);
  const wide = [...tables, ...document.querySelectorAll('div.highlight pre')]
    .filter((box) => box.scrollWidth > box.clientWidth + 1 && getComputedStyle(box).overflowX !== 'visible');
  const gone = %s.filter((one) => document.querySelector(one) && style(one).display !== 'none');
  return {shown: gone, cut: wide.length, paper: style('body').backgroundColor, words: style('.bd-article p').color,
    link: style('.bd-article p a[href]').color};
})()
"""
NOT_ON_PAPER = [
    ".bd-header", ".bd-header-article", ".bd-sidebar-primary", ".bd-sidebar-secondary", ".bd-footer-content",
    ".prev-next-footer", ".headerlink",
]  # fmt: skip


@pytest.fixture
def page(tabs):
    """A tab of a headless browser."""
    return tabs()


@pytest.mark.parametrize("name", [*PAGES, *OTHERS] if PAGES else ["the book"])
def test_a_page_loads_offline_fits_every_window_and_is_accessible(page, name):
    backgrounds, broken = {}, []
    for width in (1280, 390):
        # The theme looks at the width of the window when a page is loaded, and at the scheme all the time.
        page.resize(width, 900, "light")
        page.open((HTML / name).as_uri())
        for scheme in SCHEMES:
            page.resize(width, 900, scheme)
            where = (name, width, scheme)
            assert page.evaluate("document.documentElement.dataset.theme") == scheme, where
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), where
            assert page.evaluate(OVERFLOW) == [], where
            backgrounds[scheme] = page.evaluate(BACKGROUND)
            found = axe.violations(page, width, scheme, whole=name in WHOLE)
            broken += [f"{name} at {width}, {scheme}: {' | '.join(violation)}" for violation in found]
        assert page.errors() == [], where
        assert [url for url in page.requests() if not url.startswith(("file:", "data:"))] == [], where
    assert broken == [], "\n".join(broken)
    assert backgrounds["light"] != backgrounds["dark"]
    assert page.evaluate(OUTSIDE) == [], name
    assert page.evaluate(BROKEN) == [], name
    assert page.evaluate(UNDESCRIBED) == [], name


def test_axe_finds_what_is_broken(page):
    """In both schemes and at both widths a fault is found: else all pages would pass."""
    page.resize(1280, 900, "light")
    page.open((HTML / "search.html").as_uri())
    page.evaluate(
        "document.querySelector('.bd-header-article').insertAdjacentHTML('beforeend',"
        " '<button id=nameless></button><p style=\"color: #888; background: #777\">faint</p>')"
    )
    for width in (1280, 390):
        for scheme in SCHEMES:
            page.resize(width, 900, scheme)
            found = {violation[0] for violation in axe.violations(page, width, scheme, whole=True)}
            assert found == ({"button-name", "color-contrast"} if scheme == "light" else {"color-contrast"})


@pytest.mark.parametrize("name", ["book/chapters/dimo_main.html", "book/models/mmsbr.html"])
def test_on_paper_there_are_only_words_tables_and_figures_in_black(page, name):
    page.resize(700, 900, "dark")
    page.open((HTML / name).as_uri())
    dark = [{"name": "prefers-color-scheme", "value": "dark"}]
    page.emulate(media="print", features=dark)
    seen = page.evaluate(PAPER % NOT_ON_PAPER)
    page.emulate(media="", features=dark)
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert seen["shown"] == [] and seen["cut"] == 0
    assert (seen["paper"], seen["words"]) == ("rgb(255, 255, 255)", "rgb(0, 0, 0)")
    assert seen["link"] == "rgb(0, 64, 102)"


def test_the_search_page_finds_the_model(page):
    page.resize(1280, 900, "light")
    page.open((HTML / "search.html").as_uri() + "?q=DIMO")
    assert page.evaluate(FOUND) > 0


def test_the_search_knows_every_model(page):
    page.open((HTML / "search.html").as_uri() + "?q=DIMO")
    page.evaluate(FOUND)  # the index is a script, too; here it is loaded
    names = {name: {load_paper(paper).label(name) for paper in paper_names()} for name in models.available()}
    # A paper that has no label for a model says its name.
    labels = {name: sorted(given - {name})[0] if given - {name} else name for name, given in names.items()}
    hits = "Search._performSearch(...Search._parseQuery({})).length"
    assert [name for name, label in labels.items() if not page.evaluate(hits.format(json.dumps(label)))] == []
    assert page.evaluate(hits.format(json.dumps("xylophonology"))) == 0
