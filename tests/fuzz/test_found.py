"""What fuzzing and reading with its eyes found: each once as it was found, and what nothing random finds."""

from __future__ import annotations

import gzip
import io
import json
import math
import zipfile

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from disentrec import models
from disentrec.cli import assignments
from disentrec.data.columns import canonical
from disentrec.data.files import read_array, read_arrays, read_parquet
from disentrec.data.protocol import Protocol
from disentrec.data.schema import inspect_dataset, read_dataset, write_dataset
from disentrec.data.sources import lines, values
from disentrec.data.sources.amazon_files import read_reviews
from disentrec.data.sources.download import fetch
from disentrec.data.sources.lines import Tally, unpacked
from disentrec.encode.features import encode
from disentrec.encode.store import write_feature
from disentrec.encode.text import tfidf_svd
from disentrec.errors import DisentrecError
from disentrec.report.chapters import causes
from disentrec.report.parameters import assigned
from disentrec.report.tables import dataset_title, literal
from disentrec.study.papers import read_paper
from disentrec.study.reported import reported
from disentrec.study.sources import read_sources
from disentrec.study.spec import RunSpec
from disentrec.study.store import Store
from tests.fuzz import seeds
from tests.fuzz.test_fuzz import many

OUTSIDE = ("../x", "/x", "..", ".", "", "a/b", "a\\b", "a\0b", "a\nb", "<b>", "{{x}}", "`x`", "a" * 101)


@pytest.fixture
def small(tmp_path):
    folder = tmp_path / "small"
    for name, content in seeds.dataset_files().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def test_numbers_that_are_too_large_are_no_prices_and_no_ranks():
    assert math.isnan(values.price_of(10**400)) and math.isnan(values.released_price_of("9" * 59))
    assert values.price_of("$1,299.00 - $2,701.00") == 2000.0
    assert math.isnan(values.rank_of(f"#{'9' * 400} in Toys (")[0]) and math.isnan(values.rank_of("#0 in Toys (")[0])
    assert values.rank_of(">#12 in Toys (") == (12.0, "Toys")


def test_an_entity_without_end_is_one_bad_sign():
    assert values.text_of("a &#" + "9" * 5000 + "; b &#98;", 6000) == "a \ufffd b b"


@many(300)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda of: st.lists(of, max_size=4)
    )
)
@example([[10**400]])
@example({"Toys": 10**400})
def test_values_of_any_kind(value):
    assert not values.price_of(value) < 0 and not values.rank_of(value)[0] < 1
    assert len(values.title_of(value)) <= values.LONGEST
    values.title_of(value).encode()
    assert all(step and "|" not in step for step in values.path_of(value))


@pytest.mark.parametrize("bomb", ["gzip", "zip", "npz", "npy", "rows", "group"])
def test_what_unpacks_to_far_more_is_refused_before_the_memory_is_taken(bomb, tmp_path, monkeypatch):
    monkeypatch.setattr(lines, "SMALL", 1 << 20)
    path = tmp_path / "x"
    if bomb == "gzip":
        path.write_bytes(gzip.compress(b"\n" * (8 << 20)))
        with pytest.raises(DisentrecError, match="100 times"):
            read_reviews(path, Tally(), tolerated=1.0)
    elif bomb == "zip":
        path.write_bytes(seeds.archive(a=bytes(8 << 20)))
        with pytest.raises(DisentrecError, match="100 times"):
            lines.check_member(zipfile.ZipFile(path).infolist()[0], path)
    elif bomb == "npz":
        content = bytearray(seeds.npz(a=np.zeros(9)))
        place = content.rindex(b"PK\x01\x02")
        content[place + 24 : place + 28] = b"\xff\xff\xff\xfe"  # the size that the directory claims
        path.write_bytes(content)
        with pytest.raises(DisentrecError, match="2 GB"):
            read_arrays(path)
    elif bomb == "npy":
        path.write_bytes(seeds.npy(np.zeros((1, 2))).replace(b"(1, 2)", b"(9, 9)"))
        with pytest.raises(DisentrecError, match="does not fit"):
            read_array(path)
    elif bomb == "group":
        content = bytearray(seeds.parquet(a=np.zeros(100)))
        place = content.rindex(b"\x16\xc8\x01")  # 100 rows, as the footer says them for the one group
        content[place + 1 : place + 3] = b"\xfe\x7f"  # 8,191; in the file that was found, 252 billion
        path.write_bytes(content)
        with pytest.raises(DisentrecError, match="100 rows, in groups of 8,191"):
            read_parquet(path)
    else:
        monkeypatch.setattr("disentrec.data.files.MOST_ROWS", 100)
        path.write_bytes(seeds.parquet(a=np.zeros(101)))
        with pytest.raises(DisentrecError, match="101 rows"):
            read_parquet(path)


