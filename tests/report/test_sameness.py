"""How nearly a run comes out the same elsewhere: what the pages say follows from the records."""

from __future__ import annotations

import json

from disentrec.report.sameness import processors_text, versions_text
from disentrec.study.store import Store


def _way(same, points=0.0):
    return {"same": same, "points": points}


def test_the_same_bytes_or_how_far_off(tmp_path):
    assert "python benchmarks/processors.py" in processors_text(tmp_path)
    same = dict.fromkeys(("again", "two threads", "four threads"), _way(True))
    models = {
        "dimo": same | {"two threads": _way(False, 0.004), "AVX2": _way(False)},
        "bpr": same | {"AVX2": _way(False, -0.25)},
    }
    record = {"data": "bazaar-demo", "environment": {"cpu": "a processor"}, "models": models}
    (tmp_path / "processors.json").write_text(json.dumps(record))
    text = processors_text(tmp_path)
    assert "An epoch of all 2 models on Bazaar" in text and "instructions of a processor:" in text
    assert "- Trained again as they were, all have the same bytes.\n" in text
    assert "with two threads, 1 have the same bytes; the other 1 differ in last digits, and no selection metric" in text
    assert "moves the selection metric of BPR-MF by 0.25 points at most" in text


def test_two_versions_differ_like_two_seeds(tmp_path):
    task = {
        "metric": "mrr@20", "runs": 8, "models": 2, "mean": -0.024, "standard_error": 0.036, "spread": 0.48,
        "spread_of_seeds": 0.365, "median_train_s": [9.9, 6.2], "total_s": [7200, 3600],
    }  # fmt: skip
    record = {
        "before": ["0.1.0", "0.3.0"], "after": ["0.4.0"], "data": ["bazaar-demo"], "pairs": 10, "without_parameters": 2,
        "of_these_equal": 2, "tasks": {"session": task},
    }  # fmt: skip
    assert "not compared yet" in versions_text(Store(tmp_path), tmp_path)
    (tmp_path / "versions.json").write_text(json.dumps(record))
    text = versions_text(Store(tmp_path), tmp_path)
    assert "10 runs (Bazaar) were made by 0.1.0 and 0.3.0 and made again by 0.4.0. All 2 of models without" in text
    assert "-0.02 ± 0.04 points of MRR@20" in text.replace("−", "-")
    assert "0.48; two runs that differ in nothing but their seed do by 0.52." in text
