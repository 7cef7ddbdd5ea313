"""The price list: addresses, verdicts in words, prices of known effects, and the steps of a waterfall."""

from __future__ import annotations

import re
from dataclasses import replace
from urllib.parse import urlsplit

import numpy as np
import pytest

from disentrec.evaluation.metrics import per_user
from disentrec.evaluation.significance import PairedTest
from disentrec.report import prices as module
from disentrec.report.across.price_list import PriceList, price_figure
from disentrec.report.across.waterfall import DOWN, NONE, UP, colour, waterfall_figure, waterfalls
from disentrec.report.chapter import Chapter
from disentrec.report.prices import Price, Step, order, prices, steps, unpriced
from disentrec.study import Study, load_paper, paper_names
from disentrec.study.papers import Deviation
from disentrec.study.store import Store

DEVIATIONS = [(paper, d) for paper in map(load_paper, paper_names()) for d in paper.deviations]


@pytest.mark.parametrize("paper, deviation", DEVIATIONS, ids=[d.id for _, d in DEVIATIONS])
def test_every_deviation_has_an_address_and_a_number_or_a_reason(paper, deviation):
    url = urlsplit(paper.url(deviation))
    assert url.scheme == "https" and url.netloc == "github.com" and not url.query
    assert re.fullmatch(r"/[\w-]+/[\w.-]+/blob/[0-9a-f]{40}/[\w./-]+\.(py|ipynb|md)", url.path)
    assert re.fullmatch(r"(L[1-9]\d*)?", url.fragment)
    assert (url.fragment != "") == str(deviation.lines)[0].isdigit()
    assert deviation.verified and (deviation.switch or deviation.note)


@pytest.mark.parametrize("name", ["dimo", "mmsbr", "addrl", "idsf"])
def test_the_audit_page_links_every_deviation_to_its_file(name, tmp_path):
    paper, text = load_paper(name), Chapter(name, "audit", budgets=["demo"], store=tmp_path).deviations().data
    assert all(f"]({paper.url(deviation)}), {deviation.lines} |" in text for deviation in paper.deviations)


def test_ids_are_distinct_and_in_order():
    for paper in (paper for paper in map(load_paper, paper_names()) if paper.deviations):
        numbers = [int(deviation.id[1:]) for deviation in paper.deviations]
        assert numbers == sorted(set(numbers))


def test_every_switch_is_a_row_of_the_audit_in_the_same_group_or_measured_elsewhere():
    for paper in (paper for paper in map(load_paper, paper_names()) if paper.deviations):
        groups = {row.id: row.group for row in paper.artefact("audit").rows if row.group}
        switched = {d.switch: d.group for d in paper.deviations if d.switch and not d.measured}
        assert switched == groups
        for deviation in paper.deviations:
            if "artefact" in deviation.measured:
                artefact = paper.artefact(deviation.measured["artefact"])
                assert artefact.row(deviation.measured["row"]) != artefact.row(deviation.measured["against"])


def test_notes_stand_where_there_is_no_switch():
    assert {d.id for d in unpriced(load_paper("mmsbr"))} >= {"M11", "M12", "M14"}
    assert not {"M1", "M17"} & {d.id for d in unpriced(load_paper("mmsbr"))}


def price(
    effect=0.02,
    p=0.001,
    group="model",
    sees_test=False,
    low=None,
    high=None,
    base=0.1,
    name="X1",
    dataset="bazaar-demo",
):
    deviation = Deviation(name, "a", "a.py", "1", "s", group, "read", sees_test=sees_test)
    test = PairedTest(effect, effect - 0.01 if low is None else low, effect + 0.01 if high is None else high, p, 5, 100)
    return Price(load_paper("dimo"), deviation, dataset, "mrr@20", test, p, base)


@pytest.mark.parametrize(
    "found, verdict",
    [
        (price(), "raises the number"),
        (price(-0.02), "hurts the method"),
        (price(group="evaluation"), "inflates the reported number"),
        (price(group="data", sees_test=True), "inflates the reported number"),
        (price(group="data"), "raises the number"),
        (price(-0.02, group="evaluation"), "lowers the reported number"),
        (price(low=-0.001), "no clear change"),
        (price(p=0.06), "no clear change"),
        (replace(price(), test=None), "not yet run"),
        (replace(price(), deviation=None), "inflates the reported number"),
    ],
)
def test_verdicts_in_words(found, verdict):
    assert found.verdict == verdict


def test_the_clear_and_large_come_first_and_what_was_not_run_last():
    small, large = price(0.02, name="X2"), price(-0.05, name="X3")
    unclear, waiting = price(0.09, p=0.5, name="X4"), replace(price(name="X5"), test=None)
    assert [d.id for d, _ in order([waiting, unclear, small, large])] == ["X3", "X2", "X4", "X5"]


def test_relative_change():
    assert price(0.02, base=0.1).relative == pytest.approx(0.2) and np.isnan(replace(price(), test=None).relative)


