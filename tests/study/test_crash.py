"""Kills at random moments, and two processes at once: nothing finished is lost, nothing is half, nothing done twice."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from disentrec.data.bazaar import BazaarParameters, write_bazaar
from disentrec.data.drafts import claim, part_of, sweep
from disentrec.paths import ROOT
from disentrec.study import Store
from disentrec.study.grid import run_grid
from disentrec.study.runner import run

SHARES = {"grid": 4, "grid_of_two": 1, "download": 3, "encode": 3, "book": 1}
#: One of two processes on one grid: waits for the other, and notes every run it does.
RACER = """
import sys, time
from pathlib import Path
import crash
from disentrec.study import grid, runner
folder, mine, other = map(Path, sys.argv[1:])
inner = runner._run
def noted(spec, *rest):
    with (folder.parent / "log").open("a") as log:
        log.write(spec.hash + "\\n")
    return inner(spec, *rest)
runner._run = noted
mine.touch()
while not other.exists():
    time.sleep(0.001)
crash.grid(folder)
"""


@pytest.fixture(scope="module")
def crash():
    plan = importlib.util.spec_from_file_location("crash", ROOT / "benchmarks" / "crash.py")
    module = importlib.util.module_from_spec(plan)
    plan.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    parameters = BazaarParameters.preset("tiny", images=False, n_sessions=300)
    return write_bazaar(tmp_path_factory.mktemp("race") / "bazaar-tiny", parameters)


needs_proc = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="processes are looked up in /proc")


@needs_proc
def test_a_dozen_kills_lose_nothing_and_end_as_if_they_had_not_been(crash, tmp_path):
    found = crash.campaign(SHARES, tmp_path, seed=0)
    assert {name: entry["kills"] for name, entry in found.items()} == SHARES


def test_two_processes_on_one_grid_do_every_run_once(crash, shop):
    folder = shop.folder.parent / "store"
    marks = [shop.folder.parent / name for name in ("one", "two")]
    path = {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT / 'benchmarks'}", "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
    racers = [
        subprocess.Popen([sys.executable, "-c", RACER, folder, *order], env=path) for order in (marks, marks[::-1])
    ]
    assert [racer.wait(timeout=120) for racer in racers] == [0, 0]
    done = Counter((folder.parent / "log").read_text().split())
    assert set(done.values()) == {1} and set(done) == {path.stem for path in folder.glob("records/*/*/*.json")}
    assert len(done) == 4 and crash.leftovers(folder) == []
    crash.grid(folder.parent / "alone")
    assert crash.contents(folder) == crash.contents(folder.parent / "alone")


def test_a_run_that_another_is_at_is_left_to_it(spec, shop, tmp_path):
    store = Store(tmp_path)
    with claim(store.unfinished(spec, "lock")) as mine:
        assert mine
        assert run(spec, shop.folder, store, wait=False) is None and spec not in store
    assert run(spec, shop.folder, store, wait=False).finished
    assert list((tmp_path / "unfinished").iterdir()) == []


def test_a_grid_takes_what_is_left_when_the_claim_of_another_ends(spec, shop, tmp_path):
    """The other process dies: its lock goes with it, and the run is done here."""
    store, other = Store(tmp_path), replace(spec, seed=9)
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom disentrec.data.drafts import claim\n"
        "with claim(Path(sys.argv[1])):\n    print('mine', flush=True)\n    time.sleep(600)"
    )
    path = store.unfinished(spec, "lock")
    holder = subprocess.Popen(
        [sys.executable, "-c", script, path], stdout=subprocess.PIPE, env={"PYTHONPATH": str(ROOT / "src")}
    )
    with holder, holder.stdout:
        assert holder.stdout.readline() == b"mine\n"
        ran = []

        def folder(name):
            ran.append(name)
            if len(ran) == 3:  # the second visit of the first spec: only waiting is left
                assert other in store and spec not in store
                holder.kill()
            return shop.folder

        try:
            assert [record.finished for record in run_grid([spec, other], folder, store)] == [True, True]
        finally:
            holder.kill()


def test_leftovers_of_the_dead_go_and_work_of_the_living_stays(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    own = part_of(tmp_path / "a.json")
    ghost = own.with_name(own.name.replace(own.name.split("-")[1], str(dead.pid)))
    elsewhere = tmp_path / f".a.json.00000000-{dead.pid}-12345678.part"
    for path in (own, ghost, elsewhere, tmp_path / ".hidden"):
        path.touch()
    old = tmp_path / ghost.name.replace("a.json", "shop").replace(".part", ".old")
    old.mkdir()
    assert sorted(sweep([tmp_path, tmp_path / "absent"])) == sorted([ghost, old])
    assert sorted(tmp_path.iterdir()) == sorted([own, elsewhere, tmp_path / ".hidden", tmp_path / "shop"])


def test_checkpoints_and_claims_of_recorded_runs_are_tidied_away(spec, shop, tmp_path):
    store = Store(tmp_path)
    run(spec, shop.folder, store)
    other = replace(spec, seed=9)
    kept = [store.unfinished(other, "safetensors"), store.unfinished(other, "lock")]
    for path in (*kept, store.unfinished(spec, "safetensors"), store.unfinished(spec, "lock")):
        path.touch()
    store.tidy()
    assert sorted((tmp_path / "unfinished").iterdir()) == sorted(kept)
