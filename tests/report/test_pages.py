"""The generated parts of prose pages: what they say follows from records, and what is missing is said."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from disentrec.data.protocol import Protocol
from disentrec.report import pages
from disentrec.report.limits import limits_table
from disentrec.report.pages import (
    MARKS,
    badges,
    findings,
    landing_scorecard,
    not_yet_run,
    rerun_table,
    story,
    story_figure,
    write_readme,
)
from disentrec.report.tables import compared_with, plain_table
from disentrec.study import Study
from disentrec.study.papers import load_paper, paper_names
from disentrec.study.spec import RunSpec
from disentrec.study.store import Store
from disentrec.training import Training


def claim(identifier, paper, verdict):
    decided = verdict != "not yet run"
    return {
        "id": identifier,
        "paper": paper,
        "claim": "it helps",
        "verdict": verdict,
        "effect": 0.012 if decided else None,
        "interval": [0.01, 0.014] if decided else None,
        "unit": "mrr@20" if decided else None,
        "datasets": ["bazaar-demo"] if decided else [],
        "chapter": None,
    }


def save(store, seed, mrr, model="pop", status="finished", fingerprint="abc"):
    spec = RunSpec(model, "bazaar-demo", fingerprint, seed=seed)
    metrics = {"test": {"prec@20": 0.5, "mrr@20": mrr}}
    content = {"spec": spec.to_json(), "status": status, "metrics": metrics, "timing": {"total_s": 90.0}}
    store.save(spec, content, {"test_rank": np.ones(2, np.float32)})


def test_verdicts_become_badges():
    table = "| :-- | :-- |\n| DIMO-1 | **not reproduced** |\n"
    assert badges(table) == "| :-- | :-- |\n| DIMO\u20111 | {bdg-danger}`not reproduced` |\n"


def test_words_are_aligned_left_and_numbers_right():
    header, rows = ["model", "reads", "MRR", "seeds"], [["a", "text", "1", "5"]]
    found = [plain_table(header, rows, align).splitlines()[1] for align in ("lr", "llr", "lrl", "l", "llrr")]
    assert found == [
        "| :-- | --: | --: | --: |",
        "| :-- | :-- | --: | --: |",
        "| :-- | --: | :-- | :-- |",
        "| :-- | :-- | :-- | :-- |",
        "| :-- | :-- | --: | --: |",
    ]
    assert plain_table(header, rows).splitlines()[1] == found[0]


def test_a_readme_repeats_the_scorecard_between_its_marks_and_nowhere_else(tmp_path):
    path, entry = tmp_path / "README.md", claim("DIMO-1", "dimo", "partly") | {"chapter": "dimo_main"}
    write_readme(path, [entry])
    assert not path.exists()
    path.write_text("# Title\n")
    write_readme(path, [entry])
    assert path.read_text() == "# Title\n"
    path.write_text("\n".join(["# Title", *MARKS, "The end."]))
    for _ in range(2):
        write_readme(path, [entry])
        before, table, after = re.split("|".join(map(re.escape, MARKS)), path.read_text())
        assert (before, after) == ("# Title\n", "\nThe end.")
        claimed, effect = "[it helps](book/chapters/dimo_main.ipynb)", "+1.20 [+1.00, +1.40] MRR@20 points"
        assert table.strip().splitlines()[2:] == [f"| DIMO\u20111 | {claimed} | **partly** | {effect} |"]


def test_the_landing_page_shows_papers_with_a_verdict_and_counts_the_rest():
    entries = [claim("DIMO-1", "dimo", "partly"), claim("DIMO-2", "dimo", "not yet run")]
    entries += [claim("IDSF-1", "idsf", "not yet run"), claim("MMSBR-1", "mmsbr", "not yet run")]
    text = landing_scorecard(entries)
    assert "{bdg-warning}`partly` | +1.20 [+1.00, +1.40] MRR@20 points | Bazaar |" in text
    assert "| DIMO\u20112 | it helps | {bdg-muted}`not yet run` |" in text
    assert "IDSF" not in text
    assert "2 claims of other papers are stated and [not yet run](/book/not_yet_run.md)." in text


def test_the_findings_count_verdicts_and_tell_refuted_from_unclear():
    better = {**claim("DIMO-1", "dimo", "reproduced"), "claim": "beats baselines"}
    unclear = {**claim("IDSF-1", "idsf", "not reproduced"), "interval": [-0.01, 0.03], "datasets": ["ml1m-small"]}
    worse = {**claim("MMSBR-1", "mmsbr", "not reproduced"), "interval": [-0.03, -0.01]}
    rising = {**claim("DIMO-5", "dimo", "not reproduced"), "interval": [0.001, 0.002], "unit": "cka"}
    text = findings([better, unclear, worse, rising, claim("IDSF-6", "idsf", "not yet run")])
    assert text.startswith("4 of 5 claims are decided: **1 reproduced, 0 partly, 3 not reproduced**.")
    assert "reproduced: beats baselines (DIMO-1)." in text and "beats the baselines: DIMO-1 reproduced." in text
    assert "of these 3 claims" in text and "zero for MMSBR-1, DIMO-5;" in text
    assert "\n3 of the 4 verdicts rest on the embedded shop alone." in text
    assert findings([claim("IDSF-6", "idsf", "not yet run")]) == "No claim was decided yet.\n"


def test_captions_name_the_rows_with_a_reference_of_their_own(tmp_path):
    said = compared_with(Study("mmsbr", "demo", tmp_path), "longer", "bazaar-demo")
    assert said.startswith("*MMSBR as tuned*; *longer, concatenation instead of pivots*, ")
    assert said.endswith("*SASRec, longer* against *longer*")
    assert compared_with(Study("mmsbr", "demo", tmp_path), "fusion", "bazaar-demo") == "*pivot transformer (MMSBR)*"
    many = compared_with(Study("questions-sessions", "demo", tmp_path), "size", "bazaar-demo")
    assert many == "*DIMO*; changed rows of another model against that model unchanged"


def test_without_a_verdict_the_landing_page_says_so():
    assert landing_scorecard([claim("DIMO-1", "dimo", "not yet run")]).startswith("No claim was decided yet.")


def test_an_empty_store_leaves_every_planned_run_with_its_command(tmp_path):
    text = not_yet_run(tmp_path, [claim("DIMO-2", "dimo", "not yet run"), claim("DIMO-1", "dimo", "partly")])
    for name in paper_names():
        paper = load_paper(name)
        for budget, plan in paper.budgets.items():
            datasets = [one.datasets.get(budget, plan.datasets) for one in paper.artefacts.values()]
            assert (f"\ndisentrec study {name} --budget {budget} --jobs 4\n" in text) is any(datasets)
        for artefact in paper.artefacts.values():
            if artefact.datasets.get("demo", ("bazaar-demo",)):
                assert f"| {artefact.title} (`{artefact.id}`) | Bazaar" in text
    assert "| DIMO-2 | it helps | not yet run |" in text
    assert "DIMO-1 " not in text


def test_without_a_complete_main_table_there_is_no_figure(tmp_path):
    assert "appears with the first complete main table" in story(tmp_path, tmp_path)
    assert not list(tmp_path.glob("*.svg"))


def test_the_figure_shows_every_row_on_one_axis_and_the_optimum_where_it_is_known():
    dots = [("POP", 10.0, "#000000"), ("DIMO", 20.0, "#0072B2")]
    drawing = story_figure([("Bazaar", dots, 25.0), ("Grocery", dots, np.nan)], "MRR@20")
    first, second = drawing.axes
    assert first.get_xlim() == second.get_xlim() == pytest.approx((0, 28.0))
    texts = [[text.get_text() for text in axis.texts] for axis in drawing.axes]
    assert texts == [["20.0", "10.0", "Bayes optimum 25.0"], ["20.0", "10.0"]]
    assert [label.get_text() for label in first.get_yticklabels()] == ["DIMO", "POP"]


def test_the_story_is_told_in_words_too(tmp_path, monkeypatch):
    lines = [("Bazaar", [("POP", 10.0, "#000000")], np.nan)]
    monkeypatch.setattr(pages, "story_lines", lambda store, task, metric: lines if task == "session" else [])
    assert ":alt: Dot plot of MRR@20 in percent. Bazaar: POP 10.0\n" in story(tmp_path, tmp_path)
    assert (tmp_path / "story.svg").exists()


def test_runs_made_again_are_compared_one_by_one(tmp_path):
    published, here = Store(tmp_path / "published"), Store(tmp_path / "here")
    for seed, (before, now) in enumerate([(0.2, 0.2), (0.2, 0.1975), (0.2, 0.201)]):
        save(published, seed, before)
        save(here, seed, now)
    save(here, 9, 0.3)  # never published
    row = next(line for line in rerun_table(published, here).splitlines() if line.startswith("| pop"))
    assert row == "| pop | Bazaar | 4 | 1 of 3 | +0.000 | −0.250 | 6.0 |"


def test_runs_on_data_whose_last_digits_differ_are_compared_too(tmp_path):
    published, here = Store(tmp_path / "published"), Store(tmp_path / "here")
    (published.root / "datasets").mkdir(parents=True)
    (published.root / "datasets" / "bazaar-demo.json").write_text(json.dumps({"fingerprint": "abc"}))
    save(published, 1, 0.2)
    save(here, 1, 0.21, fingerprint="abd")
    assert "| pop | Bazaar | 1 | 0 of 1 |" in rerun_table(published, here)


def test_without_a_rerun_the_page_says_how_to_make_one(tmp_path):
    assert "`make book`" in rerun_table(Store(tmp_path / "a"), Store(tmp_path / "b"))


def test_two_diverged_runs_agree(tmp_path):
    published, here = Store(tmp_path / "published"), Store(tmp_path / "here")
    for store in (published, here):
        save(store, 1, 0.2, status="diverged")
    assert "| pop | Bazaar | 1 | 1 of 1 |" in rerun_table(published, here)


def test_models_whose_best_epoch_was_the_last_allowed_are_named(tmp_path):
    store = Store(tmp_path)
    spec = RunSpec("narm", "bazaar-demo", "abc", training=Training(epochs=3))
    assert limits_table(tmp_path) == "No model's best epoch was its last in a quarter of its runs.\n"
    for seed, (best, seen) in enumerate([(2, 3), (2, 3), (0, 2), (1, 3)]):
        content = {"status": "finished", "best_epoch": best, "curves": [{"epoch": epoch} for epoch in range(seen)]}
        one = replace(spec, seed=seed)
        store.save(one, {"spec": one.to_json(), "metrics": {"test": {}}, **content}, {})
        # Where test chooses, training goes on to the end in any case.
        other = replace(one, model="sr-gnn", protocol=Protocol(select_on_test=True))
        store.save(other, {"spec": other.to_json(), "metrics": {"test": {}}, **content}, {})
    text = limits_table(tmp_path)
    assert "| Bazaar | NARM | 3 | 2 of 4 |" in text
    assert "SR-GNN" not in text
