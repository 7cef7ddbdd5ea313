"""The cost model of a grid: counted operators and work against what follows by hand."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from disentrec.report.across.grid_cost import Device, GridCost, Need, Part, need

GPU = Device("a GPU", flop=1e12, bytes=1e11, launch=1e-5, runs=4)
FACTS = {"statistics": {"train": 1000, "valid": 100, "test": 50}}


def stage(operators, mflop, mbytes):
    return {"operators": operators, "mflop": mflop, "mbytes": mbytes}


STAGES = {
    "sasrec": {
        "task": "session", "batch_size": 512, "ranked": 200,
        "stages": {
            "batch": stage(0, 0, 0), "loss": stage(40, 2000, 100), "backward": stage(60, 1000, 300),
            "optimiser": stage(1, 0, 0), "evaluation": stage(20, 4000, 0),
        },
    }
}  # fmt: skip


def run(model="sasrec", batch_size=256, epochs=5):
    training = SimpleNamespace(batch_size=batch_size)
    return SimpleNamespace(spec=SimpleNamespace(model=model, training=training), content={"curves": [{}] * epochs})


def test_a_run_asks_for_its_steps_and_its_rankings():
    """Five epochs of four steps; a step's 2 + 3 ms of work are halved with the batch; 550 of 200 cases are ranked."""
    found = need(run(), STAGES, FACTS, GPU)
    assert found.operators == 5 * 4 * 101 + 20 * 550 / 200
    assert found.work == pytest.approx(5 * 4 * (0.002 + 0.003) / 2 + 0.004 * 550 / 200)


@pytest.mark.parametrize("change", [{"model": "pop"}, {"facts": {}}, {"stages": {}}])
def test_what_was_not_counted_asks_for_nothing(change):
    stages, facts = change.get("stages", STAGES), change.get("facts", FACTS)
    assert need(run(change.get("model", "sasrec")), stages, facts, GPU) == Need()


def test_processes_issue_side_by_side_but_the_device_does_one_thing_at_a_time():
    assert Need(operators=4e6, work=9.0).seconds(GPU) == 10.0
    assert Need(operators=4e6, work=11.0).seconds(GPU) == 11.0


def test_what_is_left_costs_what_is_there_on_average(tmp_path, monkeypatch):
    (tmp_path / "stages.json").write_text(json.dumps({"models": STAGES}))
    cost = GridCost(tmp_path, store=tmp_path, device=GPU)
    parts = [Part("DIMO", 10, 30, 3600.0, Need(12e6, 60.0)), Part("IDSF", 2, 0, 1800.0, Need(12e6, 1.0))]
    monkeypatch.setitem(vars(cost), "parts", parts)
    text = cost.table().data
    assert "| DIMO | 10 | 30 | 1.0 | 4.0 | 4 |" in text and "| IDSF | 2 | 0 | 0.5 | 0.5 | 1 |" in text
    # 240 + 1 s of work; 60 million operators in 10 µs by four processes.
    assert "| all | 12 | 30 | 1.5 | 4.5 | 4 |" in text
    said = cost.reading().data
    assert "**not measured**" in said and "takes 4 minutes, and the work itself holds it up: 2 minutes" in said


def test_without_counts_nothing_is_said(tmp_path):
    cost = GridCost(tmp_path, store=tmp_path)
    assert cost.parts == [] and cost.table() is None and cost.reading() is None
