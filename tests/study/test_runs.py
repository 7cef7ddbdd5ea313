"""Specs, records, the store and grids: a run is named by what decides it, written whole, never done twice."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from disentrec.data.protocol import Protocol
from disentrec.errors import DisentrecError
from disentrec.evaluation.metrics import metrics_from_ranks
from disentrec.study import RunSpec, Store
from disentrec.study.grid import run_grid
from disentrec.study.runner import run
from disentrec.study.spec import training_settings
from disentrec.training import Training


@pytest.fixture
def spec(spec):
    return replace(spec, model="sr-gnn", settings={"dim": 8})


def test_hash_depends_on_what_decides_the_numbers_and_on_nothing_else(spec):
    assert replace(spec, settings={"dim": 8, "steps": 1}).hash == spec.hash  # a default, spelt out
    others = [
        replace(spec, seed=1),
        replace(spec, settings={"dim": 16}),
        replace(spec, fingerprint="0"),
        replace(spec, protocol=Protocol.released()),
        replace(spec, training=Training(epochs=3, batch_size=64)),
        replace(spec, model="narm"),
        replace(spec, analyse=True),
    ]
    assert len({spec.hash, *(other.hash for other in others)}) == len(others) + 1


def test_hash_is_the_same_on_every_machine():
    """A changed hash orphans every record: raise a model's `version` on purpose, never by accident."""
    spec = RunSpec(model="dimo", dataset="d", fingerprint="f", settings={"use": "id"}, seed=3)
    assert spec.hash == "dd480e1d04fa0b07"


def test_spec_survives_json(spec):
    again = RunSpec.from_json(json.loads(json.dumps(spec.to_json())))
    assert again.hash == spec.hash and again.config() == spec.config()


def test_unknown_names_are_refused_with_the_valid_ones(spec):
    with pytest.raises(DisentrecError, match=r"unknown setting 'dims'.*dim, steps"):
        _ = replace(spec, settings={"dims": 8}).hash
    with pytest.raises(DisentrecError, match=r"unknown training setting 'lr'.*learning_rate"):
        training_settings({"lr": 1})


def test_run_is_recorded_whole_and_not_done_again(spec, shop, tmp_path):
    store = Store(tmp_path)
    record = run(spec, shop.folder, store)
    content = json.loads(record.path.read_text())
    assert record.path == tmp_path / "records" / shop.name / "sr-gnn" / f"{spec.hash}.json"
    assert content["hash"] == spec.hash and content["status"] == "finished"
    again = metrics_from_ranks(record.arrays["test_rank"])
    assert content["metrics"]["test"] == again
    assert record.scores("mrr@20").mean() == pytest.approx(record.metric("mrr@20"))
    assert record.spec.hash == spec.hash
    before = record.path.stat().st_mtime_ns
    assert run(spec, shop.folder, store).content == content and record.path.stat().st_mtime_ns == before
    assert {path.suffix for path in record.path.parent.iterdir()} == {".json", ".npz"}


def test_same_spec_gives_the_same_numbers_and_arrays(spec, shop, tmp_path):
    one, two = (run(spec, shop.folder, Store(tmp_path / name)) for name in ("one", "two"))
    assert one.content["metrics"] == two.content["metrics"] and one.content["curves"] == two.content["curves"]
    arrays = [record.path.with_suffix(".npz").read_bytes() for record in (one, two)]
    assert arrays[0] == arrays[1]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("model", ["sr-gnn", "lightgcn"])
def test_so_it_does_for_any_number_of_threads(spec, shop, tmp_path, model, threads):
    """Each number against itself: sums may be cut otherwise by another one (book/method.md)."""
    same = replace(spec, model=model, settings={"dim": 64}, training=Training(epochs=1, batch_size=512))
    try:
        one, two = (run(same, shop.folder, Store(tmp_path / name), threads=threads) for name in ("one", "two"))
        assert torch.get_num_threads() == threads == one.content["environment"]["threads"]
    finally:
        torch.set_num_threads(1)
    assert one.content["metrics"] == two.content["metrics"] and one.content["curves"] == two.content["curves"]
    assert one.path.with_suffix(".npz").read_bytes() == two.path.with_suffix(".npz").read_bytes()


