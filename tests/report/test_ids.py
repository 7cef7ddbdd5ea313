"""Pages of IDSF: what they print is what the records of a small study hold."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from disentrec.data.schema import read_dataset
from disentrec.encode.pseudo import missing_rows
from disentrec.paths import NOTEBOOKS
from disentrec.report import figures, tables
from disentrec.report.chapter import Chapter
from disentrec.report.chapters import id_figures, ids, sweeps
from disentrec.study import Study, load_paper
from disentrec.study import datasets as study_datasets
from disentrec.study.analysis import ids as analysis_ids
from disentrec.study.cases import known_cases, lost_modalities
from disentrec.study.papers import Row

SHOP = "bazaar-tiny"
ROWS = {
    "semantics": ("lightgcn", "idsf"),
    "sweeps": ("idsf", "no-contrast", "contrast-3", "no-gamma", "gamma-1"),
    "missing": ("idsf", "idsf-text60", "idsf-text90", "idsf-both90", "vbpr", "vbpr-both90", "lightgcn"),
}


@pytest.fixture(scope="module")
def chapter(tmp_path_factory):
    """Some rows of three artefacts on the tiny shop, one epoch each; artefact -> its page."""
    datasets = study_datasets

    root = tmp_path_factory.mktemp("ids")
    patch = pytest.MonkeyPatch()
    patch.setattr(datasets.dataset_folder, "__defaults__", (root / "data",))
    patch.setattr(figures.myst_figure, "__kwdefaults__", {"folder": root / "figures"})
    patch.setattr(analysis_ids, "id_semantics", partial(analysis_ids.id_semantics, pairs=2000, permutations=10))
    paper = load_paper("idsf")
    short = replace(paper.budget("demo"), tuning=1, seeds={"main": 2, "other": 2}, training={"epochs": 1})
    patch.setitem(paper.budgets, "demo", short)
    for name, kept in ROWS.items():
        artefact = paper.artefact(name)
        patch.setitem(paper.artefacts, name, replace(artefact, rows=tuple(map(artefact.row, kept))))
    Study("idsf", "demo", root / "store").run(ROWS, [SHOP])
    yield lambda name: Chapter("idsf", name, budgets=["demo"], datasets=[SHOP], store=root / "store")
    patch.undo()


def cells(text: str, first: str) -> list[str]:
    line = next(line for line in text.splitlines() if line.startswith(f"| {first} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def results(page: Chapter) -> dict:
    return page.studies["demo"].results_by_row(page.artefact.id, SHOP)


def test_correlations_are_means_over_seeds_beside_the_widest_chance(chapter):
    page = chapter("semantics")
    text = ids.semantics_tables(page).data
    tables_of = dict(zip(("lightgcn", "idsf"), text.split("```{table} Rank correlations")[1:], strict=True))
    for row, state, title, name in [
        ("lightgcn", "before", "untrained", "partial_text"),
        ("lightgcn", "after", "trained, propagated", "propagated_partial_text"),
        ("idsf", "after", "trained, those of its image", "image_partial_text"),
    ]:
        values = [record.content["extra"][state][name] for record in results(page)[row].records]
        place = cells(tables_of[row], "similarity by ID and by").index(title)
        shown = cells(tables_of[row], "text, given common buyers")[place]
        assert shown == f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}".replace("-", "−")
    lows = [
        record.content["extra"][state][f"{prefix}partial_text_low"]
        for record in results(page)["idsf"].records
        for state, prefix in [("before", ""), ("after", ""), ("after", "text_"), ("after", "image_")]
    ]
    shown = cells(tables_of["idsf"], "text, given common buyers")[1]
    assert shown.startswith(f"{min(lows):+.3f} to ".replace("-", "−"))
    assert "nearest items shared with two steps on the graph" in text and "image, read off the ID" in text
    assert "common buyers, given text and image" in text


def test_figures_of_ids_are_drawn_from_the_records(chapter):
    page = chapter("semantics")
    text = ids.semantics_figure(page).data + ids.heats(page).data + ids.maps(page).data
    record = results(page)["idsf"].records[0]
    trust = record.content["extra"]["after"]["map_trustworthiness"]
    assert f"IDSF: trust {trust:.2f}" in text
    values = [one.content["extra"]["after"]["spearman_image"] for one in results(page)["lightgcn"].records]
    assert f"LightGCN image {np.mean(values):+.2f}".replace("-", "−") in text.replace("-", "−")
    assert "LightGCN, untrained; LightGCN, trained; IDSF, trained; by text; by image; by common buyers" in text
    n = len(record.arrays["after_map_item"])
    assert f"{n} items of {tables.dataset_title(SHOP)}" in text


def test_a_sweep_joins_the_rows_of_one_setting_and_the_chosen_value(chapter):
    page = chapter("sweeps")
    study, rows = page.studies["demo"], results(page)
    panels = sweeps.sweeps(study, "sweeps", SHOP, "recall@20")
    chosen = study.chosen("idsf", SHOP)
    points, value = panels["weight_contrast"]
    assert list(points) == [0.0, chosen["weight_contrast"], 3.0] and value == chosen["weight_contrast"]
    assert points[0.0] == rows["no-contrast"].metric("recall@20")
    assert points[value] == panels["gamma"][0][chosen["gamma"]] == rows["idsf"].metric("recall@20")
    assert list(panels["gamma"][0]) == [0.0, chosen["gamma"], 1.0]
    text = sweeps.sweep_figures(page).data
    assert f"weight of the contrast, λ: 0: {100 * np.mean(points[0.0]):.2f}; " in text
    assert "when one weight of IDSF changes" in text


def test_what_is_missing_is_read_off_the_features(chapter):
    page = chapter("missing")
    rows = results(page)
    lines = sweeps.missing_lines(page.studies["demo"], "missing", SHOP, "recall@20")
    assert {name: (model, list(values)) for name, (model, values) in lines.items()} == {
        "IDSF without text": ("idsf", [0, 60, 90]),
        "IDSF without text and image": ("idsf", [0, 90]),
        "VBPR without text and image": ("vbpr", [0, 90]),
        "LightGCN (reads neither)": ("lightgcn", [0, 60, 90]),
    }
    assert lines["IDSF without text"][1][60] == rows["idsf-text60"].metric("recall@20")
    assert lines["VBPR without text and image"][1][0] == rows["vbpr"].metric("recall@20")
    whole, least = (np.asarray(rows[name].metric("recall@20")) for name in ("vbpr", "vbpr-both90"))
    kept = 100 * least / whole
    text = sweeps.missing_tables(page).data
    assert cells(text, "VBPR without text and image")[-1] == f"{kept.mean():.1f} ± {kept.std(ddof=1):.1f}"
    assert cells(text, "LightGCN (reads neither)")[-1] == "100.0 ± 0.0"
    assert "on Bazaar (tiny) when items lose" in sweeps.missing_figures(page).data


def test_affected_purchases_are_those_of_items_that_lost_the_modality(chapter):
    page = chapter("missing")
    study, rows = page.studies["demo"], results(page)
    dataset = read_dataset(study_datasets.dataset_folder(SHOP))
    lost = missing_rows(dataset.feature("text"), 0.9) | missing_rows(dataset.feature("image"), 0.9)
    facts = known_cases(study.store, SHOP)
    hit = lost[facts["pair_item"]]
    assert 0 < hit.sum() < len(hit)
    first = cells(sweeps.affected_tables(page).data, "VBPR without text and image")
    expected = []
    for keep in (hit, ~hit):
        for name in ("vbpr", "vbpr-both90"):
            found = [100 * np.mean(record.arrays["test_rank"][keep] <= 20) for record in rows[name].records]
            expected.append(f"{np.mean(found):.2f} ± {np.std(found, ddof=1):.2f}")
    assert first[1:] == [f"{100 * hit.mean():.0f}", *expected]
    facts = lost_modalities(dataset)
    for share in (0.3, 0.6, 0.9):
        assert np.array_equal(facts["text"] <= np.float32(share), missing_rows(dataset.feature("text"), share))


@pytest.mark.parametrize(
    ("notebook", "artefact"), [("id_semantics", "semantics"), ("sweeps", "sweeps"), ("missing_modality", "missing")]
)
def test_every_cell_of_the_notebooks_runs(chapter, notebook, artefact):
    page = chapter(artefact)
    content = json.loads((NOTEBOOKS / f"{notebook}.ipynb").read_text())
    names: dict = {}
    for cell in content["cells"]:
        if cell["cell_type"] != "code":
            continue
        exec("".join(cell["source"]), names)
        if "parameters" in cell["metadata"]["tags"]:
            assert names["artefact"] == artefact and names["title"] == "IDSF"
            names |= {"budgets": ["demo"], "datasets": [SHOP], "store": str(page.store)}
    claims = [claim.id for claim in load_paper("idsf").claims if claim.chapter == f"idsf_{artefact}"]
    assert names["claims"] == claims
    if artefact != "semantics":  # a table of users has no row of an oracle that knows sessions
        assert "Bayes optimum" not in names["page"].tables().data


def test_without_runs_pages_say_so(tmp_path):
    pages = {
        name: Chapter("idsf", name, budgets=["demo"], store=tmp_path) for name in ("semantics", "sweeps", "missing")
    }
    made = [ids.semantics_tables, ids.semantics_figure, ids.heats, ids.maps]
    made = [make(pages["semantics"]) for make in made] + [sweeps.sweep_figures(pages["sweeps"])]
    made += [make(pages["missing"]) for make in (sweeps.missing_figures, sweeps.missing_tables)]
    assert {one.data for one in made} == {"Not yet run."}


def test_heats_show_ranks_and_leave_the_diagonal_empty():
    found = id_figures._percentiles(np.asarray([0.9, -0.2, 0.1]), 3)
    assert np.isnan(np.diag(found)).all() and np.array_equal(found, found.T, equal_nan=True)
    assert found[0, 1] > found[1, 2] > found[0, 2]
    # Equal pairs are equally dark.
    assert np.unique(id_figures._percentiles(np.zeros(6), 4)[np.triu_indices(4, 1)]).tolist() == [50]


def test_five_panels_of_heats_leave_the_sixth_place_empty():
    panels = [(f"panel {number}", np.linspace(0, 1, 6)) for number in range(5)]
    drawing = id_figures.heats_figure(panels, np.asarray([0, 0, 1, 2]), ["a", "b" * 30, "others"])
    axes = drawing.axes[:6]
    assert [axis.get_visible() for axis in axes] == [True] * 5 + [False]
    assert [label.get_text() for label in axes[0].get_yticklabels()] == ["a", "b" * 19 + "…", "others"]
    assert not axes[1].get_yticklabels()


def test_a_sweep_marks_the_chosen_value():
    drawing = id_figures.sweeps_figure({"weight": ({0.0: [0.1, 0.2], 0.5: [0.3, 0.3]}, 0.5)}, "Recall")
    (axis,) = drawing.axes
    assert [text.get_text() for text in axis.texts] == ["chosen"] and axis.texts[0].xy == pytest.approx((1, 30))
    assert [label.get_text() for label in axis.get_xticklabels()] == ["0", "0.5"]


def test_lines_of_one_model_are_told_apart():
    names = {f"line {number}": ("idsf" if number < 3 else "vbpr", [1.0, 2.0 + number]) for number in range(4)}
    drawing = figures.lines_figure(["a", "b"], names, "x", "y", from_zero=False)
    drawn = drawing.axes[0].lines
    assert len({line.get_linestyle() + str(line._unscaled_dash_pattern) for line in drawn[:3]}) == 3
    assert drawn[3].get_linestyle() == "-" and drawing.axes[0].get_ylim()[0] > 0


def test_correlations_of_two_models_share_a_name():
    rows = [Row(id=name, label=label, model=name) for name, label in (("lightgcn", "LightGCN"), ("idsf", "IDSF"))]
    line = ([0.0], [0.2, 0.4], (-0.1, 0.1))
    drawing = id_figures.correlations_figure({"plain": [("text", rows[0], *line), ("", rows[1], *line)]})
    (axis,) = drawing.axes
    assert [label.get_text() for label in axis.get_yticklabels()] == ["text"]
    assert [text.get_text() for text in drawing.legends[0].get_texts()] == [
        "LightGCN",
        "IDSF",
        "untrained",
        "by chance",
    ]
    # Zero, then of each model: chance, untrained, the span of the seeds, their mean.
    assert axis.lines[4].get_xdata()[0] == pytest.approx(0.3) and axis.lines[7].get_xdata() == pytest.approx([0.2, 0.4])
