"""What the pages on the engine and on bad input say of kills and wrong files is what the benchmarks recorded."""

from __future__ import annotations

import json

from disentrec.paths import ROOT
from disentrec.report.endurance import WORKS, inputs_text, kills_table

WORK = {
    "kills": 7,
    "kills that left a part behind": 5,
    "kills with runs finished before": 3,
    "completions": 2,
    "slowest_end_of_processes_s": 1.41,
}


def test_kills_stand_beside_what_they_left(tmp_path):
    works = {"grid_of_two": WORK, "download": WORK}
    (tmp_path / "crash.json").write_text(json.dumps({"kills": 14, "works": works}))
    text = kills_table(tmp_path)
    assert "14 kills at random moments" in text and "| a grid, two workers | 7 | 5 | 3 | 2 | 1.4 |" in text
    assert "| a download | 7 | 5 | – | 2 | 1.4 |" in text


def test_wrong_files_are_counted_and_growth_is_said(tmp_path):
    targets = {
        "setting": {"inputs": 600, "accepted": 20, "warm_mb": 100, "end_mb": 103, "seconds": 60.0},
        "paper": {"inputs": 600, "accepted": 10, "warm_mb": 100, "end_mb": 160, "seconds": 180.0},
    }
    (tmp_path / "fuzz.json").write_text(json.dumps({"inputs": 1200, "targets": targets}))
    text = inputs_text(tmp_path)
    assert "1,200 files, guided by coverage, for 2 readers in 4 minutes" in text
    assert "30 were read, 1,170 ended in an error" in text
    grew = "1 of the processes grew by more than 16 MB, what the fuzzer keeps for itself included; the most was 60 MB"
    assert grew in text


def test_without_records_the_pages_say_how_to_get_them(tmp_path):
    assert "benchmarks/crash.py" in kills_table(tmp_path) and "benchmarks/fuzz.py" in inputs_text(tmp_path)


def test_the_published_records_are_of_all_works():
    assert all(f"| {WORKS[name]} |" in kills_table(ROOT / "benchmarks" / "results") for name in WORKS)