class Recorded:
    """A study of AD-DRL whose runs are made up: every row has its own ranks of the same pairs."""

    def __init__(self, tmp_path, monkeypatch, shift):
        self.study = Study("addrl", "demo", tmp_path)
        self.counts = np.asarray([1, 3] * 30)
        made = {}

        def result(artefact, dataset):
            rows = self.study.paper.artefact(artefact).rows
            return [made.setdefault(row.id, self.row(row, shift.get(row.id, 0))) for row in rows]

        monkeypatch.setattr(self.study, "result", result)
        monkeypatch.setattr(module, "known_dataset", lambda store, name: {"features": {}})
        for place in ("disentrec.report.compare.known_cases",):
            monkeypatch.setattr(place, lambda store, name: {})

    def row(self, row, shift):
        from disentrec.study import RowResult, RunRecord

        records = []
        for seed in range(5):
            ranks = np.random.default_rng(7).integers(1, 30, self.counts.sum()).astype(float)
            arrays = {"test_rank": np.maximum(ranks + shift, 1), "test_count": self.counts}
            content = {
                "status": "finished",
                "spec": {"protocol": {"overlap_last_batch": False}, "training": {"batch_size": 8}},
                "metrics": {
                    "test": {
                        m: per_user(arrays["test_rank"], self.counts, m).mean() for m in ("ndcg@20", "released-ndcg@20")
                    }
                },
            }
            record = RunRecord(self.study.store.root / f"{row.id}-{seed}.json", content)
            record.__dict__["arrays"] = arrays
            records.append(record)
        return RowResult(row, tuple(records), 0)


@pytest.fixture()
def recorded(tmp_path, monkeypatch):
    return Recorded(tmp_path, monkeypatch, {"user_attention": 9, "model": 9, "training": 9, "released": -4})


def test_a_price_is_the_difference_to_the_row_without_the_switch(recorded):
    found = {p.deviation and p.deviation.id: p for p in prices(recorded.study, "bazaar-demo")}
    assert set(found) == {"A1", "A2", "A3", "A4", "A7", "A8", "A9", "A10", "A16", None}
    assert found["A3"].test.effect < 0 and found["A3"].verdict == "hurts the method"
    assert found["A4"].test.effect == 0 and found["A4"].verdict == "no clear change"
    assert found[None].verdict == "inflates the reported number"


def test_the_released_ndcg_is_priced_on_the_runs_as_described(recorded):
    (found,) = [p for p in prices(recorded.study, "bazaar-demo") if p.deviation and p.deviation.id == "A2"]
    ranks = recorded.study.result("audit", "bazaar-demo")[0].records[0].arrays["test_rank"]
    usual, theirs = (per_user(ranks, recorded.counts, m).mean() for m in ("ndcg@20", "released-ndcg@20"))
    assert found.test.effect == pytest.approx(theirs - usual) and found.base == pytest.approx(usual)
    assert found.verdict == "inflates the reported number"


def test_steps_add_up_from_the_paper_to_the_reported_number(recorded):
    found = steps(recorded.study, "bazaar-demo")
    assert [step.label.split(" (")[0] for step in found] == [
        "as described", "+ model", "+ training", "+ evaluation", "+ their own NDCG",
    ]  # fmt: skip
    changes = np.cumsum([found[0].value, *(step.test.effect for step in found[1:])])
    assert changes == pytest.approx([step.value for step in found])
    assert [step.clear for step in found] == [False, True, False, True, True]


def test_steps_wait_for_their_runs(tmp_path):
    store = Store(tmp_path)
    page = Chapter("dimo", "audit", budgets=["demo"], store=store.root)
    assert waterfalls(page).data.endswith("`disentrec study dimo/waterfall --budget demo --datasets bazaar-demo`")


def test_figures_draw_what_they_are_given():
    test = PairedTest(0.02, 0.01, 0.03, 0.001, 5, 100)
    drawing = waterfall_figure([Step("as described", 0.1, None, False), Step("+ data", 0.12, test, True)], "mrr@20")
    (bar,) = drawing.axes[0].patches
    assert (bar.get_x(), bar.get_width()) == pytest.approx((10, 2))
    assert [label.get_text() for label in drawing.axes[0].get_yticklabels()] == [
        "as described",
        "+ data",
        "as released",
    ]
    assert (colour(1, True), colour(-1, True), colour(1, False)) == (UP, DOWN, NONE)
    group = [price(), price(-0.03, dataset="ml1m-small")]
    drawing = price_figure([(group[0].deviation, group)])
    assert [line.get_xdata()[0] for line in drawing.axes[0].lines[2::2]] == pytest.approx([20, -30])


def test_a_page_without_runs_says_so_and_lists_every_deviation(tmp_path):
    page = PriceList(store=str(tmp_path))
    assert page.figure().data == "No deviation was measured yet."
    assert page.summary().data.startswith(f"{len(DEVIATIONS)} deviations were found in 4 code bases")
    listed = page.unpriced().data
    assert all(f"[{d.id}](" in listed for _, d in DEVIATIONS if not d.switch)
    assert "disentrec study idsf/waterfall --budget real --datasets amazon-scientific-clip" in page.left().data
