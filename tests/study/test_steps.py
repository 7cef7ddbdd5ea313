"""The waterfall of every audit: generated rows, from the model as described to the released one."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

import pytest

from disentrec.errors import DisentrecError
from disentrec.study import Study, load_paper, paper_names
from disentrec.study.sources import sources
from disentrec.study.steps import GROUPS, carried, waterfall

PAPERS = [name for name in paper_names() if "audit" in load_paper(name).artefacts]


@pytest.fixture()
def study(tmp_path):
    """Returns a function that makes a study whose store knows the shop and whose tuning chose another configuration."""

    def make(paper: str, features: bool = True) -> Study:
        (tmp_path / "datasets").mkdir(exist_ok=True)
        found = {"name": "bazaar-demo", "fingerprint": "0" * 64, "features": {"text": {}} if features else {}}
        (tmp_path / "datasets" / "bazaar-demo.json").write_text(json.dumps(found))
        made = Study(paper, "demo", tmp_path)
        made.chosen = lambda model, dataset: made.paper.grid(model)[3]
        return made

    return make


def hashes(study: Study, artefact: str, row: str) -> list[str]:
    plan = study.paper.artefact(artefact)
    specs = study.row_specs(plan, plan.row(row), "bazaar-demo")
    return [spec.hash for spec in specs]


@pytest.mark.parametrize("paper", PAPERS)
@pytest.mark.parametrize("features", [True, False])
def test_first_and_last_row_are_those_of_the_audit(study, paper, features):
    made = study(paper, features)
    audit, steps = made.paper.artefact("audit"), made.paper.artefact("waterfall")
    assert steps.rows[0].id == audit.reference and steps.rows[-1].id == "released"
    for row in (steps.rows[0].id, "released"):
        assert len(hashes(made, "audit", row)) == made.budget.seeds["main"]
        assert hashes(made, "waterfall", row) == hashes(made, "audit", row)


@pytest.mark.parametrize("paper", PAPERS)
def test_every_step_adds_one_group_to_the_row_before(paper):
    rows = load_paper(paper).artefact("waterfall").rows
    groups = [row.group for row in rows[1:]]
    assert groups == [group for group in GROUPS if group in groups]
    for before, row in pairwise(rows):
        assert row.against == before.id
        for name in ("settings", "protocol", "training", "without_features"):
            assert getattr(before, name).items() <= getattr(row, name).items()


@pytest.mark.parametrize("paper", PAPERS)
def test_every_switch_of_the_released_row_belongs_to_a_group_or_to_its_settings(paper):
    """A switch that no group names would come unnoticed with another step."""
    audit = load_paper(paper).artefact("audit")
    released = audit.row("released")
    for name in ("settings", "protocol", "training"):
        named = {key for row in audit.rows if row.group and carried(row, released) for key in getattr(row, name)}
        left = {key for key in getattr(released, name) if key not in named} - {"name"}
        # Settings of the release: MMSBR's features trained along (part of its grid), the decay of IDSF's rate.
        assert left <= {"trainable_features", "decay"}


def test_only_the_pseudo_texts_cannot_be_had_with_the_rest():
    apart = {
        row.id
        for paper in map(load_paper, PAPERS)
        for row in paper.artefact("audit").rows
        if row.group and not carried(row, paper.artefact("audit").row("released"))  # without a group: a control
    }
    assert apart == {"spaced_words", "unspaced_words"}


def test_the_settings_of_the_release_come_before_its_evaluation():
    rows = {row.id: row for row in load_paper("dimo").artefact("waterfall").rows}
    assert rows["training"].tuned and not rows["settings"].tuned
    assert not rows["settings"].protocol.get("select_on_test") and rows["released"].protocol["select_on_test"]


def test_idsf_ends_with_its_decay_as_nothing_of_its_evaluation_is_a_run():
    rows = load_paper("idsf").artefact("waterfall").rows
    assert [row.group for row in rows[1:]] == ["model", "training", "settings"]
    assert "decay" not in rows[2].training and rows[3].training["decay"] == 0.96


def test_an_unknown_group_is_refused():
    paper = load_paper("dimo")
    audit = paper.artefact("audit")
    with pytest.raises(DisentrecError, match="luck"):
        waterfall(replace(audit, rows=(*audit.rows, replace(audit.rows[1], id="x", group="luck"))), paper.deviations)


@pytest.mark.parametrize("paper", PAPERS)
def test_audits_stand_on_a_real_data_set_and_share_their_seeds_with_the_waterfall(paper):
    audit = load_paper(paper).artefact("audit")
    assert audit.seeds == load_paper(paper).artefact("waterfall").seeds
    real = audit.datasets.get("real", load_paper(paper).budget("real").datasets)
    assert real and set(real) <= set(sources())
    if paper in ("addrl", "idsf"):
        assert real[0] == "amazon-scientific-clip"
