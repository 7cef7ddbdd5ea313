"""The page on costs: every number it prints follows from the records it is given."""

from __future__ import annotations

import json

import pytest

from disentrec.paths import ROOT
from disentrec.report.across.costs import PEERS, Measurements
from disentrec.report.across.costs_figures import label, milliseconds, times


def _stage(ms, mflop=None, mbytes=None):
    return {"ms": ms} | ({} if mflop is None else {"mflop": mflop, "mbytes": mbytes, "floor_ms": mbytes / 10})


STAGES = {
    "data": "bazaar-demo", "environment": {"threads": 1, "cpu": "a processor", "torch": "2"}, "shared_machine": True,
    "load_average": 4.0, "batches_timed": 3, "rounds": 3,
    "ceilings": {"product_gflops": 100.0, "matmul_gflops": 90.0, "copy_gbytes_per_s": 10.0},
    "models": {
        "bpr": {
            "task": "top-n", "batch_size": 512, "steps_of_an_epoch": 500,
            "stages": {
                "load": _stage(30.0), "build": _stage(1.0), "batch": _stage(1.0, 0, 0), "loss": _stage(4.0, 200, 20),
                "backward": _stage(4.0, 300, 20), "optimiser": _stage(1.0, 0, 10), "forward": _stage(2.0, 100, 5),
                "evaluation": _stage(20.0, 1000, 50),
            },
            "filled": {
                "batch_size": 2048,
                "stages": {
                    "batch": _stage(1.0, 0, 0), "loss": _stage(20.0, 800, 40), "backward": _stage(20.0, 900, 40),
                    "optimiser": _stage(1.0, 0, 10),
                },
            },
        },
        "sknn": {
            "task": "session", "batch_size": 512, "steps_of_an_epoch": 9,
            "stages": {"load": _stage(30.0), "forward": _stage(3.0, 0, 0), "evaluation": _stage(9.0, 0, 1)},
        },
    },
}  # fmt: skip
LARGE = {
    "share": 100, "factor": 10, "budget_mb": 12_000, "block": 256, "choices_times_items_of_the_shop": 1e13,
    "large": {"interactions": 10_000_000, "users": 500_000, "items": 1_000_000},
    "models": {
        "bpr": {
            "bytes_per": {"interaction": 100, "user": 2000, "item": 4000}, "imports_mb": 500, "predicted_mb": 6500,
            "check": {"predicted_mb": 90, "measured_mb": 100}, "fits": True,
        }
    },
}  # fmt: skip

SLOPES = {"step_ms": 0.8, "epoch_of_49_steps_s": 1.0, "evaluation_s": 0.3, "peak_mb": 0.4, "epoch_s": 1.8}
GROWTH = {
    "n_items": 20_000, "pairs_per_user": 20.7, "environment": {"threads": 1, "cpu": "a processor"}, "target": 1.1,
    "sizes": [
        {"interactions": 100_000, "n_users": 4831, "step_ms": 22.8, "epoch_of_49_steps_s": 1.12, "evaluation_s": 0.154,
         "peak_mb": 869, "epoch_s": 1.12},
    ],
    "slopes": SLOPES,
}  # fmt: skip


@pytest.fixture
def page(tmp_path, monkeypatch):
    monkeypatch.setattr("disentrec.report.figures.GENERATED", tmp_path)
    for name, record in (("stages", STAGES), ("large", LARGE), ("users_scaling", GROWTH)):
        (tmp_path / f"{name}.json").write_text(json.dumps(record))
    return Measurements(tmp_path)


def test_an_epoch_is_its_steps_and_untrained_models_have_none(page):
    text = page.stage_table().data
    assert "| BPR-MF | 30 | 1.00 | 4.00 | 4.00 | 1.00 | 2.00 | 20 | 5.00 |" in text
    assert "| SKNN | 30 | – | – | – | – | 3.00 | 9.00 | – |" in text


def test_a_floor_stands_beside_the_time_taken(page):
    """20 MB at 10 GB/s are 2 ms; the four stages of a step have floors of 0, 2, 2 and 1 ms and take 10."""
    text = page.work_table().data
    assert "| BPR-MF, loss | 200 | 20 | 4.00 | 2.00 | 50 |" in text and "SKNN" not in text
    text = page.floor_reading().data
    assert "With 2,048 cases, below it is BPR-MF." in text  # 9 ms of 42
    assert "With 512, as most models are trained here, none is below it." in text
    assert "ranking should reach 60 % of its floor; below it is BPR-MF." in text


