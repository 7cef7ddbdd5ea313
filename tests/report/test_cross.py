"""Across the papers: shares of the optimum, what is lost where, and Pareto fronts, by hand and on published records."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from disentrec.errors import DisentrecError
from disentrec.evaluation.metrics import per_case, per_user
from disentrec.paths import RESULTS
from disentrec.report import tables
from disentrec.report.across import achievable, cross, optimum, pareto
from disentrec.report.across.cross_figures import cost_figure, tenths
from disentrec.study import Study, half_run, paper_names

published = pytest.mark.skipif(not (RESULTS / "datasets" / "bazaar-demo.json").exists(), reason="no records published")


def test_a_share_is_exact_where_scores_are_a_mixture_of_floor_and_optimum():
    floor, best = np.array([0.0, 0.5, 0.25, 0.0]), np.array([1.0, 0.5, 1.0, 0.5])
    for part in (0.0, 0.25, 1.0):
        share = achievable.share_of(np.stack([floor + part * (best - floor)] * 2), floor, best, reps=50)
        assert (share.value, share.low, share.high) == pytest.approx((part, part, part), abs=1e-12)


def test_the_interval_of_a_share_covers_seeds_and_cases():
    floor, best = np.zeros(4), np.ones(4)
    seeds = achievable.share_of(np.array([[0.2] * 4, [0.6] * 4]), floor, best)
    assert (seeds.value, seeds.low, seeds.high) == pytest.approx((0.4, 0.2, 0.6))
    cases = achievable.share_of(np.array([[0.0, 0.0, 1.0, 1.0]]), floor, best)
    assert cases.value == 0.5
    assert (cases.low, cases.high) == (0.0, 1.0)  # four cases: all of one kind in one of sixteen draws


def test_shares_are_printed_without_a_minus_zero():
    assert str(achievable.Share(-0.001, -0.044, 0.126)) == "0 [−4, 13]"
    assert tenths(-0.04) == "0.0"
    assert tenths(-1.26) == "−1.3"


def test_contributions_add_up_to_the_metric():
    ranks = np.array([1.0, 4.0, 30.0, 2.5, 20.0])
    assert achievable.contributions(ranks, "mrr@20").sum() == pytest.approx(per_case(ranks, "mrr@20").mean())
    counts = np.array([3, 2])
    parts = achievable.contributions(ranks, "recall@20", counts)
    assert parts.tolist() == pytest.approx([1 / 6, 1 / 6, 0, 1 / 4, 1 / 4])
    assert parts.sum() == pytest.approx(per_user(ranks, counts, "recall@20").mean())


def test_losses_are_told_apart_by_group_and_may_be_negative():
    lost = achievable.losses(np.array([0.1, 0.4, 0.0]), np.array([0.3, 0.2, 0.1]), np.array([0, 2, 0]), 3)
    assert lost.tolist() == pytest.approx([0.3, 0.0, -0.2])


def test_every_frequency_falls_into_the_bucket_of_its_name():
    found = np.digitize([0, 1, 9, 10, 19, 20, 39, 40, 500], achievable.BUCKETS)
    assert [achievable.bucket_names()[number] for number in found] == [
        "never", "1–9", "1–9", "10–19", "10–19", "20–39", "20–39", "40 or more", "40 or more",
    ]  # fmt: skip


def test_the_front_keeps_what_nothing_dominates():
    costs, values = [1, 2, 2, 3, 0, 0], [5, 7, 6, 7, 1, 1]
    assert pareto.front(costs, values) == [True, True, False, False, True, True]


def test_models_belong_to_families_by_what_they_read():
    assert cross.family("dimo", {"features": []}, True) == "the four papers"
    assert cross.family("sknn", {"k": 5}, False) == "nothing trained"
    assert cross.family("cohhn", {"dim": 4, "price_levels": 10}, True) == "reads content"
    assert cross.family("narm", {"dim": 4}, True) == "IDs only"
    assert cross.labels(["a"]) == "a"
    assert cross.labels(["a", "b", "c"]) == "a, b and c"


@dataclass(frozen=True)
class Record:
    content: dict[str, Any]


def test_what_is_not_trained_costs_the_whole_run():
    timing = {"train_s": 3.0, "total_s": 8.0}
    assert pareto.seconds(Record({"timing": timing, "n_parameters": 7})) == 3.0
    assert pareto.seconds(Record({"timing": {"train_s": 0.0, "total_s": 8.0}, "n_parameters": 0})) == 8.0


def test_a_panel_without_parameters_and_one_with_one_row_are_drawn():
    free = [("a", "nothing trained", 0, 3.0, True, True), ("b", "IDs only", 2000, 4.0, True, True)]
    drawing = cost_figure([("parameters", free), ("seconds", [("a", "nothing trained", 0.5, 3.0, True, True)])], "MRR")
    ticks = [label.get_text() for label in drawing.axes[0].get_xticklabels()]
    assert ticks == ["none", "2k", "5k"]


@published
def test_benches_hold_every_complete_clean_row_once():
    (bench,) = cross.benches(RESULTS, "session", ["demo"], ["bazaar-demo"])
    assert {"dimo", "mmsbr", "sknn", "sasrec"} <= set(bench.entries)
    assert "released" not in bench.entries
    assert all(entry.result.complete for entry in bench.entries.values())
    order = [entry.mean("mrr@20") for entry in bench.ordered("mrr@20")]
    assert order == sorted(order, reverse=True)


@published
def test_a_bench_of_few_rows_is_shown_only_when_asked_for():
    shown = {bench.dataset for bench in cross.benches(RESULTS, "session", ["real"])}
    half = {name for paper in ("dimo", "mmsbr") for name in _half_run(Study(paper, "real"))}
    assert shown <= half and "ml1m-small" in shown
    (asked,) = cross.benches(RESULTS, "session", ["real"], ["beauty"])
    assert "mmsbr" in asked.entries and (asked.left or "beauty" in shown)


def _half_run(study):
    main = study.paper.artefact("main")
    return [name for name in study.datasets(main) if half_run(study.result("main", name))]


@published
def test_what_every_row_of_the_shop_loses_adds_up_to_its_distance():
    page = optimum.Distance(datasets=["bazaar-demo"])
    assert {shop.bench.task for shop in page.shops} == {"session", "top-n"}
    for shop in page.shops:
        metric = cross.METRICS[shop.bench.task][0]
        for name in ("dimo", "mmsbr", "addrl", "idsf"):
            if name in shop.bench.entries:
                entry = shop.bench.entries[name]
                lost = shop.lost(entry, shop.buckets(), len(achievable.bucket_names()))
                distance = shop.best(metric).mean() - entry.mean(metric)
                assert lost.sum() == pytest.approx(distance, abs=1e-6)  # ranks are kept in few digits


@published
def test_the_best_row_is_level_with_itself_and_a_far_one_is_not():
    (bench,) = cross.benches(RESULTS, "session", ["demo"], ["bazaar-demo"])
    peers = [entry.id for entry in pareto.level(bench, "mrr@20")]
    assert peers[0] == bench.ordered("mrr@20")[0].id
    assert "pop" not in peers


@published
def test_advice_names_the_best_row_and_every_complete_model_of_a_paper():
    page = pareto.Costs(budgets=["demo"], datasets=["bazaar-demo"])
    text = page.advice().data
    for bench in page.benches:
        (line,) = (line for line in text.splitlines() if bench.title in line)
        metric = cross.METRICS[bench.task][0]
        assert f"is {bench.ordered(metric)[0].label}," in line
        assert all(entry.label in line for key, entry in bench.entries.items() if key in paper_names())


@published
def test_the_four_ideas_stand_beside_the_nearest_row_of_no_paper():
    page = optimum.Distance(datasets=["bazaar-demo"])
    text = page.ideas().data
    for shop in page.shops:
        metric = cross.METRICS[shop.bench.task][0]
        rival = next(e for e in shop.bench.ordered(metric) if e.family != "the four papers")
        for name in set(paper_names()) & set(shop.bench.entries):
            own = shop.bench.entries[name]
            (line,) = (line for line in text.splitlines() if line.startswith(f"| {own.label} ("))
            assert f"| {rival.label}: " in line
            assert tables.signed(own.mean(metric) - rival.mean(metric)) in line


@published
def test_ranks_of_other_choices_are_refused():
    (shop,) = (shop for shop in optimum.Distance(datasets=["bazaar-demo"]).shops if shop.bench.task == "session")
    turned = replace(shop, facts={**shop.facts, "session": shop.facts["session"][::-1]})
    with pytest.raises(DisentrecError, match="was not tested on the choices"):
        turned.lost(shop.bench.entries["sknn"], shop.buckets(), len(achievable.bucket_names()))