def test_a_file_that_packs_well_but_is_small_is_read(tmp_path):
    (tmp_path / "x").write_bytes(gzip.compress(b"\n" * (8 << 20)))
    with unpacked(tmp_path / "x") as file:
        assert sum(map(len, file)) == 8 << 20


def test_nothing_is_unpickled(tmp_path):
    out = io.BytesIO()
    np.save(out, np.array([print], dtype=object), allow_pickle=True)
    (tmp_path / "x").write_bytes(out.getvalue())
    with pytest.raises(DisentrecError, match="objects"):
        read_array(tmp_path / "x")


@pytest.mark.parametrize("name", OUTSIDE)
def test_names_that_become_paths_stay_inside(name, small, tmp_path):
    info = json.loads((small / "dataset.json").read_text())
    (small / "dataset.json").write_text(json.dumps(info | {"name": name}))
    with pytest.raises(DisentrecError, match="no name of a data set"):
        read_dataset(small)
    (small / "dataset.json").write_text(json.dumps(info | {"files": info["files"] | {f"features/{name}.npy": "0"}}))
    if not name.isalpha():
        with pytest.raises(DisentrecError, match="not files of a dataset folder"):
            read_dataset(small)
    record = json.loads(seeds.spec())
    record["spec"]["dataset"] = name
    with pytest.raises(DisentrecError, match="no name of a data set"):
        RunSpec.from_json(record["spec"])
    with pytest.raises(DisentrecError, match="no name of a feature"):
        write_feature(small, name, np.ones((6, 2)), {})
    (small / "dataset.json").write_text(json.dumps(info))
    if name:
        with pytest.raises(DisentrecError, match="no name of a feature"):
            encode(read_dataset(small), text="tfidf-svd", name=name)
    items = pd.DataFrame({"item": [0, 1]})
    given = {"items": items, "licence": "", "provenance": ""}
    with pytest.raises(DisentrecError, match="no name of a data set"):
        write_dataset(tmp_path / "out", name=name, **given)
    if not name.isalpha():
        with pytest.raises(DisentrecError, match="not files"):
            write_dataset(tmp_path / "out", name="x", features={name: np.ones((2, 2))}, **given)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["small"]


def test_an_address_that_ends_in_dots_names_no_file(tmp_path):
    with pytest.raises(DisentrecError, match="no file is named"):
        fetch("http://127.0.0.1:1/%2e%2e", tmp_path)


@pytest.mark.parametrize(
    "pair",
    ["a=" + "[" * 5000, "a=!!python/object/apply:os.abort []", "a=!!set {b}", "a=" + "9" * 5000,
     "a=[&a [b], " + "*a, " * 30 + "]", "a=!!binary x", "=1", "a"],
)  # fmt: skip
def test_settings_that_are_none(pair):
    with pytest.raises(DisentrecError):
        assignments([pair])


def test_a_date_is_a_text_and_kinds_of_settings_are_checked():
    assert assignments(["a=2001-01-01", "b=[1, 2.5]"]) == {"a": "2001-01-01", "b": [1, 2.5]}
    with pytest.raises(DisentrecError, match="epochs='many'.*int"):
        RunSpec.from_json(replaced("training", "epochs", "many"))
    with pytest.raises(DisentrecError, match="augment=1"):
        Protocol.clean(augment=1)
    (first, *_) = vars(models.get("sr-gnn").Config())
    with pytest.raises(DisentrecError, match=f"{first}="):
        models.configure("sr-gnn", {first: {"a": 1}})
    assert models.configure("sr-gnn", {}) == models.get("sr-gnn").Config()


def replaced(part: str, key: str, value: object) -> dict:
    spec = json.loads(seeds.spec())["spec"]
    return spec | {part: spec[part] | {key: value}}


@pytest.mark.parametrize("source", ["a = {[]: 1}", "a = " + "(" * 300, "a = " + "-" * 9000 + "1", "a = f()", "a.b = 1"])
def test_parameters_that_are_no_literals(source):
    with pytest.raises(DisentrecError, match="plain literals"):
        assigned(source)


def test_a_record_without_its_numbers(tmp_path):
    path = tmp_path / "x.json"
    path.write_bytes(seeds.spec())
    assert Store(tmp_path).read(path).metric("mrr@20") == 0.5
    with pytest.raises(DisentrecError, match="no metric"):
        Store(tmp_path).read(path).metric("mrr@10")
    path.write_text(json.dumps(json.loads(seeds.spec()) | {"metrics": None}))
    with pytest.raises(DisentrecError, match="not a run record"):
        Store(tmp_path).read(path)


