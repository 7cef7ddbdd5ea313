"""A Sphinx extension: mends what the theme and docutils write that screen readers stumble over.

Pages are mended when they are written, because theme, docutils and MyST-NB each have their own templates. What axe-core
still finds stands in tests/browser.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

#: What is written, and what stands there instead; each once mended is not found again.
MENDS: tuple[tuple[re.Pattern[str], str], ...] = (
    # The corner above the names of rows heads nothing: a cell, not a header without words.
    (re.compile(r'<th class="head(?: ([\w-]+))?"><p></p></th>'), r'<td class="\1"></td>'),
    # The words "Show code cell source" name the switch; a label would hide them.
    (re.compile(r'<summary aria-label="Toggle hidden content">'), "<summary>"),
    (re.compile(r'(class="btn search-button-field [^>]*?) aria-label="Search"'), r"\1"),
    # Three titles inside one button would be read after its label.
    (re.compile(r'(<i class="theme-switch [^>]*?data-mode="\w+") +title="[^"]*"'), r"\1"),
    # The arrow beside a page with pages under it.
    (re.compile(r"(<a class=[^>]*>([^<]*)</a><details[^>]*><summary)>"), r'\1 aria-label="Pages under \2">'),
    # Logo and search stand outside of the sidebar's own navigation.
    (re.compile(r'(<div id="pst-primary-sidebar" class="[^"]*")>'), r'\1 role="region" aria-label="Sidebar">'),
    # A role that ARIA no longer has, and that its list may not hold.
    (re.compile(r' role="doc-biblioentry"'), ' role="listitem"'),
)  # fmt: skip


def setup(app: Any) -> dict[str, Any]:
    """Mends all pages when they are written."""
    app.connect("build-finished", mend_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def mend(page: str) -> str:
    """Returns the HTML of a page with every mend made."""
    for pattern, replacement in MENDS:
        page = pattern.sub(replacement, page)
    return page


def mend_pages(app: Any, failure: Exception | None) -> None:
    """Mends the pages of a finished build; those of an earlier one stay as they are."""
    if failure is not None or app.builder.format != "html":
        return
    for path in sorted(Path(app.outdir).rglob("*.html")):
        page = path.read_text(encoding="utf-8")
        mended = mend(page)
        if mended != page:
            path.write_text(mended, encoding="utf-8")