def test_released_reporting_takes_maxima_and_counts_overlapping_cases(spec, shop, tmp_path):
    released = replace(spec, protocol=Protocol.released())
    record = run(released, shop.folder, Store(tmp_path))
    best = max(entry["test"]["prec@20"] for entry in record.content["curves"])
    assert record.metric("prec@20") == pytest.approx(best, abs=0.1)
    for metric in ("prec@20", "mrr@20"):
        assert record.scores(metric).mean() == pytest.approx(record.metric(metric))


def test_other_data_than_the_spec_names_is_refused(spec, shop, tmp_path):
    with pytest.raises(DisentrecError, match="the data changed"):
        run(replace(spec, fingerprint="0" * 64), shop.folder, Store(tmp_path))


def test_diverged_run_is_recorded_as_diverged(spec, shop, tmp_path):
    wild = replace(spec, training=Training(epochs=3, batch_size=64, learning_rate=1e30))
    record = run(wild, shop.folder, Store(tmp_path))
    assert not record.finished and np.isnan(record.metric("mrr@20")) and record.content["metrics"]["test"] == {}


def test_interrupted_write_leaves_no_record(spec, shop, tmp_path, monkeypatch):
    store = Store(tmp_path)
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(DisentrecError, match="cannot be written: disk full.*start the same command again"):
        store.save(spec, {"status": "finished"}, {"test_rank": np.ones(3)})
    monkeypatch.undo()
    assert spec not in store and list(tmp_path.rglob("*.*")) == []


def test_damaged_record_says_how_to_mend_it(spec, tmp_path):
    store = Store(tmp_path)
    path = store.path(spec)
    path.parent.mkdir(parents=True)
    path.write_text("{")
    with pytest.raises(DisentrecError, match=r"unreadable run record.*Delete the file"):
        store.get(spec)


def test_grid_resumes_and_runs_each_spec_once(spec, shop, tmp_path):
    store = Store(tmp_path)
    specs = [replace(spec, seed=seed) for seed in (1, 2, 3)]
    run(specs[1], shop.folder, store)
    kept = store.path(specs[1]).stat().st_mtime_ns
    records = run_grid([*specs, specs[0]], lambda _: shop.folder, store, jobs=1)
    assert [record.spec.seed for record in records] == [1, 2, 3, 1]
    assert store.path(specs[1]).stat().st_mtime_ns == kept


def test_a_device_that_is_not_there_is_refused_before_anything_runs(spec, shop, tmp_path):
    store = Store(tmp_path / "store")
    for make in (
        lambda: run(spec, shop.folder, store, device="cuda:99"),
        lambda: run_grid([spec], None, store, device="cuda:99"),
    ):
        with pytest.raises(DisentrecError, match="no GPU 'cuda:99'"):
            make()
    assert not any(store.root.rglob("*.*"))


def test_a_precision_is_the_machine_s_and_the_record_names_it(spec, shop, tmp_path):
    (record,) = run_grid([spec], lambda _: shop.folder, Store(tmp_path), precision="bf16")
    assert record.content["environment"]["precision"] == "bf16"
    with pytest.raises(DisentrecError, match="tf32"):
        run_grid([replace(spec, seed=2)], lambda _: shop.folder, Store(tmp_path), precision="tf32")


def test_two_processes_give_what_one_gives(spec, shop, tmp_path):
    specs = [replace(spec, seed=seed) for seed in (1, 2)]
    one = run_grid(specs, _Folder(shop.folder), Store(tmp_path / "one"), jobs=1)
    two = run_grid(specs, _Folder(shop.folder), Store(tmp_path / "two"), jobs=2)
    assert [r.content["metrics"] for r in one] == [r.content["metrics"] for r in two]


class _Folder:
    def __init__(self, folder):
        self.folder = folder

    def __call__(self, name):
        return self.folder
