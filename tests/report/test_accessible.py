"""What is mended in written pages: exactly the parts named, once, and nothing else."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from disentrec.report.extensions.accessible import MENDS, mend, mend_pages

WRITTEN = [
    ('<th class="head text-left"><p></p></th>', '<td class="text-left"></td>'),
    ('<summary aria-label="Toggle hidden content">', "<summary>"),
    (
        '<button class="btn search-button-field x" title="Search" aria-label="Search" data-a="b">',
        '<button class="btn search-button-field x" title="Search" data-a="b">',
    ),
    (
        '<i class="theme-switch fa-sun" data-mode="light" title="Light"></i>',
        '<i class="theme-switch fa-sun" data-mode="light"></i>',
    ),
    (
        '<a class="internal" href="a.html">Interface</a><details open="open"><summary><span>',
        '<a class="internal" href="a.html">Interface</a><details open="open">'
        '<summary aria-label="Pages under Interface"><span>',
    ),
    (
        '<div id="pst-primary-sidebar" class="bd-sidebar">',
        '<div id="pst-primary-sidebar" class="bd-sidebar" role="region" aria-label="Sidebar">',
    ),
    ('<div class="citation" id="id1" role="doc-biblioentry">', '<div class="citation" id="id1" role="listitem">'),
]
UNTOUCHED = [
    '<th class="head text-left"><p>seeds</p></th>',
    '<td class="text-left"><p></p></td>',
    '<button class="btn search-button" aria-label="Search">',
    "<details><summary>Read <b>this</b></summary>",
    '<i class="fa-solid" data-mode="light" title="Light"></i>',
]


@pytest.mark.parametrize(("written", "mended"), WRITTEN)
def test_a_mend_changes_its_part_once(written, mended):
    page = f"<p>before</p>{written}<p>after</p>"
    assert mend(page) == f"<p>before</p>{mended}<p>after</p>"
    assert mend(mend(page)) == mend(page)


def test_every_mend_has_an_example():
    assert all(any(pattern.search(written) for written, _ in WRITTEN) for pattern, _ in MENDS)
    assert len(MENDS) == len(WRITTEN)


@pytest.mark.parametrize("page", UNTOUCHED)
def test_nothing_else_changes(page):
    assert mend(page) == page


@pytest.mark.parametrize(
    ("failure", "kind", "number"), [(None, "html", 1), (ValueError(), "html", 0), (None, "tex", 0)]
)
def test_pages_are_mended_after_a_build_of_pages(tmp_path, failure, kind, number):
    written, mended = WRITTEN[0]
    page = tmp_path / "book" / "page.html"
    page.parent.mkdir()
    page.write_text(written, encoding="utf-8")
    mend_pages(SimpleNamespace(builder=SimpleNamespace(format=kind), outdir=tmp_path), failure)
    assert page.read_text(encoding="utf-8") == (mended if number else written)
