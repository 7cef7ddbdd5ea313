"""The dataset folder: what is written is read back, content has a fingerprint, broken folders are refused."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from disentrec.data.fingerprint import table_hash
from disentrec.data.schema import inspect_dataset, read_dataset, session_table, write_dataset
from disentrec.data.sequences import Sequences
from disentrec.errors import DisentrecError

LISTS = [[0, 1, 2], [1, 3], [2, 0, 1], [3, 2]]


def parts(**changes: Any) -> dict[str, Any]:
    """Returns the arguments of a small valid data set, some of them replaced."""
    items = pd.DataFrame({"item": range(4), "title": ["cup", "", "pot", "lid"], "price": [1.0, np.nan, 0.0, 2.5]})
    sessions = session_table(
        Sequences.from_lists(LISTS),
        user=[0, -1, 1, 0],
        time=[10, 20, 30, 40],
        split=["train", "train", "valid", "test"],
    )
    interactions = pd.DataFrame({"user": [0, 0, 1], "item": [0, 1, 2], "split": ["train", "test", "train"]})
    features = {"text": np.array([[1, 0], [0, 0], [0, 2], [3, 4]], dtype=np.float32)}
    content = {
        "name": "toy",
        "items": items,
        "sessions": sessions,
        "interactions": interactions,
        "features": features,
        "encoders": {"text": "by hand"},
        "images": {2: b"two", 0: b"zero"},
        "licence": "CC0",
        "provenance": "made by the test",
        "extra": {"repeats": False, "split_by": "time"},
    }
    return content | changes


def test_what_is_written_is_read_back(tmp_path):
    written = write_dataset(tmp_path / "toy", **parts())
    read = read_dataset(tmp_path / "toy")
    for dataset in (written, read):
        assert (dataset.name, dataset.n_items, dataset.feature_names) == ("toy", 4, ("text",))
        lists = dataset.session_lists()
        assert [lists[row].tolist() for row in range(len(lists))] == LISTS
        assert dataset.sessions["user"].tolist() == [0, -1, 1, 0]
        assert dataset.items["title"].tolist() == ["cup", "", "pot", "lid"]
        assert dataset.items["price"].isna().tolist() == [False, True, False, False]
        assert dataset.interactions["split"].tolist() == ["train", "test", "train"]
        assert dataset.images() == [b"zero", None, b"two", None]
        np.testing.assert_array_equal(dataset.feature("text"), parts()["features"]["text"])
        assert dataset.feature("text").dtype == np.float32
    assert read.info == written.info
    assert read.info["features"]["text"] == {"dim": 2, "encoder": "by hand", "covered": 3}
    assert read.info["counts"] == {
        "items": 4, "sessions": 4, "interactions": 3, "images": 2, "events": 10, "users": 2
    }  # fmt: skip
    with pytest.raises(DisentrecError, match=r"unknown feature 'image'.*Valid: text"):
        read.feature("image")


def test_the_report_names_what_matters(tmp_path):
    write_dataset(tmp_path / "toy", **parts())
    report = inspect_dataset(tmp_path / "toy")
    for text in (
        "CC0",
        "train 2, valid 1, test 1",
        "mean 2.50",
        "75.0% of items, by hand",
        "0.0% of sessions",
    ):
        assert text in report


def test_plain_python_lists_and_other_integer_widths_are_the_same_content(tmp_path):
    one = write_dataset(tmp_path / "one", **parts())
    sessions = parts()["sessions"].assign(items=pd.Series(LISTS, dtype=object))
    sessions["user"] = sessions["user"].astype(np.int64)
    two = write_dataset(tmp_path / "two", **parts(sessions=sessions))
    assert one.fingerprint == two.fingerprint


def test_fingerprint_ignores_encoding_and_provenance(tmp_path):
    dataset = write_dataset(tmp_path / "toy", **parts())
    for file in ("items", "sessions", "interactions", "images"):
        path = tmp_path / "toy" / f"{file}.parquet"
        table = pq.read_table(path).select(sorted(pq.read_schema(path).names))
        pq.write_table(table, path, compression="snappy", row_group_size=1, use_dictionary=False)
    assert read_dataset(tmp_path / "toy").fingerprint == dataset.fingerprint
    other = write_dataset(tmp_path / "other", **parts(name="b", licence="MIT", provenance="later"))
    assert other.fingerprint == dataset.fingerprint


@pytest.mark.parametrize(
    "change",
    [
        {"items": parts()["items"].assign(title=["cup", "x", "pot", "lid"])},
        {"items": parts()["items"].assign(price=[1.0, 0.0, 0.0, 2.5])},  # unknown is not free
        {"items": parts()["items"].rename(columns={"title": "brand"})},
        {"sessions": parts()["sessions"].assign(time=[10, 20, 30, 41])},
        {
            "sessions": session_table(Sequences.from_lists([[0, 1], [2, 1, 3], [2, 0, 1], [3, 2]])),
            "extra": {},
        },
        {"interactions": None},
        {"features": {"text": np.float32([[1, 0], [0, 0], [0, 2], [3, 4.000001]])}},
        {"features": {"image": parts()["features"]["text"]}},
        {"images": {2: b"tw", 0: b"ozero"}},
    ],
)
def test_fingerprint_sees_every_part(tmp_path, change):
    one = write_dataset(tmp_path / "one", **parts())
    assert write_dataset(tmp_path / "two", **parts(**change)).fingerprint != one.fingerprint


def test_fingerprint_is_the_same_on_every_platform(tmp_path):
    # Frozen: a different value here means that every published record would lose its data set.
    assert write_dataset(tmp_path / "toy", **parts()).fingerprint == FROZEN


FROZEN = "a77fbbb66da8c566164ee281f90e415408743311b661a1e75c147cf69145beef"


def test_equal_values_hash_equally():
    one = pa.table({"a": [1.0, None, -0.0], "b": ["x", "y", "x"]})
    two = pa.table({"b": pa.chunked_array([["x"], ["y", "x"]]).dictionary_encode(), "a": [1.0, np.nan, 0.0]})
    assert table_hash(one) == table_hash(two)
    assert table_hash(one.slice(1)) != table_hash(one.slice(0, 2))
    assert table_hash(one.slice(1)) == table_hash(pa.table({"a": [None, 0.0], "b": ["y", "x"]}))
    with pytest.raises(DisentrecError, match=r"'t' has the type timestamp.*Store it as"):
        table_hash(pa.table({"t": pa.array([0], pa.timestamp("s"))}))


def test_truth_and_other_files_are_no_part_of_the_data(tmp_path):
    plain = write_dataset(tmp_path / "plain", **parts())

    def more(folder: Path) -> None:
        (folder / "truth").mkdir()
        (folder / "truth" / "causes.parquet").write_bytes(b"not even parquet")

    by_function = write_dataset(tmp_path / "by_function", **parts(), extra_files=more)
    by_bytes = write_dataset(tmp_path / "by_bytes", **parts(), extra_files={"truth/causes.parquet": b"no"})
    for dataset in (by_function, by_bytes):
        assert (dataset.folder / "truth" / "causes.parquet").exists()
        assert read_dataset(dataset.folder).fingerprint == plain.fingerprint


@pytest.mark.parametrize("path", ["../outside", "items.parquet"])
def test_extra_files_stay_inside_and_replace_nothing(tmp_path, path):
    with pytest.raises(DisentrecError, match=r"cannot add the file"):
        write_dataset(tmp_path / "toy", **parts(), extra_files={path: b""})
    assert list(tmp_path.iterdir()) == []


def test_a_failure_leaves_nothing_behind_and_the_old_folder_whole(tmp_path):
    def fail(folder: Path) -> None:
        raise OSError("disk full")

    with pytest.raises(DisentrecError, match=r"cannot be written: disk full.*toy"):
        write_dataset(tmp_path / "toy", **parts(), extra_files=fail)
    assert list(tmp_path.iterdir()) == []
    old = write_dataset(tmp_path / "toy", **parts())
    with pytest.raises(DisentrecError, match=r"cannot be written: disk full.*toy"):
        write_dataset(tmp_path / "toy", **parts(), extra_files=fail, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["toy"]
    assert read_dataset(tmp_path / "toy").fingerprint == old.fingerprint


def test_overwriting_is_asked_for_and_only_of_a_data_set(tmp_path):
    write_dataset(tmp_path / "toy", **parts(), extra_files={"old": b""})
    with pytest.raises(DisentrecError, match=r"already here.*overwrite"):
        write_dataset(tmp_path / "toy", **parts())
    write_dataset(tmp_path / "toy", **parts(interactions=None), overwrite=True)
    assert read_dataset(tmp_path / "toy").interactions is None
    assert not (tmp_path / "toy" / "old").exists()
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.md").write_text("years of work")
    with pytest.raises(DisentrecError, match=r"not a dataset folder, and not empty"):
        write_dataset(tmp_path / "thesis", **parts(), overwrite=True)
    assert (tmp_path / "thesis" / "chapter.md").read_text() == "years of work"


def without(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    return frame.drop(columns=column)


def sessions_of(lists, **columns) -> dict[str, Any]:
    return {"sessions": session_table(Sequences.from_lists(lists), **columns), "extra": {}}


GOOD = parts()
REFUSED = {
    "item column missing": ({"items": without(GOOD["items"], "item")}, "items.parquet", "'item' is missing"),
    "gaps in items": (
        {"items": GOOD["items"].assign(item=[0, 1, 3, 4])},
        "items.parquet",
        "gaps: row 2 holds 3",
    ),
    "duplicate items": (
        {"items": GOOD["items"].assign(item=[0, 1, 1, 3])},
        "items.parquet",
        "has duplicates",
    ),
    "unsorted items": ({"items": GOOD["items"].assign(item=[1, 0, 2, 3])}, "items.parquet", "is not sorted"),
    "items of text": ({"items": GOOD["items"].assign(item=list("abcd"))}, "items.parquet", "not int32"),
    "null title": (
        {"items": GOOD["items"].assign(title=["a", None, "b", "c"])},
        "items.parquet",
        "row 1.*missing text",
    ),
    "no item": ({"items": GOOD["items"].iloc[:0]}, "items.parquet", "there is no item at all"),
    "negative price": (
        {"items": GOOD["items"].assign(price=[1, -2, 3, 4])},
        "items.parquet, column price",
        "row 1 is",
    ),
    "infinite price": ({"items": GOOD["items"].assign(price=[1, 2, 3, np.inf])}, "column price", "row 3 is"),
    "session column missing": (
        {"sessions": without(GOOD["sessions"], "items")},
        "sessions.parquet",
        "'items' is",
    ),
    "gaps in sessions": (
        {"sessions": GOOD["sessions"].assign(session=[0, 1, 2, 9])},
        "sessions.parquet",
        "gaps",
    ),
    "unknown item": (
        sessions_of([[0, 1], [1, 4]]),
        "sessions.parquet, column items",
        "first 4 in row 1.*are 0..3",
    ),
    "negative item": (
        sessions_of([[0, 1], [-1, 2]]),
        "column items",
        "first -1 in row 1.*Count items from 0",
    ),
    "short session": (
        sessions_of([[0, 1], [2], [3]]),
        "sessions.parquet, column items",
        r"2 sessions \(first: 1\)",
    ),
    "split name": (
        sessions_of([[0, 1]] * 2, split=["train", "val"]),
        "column split",
        "names: val.*train, valid, test",
    ),
    "empty test": (sessions_of([[0, 1]] * 2, split=["train", "valid"]), "column split", "'test' is empty"),
    "empty train": (sessions_of([[0, 1]] * 2, split=["test", "valid"]), "column split", "'train' is empty"),
    "null split": (
        sessions_of([[0, 1]] * 2, split=["train", None]),
        "sessions.parquet",
        "'split' has 1 null",
    ),
    "null time": (
        {"sessions": GOOD["sessions"].assign(time=pd.array([1, None, 3, 4], dtype="Int64"))},
        "sessions.parquet",
        "'time' has 1 null values, the first in row 1",
    ),
    "time of fractions": (
        {"sessions": GOOD["sessions"].assign(time=[0.5, 1, 2, 3])},
        "sessions.parquet",
        "not int64",
    ),
    "a session in two splits": (
        {"sessions": GOOD["sessions"].assign(session=[0, 1, 1, 3])},
        "sessions.parquet, column split",
        "one session is in two splits, first in row 2.*not be trained on",
    ),
    "splits not in time": (
        {"sessions": GOOD["sessions"].assign(time=[10, 35, 30, 40])},
        "columns time and split",
        "train reaches beyond the start of valid",
    ),
    "target in its prefix": (
        {"sessions": session_table(Sequences.from_lists([[0, 1], [2, 1, 2]])), "extra": {"repeats": False}},
        "sessions.parquet, column items",
        "inside its own prefix: session 1 is so.*how sessions were built",
    ),
    "a pair in two splits": (
        {"interactions": pd.DataFrame({"user": [0, 0], "item": [1, 1], "split": ["train", "test"]})},
        "interactions.parquet, column split",
        "pair of user and item is in two splits, first in row 1",
    ),
    "anonymous interaction": (
        {"interactions": pd.DataFrame({"user": [0, -1], "item": [1, 1]})},
        "interactions.parquet, column user",
        "row 1 is of a negative user",
    ),
    "unknown bought item": (
        {"interactions": pd.DataFrame({"user": [0, 1], "item": [1, 9]})},
        "interactions.parquet, column item",
        "first 9 in row 1",
    ),
    "feature with a hole": (
        {"features": {"text": np.float32([[1], [np.nan], [0], [0]])}},
        "text.npy",
        "item 1 is NaN.*Write zeros",
    ),
    "feature overflow": (
        {"features": {"text": np.float32([[1], [np.inf], [0], [0]])}},
        "text.npy",
        "not finite",
    ),
    "feature rows": (
        {"features": {"text": np.ones((3, 2))}},
        "text.npy",
        r"shape \(3, 2\), but there are 4 items",
    ),
    "image of nothing": ({"images": {1: b""}}, "images.parquet", "0 bytes"),
    "image of nobody": ({"images": {7: b"x"}}, "images.parquet, column item", "first 7"),
}


@pytest.mark.parametrize(("change", "where", "what"), REFUSED.values(), ids=REFUSED)
def test_invalid_data_is_not_written(tmp_path, change, where, what):
    with pytest.raises(DisentrecError, match=f"(?s){what}") as error:
        write_dataset(tmp_path / "toy", **parts(**change))
    assert where in str(error.value.where)
    assert error.value.how
    assert list(tmp_path.iterdir()) == []


def test_repeated_targets_are_welcome_unless_ruled_out(tmp_path):
    dataset = write_dataset(tmp_path / "toy", **parts(**sessions_of([[0, 1, 0], [2, 3]])))
    assert "50.0% of sessions" in inspect_dataset(dataset.folder)


@dataclass(frozen=True)
class Damage:
    """One way a folder breaks after it was written."""

    file: str
    what: str

    def do(self, folder: Path) -> None:
        path = folder / self.file
        if self.what == "delete":
            path.unlink()
        elif self.what == "cut":
            path.write_bytes(path.read_bytes()[:40])
        elif path.suffix == ".parquet":
            table = pq.read_table(path).to_pandas()
            column = table.columns[-1]
            table[column] = np.roll(table[column].to_numpy(), 1)
            pq.write_table(pa.Table.from_pandas(table), path)
        else:
            np.save(path, np.load(path)[::-1])


FILES = ["items.parquet", "sessions.parquet", "interactions.parquet", "images.parquet", "features/text.npy"]


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize(
    ("what", "message"),
    [("delete", "is missing"), ("cut", "not readable"), ("change", "is not what dataset.json")],
)
def test_a_damaged_file_is_named(tmp_path, file, what, message):
    write_dataset(tmp_path / "toy", **parts(extra={}))
    Damage(file, what).do(tmp_path / "toy")
    with pytest.raises(DisentrecError, match=message) as error:
        read_dataset(tmp_path / "toy")
    assert file in str(error.value)
    assert error.value.how


def test_a_feature_of_another_type_is_refused(tmp_path):
    write_dataset(tmp_path / "toy", **parts())
    np.save(tmp_path / "toy" / "features" / "text.npy", np.ones((4, 2)))
    with pytest.raises(DisentrecError, match=r"'text' has the type float64, not float32"):
        read_dataset(tmp_path / "toy")


def test_verification_can_be_left_out(tmp_path):
    write_dataset(tmp_path / "toy", **parts())
    path = tmp_path / "toy" / "items.parquet"
    pq.write_table(pa.Table.from_pandas(GOOD["items"].assign(title="cup")), path)
    assert read_dataset(tmp_path / "toy", verify=False).items["title"].nunique() == 1


INFO = {
    "newer format": (lambda info: info | {"format": 2}, "format 2 is newer.*Upgrade disentrec"),
    "no format": (lambda info: {"name": "x"}, "no format number"),
    "a list": (lambda info: [1], "no format number"),
    "no licence": (lambda info: {k: v for k, v in info.items() if k != "licence"}, "'licence' is missing"),
    "other fingerprint": (lambda info: info | {"fingerprint": "0" * 64}, "fingerprint is not that of"),
    "truth listed": (
        lambda info: info | {"files": info["files"] | {"truth/causes.parquet": ""}},
        "not files of a dataset folder: truth/causes.parquet",
    ),
    "outside listed": (
        lambda info: info | {"files": info["files"] | {"../a.parquet": ""}},
        "not files.*a.parquet",
    ),
    "feature not listed": (lambda info: info | {"features": {"image": {}}}, "not listed: features/image.npy"),
    "items not listed": (lambda info: info | {"files": {}}, "files not listed: .*items.parquet"),
}


@pytest.mark.parametrize(("change", "message"), INFO.values(), ids=INFO)
def test_a_broken_dataset_json_is_refused(tmp_path, change, message):
    dataset = write_dataset(tmp_path / "toy", **parts())
    path = tmp_path / "toy" / "dataset.json"
    path.write_text(json.dumps(change(dataset.info)))
    with pytest.raises(DisentrecError, match=message) as error:
        read_dataset(tmp_path / "toy")
    assert "dataset.json" in str(error.value.where)
    assert error.value.how


def test_json_and_folders_that_are_not_there(tmp_path):
    with pytest.raises(DisentrecError, match=r"the dataset folder is missing.*disentrec data make"):
        read_dataset(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DisentrecError, match=r"dataset.json is missing"):
        read_dataset(tmp_path / "empty")
    (tmp_path / "empty" / "dataset.json").write_text('{"format": 1,')
    with pytest.raises(DisentrecError, match=r"not valid JSON"):
        read_dataset(tmp_path / "empty")
