"""Shorter numbers, a compiler, joint seeds: what the page says follows from the records."""

from __future__ import annotations

import json

import pytest

from disentrec.report.across.shortcuts import Shortcuts
from disentrec.report.tables import myst_table

WHERE = {"threads": 1, "cpu": "a processor", "device": "cpu", "torch": "2"}


def _in(epoch_s, points=20.0, difference=0.0, error=0.0):
    return {
        "epoch_s": epoch_s, "points": points, "difference": difference, "largest": abs(difference),
        "standard_error": error,
    }  # fmt: skip


PRECISION = {
    "environment": WHERE, "seeds": 5,
    "models": {
        "dimo": {"metric": "mrr@20", "spread": 0.4, "float32": _in(2.0), "bf16": _in(1.0, 20.1, 0.1, 0.04)},
        "bpr": {"metric": "recall@20", "spread": 0.3, "float32": _in(1.0), "bf16": _in(1.0, 19.0, -1.0, 0.1)},
    },
}  # fmt: skip
ENGINES = {
    "environment": WHERE, "seeds": 5, "batch_size": 512,
    "models": {
        "dimo": {
            "eager_ms": 30.0, "compiled": {"ms": 35.0, "compile_s": 40.0},
            "batched": {"refused": "an operator"},
        },
        "bpr": {
            "eager_ms": 1.0, "compiled": {"ms": 0.5, "compile_s": 10.0},
            "batched": {"ms_per_seed": 0.8},
        },
    },
}  # fmt: skip


@pytest.fixture
def page(tmp_path):
    for name, record in (("precision", PRECISION), ("engines", ENGINES)):
        (tmp_path / f"{name}.json").write_text(json.dumps(record))
    return Shortcuts(tmp_path)


def test_a_mean_is_off_if_its_interval_leaves_out_zero(page):
    """With five seeds that takes 2.78 standard errors."""
    assert "| DIMO | bf16 | MRR@20 | 20.00 | +0.10 ± 0.04 | 0.10 | 0.40 | 0.50 |" in page.precision_table().data
    text = page.precision_reading().data
    assert "In bf16, the mean of BPR-MF is clearly off (95 %, Student's t over seeds)" in text
    assert "an epoch is shorter for DIMO." in text
    assert "no GPU was at hand" in text


def test_a_compiler_pays_after_so_many_steps_where_it_pays(page):
    table = page.engine_table().data
    assert "| DIMO | 30 | 35 | 40 | – | refused |" in table and "| BPR-MF | 1.00 | 0.50 | 10 | 20,000 | 0.80 |" in table
    text = page.engine_reading().data
    assert "shorter than one as trained for BPR-MF; most of all for BPR-MF, by a factor of 2.0. Soonest" in text
    assert "compiling has paid for itself for BPR-MF, after 20,000 steps" in text
    assert "BPR-MF ×1.25" in text and "DIMO cannot be mapped over seeds" in text


def test_nothing_is_said_of_what_was_not_measured(tmp_path):
    page = Shortcuts(tmp_path)
    assert page.precision_table() is None and page.engine_table() is None
    assert "python -m benchmarks precision" in page.precision_reading().data
    assert "python -m benchmarks engines" in page.engine_reading().data


def test_a_caption_that_would_end_its_table_is_refused():
    with pytest.raises(ValueError, match="backtick"):
        myst_table(["a"], [["1"]], "What `code` does.", "tbl-x")
