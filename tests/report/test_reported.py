"""The reported figures: one file, checked when read; a row that is added finds our number by itself."""

from __future__ import annotations

import re
import shutil

import numpy as np
import pytest

from disentrec import models
from disentrec.errors import DisentrecError
from disentrec.paths import PAPERS, RESULTS
from disentrec.report.chapter import Chapter
from disentrec.report.chapters.calibration import published_table
from disentrec.report.reported import ACCURACY, Beside, group_of, ranking_metrics, relative_gain
from disentrec.report.tables import percent
from disentrec.study import Study, load_paper, paper_names
from disentrec.study.reported import reported
from disentrec.study.sources import sources
from disentrec.training import Training

FILE = PAPERS / "reported.csv"
published = pytest.mark.skipif(not (RESULTS / "datasets" / "amazon-baby.json").exists(), reason="no records published")


def added(tmp_path, *lines):
    copy = tmp_path / "reported.csv"
    shutil.copy(FILE, copy)
    with copy.open("a") as file:
        file.writelines(f"{line}\n" for line in lines)
    return copy


def value(paper, dataset, metric, artefact="dataset statistics"):
    found = {
        entry.value
        for entry in reported()
        if (entry.paper, entry.dataset, entry.metric) == (paper, dataset, metric)
        and re.fullmatch(rf"{artefact}( \(.*)?", entry.artefact)
    }
    (number,) = found  # two places that print it agree
    return number


def test_what_the_file_says_twice_agrees_and_its_sums_are_right():
    for paper, dataset in (("DIMO", "Sports"), ("MMSBR", "Cellphones")):
        sessions, interactions = (value(paper, dataset, f"#{name}") for name in ("sessions", "interactions"))
        for name, total in (("sessions", sessions), ("interactions", interactions)):
            assert total == value(paper, dataset, f"#train {name}") + value(paper, dataset, f"#test {name}")
        assert value(paper, dataset, "average session length") == pytest.approx(interactions / sessions, abs=1e-12)
    flagged = [value("DIMO", "Sports", f"#train sessions flagged {kind}") for kind in
               ("ID/co-occurrence", "modality/non-co-occurrence")]  # fmt: skip
    assert sum(flagged) == value("DIMO", "Sports", "#train sessions")
    users, items, pairs = (value("IDSF", "Clothing", f"#{name}") for name in ("users", "items", "interactions"))
    assert value("IDSF", "Clothing", "density") == pytest.approx(pairs / users / items, abs=5e-9)
    assert value("MMSBR", "Sports", "#items") == value("MMSBR", "Sports", "#items (length of price_list)")


def test_every_figure_has_a_source_and_none_names_a_machine():
    for entry in reported():
        assert len(entry.source) > 10
        assert not re.search(r"(^|\s)/\w|\d{3}_[0-9a-f]{8}", entry.source), entry.source


def test_what_stands_beside_a_figure_exists_and_answers_one():
    papers = {name: load_paper(name) for name in paper_names()}
    papers = {name: paper for name, paper in papers.items() if paper.repository}  # the four, not our own questions
    assert len(papers) == 4
    for name, paper in papers.items():
        own = [entry for entry in reported() if entry.paper == paper.label(name)]
        config = vars(models.configure(name, {}))
        for metric, setting in paper.beside["settings"].items():
            assert metric in {entry.metric.partition(" (")[0] for entry in own}, metric
            group, _, key = setting.partition(" x ")[0].rpartition(".")
            assert key in (vars(Training()) if group else config), setting
        for theirs, ours in paper.beside["datasets"].items():
            assert ours in sources()
            assert theirs in {entry.dataset for entry in own} or name == "idsf"
        rows = {row.id for artefact in paper.artefacts.values() for row in artefact.rows}
        assert set(paper.beside.get("rows", {}).values()) <= rows


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("DIMO,main,Grocery,DIMO,MRR@20,twelve,%,Table 2 of the paper", "no number"),
        ("DIMO,main,Grocery,DIMO,MRR@20,12,%,", "without a source"),
        ("DINO,main,Grocery,DIMO,MRR@20,12,%,Table 2 of the paper", "DINO"),
        ("DIMO,main,Grocery,DIMO,MRR@20,12,%,Table 2, of the paper", "more cells"),
    ],
)
def test_a_row_that_cannot_be_read_is_refused_with_its_place(tmp_path, line, message):
    copy = added(tmp_path, line)
    with pytest.raises(DisentrecError, match=message) as caught:
        reported(copy)
    assert f"row {len(reported()) + 2}" in str(caught.value)


