"""The table of models: each registered one, with numbers from records and none made up."""

from __future__ import annotations

import inspect
import re

import pytest

from disentrec import models
from disentrec.paths import BOOK, RESULTS
from disentrec.report.models.advice import ADVICE
from disentrec.report.models.overview import WALKS, models_tables, page_of, published_rows

LINE = re.compile(r"^\| \[`([\w-]+)`\]\(([\w/-]+\.md)\) \| (.*) \|$", re.MULTILINE)


@pytest.fixture(scope="module")
def lines():
    """The cells of every model's line, by name, from the published records."""
    found = [(name, rest.split(" | ")) for name, _, rest in LINE.findall(models_tables(RESULTS))]
    assert len(dict(found)) == len(found)
    return dict(found)


def test_every_registered_model_has_one_line_and_advice(lines):
    assert set(lines) == set(models.available()) == set(ADVICE)


def test_every_name_leads_to_a_page():
    for name, page, _ in LINE.findall(models_tables(RESULTS)):
        assert page == page_of(name) and (BOOK / "models" / page).exists()


def test_the_numbers_are_those_of_the_records(lines):
    found = published_rows(RESULTS)
    for name in ("dimo", "one-hop", "lightgcn"):
        records = found[name].records
        assert {record.spec.model for record in records} == {name}
        assert {record.spec.dataset for record in records} == {"bazaar-demo"}
        metric = "mrr@20" if models.get(name).task == "session" else "recall@20"
        mean = sum(record.metric(metric) for record in records) / len(records)
        count = records[0].content["n_parameters"]
        assert lines[name][1] == (f"{count:,}" if count else "none")
        assert lines[name][3] == f"{100 * mean:.2f}"
    assert found["dimo"].row.id == "dimo"


def test_the_best_stand_first():
    for task in ("session", "top-n"):
        part = models_tables(RESULTS).split(f"tbl-models-{task}")[1].split("```")[0]
        values = [rest.split(" | ")[3] for _, _, rest in LINE.findall(part)]
        numbers = [float(value) for value in values if value != "–"]
        assert numbers == sorted(numbers, reverse=True)
        assert values[: len(numbers)] == [f"{number:.2f}" for number in numbers]


def test_without_records_every_number_is_a_dash(tmp_path):
    rows = LINE.findall(models_tables(tmp_path))
    assert len(rows) == len(models.available())
    assert all(rest.split(" | ")[1:4] == ["–", "–", "–"] for _, _, rest in rows)


def test_what_a_model_is_said_to_read_is_what_its_file_reads():
    for name, advice in ADVICE.items():
        source = inspect.getsource(inspect.getmodule(models.get(name)))
        reads = any(mark in source for mark in ("catalogue.features", "Contents(", "DIMO(DIMOConfig("))
        assert ("text" in advice.reads) == reads, name
        assert ("price" in advice.reads) == ("price_levels" in source or "item_attributes" in source), name


def test_every_walk_exists_and_shows_the_file_it_walks_through():
    for name in WALKS:
        text = (BOOK / "models" / f"{name}.md").read_text()
        assert f"src/disentrec/models/{name}.py" in text
        assert f"_static/{name}.svg" in text
        assert text.count("{literalinclude}") >= 4
