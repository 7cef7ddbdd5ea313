"""The doctor: each fault is found, named with its remedy, and decides the exit status; what is well has no remedy."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from disentrec import cli, doctor
from disentrec.data.bazaar import BazaarParameters, write_bazaar
from disentrec.doctor import OK, PROBLEM, WARNING, Finding
from disentrec.paths import DATA, ROOT
from disentrec.study import RunSpec, Store
from disentrec.study.runner import run

TORCH = torch.__version__.partition("+")[0]
PROJECT = """[project]
requires-python = "{python}"
dependencies = ["torch=={torch}", "{other}"]
[project.optional-dependencies]
dev = ["no-such-tool==1.0"]
"""


def statuses(findings):
    return [finding.status for finding in findings]


@pytest.fixture
def project(tmp_path):
    def write(python=">=3.11,<3.12", version=TORCH, other=f"pytest=={pytest.__version__}"):
        path = tmp_path / "pyproject.toml"
        path.write_text(PROJECT.format(python=python, torch=version, other=other))
        return list(doctor.packages(path))

    return write


def test_the_pins_of_this_environment_hold():
    assert PROBLEM not in statuses(doctor.packages(ROOT / "pyproject.toml"))


def test_packages_as_pinned_are_one_line_and_extras_are_optional(project):
    assert [str(finding) for finding in project()][1:] == [
        "ok       packages  all 2 as pinned",
        "ok       packages  optional `dev`: without no-such-tool (pip install -e '.[dev]')",
    ]


def test_another_python_another_version_and_an_absent_package_are_told_apart(project):
    python, moved, absent, *_ = project(python=">=3.9,<3.10", version="0.1", other="no-such-package==1.0")
    assert (python.status, moved.status, absent.status) == (PROBLEM, WARNING, PROBLEM)
    assert "torch is " in moved.text and "made with 0.1" in moved.text and moved.how == "Run: pip install -e ."
    assert absent.text == "no-such-package is not installed"


def test_a_gpu_is_named_and_a_driver_without_one_is_a_warning(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: f"GPU {number}")
    (found,) = doctor.devices()
    assert found.status == OK and found.text.startswith("GPU 0, GPU 1, CUDA")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for driver, status in ((True, WARNING), (False, OK)):
        monkeypatch.setattr(Path, "exists", lambda path, driver=driver: driver)
        assert statuses(doctor.devices()) == [status]


def test_damaged_weights_are_a_problem_and_absent_ones_are_not(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    assert statuses(doctor.weights()) == [OK, OK, OK]
    (tmp_path / "checkpoints").mkdir()
    name = doctor.ARCHITECTURES["googlenet"].weights.url.rpartition("/")[2]
    (tmp_path / "checkpoints" / name).write_bytes(b"half")
    bad = [finding for finding in doctor.weights() if finding.status == PROBLEM]
    assert len(bad) == 1 and name in bad[0].text and "Delete it" in bad[0].how


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    return write_bazaar(
        tmp_path_factory.mktemp("data") / "bazaar-tiny", BazaarParameters.preset("tiny", images=False, n_sessions=200)
    )


def know(store, fingerprint):
    place = store.root / "datasets" / "bazaar-tiny.json"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps({"fingerprint": fingerprint}))


@pytest.mark.parametrize(("known", "status"), [("same", OK), ("other", WARNING), (None, OK)])
def test_data_are_compared_with_the_records(shop, tmp_path, known, status):
    store = Store(tmp_path)
    if known:
        know(store, shop.fingerprint if known == "same" else "0" * 64)
    here, absent = doctor.data_sets(shop.folder.parent, store, full=False)
    assert here.status == status and here.text.startswith("bazaar-tiny") and bool(here.how) == (status != OK)
    assert absent.status == OK and "amazon-baby" in absent.text and "bazaar" not in absent.text


def test_damaged_data_are_found_by_their_json_or_when_read_in_full(shop, tmp_path):
    folder = tmp_path / "bazaar-tiny"
    shutil.copytree(shop.folder, folder)
    (folder / "sessions.parquet").write_bytes(b"half")
    look = [statuses(doctor.data_sets(tmp_path, Store(tmp_path / "store"), full))[0] for full in (False, True)]
    assert look == [OK, PROBLEM]
    (folder / "dataset.json").write_text("{")
    assert statuses(doctor.data_sets(tmp_path, Store(tmp_path / "store"), full=False))[0] == PROBLEM


def test_room_and_permission_of_folders(tmp_path, monkeypatch):
    for free, status in ((0.5, PROBLEM), (3, WARNING), (80, OK)):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: shutil._ntuple_diskusage(1, 1, free * doctor.GB))
        (found,) = doctor.places({"data": tmp_path / "not" / "yet"})
        assert found.status == status and bool(found.how) == (status != OK)
    monkeypatch.setattr(os, "access", lambda *_: False)
    (found,) = doctor.places({"data": tmp_path})
    assert found.status == PROBLEM and "cannot be written" in found.text


def test_memory_is_what_the_group_leaves(monkeypatch):
    monkeypatch.setattr(doctor, "_available", lambda: 64 * doctor.GB)
    for limit, status in ((None, OK), (3 * doctor.GB, WARNING), (doctor.GB, PROBLEM)):
        monkeypatch.setattr(doctor, "_group_limit", lambda limit=limit: limit)
        assert statuses(doctor.memory()) == [status]


def test_more_threads_than_processors_are_a_warning(monkeypatch):
    assert statuses(doctor.threads()) == [OK]
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4096)
    (found,) = doctor.threads()
    assert found.status == WARNING and "OMP_NUM_THREADS" in found.how


def test_every_fault_of_a_record_is_counted_under_its_own_name(shop, tmp_path):
    store = Store(tmp_path)
    spec = RunSpec(model="pop", dataset=shop.name, fingerprint=shop.fingerprint)
    path = run(spec, shop.folder, store).path
    assert [str(line) for line in doctor.records(store)] == ["ok       records   1, all of this code"]
    whole = path.read_text()
    (path.parent / "0000.json").write_text(whole)  # another name than this code gives it
    (path.parent / "0000.npz").touch()
    (path.parent / "1111.json").write_text("{")
    path.with_suffix(".npz").unlink()
    found = list(doctor.records(store))
    assert [line.text.split(":")[0] for line in found] == [
        "1 of 3 cannot be read", "1 of 3 lack their ranks (.npz)", "1 of 3 are of other code",
    ]  # fmt: skip
    assert statuses(found) == [PROBLEM, PROBLEM, WARNING] and path.name in found[1].text
    (path.parent / "0000.json").write_text(whole.replace('"pop"', '"no-such-model"'))
    assert "1 of 3 are of other code" in list(doctor.records(store))[2].text


def test_runs_stopped_half_way_are_counted(tmp_path):
    (tmp_path / "unfinished").mkdir()
    (tmp_path / "unfinished" / "abc.safetensors").touch()
    assert "1 runs were stopped half way" in list(doctor.records(Store(tmp_path)))[1].text


@pytest.mark.parametrize(("status", "code"), [(OK, 0), (WARNING, 0), (PROBLEM, 2)])
def test_the_exit_status_and_the_forms_of_the_command(monkeypatch, capsys, status, code):
    monkeypatch.setattr(doctor, "examine", lambda full: [Finding("disk", status, "so", "Mend it")])
    assert cli.main(["doctor"]) == code
    assert capsys.readouterr().out == f"{status:8} disk      so. Mend it\n"
    assert cli.main(["doctor", "--json"]) == code
    assert json.loads(capsys.readouterr().out) == [{"topic": "disk", "status": status, "text": "so", "how": "Mend it"}]


def test_an_examination_looks_at_everything_and_changes_nothing(tmp_path):
    found = doctor.examine(ROOT, DATA, tmp_path)
    topics = {"python", "packages", "gpu", "weights", "data", "disk", "memory", "threads", "records"}
    assert {finding.topic for finding in found} >= topics - {"memory"} and list(tmp_path.iterdir()) == []
