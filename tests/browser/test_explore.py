"""The explore page reacts: a slider changes the ranking, a click the explanation, and both say what Python says."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from disentrec.evaluation.explanations import explain
from disentrec.paths import ROOT

PAGE = ROOT / "_build" / "html" / "book" / "explore.html"
RANKING = "[...document.querySelectorAll('ol.ranking > li')].map((row) => Number(row.dataset.item))"
TEXTS = "[...document.querySelectorAll('#explore-why .text')].map((text) => text.textContent)"
#: What the page shows of every recommendation: its number, both texts, and which of them DIMO's rule picks.
ALL = """
[...document.querySelectorAll('ol.ranking > li')].map((row, place) => {
  document.querySelectorAll('ol.ranking button')[place].click();
  const found = document.querySelectorAll('#explore-why > div');
  return [Number(row.dataset.item), ...[...found].map((one) => one.querySelector('.text').textContent),
    found[0].classList.contains('ruled')];
})
"""


def slide(page, part, value):
    page.evaluate(
        f"(() => {{ const slider = document.getElementById('explore-{part}'); slider.value = {value};"
        " slider.dispatchEvent(new Event('input')); })()"
    )


def press(page, key):
    for kind in ("keyDown", "keyUp"):
        page.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode={"ArrowRight": 39}[key])


@pytest.fixture(scope="module")
def page(tabs):
    """The explore page in a tab, at its start."""
    tab = tabs()
    tab.resize(1280, 900, "light")
    tab.open(PAGE.as_uri())
    return tab


def test_a_slider_changes_the_ranking_and_back(page):
    before, hits = page.evaluate(RANKING), page.evaluate("document.querySelector('.hits').textContent")
    assert len(set(before)) == 10
    page.evaluate("document.querySelectorAll('.presets button')[2].click()")  # modality only
    assert page.evaluate("document.getElementById('explore-modality').value") == "100"
    assert page.evaluate("document.getElementById('explore-id').value") == "0"
    assert page.evaluate(RANKING) != before
    assert page.evaluate("document.querySelector('.hits').textContent") != hits
    own = page.evaluate("EXPLORE.weights")  # where the page starts: the weights the model learned
    for part, weight in zip(("id", "modality", "price"), own, strict=True):
        slide(page, part, round(100 * weight))
    assert page.evaluate(RANKING) == before
    assert page.evaluate("document.querySelectorAll('.presets button')[0].getAttribute('aria-pressed')") == "true"


def test_without_any_weight_there_is_no_ranking(page):
    for part in ("id", "modality", "price"):
        slide(page, part, 0)
    assert page.evaluate(RANKING) == []
    assert "Nothing has weight" in page.evaluate("document.getElementById('explore-verdict').textContent")
    page.evaluate("document.querySelectorAll('.presets button')[0].click()")
    assert len(page.evaluate(RANKING)) == 10


def test_the_ranking_is_that_of_the_weighted_sums(page):
    for weights in ((50, 0, 50), (10, 80, 40)):
        for part, weight in zip(("id", "modality", "price"), weights, strict=True):
            slide(page, part, weight)
        sums = page.evaluate(
            "(() => { const d = EXPLORE, n = Number(document.getElementById('explore-session').value);"
            " const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer;"
            " const start = d.sessions.slice(0, n).reduce((sum, one) => sum + one.size, 0);"
            " return {item: [...new Uint16Array(bytes(d.item))].slice(start, start + d.sessions[n].size),"
            " parts: [...new Int16Array(bytes(d.parts))].slice(3 * start, 3 * (start + d.sessions[n].size)),"
            " step: d.step}; })()"
        )
        values = np.array(sums["parts"]).reshape(-1, 3)
        scores = (values * np.array(sums["step"])) @ np.array(weights)
        order = np.lexsort((sums["item"], -values.sum(1), -scores))[:10]
        assert page.evaluate(RANKING) == [sums["item"][row] for row in order]


def test_a_click_shows_the_explanations_of_that_item(page):
    before = page.evaluate(TEXTS)
    page.evaluate("document.querySelectorAll('ol.ranking button')[4].click()")
    after = page.evaluate(TEXTS)
    title = page.evaluate("document.querySelectorAll('ol.ranking .name')[4].firstChild.textContent")
    assert after != before
    assert after[1].startswith(f"“{title}”")
    assert page.evaluate("document.activeElement.getAttribute('aria-expanded')") == "true"


def test_the_texts_are_those_of_the_templates(page):
    items = json.loads(page.evaluate("JSON.stringify(EXPLORE.items)"))
    table = pd.DataFrame(
        {
            "title": items["title"],
            "brand": [items["brands"][code] for code in items["brand"]],
            "category": ["|".join(items["paths"][code]) for code in items["path"]],
        }
    )
    none, seen = sp.csr_matrix((len(table), len(table))), set()
    for number in (0, 17, 31, 59):
        page.evaluate(
            f"(() => {{ const box = document.getElementById('explore-session'); box.value = {number};"
            " box.dispatchEvent(new Event('change')); })()"
        )
        prefix = page.evaluate(f"EXPLORE.sessions[{number}].items")
        for item, together, resembles, ruled in page.evaluate(ALL):
            assert resembles == explain(prefix, item, none, table).text
            seen.add(ruled)
            if ruled:
                count = 1 if together.endswith("once.") else int(together.split()[-2])
                counts = (sp.csr_matrix(([count], ([other], [item])), none.shape) for other in prefix if other != item)
                assert together in {explain(prefix, item, one, table).text for one in counts}
    assert seen == {True, False}


def test_the_keyboard_moves_sliders_and_sessions(page):
    page.evaluate("document.getElementById('explore-price').focus()")
    before = page.evaluate("document.getElementById('explore-price').value")
    press(page, "ArrowRight")
    assert int(page.evaluate("document.getElementById('explore-price').value")) == int(before) + 1
    last = page.evaluate("document.querySelector('.explore .path').textContent")
    page.evaluate("document.querySelector('[aria-label=\"Next session\"]').click()")
    assert page.evaluate("document.querySelector('.explore .path').textContent") != last


def test_every_control_has_a_name(page):
    unnamed = (
        "[...document.querySelectorAll('#explore :is(button, select, input)')].filter((node) =>"
        " !(node.textContent.trim() || node.getAttribute('aria-label') || (node.labels || []).length)).length"
    )
    assert page.evaluate(unnamed) == 0


def test_without_scripts_the_page_says_so(tabs):
    tab = tabs()
    tab.call("Emulation.setScriptExecutionDisabled", value=True)
    tab.open(PAGE.as_uri())
    tab.call("Emulation.setScriptExecutionDisabled", value=False)
    assert "needs JavaScript" in tab.evaluate("document.getElementById('explore').textContent")