COLUMNS = st.sampled_from(
    [
        pa.array([0, 1], pa.uint64()), pa.array([0, None], pa.int32()), pa.array(["a", "b"]), pa.array([b"\xff", b""]),
        pa.array([[0], [None]], pa.list_(pa.int32())), pa.array([[0, 1], [1, 0]], pa.large_list(pa.int64())),
        pa.array([{"a": 1}, None]), pa.array([1, 2], pa.timestamp("ns")), pa.array([2**63, 1], pa.uint64()),
        pa.array([np.nan, np.inf]), pa.array([-1.0, 2.0]), pa.array(["a", None]), pa.array([True, False]),
        pa.array(["train", "x" * 10_000_000]), pa.array(["a", "b"]).dictionary_encode(), pa.nulls(2),
        pa.array([1, 2], pa.decimal128(5)), pa.array([1, 2], pa.float16()), pa.array([-1, 2**31 - 1]),
        pa.array([0, 1]), pa.array([0, 0]), pa.array([[0, 1], [1, 1]]), pa.array(["train", "test"]),
    ]
)  # fmt: skip
NAMES = st.sampled_from(["item", "items", "session", "user", "split", "time", "price", "sales_rank", "title", "odd"])


@many(300)
@given(st.dictionaries(NAMES, COLUMNS, min_size=1), st.sampled_from(["items", "sessions", "interactions", "images"]))
def test_columns_of_any_type(tmp_path_factory, columns, kind):
    where = tmp_path_factory.getbasetemp() / "columns"
    try:
        table = canonical(pa.table(columns), kind, where)
        others = {} if kind == "items" else {"items": pd.DataFrame({"item": [0, 1]})}
        if kind != "images":
            given = others | {kind: table.to_pandas(types_mapper=pd.ArrowDtype)}
            write_dataset(where, name="x", licence="", provenance="", overwrite=True, **given)
            inspect_dataset(where)
    except DisentrecError as error:
        assert len(str(error)) < 2000


def test_two_columns_of_one_name(small):
    twice = pa.table([[0, 1], [0, 1]], names=["item", "item"])
    pa.parquet.write_table(twice, small / "items.parquet")
    with pytest.raises(DisentrecError, match="two columns"):
        read_dataset(small)


def test_papers_and_figures_that_are_none(tmp_path):
    (tmp_path / "x.yaml").write_text("claims: 3")
    with pytest.raises(DisentrecError, match="no paper"):
        read_paper(tmp_path / "x.yaml")
    (tmp_path / "x.yaml").write_text("extends: ../x\nclaims: []")
    with pytest.raises(DisentrecError, match="file to extend"):
        read_paper(tmp_path / "x.yaml")
    (tmp_path / "x.yaml").write_text("../x: {source: bazaar, title: x, modalities: []}")
    with pytest.raises(DisentrecError, match="no name of a data set"):
        read_sources(tmp_path / "x.yaml")
    (tmp_path / "x.csv").write_text("paper,artefact,dataset,model,metric,value,unit,source\nDIMO,a,b,c,d,nan,e,f\n")
    with pytest.raises(DisentrecError, match="finite"):
        reported(tmp_path / "x.csv")


def test_texts_that_are_all_alike_warn_of_nothing():
    assert np.isfinite(tfidf_svd(["one two three"] * 5, 2)).all()


TITLE = "<script>alert(1)</script>|{{x}} `a` *b* [c](d) $e$ \\ ![f](g) <img src=x onerror=alert(1)> {cite}`h`\n# i"


def test_a_title_never_becomes_markup():
    page = MarkdownIt("commonmark", {"html": True}).enable("table")
    assert page.render(literal(TITLE)).count("<") == 2  # its paragraph
    table = page.render(f"| a | b |\n|---|---|\n| {literal(TITLE)} | 1 |\n")
    assert table.count("<td") == 2 and "<script" not in table and "&lt;script&gt;alert(1)" in table
    assert "{" not in literal(TITLE) and "`" not in literal(TITLE) and "$" not in literal(TITLE)
    assert dataset_title(TITLE) == literal(TITLE) and literal("Red wool hat, 2 pc.") == "Red wool hat, 2 pc."


def test_titles_of_an_example_in_a_chapter_are_text():
    facts = {"title": np.array([TITLE, "plain"]), "prefix_values": np.array([0, 1]), "prefix_offsets": np.array([0, 2])}
    facts |= {"target": np.array([0])}
    arrays = {"after_top": np.array([0]), "after_cited": np.array([0]), "test_rank": np.array([1.0])}
    for template in (1, -1):
        line = causes._example(facts, arrays, 0, template, "id")
        assert "<" not in line and "{{" not in line and "`" not in line and "\n" not in line


@many(200)
@given(st.text())
def test_any_text_is_shown_as_it_is(text):
    shown = MarkdownIt("commonmark", {"html": True}).parseInline(f"x {literal(text)} x")
    assert {token.type for token in shown[0].children} == {"text"} or {"text", "text_special"} >= {
        token.type for token in shown[0].children
    }
