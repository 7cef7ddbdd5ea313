"""The embedded shop has the published bytes whatever the processor would choose, and whoever loaded NumPy first."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from disentrec import doctor, processor
from disentrec.errors import DisentrecError
from disentrec.paths import RESULTS
from disentrec.study.datasets import dataset_folder

NAME = "OPENBLAS_CORETYPE"
needs_kernels = pytest.mark.skipif(not processor.capable(), reason="this processor has no AVX2, or is not asked")


SHOP = "bazaar-demo"


def fingerprint(path):
    return json.loads(path.read_text())["fingerprint"]


@needs_kernels
def test_the_shop_is_the_published_one():
    assert fingerprint(dataset_folder(SHOP) / "dataset.json") == fingerprint(RESULTS / "datasets" / f"{SHOP}.json")


@needs_kernels
def test_so_it_is_on_an_older_processor_in_a_process_that_has_loaded_other_kernels(tmp_path):
    script = "import numpy; from disentrec.study import datasets as d; d.dataset_folder('bazaar-demo', d.Path('.'))"
    variables = os.environ | processor.OLDER | {NAME: "Sandybridge"}
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=variables, check=True)
    assert fingerprint(tmp_path / SHOP / "dataset.json") == fingerprint(RESULTS / "datasets" / f"{SHOP}.json")


def test_a_choice_that_was_made_stands(monkeypatch):
    monkeypatch.setattr(processor, "capable", lambda: True)
    monkeypatch.setenv(NAME, "Zen")
    processor.settle()
    assert os.environ[NAME] == "Zen"
    monkeypatch.delenv(NAME)
    processor.settle()
    assert os.environ[NAME] == processor.KERNELS[NAME]
    monkeypatch.delenv(NAME)
    monkeypatch.setattr(processor, "capable", lambda: False)
    processor.settle()
    assert NAME not in os.environ


def test_what_could_not_be_made_apart_says_why(monkeypatch, tmp_path):
    monkeypatch.setattr(processor, "settled", lambda: False)
    closed = tmp_path / "file"
    closed.write_text("")
    with pytest.raises(DisentrecError, match=r"'bazaar-tiny' could not be made: .*file"):
        dataset_folder("bazaar-tiny", closed)


def test_the_doctor_names_the_kernels(monkeypatch):
    (found,) = doctor.kernels()
    assert found.status == (doctor.OK if processor.settled() and processor.capable() else doctor.WARNING)
    monkeypatch.setattr(processor, "capable", lambda: True)
    monkeypatch.setattr(processor, "settled", lambda: False)
    (found,) = doctor.kernels()
    assert found.status == doctor.WARNING and NAME in found.how
    monkeypatch.setattr(processor, "capable", lambda: False)
    (found,) = doctor.kernels()
    assert found.status == doctor.WARNING and "AVX2" in found.text
