"""Every link of the built book leads somewhere: articles, sidebar, footers, pictures, downloads, places in pages."""

from __future__ import annotations

from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from disentrec.paths import ROOT

HTML = ROOT / "_build" / "html"
PAGES = sorted([*HTML.glob("*.html"), *HTML.glob("book/**/*.html")])
#: Attributes that name another file or place.
ATTRIBUTES = ("href", "src", "action")


class Links(HTMLParser):
    """Reads the links of a page with the landmarks around them, and the names that links may have as their ends."""

    def __init__(self) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.names: list[str] = []
        self.parts: dict[str, int] = {}
        self._part = ""

    def handle_starttag(self, tag, attributes):
        given = {name: value or "" for name, value in attributes}
        for part in ("bd-sidebar-primary", "bd-article", "prev-next-footer", "bd-footer", "bd-sidebar-secondary"):
            if part in given.get("class", "").split():
                self._part = part
        self.names += [given[name] for name in ("id", "name") if given.get(name) and (name == "id" or tag == "a")]
        for value in (given[name] for name in ATTRIBUTES if name in given):
            self.links.add(value)
            self.parts[self._part] = self.parts.get(self._part, 0) + 1


@cache
def read(path: Path) -> Links:
    """Returns what a page links to and what it can be linked at."""
    reader = Links()
    reader.feed(path.read_text(encoding="utf-8"))
    return reader


def broken(page: Path, link: str) -> bool:
    """Returns whether an internal link of a page leads nowhere."""
    address = urlsplit(link)
    if address.scheme or address.netloc:
        return False
    target = (page.parent / unquote(address.path)).resolve() if address.path else page
    if not target.is_file():
        return True
    # "#" alone is the top of a page.
    return bool(address.fragment) and target.suffix == ".html" and unquote(address.fragment) not in read(target).names


@pytest.fixture(scope="module", autouse=True)
def _built():
    if not PAGES:
        pytest.skip("the book is not built here: make book")


def test_every_internal_link_leads_somewhere():
    found = [(page.name, link) for page in PAGES for link in sorted(read(page).links) if broken(page, link)]
    assert found == []


def test_links_are_read_in_every_part_of_a_page():
    parts = read(HTML / "book" / "chapters" / "dimo_main.html").parts
    assert {"bd-sidebar-primary", "bd-article", "prev-next-footer", "bd-sidebar-secondary"} <= set(parts)
    page = HTML / "book" / "intro.html"
    assert not broken(page, "intro.html#") and not broken(page, "https://example.org/none")
    assert broken(page, "nowhere.html") and broken(page, "#nowhere") and broken(page, "chapters/")


def test_no_name_stands_twice_in_a_page():
    twice = [(page.name, name) for page in PAGES for name in set(read(page).names) if read(page).names.count(name) > 1]
    assert twice == []


def test_the_results_are_a_download_and_explore_has_its_scripts():
    archives = [link for link in read(HTML / "book" / "results.html").links if link.endswith(".zip")]
    assert len(archives) == 1 and not broken(HTML / "book" / "results.html", archives[0])
    needed = {"../_static/explore/explore.css", "../_static/explore/data.js", "../_static/explore/explore.js"}
    assert needed <= read(HTML / "book" / "explore.html").links
