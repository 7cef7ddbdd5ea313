"""The results as one file: the same bytes twice, an address for every number, a check that fails when it should."""

from __future__ import annotations

import csv
import io
import json
import shutil
import zipfile

import numpy as np
import pytest

from disentrec.cli import main
from disentrec.paths import RESULTS
from disentrec.report import bundle
from disentrec.report.bundle import NAME, bundle_bytes, check_bundle, table_lines, write_bundle
from disentrec.report.scorecard import write_scorecard
from disentrec.study import Store, Study

DATASET = "bazaar-demo"
RECORDS = RESULTS / "records" / DATASET
pytestmark = pytest.mark.skipif(not RECORDS.exists(), reason="no records are published yet")


@pytest.fixture
def store(tmp_path):
    """The published baselines of the shop: small, and enough for a few rows of two tables."""
    for model in ("pop", "one-hop", "narm"):
        shutil.copytree(RECORDS / model, tmp_path / "store" / "records" / DATASET / model)
    for folder in ("datasets", "features"):
        (tmp_path / "store" / folder).mkdir()
        for path in (RESULTS / folder).glob(f"{DATASET}.*"):
            shutil.copy(path, tmp_path / "store" / folder)
    write_scorecard(tmp_path / "store")
    return tmp_path / "store"


def texts(path):
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return {name.removeprefix(f"{NAME}/"): archive.read(name).decode() for name in archive.namelist()}


def test_the_same_records_give_the_same_bytes(store, tmp_path):
    first, second = (write_bundle(tmp_path / name, store).read_bytes() for name in ("a.zip", "b.zip"))
    assert first == second
    files = {"b.txt": "two", "a.txt": "one"}
    assert bundle_bytes(files) == bundle_bytes(dict(reversed(files.items())))


def test_every_run_is_a_line_with_what_made_it(store, tmp_path):
    found = texts(write_bundle(tmp_path / "a.zip", store))
    lines = list(csv.DictReader(io.StringIO(found["runs.csv"])))
    records = {record.path.stem: record for record in Store(store).records()}
    assert len(lines) == len(records) > 0
    for line in lines:
        content = records[line["hash"]].content
        assert line["fingerprint"] == content["spec"]["fingerprint"] and line["commit"] == content["commit"]
        assert line["version"] == content["environment"]["disentrec"]
        assert json.loads(line["config"]) == content["spec"]["config"]
        assert float(line["test_mrr@20"]) == content["metrics"]["test"]["mrr@20"]  # to the last digit
    manifest = json.loads(found["manifest.json"])
    assert sum(manifest["runs_by_commit"].values()) == sum(manifest["runs_by_version"].values()) == len(lines)


def test_a_printed_number_leads_to_its_runs(store, tmp_path):
    found = texts(write_bundle(tmp_path / "a.zip", store))
    runs = {line["hash"]: line for line in csv.DictReader(io.StringIO(found["runs.csv"]))}
    (line,) = [
        line
        for line in csv.DictReader(io.StringIO(found["tables.csv"]))
        if (line["paper"], line["artefact"], line["row"], line["dataset"]) == ("dimo", "main", "narm", DATASET)
    ]
    printed = Study("dimo", "demo", store).results_by_row("main", DATASET)["narm"].metric("mrr@20")
    assert [float(runs[name]["test_mrr@20"]) for name in line["runs"].split()] == printed
    assert int(line["planned"]) == len(printed) and np.isfinite(printed).all()
    assert all(row["runs"] for row in table_lines(Store(store)))


def test_the_check_passes_and_lists_runs_of_no_table(store, monkeypatch, capsys):
    assert check_bundle(store).faults == ()
    before = check_bundle(store)
    # An earlier grid: the first run of narm with a seed that no table has.
    record = next(record for record in Store(store).records() if record.content["spec"]["model"] == "narm")
    spec = type(record.spec)(**{**vars(record.spec), "seed": 77})
    content = {key: value for key, value in record.content.items() if key not in ("format", "hash")}
    Store(store).save(spec, {**content, "spec": spec.to_json()}, record.arrays)
    found = check_bundle(store)
    assert set(found.unnamed) - set(before.unnamed) == {spec.hash} and found.runs == before.runs + 1
    assert main(["bundle", "--check", "--store", str(store)]) == 0
    assert f"no table asks for the run {spec.hash}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content["spec"].update(seed=99), "this code names the run"),
        (lambda content: content["spec"]["config"].update(colour=1), "unknown setting 'colour'"),
        (lambda content: content["spec"].update(fingerprint="0"), "its data are not those of datasets/"),
    ],
)
def test_the_check_fails_for_a_record_that_no_longer_matches(store, capsys, change, message):
    path = next((store / "records" / DATASET / "narm").glob("*.json"))
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    assert main(["bundle", "--check", "--store", str(store)]) == 2
    said = capsys.readouterr().err
    assert message in said and path.name in said


def test_the_check_fails_for_verdicts_that_do_not_follow(store, tmp_path, capsys):
    (store / "deviations.json").write_text('[{"paper": "dimo"}]')
    assert check_bundle(store).faults == ("deviations.json: not what the records say; run: disentrec scorecard",)
    assert main(["bundle", str(tmp_path / "a.zip"), "--check", "--store", str(store)]) == 2
    assert not (tmp_path / "a.zip").exists()
    assert main(["bundle"]) == 2 and "Give OUT.zip" in capsys.readouterr().err


def test_the_published_bundle_is_small(tmp_path):
    assert write_bundle(tmp_path / "a.zip").stat().st_size < 2_000_000


def test_the_citation_names_the_four_papers(tmp_path):
    own = bundle.CITATION.read_text()
    whole = (bundle.ROOT / "book" / "references.bib").read_text()
    entries = [entry.strip() for entry in own.split("\n\n")]
    assert len(entries) == 5
    for entry in entries[1:]:
        assert entry in whole
