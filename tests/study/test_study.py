"""Papers as data, and a study from tuning to scorecard on a tiny shop."""

from __future__ import annotations

import json

import numpy as np
import pytest

from disentrec import models
from disentrec.cli import main
from disentrec.report.chapter import Chapter
from disentrec.report.evidence import Evidence
from disentrec.report.scorecard import VERDICTS, decide, write_scorecard
from disentrec.study import Study, load_paper, paper_names
from disentrec.study.cases import modalities
from disentrec.study.papers import Claim
from disentrec.study.sources import sources
from disentrec.study.study import TUNING_SEED, planned


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """The main table of DIMO on the tiny shop, its data kept apart from the user's."""
    import disentrec.study.datasets as datasets

    root = tmp_path_factory.mktemp("study")
    patch = pytest.MonkeyPatch()
    patch.setattr(datasets.dataset_folder, "__defaults__", (root / "data",))
    Study("dimo", "demo", root / "store").run(["main"], ["bazaar-tiny"])
    yield root / "store"
    patch.undo()


def test_every_paper_loads_and_its_claims_have_distinct_ids():
    ids = [claim.id for name in paper_names() for claim in load_paper(name).claims]
    assert {name for name in paper_names() if load_paper(name).repository} == {"dimo", "mmsbr", "addrl", "idsf"}
    assert len(set(ids)) == len(ids) >= 29


def test_every_row_is_a_model_with_settings_it_knows():
    for name in paper_names():
        paper = load_paper(name)
        for artefact in paper.artefacts.values():
            for row in artefact.rows:
                models.configure(paper.program(row.model), row.settings)
        for model, entry in paper.models.items():
            for configuration in entry.get("grid", [{}]):
                own = {key: value for key, value in configuration.items() if not key.startswith("training.")}
                models.configure(paper.program(model), own)


def test_no_row_names_an_attribute_that_its_data_set_lacks():
    # It would repeat the row without that attribute, to the last digit.
    named = [
        (artefact.id, row.id, dataset, set(row.settings["attributes"]) - modalities(study.store, dataset))
        for study, artefact, dataset in planned()
        for row in study.rows(artefact, dataset)
        if "attributes" in row.settings
    ]
    assert named and not [(*where, lacking) for *where, lacking in named if lacking - {"popularity"}]


def test_learned_models_are_tuned_over_the_same_number_of_configurations():
    for paper in map(load_paper, paper_names()):
        learned = [model for model, entry in paper.models.items() if entry.get("learned", True)]
        for budget in paper.budgets.values():
            assert {len(paper.grid(model)[: budget.tuning]) for model in learned} == {budget.tuning}
            assert set(budget.datasets) <= set(sources())


def test_tables_never_use_the_tuning_seed(store):
    study = Study("dimo", "demo", store)
    for row in study.paper.artefact("main").rows:
        specs = study.row_specs(study.paper.artefact("main"), row, "bazaar-tiny")
        assert specs and all(spec.seed != TUNING_SEED for spec in specs)


def test_configurations_are_chosen_on_validation(store):
    study = Study("dimo", "demo", store)
    records = [study.store.get(spec) for spec in study.tuning_specs("narm", "bazaar-tiny")]
    values = [record.metric("mrr@20", "valid") for record in records]
    assert study.chosen("narm", "bazaar-tiny") == study.paper.grid("narm")[int(np.argmax(values))]


def test_results_are_complete_and_missing_runs_are_counted(store):
    study = Study("dimo", "demo", store)
    assert all(row.complete for row in study.result("main", "bazaar-tiny"))
    assert all(not row.records and row.missing for row in study.result("main", "bazaar-demo"))


def test_no_model_is_above_the_optimum(store):
    from disentrec.evaluation.metrics import per_case
    from disentrec.study.cases import known_cases

    study = Study("dimo", "demo", store)
    best = per_case(known_cases(study.store, "bazaar-tiny")["oracle_rank_all"], "mrr@20").mean()
    for row in study.result("main", "bazaar-tiny"):
        if row.row.protocol.get("name") != "released":  # which looks at the test part
            assert np.mean(row.metric("mrr@20")) < best


def test_chapter_text_is_the_same_twice_and_marks_what_is_missing(store):
    page = Chapter("dimo", "main", budgets=["demo"], datasets=["bazaar-tiny"], store=store)
    assert page.tables().data == page.tables().data
    assert "Bayes optimum" in page.tables().data and "not yet run" not in page.tables().data
    assert page.left().data == "Every planned run of this page is done."
    other = Chapter("dimo", "main", budgets=["demo"], store=store)
    assert "disentrec study dimo/main --budget demo --datasets bazaar-demo" in other.left().data


def test_scorecard_has_one_entry_per_claim(store):
    entries = write_scorecard(store)
    assert json.loads((store / "scorecard.json").read_text()) == entries
    assert {entry["verdict"] for entry in entries} <= set(VERDICTS)
    assert len(entries) == sum(len(load_paper(name).claims) for name in paper_names())


