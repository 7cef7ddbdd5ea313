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
#: The same on every page: looked at on a few.
FRAME = [".bd-sidebar-primary", ".bd-header-article"]
RUN = """
(async () => {
  const options = {runOnly: %s, rules: %s, resultTypes: ['violations'], preload: false, iframes: false};
  const found = await axe.run({exclude: %s.filter((part) => document.querySelector(part))}, options);
  return found.violations.flatMap((rule) => rule.nodes.map((node) =>
    [rule.id, node.target.join(' '), node.html.replace(/\\s+/g, ' ').slice(0, 160)]));
})()
"""


@cache
def source() -> str:
    """Returns axe-core."""
    return SCRIPT.read_text(encoding="utf-8")


def violations(page: Page, width: int, scheme: str, *, whole: bool) -> list[list[str]]:
    """Returns rule, selector and snippet of every node of an open page that breaks a rule.

    All rules hold in the light, those of colours in the dark. Colours take most of the time and no style sheet changes
    them by the width, so a narrow window is looked at for the other rules only, unless the page is a `whole` one.
    """
    narrow = width < 1000 and not whole
    if narrow and scheme == "dark":
        return []
    if page.evaluate("typeof axe") == "undefined":
        # Evaluated, not linked: the page asks for nothing that is not its own.
        page.evaluate(f"{source()};undefined")
    only = {"type": "tag", "values": TAGS} if scheme == "light" else {"type": "rule", "values": COLOURS}
    without = {rule: {"enabled": False} for rule in COLOURS} if narrow else {}
    return page.evaluate(RUN % (json.dumps(only), json.dumps(without), [] if whole else FRAME))