def test_a_slow_library_behind_torch_is_named_as_a_cause(page, tmp_path):
    assert "oneDNN" not in page.floor_reading().data
    ceilings = STAGES["ceilings"] | {"matmul_gflops": 40.0}
    (tmp_path / "stages.json").write_text(json.dumps(STAGES | {"ceilings": ceilings}))
    assert "reaches 40 of its 100 GFLOP/s here" in Measurements(tmp_path).floor_reading().data


def test_a_shared_machine_is_said_to_be_one(page, tmp_path):
    assert "The machine was shared, with a load of 4.0" in page.conditions().data
    (tmp_path / "stages.json").write_text(json.dumps(STAGES | {"shared_machine": False}))
    assert "shared" not in Measurements(tmp_path).conditions().data


def test_the_cost_model_says_its_error_and_that_the_whole_was_not_run(page):
    text = page.large_reading().data
    assert "**not run**" in text and "by 10 % at most" in text and "12 GB are enough for BPR-MF" in text
    parts = page._parts(LARGE["models"]["bpr"])
    assert sum(parts.values()) == pytest.approx(6500 * 2**20 / 1e9)
    assert {name: parts[name] for name in ("interaction", "user", "item")} == {
        "interaction": 1.0, "user": 1.0, "item": 4.0,
    }  # fmt: skip
    assert "| BPR-MF | 100 | 2,000 | 4,000 | 90 / 100 | 6.8 / – |" in page.large_table().data


def test_a_whole_that_was_run_says_what_it_took(page, tmp_path):
    whole = {"all_mb": 6000, "build_s": 12.3, "step_ms": 1500.0, "ranking_s": 4.2, "ranked_users": 511}
    models = {"bpr": LARGE["models"]["bpr"] | {"whole": whole}}
    record = LARGE | {"batch_size": 2048, "shared_machine": True, "models": models}
    (tmp_path / "large.json").write_text(json.dumps(record))
    text = Measurements(tmp_path).large_reading().data
    assert "**not run**" not in text and "beside other work" in text
    assert "BPR-MF took 6.3 GB at its peak, 12 s to build, 1.5 s for a step of 2,048 pairs and 4.2 s to rank" in text


def test_growth_is_held_against_its_bound(page, tmp_path):
    text = page.growth_table().data
    assert "| 100,000 | 4,831 | 23 | 1.1 | 0.15 | 869 | 1.1 |" in text
    assert "| *slope* |  | *0.80* | *1.00* | *0.30* | *0.40* | *1.80* |" in text
    assert "None of the three is above 1.1." in page.growth_reading().data
    steep = {**GROWTH, "slopes": {**SLOPES, "step_ms": 1.2}}
    (tmp_path / "users_scaling.json").write_text(json.dumps(steep))
    assert "Above 1.1 is a step." in Measurements(tmp_path).growth_reading().data


def test_without_records_the_page_says_how_to_get_them(tmp_path):
    page = Measurements(tmp_path)
    assert "python -m benchmarks stages" in page.conditions().data
    assert "python -m benchmarks large" in page.large_reading().data
    assert "python -m benchmarks users_scaling" in page.growth_reading().data and page.growth_table() is None
    work = page.ceiling_figure, page.work_table, page.floor_reading
    empty = page.step_figure, page.stage_table, *work, page.peer_figure
    assert [cell() for cell in (*empty, page.peer_table, page.large_table, page.large_figure)] == [None] * 9


def test_peers_without_a_checkout_are_left_out(page, tmp_path):
    record = {"data": "synthetic", "exact_batch_50": {"epoch_s": 2.0, "test_pass_s": 1.0}}
    (tmp_path / "dimo_speed.json").write_text(json.dumps(record))
    assert page.peer_table() is None
    record["peer"] = {"epoch_s": 50.0, "test_pass_s": 3.5, "commit": "abc"}
    (tmp_path / "dimo_speed.json").write_text(json.dumps(record))
    text = page.peer_table().data
    assert "| DIMO, training epoch | synthetic | 2.00 | 50.00 | 25× | abc |" in text and "3.5×" in text


def test_every_published_comparison_is_found():
    page = Measurements("benchmarks/results")
    assert (ROOT / "benchmarks" / "results" / "stages.json").exists()
    assert len(page._peers()) == len(PEERS)


def test_names_and_numbers_in_print():
    assert label("dimo") == "DIMO" and label("lightgcn") == "LightGCN" and label("none-such") == "none-such"
    assert (times(4.46), times(24.96), milliseconds(9.994), milliseconds(1234.4)) == ("4.5×", "25×", "9.99", "1,234")
