"""Pages on users: what they print is what the records of a small study hold, and what is of sessions stays there."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from disentrec.report import figures, tables
from disentrec.report.chapter import Chapter
from disentrec.report.chapters import calibration, users
from disentrec.report.chapters.chunk_figures import two_digits
from disentrec.report.evidence import gather
from disentrec.study import Study, load_paper
from disentrec.study.cases import known_cases

TINY = "bazaar-tiny"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """AD-DRL's chunks on the tiny shop, with and without attribute terms."""
    import disentrec.study.datasets as datasets
    from disentrec.study.analysis import chunks as analysis_users

    root = tmp_path_factory.mktemp("users")
    patch = pytest.MonkeyPatch()
    patch.setattr(datasets.dataset_folder, "__defaults__", (root / "data",))
    patch.setattr(analysis_users, "MAPPED", 40)
    patch.setattr(figures.myst_figure, "__kwdefaults__", {"folder": root / "figures"})
    paper = load_paper("addrl")
    budget = paper.budget("demo")
    short = replace(budget, tuning=1, seeds={"main": 2, "other": 2}, training={"epochs": 1})
    patch.setitem(paper.budgets, "demo", replace(short, settings={"addrl": {"chunk": 8}}))
    Study("addrl", "demo", root / "store").run(["chunks"], [TINY])
    yield Chapter("addrl", "chunks", budgets=["demo"], datasets=[TINY], store=root / "store")
    patch.undo()


def extras(page, row: int, state: str = "after") -> list[dict[str, float]]:
    return [record.content["extra"][state] for record in page.studies["demo"].result("chunks", TINY)[row].records]


def cells(text: str, first: str) -> list[str]:
    line = next(line for line in text.splitlines() if line.startswith(f"| {first} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def mean_sd(values, digits: int) -> str:
    return f"{np.mean(values):.{digits}f} ± {np.std(values, ddof=1):.{digits}f}".replace("-", "−")


def test_scores_are_means_over_seeds_before_and_after(page):
    text = users.measures_table(page).data
    expected = [mean_sd([one["sap"] for one in extras(page, *which)], 2) for which in ((0, "before"), (0,), (1,))]
    assert cells(text, users.MEASURES["sap"])[1:] == expected
    assert cells(text, "")[1:] == ["AD-DRL, untrained", "AD-DRL, trained", "no attribute values, trained"]


def test_a_figure_of_probes_says_its_diagonal_and_a_map_its_trust(page):
    text = users.probes(page).data
    value = np.mean([one["probe_price_price"] for one in extras(page, 0)])
    assert f"trained, own attributes: price {two_digits(value)}, " in text and "no attribute values, own" in text
    trust = extras(page, 0)[0]["map_trustworthiness"]
    assert f"{trust:.2f} trained." in users.maps(page).data


def test_preferences_are_shares_of_scores_and_agreement_with_the_truth(page):
    text = users.preference_tables(page).data
    price = cells(text, "price")
    assert price[1] == mean_sd([100 * one["share_price"] for one in extras(page, 0)], 1)
    assert price[5] == mean_sd([one["preference_price"] for one in extras(page, 0)], 2)
    assert cells(text, "popularity")[5:] == ["–", "–"]  # nobody is born with a taste for it
    assert cells(text, "mean")[5] == mean_sd([one["preference_agreement"] for one in extras(page, 0)], 2)
    record = page.studies["demo"].result("chunks", TINY)[0].records[0]
    value = two_digits(record.content["extra"]["after"]["preference_category"])
    assert f"category {value}" in users.preference_figures(page).data
    assert record.arrays["after_type_share"].shape == (8, 3)


def test_control_is_own_against_others(page):
    text = users.control_tables(page).data
    own, others = ([100 * one[f"control_{what}_brand"] for one in extras(page, 0)] for what in ("target", "collateral"))
    assert cells(text, "brand")[1:3] == [mean_sd(own, 1), mean_sd(others, 1)]
    leads = [mean_sd([100 * one["control_lead"] for one in extras(page, row)], 1) for row in (0, 1)]
    assert cells(text, "target less collateral, mean")[1:] == [leads[0], "", leads[1], ""]
    shift = np.mean([one["turned_brand_brand"] for one in extras(page, 0)])
    assert f"brand {tables.signed(shift, 1)}" in users.control_figures(page).data


def test_every_measured_claim_finds_its_measure(page):
    claims = {claim.id: claim for claim in load_paper("addrl").claims}
    for name, measure in (("ADDRL-4", "sap"), ("ADDRL-5", "preference_agreement"), ("ADDRL-6", "control_lead")):
        test = {"parts": [{**part, "datasets": [TINY]} for part in claims[name].test["parts"]]}
        evidence = gather(replace(claims[name], test=test), page.studies)
        gap = np.mean([one[measure] for one in extras(page, 0)]) - np.mean([one[measure] for one in extras(page, 1)])
        assert len(evidence) == len(test["parts"]) and evidence[0].effect == pytest.approx(gap)


def test_what_is_known_of_sessions_stands_in_no_table_of_users(page):
    study = page.studies["demo"]
    facts = known_cases(study.store, TINY)
    assert "oracle_rank_all" in facts and facts["repeat"].any()
    assert "Bayes" not in page.tables().data and "AD-DRL" in page.tables().data
    assert page.tables("repeat") is page.tables("verbatim") is None
    drawing = figures.accuracy_figure(study.result("chunks", TINY), facts, "recall@20")
    assert not any("Bayes" in text.get_text() for text in drawing.axes[0].texts)


def test_a_page_without_runs_says_so(tmp_path):
    empty = Chapter("addrl", "chunks", budgets=["demo"], store=tmp_path)
    for show in (users.probes, users.maps, users.preference_tables, users.control_figures, users.control_tables):
        assert show(empty).data == "Not yet run."
    baselines = Chapter("addrl", "calibration", budgets=["real"], store=tmp_path)
    line = cells(calibration.published_table(baselines).data, "LightGCN | Recall@20")
    assert line[2:5] == ["7.54", tables.NOT_RUN, ""]


def test_published_figures_stand_beside_ours(page, monkeypatch):
    record = page.studies["demo"].result("chunks", TINY)[0].records[0]
    result = SimpleNamespace(records=(record,))
    fake = SimpleNamespace(results_by_row=lambda artefact, dataset: {"bpr-mmrec": result})
    baselines = Chapter("addrl", "calibration", budgets=["real"], store=page.store)
    monkeypatch.setattr(Chapter, "published", lambda self: [(fake, "amazon-baby")])
    line = cells(calibration.published_table(baselines).data, "BPR | Recall@20")
    scores = record.scores("recall@20")
    assert line[2:4] == ["5.75", f"{100 * scores.mean():.2f}"]
    assert line[4:7] == [
        tables.signed(scores.mean() - 0.0575),
        f"{100 * np.sqrt(2 / len(scores)) * scores.std(ddof=1):.2f}",
        "1",
    ]
