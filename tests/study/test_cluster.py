"""Many machines give what one gives; a lost process and a lost machine cost a retry and nothing else."""

from __future__ import annotations

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

import numpy as np
import psutil
import pytest

from disentrec.cli import main
from disentrec.errors import DisentrecError
from disentrec.study import Store
from disentrec.study.cluster import Cluster, pack, unpack
from disentrec.study.grid import run_grid
from disentrec.training import Training

REASON = "Ray is not installed: pip install 'disentrec[cluster]'"


@pytest.fixture
def long(spec):
    """Hundreds of epochs, none of which ends it early: long enough to be killed half way."""
    return replace(spec, training=Training(epochs=400, batch_size=32, patience=400))


@pytest.fixture(scope="module")
def ray():
    return pytest.importorskip("ray", reason=REASON)


@pytest.fixture
def two_cpus(ray):
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield ray
    ray.shutdown()


def test_a_data_set_arrives_as_it_was_sent_and_is_unpacked_once(shop, tmp_path):
    (shop.folder / ".hidden").touch()
    folder = unpack(pack(shop.folder), tmp_path)
    names = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert names == {
        path.relative_to(shop.folder): path.read_bytes()
        for path in shop.folder.rglob("*")
        if path.is_file() and path.name != ".hidden"
    }
    before = folder.stat().st_mtime_ns
    assert unpack(pack(shop.folder), tmp_path) == folder and folder.stat().st_mtime_ns == before
    assert list(tmp_path.iterdir()) == [tmp_path / "data"]  # no lock, no part


def test_without_ray_it_says_how_to_get_it(spec, shop, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(DisentrecError, match=r"Ray is not installed.*disentrec\[cluster\]"):
        Cluster()([spec], lambda _: shop.folder, Store(tmp_path))


def test_the_command_line_hands_a_study_its_cluster(monkeypatch):
    seen = {}
    monkeypatch.setattr("disentrec.study.Study.run", lambda self, names, datasets, **options: seen.update(options))
    options = ["--engine", "ray", "--address", "auto", "--gpus-per-run", "0.25", "--retries", "7", "--shared-data"]
    assert main(["study", "dimo/main", *options]) == 0
    assert seen["engine"] == Cluster("auto", gpus_per_run=0.25, retries=7, shared_data=True)
    assert main(["study", "dimo/main", "--device", "cuda"]) == 0
    assert seen["engine"].func is run_grid and seen["engine"].keywords == {
        "device": "cuda", "precision": "float32", "compiled": False,
    }  # fmt: skip
    assert main(["study", "dimo/main", *options, "--precision", "bf16"]) == 0
    assert seen["engine"].precision == "bf16" and seen["engine"].device == "cuda"


def test_two_workers_give_what_one_process_gives_and_mistakes_keep_their_words(two_cpus, spec, shop, tmp_path):
    """Records travel: the workers' scratch is not the store."""
    specs = [replace(spec, seed=seed) for seed in (1, 2, 3)]
    specs += [replace(spec, model="narm", settings={"dim": 8})]
    one = run_grid(specs, lambda _: shop.folder, Store(tmp_path / "one"))
    cluster, store = Cluster(scratch=tmp_path / "scratch"), Store(tmp_path / "two")
    two = cluster(specs, lambda _: shop.folder, store, jobs=2)
    for ours, theirs in zip(one, two, strict=True):
        for name in ("spec", "hash", "metrics", "curves", "environment", "commit", "status"):
            assert ours.content[name] == theirs.content[name]
        assert ours.path.with_suffix(".npz").read_bytes() == theirs.path.with_suffix(".npz").read_bytes()
    kept = [path.name for path in (tmp_path / "scratch" / "store").rglob("*") if path.is_file()]
    assert kept == [] and not list((tmp_path / "two" / "unfinished").iterdir())
    # A second start runs nothing, and needs no cluster.
    before = [record.path.stat().st_mtime_ns for record in two]
    again = Cluster(address="nowhere:1")(specs, lambda _: shop.folder, store)
    assert [record.path.stat().st_mtime_ns for record in again] == before
    wrong = replace(spec, fingerprint="0" * 64)
    with pytest.raises(DisentrecError, match="the data changed") as caught:
        Cluster(shared_data=True, scratch=tmp_path / "scratch")([wrong], lambda _: shop.folder, store)
    assert caught.value.how.startswith("Make the specs again")
    assert not list((tmp_path / "two" / "unfinished").iterdir())


@pytest.mark.parametrize("retries", [1, 0])
def test_a_killed_worker_is_retried_so_often_and_no_more(two_cpus, long, shop, tmp_path, retries):
    cluster = Cluster(scratch=tmp_path / "scratch", retries=retries)
    killer = _Once(tmp_path / "scratch", _kill_worker)
    with killer:
        if retries:
            (record,) = cluster([long], lambda _: shop.folder, Store(tmp_path / "store"))
        else:
            with pytest.raises(DisentrecError, match="lost with its process or machine.*WorkerCrashedError"):
                cluster([long], lambda _: shop.folder, Store(tmp_path / "store"))
            assert long not in Store(tmp_path / "store")
    assert killer.done == 1
    if retries:
        (alone,) = run_grid([long], lambda _: shop.folder, Store(tmp_path / "alone"))
        assert record.content["metrics"] == alone.content["metrics"]
        np.testing.assert_array_equal(record.arrays["test_rank"], alone.arrays["test_rank"])


def test_a_machine_that_disappears_costs_nothing_but_time(ray, long, shop, tmp_path):
    from ray.cluster_utils import Cluster as Machines

    scratch = tmp_path / "scratch"
    machines = Machines(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        first = machines.add_node(num_cpus=1)
        ray.init(address=machines.address, log_to_driver=False)
        with ThreadPoolExecutor(1) as pool:  # machines come and go in the main thread only
            grid = pool.submit(Cluster(scratch=scratch), [long], lambda _: shop.folder, Store(tmp_path / "store"))
            while not (begun := _begun(scratch)) and not grid.done():
                time.sleep(0.02)
            machines.remove_node(first, allow_graceful=False)
            assert begun and not grid.done()
            machines.add_node(num_cpus=1)
            (record,) = grid.result(timeout=120)
    finally:
        ray.shutdown()
        machines.shutdown()
    (alone,) = run_grid([long], lambda _: shop.folder, Store(tmp_path / "alone"))
    assert record.content["metrics"] == alone.content["metrics"]


def _begun(scratch):
    return bool(list(scratch.glob("store/unfinished/*.lock")))


class _Once(threading.Thread):
    """Does something once, as soon as a run has begun in `scratch`."""

    def __init__(self, scratch, action):
        super().__init__(daemon=True)
        self.scratch, self.action, self.done, self.ended = scratch, action, 0, threading.Event()

    def run(self):
        while not self.ended.wait(0.02):
            if _begun(self.scratch) and self.action(self.scratch):
                self.done += 1
                return

    def __enter__(self):
        self.start()

    def __exit__(self, *_):
        self.ended.set()
        self.join()


def _kill_worker(_):
    time.sleep(0.3)  # into its training
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # Ray's own come and go
            if any("ray::_work" in part for part in process.cmdline()):
                process.kill()
                return True
    return False
