"""Pages on open questions: what records say, and what stands there while there are none."""

from __future__ import annotations

import json

import numpy as np
import pytest

from disentrec.data.protocol import Protocol
from disentrec.evaluation.reasons import VARIANTS
from disentrec.report import figures
from disentrec.report.chapter import Chapter
from disentrec.report.questions import kinds as questions_cross
from disentrec.report.questions import reasons
from disentrec.report.questions import sizes as questions
from disentrec.study import RunSpec, Study, load_paper
from disentrec.study.sources import sources

CASES = 60
HISTORY = np.repeat([3, 8, 15], CASES // 3)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setitem(figures.myst_figure.__kwdefaults__, "folder", tmp_path / "figures")
    return tmp_path / "figures"


def record(study, spec, ranks, **measures):
    """A run of these ranks; its metrics are theirs."""
    values = np.where(ranks <= 20, 1 / ranks, 0.0).mean()
    names = ("mrr@20", "prec@20", "recall@20", "ndcg@20", *(f"{m}@10" for m in ("precision", "ndcg", "recall")))
    metrics = {part: dict.fromkeys((*names, "precision@20"), float(values)) for part in ("valid", "test")}
    arrays = {"test_rank": np.asarray(ranks, dtype=np.float32)}
    if study.paper.of_users:
        arrays |= {"test_user": np.arange(CASES, dtype=np.int32), "test_count": np.ones(CASES, np.int32)}
    else:
        arrays |= {"test_session": np.arange(CASES, dtype=np.int32)}
    content = {"status": "finished", "spec": spec.to_json(), "metrics": metrics, "commit": "0" * 12}
    content |= {"timing": {"total_s": 1.0}, "environment": {"cpu": "a test", "threads": 1}}
    content |= {"extra": {"after": measures} if measures else {}}
    study.store.save(spec, content, arrays)


def published(root, dataset):
    (root / "datasets").mkdir(parents=True, exist_ok=True)
    info = {"fingerprint": "f" * 64, "features": {name: {} for name in sources()[dataset].modalities}}
    (root / "datasets" / f"{dataset}.json").write_text(json.dumps(info))
    np.savez(root / "datasets" / f"{dataset}.npz", user_history=HISTORY)


def ran(root, paper, artefact, ranks, dataset="bazaar-demo", budget="demo", **measures):
    """Saves every run of an artefact; ranks: row -> the ranks of its cases."""
    published(root, dataset)
    study = Study(paper, budget, root)
    plan = study.paper.artefact(artefact)
    for model in dict.fromkeys(row.model for row in plan.rows):
        for spec in study.tuning_specs(model, dataset):
            record(study, spec, np.ones(CASES))
    for row in study.rows(plan, dataset):
        for spec in study.row_specs(plan, row, dataset):
            record(study, spec, ranks(row), **measures)
    return Chapter(paper, artefact, budgets=[budget], store=root)


def test_a_share_of_one_is_the_run_that_there_was():
    """What the switch changes has a hash of its own; its default is in no hash."""
    spec, thin = (RunSpec("pop", "x", "f", protocol=Protocol(train_share=share)) for share in (1.0, 0.5))
    assert spec.hash == RunSpec("pop", "x", "f").hash != thin.hash
    assert "train_share" not in spec.canonical()["protocol"]
    content = spec.to_json()
    del content["protocol"]["train_share"]  # as records made before have it
    assert RunSpec.from_json(content).hash == spec.hash


@pytest.mark.parametrize("name", ["questions-sessions", "questions-users"])
def test_rows_without_a_switch_are_runs_of_the_papers(name):
    """A question asks for no run that a paper's table has already: the same settings, so the same hash."""
    paper, parents = load_paper(name), [load_paper(one) for one in ("dimo", "mmsbr", "addrl", "idsf")]
    for model, entry in paper.models.items():
        assert any(parent.models.get(model) == entry for parent in parents) or model == "late-fusion"
    for artefact in paper.artefacts.values():
        assert artefact.about.strip() and len(artefact.rows) > 1


@pytest.mark.parametrize(("paper", "worst"), [("questions-sessions", "DIMO"), ("questions-users", "IDSF")])
def test_what_a_share_keeps_is_said_and_drawn(tmp_path, folder, paper, worst):
    # Everyone finds everything at rank 1; but for one model, at 10 % at rank 2: half of its MRR is kept.
    def ranks(row):
        return np.full(CASES, 2.0 if row.label == f"{worst}, 10 %" else 1.0)

    page = ran(tmp_path, paper, "size", ranks)
    text = questions.size_sentences(page).data
    assert f"{worst} keeps 50 %" in text and text.count("keeps 100 %") == 3
    ((study, dataset),) = page.published()
    lines = questions.size_lines(study, "size", dataset, page.artefact.metrics[-1])
    assert [list(values) for _, values in lines.values()] == [[0.1, 0.25, 0.5, 1.0]] * 4
    shown = questions.size_figures(page).data
    assert f"{worst} from 50.00 to 100.00" in shown and len(list(folder.glob("*.svg"))) == 1


def test_fineness_reads_the_rows_of_one_setting_alone(tmp_path, folder):
    better = {"bins10": 1.0}

    def ranks(row):
        return np.full(CASES, better.get(row.id, 2.0))

    page = ran(tmp_path, "addrl", "attention", ranks)
    ((study, dataset),) = page.published()
    panels = questions.fineness_panels(study, "attention", dataset, "recall@20")
    assert {key: (list(points), chosen) for key, (points, chosen) in panels.items()} == {
        "bins": ([3.0, 4.0, 10.0, 20.0], 4.0),
        "attributes": ([1.0, 2.0, 3.0, 4.0], 4.0),
    }
    lines = questions.fineness_sentences(page).data.splitlines()
    assert "best with 10, +50.00 points" in lines[0] and len(lines) == 2
    assert "10: 100.00" in questions.fineness_figures(page).data and len(list(folder.glob("*.svg"))) == 1


def test_users_are_grouped_by_their_history(tmp_path, folder):
    groups = questions_cross.history_groups(HISTORY)
    assert list(groups) == ["1 to 5", "6 to 10", "11 to 20"] and all(group.sum() == 20 for group in groups.values())
    assert list(questions_cross.history_groups(np.array([5] * 25 + [6] * 19 + [21] * 20))) == ["1 to 5", "over 20"]

    # LightGCN finds what users with little history want, AD-DRL what those with much do.
    def ranks(row):
        found = {"lightgcn": HISTORY == 3, "addrl": HISTORY == 15}.get(row.id, np.zeros(CASES, bool))
        return np.where(found, 1.0, 50.0)

    page = ran(tmp_path, "addrl", "main", ranks)
    text = questions_cross.history_sentences(page).data
    assert "of users with 1 to 5 purchases LightGCN is best and AD-DRL 2 of 15, −100.00 points" in text
    assert "of users with 11 to 20 purchases AD-DRL is best and AD-DRL 1 of 15, +100.00 points" in text
    table = questions_cross.history_tables(page).data
    assert "| LightGCN | 100.00 ± 0.00 | 0.00 ± 0.00 | 0.00 ± 0.00 |" in table and "as released" not in table
    shown = questions_cross.history_figures(page, ["addrl", "lightgcn"]).data
    assert "LightGCN from 100.00 to 0.00" in shown and len(list(folder.glob("*.svg"))) == 1


def test_kinds_of_data_tell_amazon_from_the_rest(tmp_path, folder):
    kinds = [questions_cross.kind(name) for name in ("bazaar-demo", "ml1m-small", "online-retail", "beauty", "tiktok")]
    assert kinds == ["the embedded shop", "films", "gifts, not Amazon's", "Amazon", "short videos"]
    ran(tmp_path, "dimo", "main", lambda row: np.full(CASES, 1.0 if row.id == "dimo" else 4.0), "ml1m-small", "real")
    ran(
        tmp_path,
        "dimo",
        "main",
        lambda row: np.full(CASES, 2.0 if row.id == "dimo" else 1.0),
        "sessions-grocery",
        "real",
    )
    found = questions_cross.places(tmp_path, ["real"])
    assert [(bench.dataset, entry.id, lead) for bench, entry, _, lead in found] == [
        ("sessions-grocery", "dimo", -0.5),
        ("ml1m-small", "dimo", 3.0),
    ]
    text = questions_cross.kinds_sentence(tmp_path).data
    assert "Amazon: one of the papers' models is first on 0 of 1 data sets; median lead −50 %." in text
    assert "Other real data: one of the papers' models is first on 1 of 1 data sets; median lead +300 %." in text
    assert "| films | DIMO | 1 of " in questions_cross.kinds_table(tmp_path).data
    assert "films) +300" in questions_cross.kinds_figure(tmp_path).data and len(list(folder.glob("*.svg"))) == 1


def test_reasons_are_told_by_model_and_variant(tmp_path, folder):
    measures = {f"{variant}_{name}": 0.25 for variant in VARIANTS for name in reasons.COLUMNS}
    measures |= {
        "lift_fidelity": 0.75,
        "last_fidelity": 2.0,
        "model_auc": 0.5,
        "bayes_auc": 0.9,
        "bayes_informedness": 0.8,
    }
    page = ran(tmp_path, "questions-sessions", "reasons", lambda row: np.ones(CASES), **measures)
    text = reasons.reasons_sentences(page).data
    assert "more faithful in every seed: cites by lift, not by count (+0.50); nearer" in text
    assert "nearer to the true cause in every seed: template chosen by the model's own parts (+0.25)." in text
    table = reasons.reasons_tables(page).data
    assert "| the last item, whatever it is | 25 ± 0 | 25 ± 0 | 2.00 ± 0.00 |" in table and "*0.90*" in table
    assert "the last item, whatever it is 2.00" in reasons.reasons_figures(page).data
    assert len(list(folder.glob("*.svg"))) == 2


def test_without_records_the_pages_say_so(tmp_path):
    page = Chapter("questions-sessions", "size", budgets=["demo"], store=tmp_path)
    assert questions.size_sentences(page).data == questions.NOTHING_YET
    assert questions.size_figures(page).data == "Not yet run."
    assert "disentrec study questions-sessions/size --budget demo --datasets bazaar-demo" in page.left().data
    fine = Chapter("addrl", "attention", budgets=["demo"], store=tmp_path)
    assert questions.fineness_sentences(fine).data == questions.NOTHING_YET
    why = Chapter("questions-sessions", "reasons", budgets=["demo"], store=tmp_path)
    assert reasons.reasons_tables(why).data == "Not yet run."
    assert (
        questions_cross.history_tables(Chapter("addrl", "main", budgets=["demo"], store=tmp_path)).data
        == "Not yet run."
    )
    assert questions_cross.kinds_sentence(tmp_path).data == questions.NOTHING_YET


def test_names_of_lines_that_end_together_are_all_drawn():
    drawing = figures.lines_figure(["a", "b"], {name: ("", [1.0, 2.0]) for name in "vwxyz"}, "x", "y")
    (axis,) = drawing.axes
    assert [one.get_text() for one in axis.texts] == list("vwxyz")
    assert not any(one.get_annotation_clip() for one in axis.texts)
    assert len({one.xy[1] for one in axis.texts}) == 5