def evidence(dataset: str, holds: bool, part: int = 0) -> Evidence:
    return Evidence(part, dataset, "a against b", 0.1 if holds else -0.1, 0.0, 0.0, holds, 5, "mrr@20")


@pytest.mark.parametrize(
    "held, verdict",
    [
        ([], "not yet run"),
        ([("a", True)], "reproduced"),
        ([("a", True), ("b", True), ("c", False)], "reproduced"),
        ([("a", True), ("b", False)], "partly"),
        ([("a", True), ("a", False)], "partly"),
        ([("a", False)], "not reproduced"),
    ],
)
def test_verdicts(held, verdict):
    claim = Claim("X-1", "x", test={"parts": [{}]})
    assert decide(claim, [evidence(*item) for item in held]) == verdict


def test_a_claim_with_two_parts_needs_both():
    claim = Claim("X-1", "x", test={"parts": [{}, {}]})
    assert decide(claim, [evidence("a", True), evidence("a", True, 1)]) == "reproduced"
    assert decide(claim, [evidence("a", True), evidence("a", False, 1)]) == "partly"
    assert decide(claim, [evidence("a", True)]) == "partly"


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["study", "dimos"], "unknown paper 'dimos'. Valid: addrl, dimo, idsf, mmsbr"),
        (["study", "dimo/mains"], "unknown artefact 'mains'"),
        (["study", "dimo", "--budget", "big"], "unknown budget 'big'"),
        (["train", "gru", "nowhere"], "unknown data set 'nowhere'"),
        (["data", "inspect", "nowhere"], "is missing"),
        (
            ["study", "dimo/main", "--budget", "real", "--datasets", "sessions-instacart"],
            "disentrec data import",
        ),
    ],
)
def test_command_line_says_what_is_wrong_and_what_is_valid(arguments, message, capsys, tmp_path, monkeypatch):
    import disentrec.study.datasets as datasets

    monkeypatch.setattr(datasets.dataset_folder, "__defaults__", (tmp_path / "data",))
    if arguments[0] == "study":
        arguments = [*arguments, "--store", str(tmp_path)]
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("jobs", ["0", "-1", "1.5", "two", ""])
def test_jobs_are_a_whole_number_of_at_least_one(jobs, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["study", "dimo", f"--jobs={jobs}"])
    assert f"{jobs!r} is no whole number of at least 1" in capsys.readouterr().err


def test_train_command_prints_the_test_metrics(capsys, tmp_path, monkeypatch):
    import disentrec.study.datasets as datasets

    monkeypatch.setattr(datasets.dataset_folder, "__defaults__", (tmp_path / "data",))
    assert main(["train", "one-hop", "bazaar-tiny", "--set", "repeat=true", "--store", str(tmp_path)]) == 0
    assert '"mrr@20"' in capsys.readouterr().out
    assert main(["train", "one-hop", "bazaar-tiny", "--set", "again=1", "--store", str(tmp_path)]) == 2
    assert "unknown setting 'again' (in model one-hop). Valid: repeat" in capsys.readouterr().err


def known(store, name, **features):
    """Makes a store know a data set that is not here."""
    (store / "datasets").mkdir(parents=True, exist_ok=True)
    info = {"fingerprint": "f" * 64, "features": features}
    (store / "datasets" / f"{name}.json").write_text(json.dumps(info))


def test_an_entry_may_be_a_model_under_settings_and_a_grid_of_its_own(tmp_path):
    known(tmp_path, "amazon-baby")
    study = Study("addrl", "real", tmp_path)
    specs = study.tuning_specs("bpr-mmrec", "amazon-baby")
    assert {spec.model for spec in specs} == {"bpr"} and {spec.settings["penalty"] for spec in specs} == {"norm"}
    assert {spec.training.patience for spec in specs} == {20}
    plain = study.tuning_specs("bpr", "amazon-baby")
    assert all("penalty" not in spec.settings for spec in plain) and len({spec.hash for spec in [*specs, *plain]}) == 8


def test_a_small_set_trains_as_its_size_asks_and_splits_as_it_says(tmp_path):
    known(tmp_path, "amazon-scientific-clip", text={}, image={})
    known(tmp_path, "movielens-1m-users", text={}, image={})
    study = Study("idsf", "real", tmp_path)
    (small, *_), (other, *_) = (
        study.tuning_specs("bpr", name) for name in ("amazon-scientific-clip", "movielens-1m-users")
    )
    assert (small.training.batch_size, other.training.batch_size) == (512, 2048)
    assert (small.protocol.split, other.protocol.split) == ("", "mmrec")
    cold = study.paper.artefact("cold")
    row = study._spec(cold.row("idsf"), "movielens-1m-users", {}, 1)
    assert row.protocol.split == "cold-items"  # a row's protocol is over the data set's


def test_baselines_of_two_papers_are_the_same_runs(tmp_path):
    known(tmp_path, "amazon-scientific-clip", text={}, image={})
    hashes = [
        {spec.hash for spec in Study(paper, "real", tmp_path).tuning_specs(model, "amazon-scientific-clip")}
        for paper in ("addrl", "idsf")
        for model in ("vbpr", "freedom")
    ]
    assert hashes[:2] == hashes[2:]
