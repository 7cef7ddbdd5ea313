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
RUN = """
(async () => {
  const options = {runOnly: %s, resultTypes: ['violations'], preload: false, iframes: false};
  const found = await axe.run({exclude: %s}, options);
  return found.violations.flatMap((rule) => rule.nodes.map((node) =>
    [rule.id, node.target.join(' '), node.html.replace(/\\s+/g, ' ').slice(0, 160), node.failureSummary]));
})()
"""
#: Parts of the theme that break a rule and cannot be mended here, each with its reason.
EXCLUDED: list[str] = []


@cache
def source() -> str:
    return SCRIPT.read_text(encoding="utf-8")


def violations(page: Page, *, colours: bool = False) -> list[list[str]]:
    """Returns rule, selector, snippet and advice for every node that breaks a rule; with `colours`, of colours only."""
    if page.evaluate("typeof axe") == "undefined":
        page.evaluate(f"{source()};undefined")
    only = {"type": "rule", "values": COLOURS} if colours else {"type": "tag", "values": TAGS}
    return page.evaluate(RUN % (json.dumps(only), json.dumps(EXCLUDED)))
