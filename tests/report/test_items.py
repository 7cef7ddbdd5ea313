"""Pages on items: what they print is what the records of a small study hold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from disentrec.report import pages
from disentrec.report.chapter import Chapter
from disentrec.report.chapters import items
from disentrec.report.compare import LEAST_CASES, compare_rows
from disentrec.report.evidence import gather
from disentrec.study import Study, load_paper
from disentrec.study.cases import known_cases
from disentrec.study.features import known_features
from disentrec.study.papers import Claim


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """MMSBR's maps on the tiny shop, with and without the contrast."""
    import disentrec.study.datasets as datasets

    root = tmp_path_factory.mktemp("items")
    patch = pytest.MonkeyPatch()
    patch.setattr(datasets.dataset_folder, "__defaults__", (root / "data",))
    patch.setattr(items.figures.myst_figure, "__kwdefaults__", {"folder": root / "figures"})
    short = replace(load_paper("mmsbr").budget("demo"), tuning=1, seeds={"main": 2, "other": 2}, training={"epochs": 1})
    patch.setitem(load_paper("mmsbr").budgets, "demo", short)
    Study("mmsbr", "demo", root / "store").run(["maps"], ["bazaar-tiny"])
    yield Chapter("mmsbr", "maps", budgets=["demo"], datasets=["bazaar-tiny"], store=root / "store")
    patch.undo()


def cells(text: str, first: str) -> list[str]:
    line = next(line for line in text.splitlines() if line.startswith(f"| {first} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_cold_tables_are_means_over_the_cases_of_a_bucket(page):
    study = page.studies["demo"]
    record = study.result("maps", "bazaar-tiny")[0].records
    seen = known_cases(study.store, "bazaar-tiny")["target_frequency"]
    keep = (seen >= 6) & (seen <= 20)
    assert keep.sum() >= LEAST_CASES
    values = [100 * one.scores("prec@20")[keep].mean() for one in record]
    text = items.cold_tables(page).data
    place = cells(text, "target seen in training").index(f"6 to 20 ({keep.sum():,} cases)")
    assert cells(text, "MMSBR")[place] == f"{np.mean(values):.1f} ± {np.std(values, ddof=1):.1f}"


def test_seldom_seen_targets_alone_are_compared(page):
    study = page.studies["demo"]
    seen = known_cases(study.store, "bazaar-tiny")["target_frequency"]
    rows = study.results_by_row("maps", "bazaar-tiny")
    gap = np.subtract(
        *([one.scores("prec@20")[seen <= 20].mean() for one in rows[name].records] for name in ("mmsbr", "control"))
    )
    (found,) = compare_rows(study, "maps", "bazaar-tiny", [("mmsbr", "control")], "prec@20", seen_at_most=20)
    assert found.test.effect == pytest.approx(gap.mean()) and found.test.n_cases == (seen <= 20).sum()
    (none,) = compare_rows(study, "maps", "bazaar-tiny", [("mmsbr", "control")], "prec@20", seen_at_most=-1)
    assert none.test is None  # too few cases are not compared


def test_semantics_of_features_are_printed_and_decide(page):
    study = page.studies["demo"]
    value, low, _, _ = known_features(study.store, "bazaar-tiny")["pseudo_text"]["semantics"]["found"]
    text = items.semantics_table(page).data
    assert f"| {100 * value:.1f} [{100 * low:.1f}, " in text and "drawn from the title" in text
    part = {"kind": "semantics", "artefact": "maps", "features": ["pseudo_text"], "bound": 0.5, "what": "share"}
    part["datasets"] = ["bazaar-tiny"]
    (evidence,) = gather(Claim("X", "x", test={"parts": [part]}), page.studies)
    assert evidence.effect == pytest.approx(value - 0.5) and evidence.holds == (low > 0.5)


def test_maps_and_measures_come_from_the_records(page):
    text = items.maps(page).data
    record = page.studies["demo"].result("maps", "bazaar-tiny")[0].records[0]
    assert f"after training: CKA {record.content['extra']['after']['cka']:.2f}" in text
    assert "similarity of text and image (CKA)" in items.measures_table(page).data


def test_rows_that_a_data_set_cannot_carry_are_left_out(page):
    study = page.studies["demo"]
    rows = {dataset: [row.id for row in study.rows(page.artefact, dataset)] for dataset in ("bazaar-tiny", "beauty")}
    assert rows == {"bazaar-tiny": ["mmsbr", "control"], "beauty": []}


def test_the_landing_figure_joins_the_papers_of_a_task(page, monkeypatch):
    """Baselines of both papers stand beside both papers' rows; a table with a missing run is left out."""
    study = page.studies["demo"]
    results = study.results_by_row("maps", "bazaar-tiny")

    class Row:
        def __init__(self, name, model):
            self.row = type("R", (), {"id": name, "model": model, "label": name})
            self.records, self.complete = results["mmsbr"].records, True

        def metric(self, name):
            return [0.25]

    tables = {
        "dimo": [Row("pop", "pop"), Row("narm", "narm"), Row("dimo", "dimo")],
        "mmsbr": [Row("sasrec", "sasrec"), Row("mmsbr", "mmsbr"), Row("released", "mmsbr")],
    }

    def planned(store):
        for name, rows in tables.items():
            found = Study(name, "demo", store)
            monkeypatch.setattr(found, "result", lambda *_, rows=rows: rows)
            yield found, found.paper.artefact("main"), "bazaar-tiny"

    monkeypatch.setattr(pages, "planned", planned)
    ((title, dots, optimum),) = pages.story_lines(study.store.root)
    assert title == "Bazaar (tiny)" and np.isfinite(optimum)
    assert [label for label, _, _ in dots] == ["pop", "narm", "dimo", "mmsbr", "released"]
    assert len({dots[2][2], dots[3][2]}) == 1 and dots[4][2] != dots[3][2]
