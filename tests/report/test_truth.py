"""The pages on parts against the truth: what records say, and what stands there while there are none."""

from __future__ import annotations

import json

import numpy as np
import pytest

from disentrec.report import figures
from disentrec.report.chapter import Chapter
from disentrec.report.truth import doses
from disentrec.report.truth import parts as disentangled
from disentrec.study import Study
from disentrec.study.sources import sources

CASES = 40
TRUTH = np.tile([1, 0, -1, 1], CASES // 4).astype(np.int8)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setitem(figures.myst_figure.__kwdefaults__, "folder", tmp_path / "figures")
    return tmp_path / "figures"


def record(study, spec, auc: float | None, **measures):
    """A run whose effect is the truth or its opposite, with an AUC as given; None: a model without parts."""
    metrics = {part: dict.fromkeys(("mrr@20", "prec@20", "recall@20", "ndcg@20"), 0.1) for part in ("valid", "test")}
    timing, environment = {"total_s": 1.0}, {"cpu": "a test", "threads": 1}
    arrays, known = {}, {"parts": 0.0}
    if auc is not None:
        known = {"id_auc": auc, "id_bayes_auc": 1.0, "id_skill": 0.5, "id_ece": 0.1, "id_informedness": 2 * auc - 1}
        known |= {
            "id_ideal_auc": 0.99,
            "id_bayes_skill": 1.0,
            "id_bayes_ece": 0.0,
            "id_cka": 0.0,
            "id_hsic_p": 0.5,
            **measures,
        }
        known |= dict.fromkeys(("id_mig", "id_sap", "id_dci_disentanglement", "id_dci_completeness"), 0.25)
        known |= {"id_ideal_skill": 0.9, "id_ideal_ece": 0.1, "id_ideal_informedness": 0.8}
        known |= {"goes_with_id": 0.75, "goes_with_modality": 0.5}
        known |= {f"linear_{side}_{name}": 0.5 for side in ("id", "modality") for name in disentangled.FACTORS}
        effect = np.where(TRUTH == 1, 1.0, -1.0) * (1 if auc > 0.5 else -1)
        part = np.random.default_rng(0).standard_normal((20, 4)).astype(np.float16)
        arrays = {"after_id_effect": effect.astype(np.float32), "after_id_truth": TRUTH}
        arrays |= {"after_id_bayes": (TRUTH == 1).astype(np.float16)}
        arrays |= {"after_part_id": part, "after_part_modality": part}
    content = {"status": "finished", "spec": spec.to_json(), "metrics": metrics, "extra": {"after": known}}
    content |= {"timing": timing, "environment": environment, "commit": "0" * 12}
    study.store.save(spec, content, arrays)


def published(root, dataset: str) -> None:
    (root / "datasets").mkdir(parents=True, exist_ok=True)
    info = {"fingerprint": "f" * 64, "features": {key: {} for key in sources()[dataset].modalities}}
    (root / "datasets" / f"{dataset}.json").write_text(json.dumps(info))
    np.savez(root / "datasets" / f"{dataset}.npz", cause=TRUTH)


def ran(root, paper: str, artefact: str, values: dict, datasets=("bazaar-demo",)) -> None:
    """Saves tuning runs of some rows, and one run per seed with values[row] or values[row, data set]."""
    study = Study(paper, "demo", root)
    plan = study.paper.artefact(artefact)
    for dataset in {*datasets, "bazaar-demo"}:
        published(root, dataset)
    for row in plan.rows:
        for dataset in datasets:
            value = values.get((row.id, dataset), values.get(row.id, ()))
            if value == ():
                continue
            for spec in study.tuning_specs(row.model, "bazaar-demo"):
                record(study, spec, None)
            for spec in study.row_specs(plan, row, dataset):
                record(study, spec, **(value if isinstance(value, dict) else {"auc": value}))


def pages(root) -> list[Chapter]:
    return [Chapter(paper, "causes", budgets=["demo"], store=root) for paper in ("truth-sessions", "truth-users")]


def test_without_a_run_every_part_of_the_page_says_so(tmp_path, folder):
    found = pages(tmp_path)
    for page in (disentangled.ladder, disentangled.reliability_curves, disentangled.factors_figure):
        assert page(found).data == "Not yet run."
    assert disentangled.parts_table(found).data == "Not yet run."
    assert "| DIMO | not yet run |" in disentangled.causes_table(found).data
    assert "- MMSBR: not yet run." in disentangled.sentences(found).data
    assert "disentrec study truth-sessions/causes --budget demo" in found[0].left().data
    assert not folder.exists()
    dose, content = (Chapter("truth-sessions", name, budgets=["demo"], store=tmp_path) for name in ("dose", "content"))
    assert "not yet run" in doses.shares(dose).data and "not yet run" in doses.overlap(dose).data
    assert doses.content(content).data.count("not yet run") == 2
    assert doses.response(dose).data == "Nothing to say before the runs are there."


def test_the_page_says_what_the_records_hold(tmp_path, folder):
    ran(tmp_path, "truth-sessions", "causes", {"two-towers": 0.0, "dimo": 1.0, "mmsbr": None})
    ran(tmp_path, "truth-users", "causes", {"vbpr": 1.0, "idsf": 1.0})
    found = pages(tmp_path)
    said = disentangled.sentences(found).data
    assert "Two towers (control) tells choices by ID from those by modality with an AUC of 0.00: below chance" in said
    assert "100 % of the way from chance to Bayes' rule (1.00); more than Two towers (control) (+1.00" in said
    assert "MMSBR has no part that stands for the ID" in said and "DIMO without its losses: not yet run" in said
    assert "IDSF tells" in said and "not clearly other than VBPR (control) (+0.00" in said
    drawn = disentangled.ladder(found).data
    assert "MMSBR has none" in drawn and "AD-DRL not yet run" in drawn and (folder / "truth-ladder-id.svg").exists()
    table = disentangled.causes_table(found).data
    assert "| DIMO | 1.00 ± 0.00 | 0.50 ± 0.00 | 0.10 ± 0.00 | 1.00 ± 0.00 | 1.00 |" in table
    assert "| MMSBR | has none |" in table and "| *Perfect parts, users* | 0.99 | 0.90 | 0.10 | 0.80 |  |" in table
    assert "| DIMO: ID / content | 0.75 / 0.50 |" in disentangled.parts_table(found).data
    assert "| .500 | 1.00 / 1.00 |" in disentangled.parts_table(found).data
    assert "from 0.00 to 1.00" in disentangled.reliability_curves(found).data
    assert "DIMO: ID: category 0.50" in disentangled.factors_figure(found).data


def test_a_model_that_follows_the_causes_says_ten_points_for_ten(tmp_path, folder):
    values = {}
    for share, dataset in doses.SHARES.items():
        for row, slope in (("two-towers", 0.0), ("dimo", 1.0)):
            known = {"auc": 1.0, "id_true_share": share / 100, "id_share": 0.5 + slope * (share / 100 - 0.5)}
            values[row, dataset] = known
    ran(tmp_path, "truth-sessions", "dose", values, tuple(doses.SHARES.values()))
    page = Chapter("truth-sessions", "dose", budgets=["demo"], store=tmp_path)
    said = doses.response(page).data
    assert "- DIMO: for every 10 points more that are true, it says 10.0 points more (5 of 5 doses)." in said
    assert "- Two towers (control): for every 10 points more that are true, it says 0.0 points" in said.replace("−", "")
    assert "DIMO: 0 0.00, 25 0.25, 50 0.50, 75 0.75, 100 1.00" in doses.shares(page).data
    assert "not yet run" in doses.overlap(page).data
    table = doses.dose_table(page, doses.SHARES, "id_share", "Shares.").data
    assert "| DIMO | 0.00 ± 0.00 | 0.25 ± 0.00 |" in table


def test_content_is_drawn_from_the_doses_that_were_run(tmp_path, folder):
    rows = {f"{model}{dose}": 0.9 for model in ("two-towers", "dimo") for dose in doses.WRONG.values()}
    ran(tmp_path, "truth-sessions", "content", rows)
    page = Chapter("truth-sessions", "content", budgets=["demo"], store=tmp_path)
    found = doses.content(page).data
    assert "DIMO: 0 0.90, 25 0.90, 50 0.90, 75 0.90; Bayes' rule: 0 1.00" in found
    assert found.endswith("missing, percent: not yet run.") and (folder / "truth-dose-wrong.svg").exists()
