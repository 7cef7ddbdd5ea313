"""axe-core in a page of the browser: which rules of accessibility it breaks, and where."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from .chromium import Page

SCRIPT = Path(__file__).parent / "vendor" / "axe.min.js"
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]
#: What a colour scheme can change; all other rules see the same page in the dark.
COLOURS = ["color-contrast", "link-in-text-block"]
#: What a narrow window adds to the page. All else has the colours it has in a wide one, where nothing is scrolled away.
NARROW = [".bd-header-article", ".bd-sidebar-primary", ".explore", "footer"]
RUN = """
(async () => {
  const options = {runOnly: %s, rules: %s, resultTypes: ['violations'], preload: false, iframes: false};
  const parts = %s.filter((part) => document.querySelector(part));
  const found = await axe.run(parts.length ? {include: parts} : document, options);
  return found.violations.flatMap((rule) => rule.nodes.map((node) =>
    [rule.id, node.target.join(' '), node.html.replace(/\\s+/g, ' ').slice(0, 160)]));
})()
"""


@cache
def source() -> str:
    """Returns axe-core."""
    return SCRIPT.read_text(encoding="utf-8")


def violations(page: Page, width: int, scheme: str) -> list[list[str]]:
    """Returns rule, selector and snippet of every node of an open page that breaks a rule.

    All rules hold in the light, those of colours in the dark. Colours take most of the time, and the style sheets
    change none by the width: in a narrow window only what is laid out anew there is looked at again.
    """
    if page.evaluate("typeof axe") == "undefined":
        # Evaluated, not linked: the page asks for nothing that is not its own.
        page.evaluate(f"{source()};undefined")
    narrow = width < 1000
    every, colours = {"type": "tag", "values": TAGS}, {"type": "rule", "values": COLOURS}
    found = []
    if scheme == "light":
        without = {rule: {"enabled": False} for rule in COLOURS} if narrow else {}
        found += page.evaluate(RUN % (json.dumps(every), json.dumps(without), []))
    if scheme == "dark" or narrow:
        found += page.evaluate(RUN % (json.dumps(colours), "{}", NARROW if narrow else []))
    return found