@published
def test_an_added_row_stands_in_the_table_beside_our_number(tmp_path):
    copy = added(
        tmp_path,
        "DIMO,main,Grocery,DIMO,MRR@20,12.3,%,Table 2 of the paper",
        "DIMO,main,Cellphones,DIMO,MRR@20,4.5,%,Table 2 of the paper",
        "DIMO,main,Sports,DIMO,MRR@20,6.7,%,Table 2 of the paper",
        "IDSF,main,bazaar-demo,LightGCN,Recall@20,0.5,fraction,made up for this test",
    )
    page = Beside(csv=copy)
    lines = page.tables(ACCURACY).data.splitlines()
    results = Study("dimo", "real").results_by_row("main", "sessions-grocery")
    ours = np.mean(results["dimo"].metric("mrr@20"))
    (line,) = (line for line in lines if "12.3" in line)
    assert f"| {percent(ours)} ± " in line
    assert "(Grocery sessions)" in line
    assert f"{100 * (100 * ours / 12.3 - 1):+.1f} %".replace("-", "−") in line
    (line,) = (line for line in lines if "| 4.5 %" in line)
    assert "| not available |" in line
    (line,) = (line for line in lines if "| 6.7 %" in line)
    assert "Sports sessions: not yet run" in line
    (line,) = (line for line in lines if "| 0.5 fraction" in line)
    users = Study("idsf", "demo").results_by_row("main", "bazaar-demo")
    assert f"| {np.mean(users['lightgcn'].metric('recall@20')):.4f} ± " in line
    assert page.source_list().data.endswith("made up for this test")


@published
def test_every_figure_stands_in_one_table_of_the_page():
    page = Beside()
    groups = [group_of(entry) for entry in page.entries]
    for group in dict.fromkeys(groups):
        lines = [line for line in page.tables(group).data.splitlines() if line.startswith("| ")]
        assert len(lines) == groups.count(group) + 2
    assert set(groups) == {"Headlines", "Data", "Settings", ACCURACY}


@published
def test_statistics_and_settings_stand_beside_ours():
    page = Beside()
    answers = {(e.paper, e.dataset, e.metric): a for e, a in page.rows}
    items = answers["DIMO", "Grocery", "#items"]
    assert items.ours == "7,877 (Grocery sessions)"
    assert items.change == pytest.approx(7877 / 7286 - 1)
    assert answers["DIMO", "all", "co_layer (co-occurrence graph layers)"].ours == "4 (`steps`)"
    assert (
        answers["IDSF", "Baby", "gamma (self-connection ID ratio)"].ours == "0.1 or 0.3 or 1 (`gamma`, by validation)"
    )


@published
def test_the_published_table_of_mmrec_reads_the_same_file():
    text = published_table(Chapter("addrl", "calibration", budgets=("real",))).data
    lines = [line for line in text.splitlines() if line.startswith(("| BPR |", "| LightGCN |"))]
    assert len(lines) == 4
    assert "| LightGCN | Recall@20 | 7.54 |" in text


def test_printed_metrics_and_gains_by_hand():
    assert ranking_metrics("Recall@10/20 and Precision@20") == ["recall@10", "recall@20", "precision@20"]
    assert ranking_metrics("learning rate") == []
    assert relative_gain(0.02, 0.1) == pytest.approx(0.2)
