"""Importers: tiny folders in the exact layouts, with what must come out written down."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from disentrec.data.layouts import LAYOUTS, import_layout, recognise
from disentrec.data.layouts.common import keep_items, split_by_time
from disentrec.data.schema import read_dataset
from disentrec.data.sequences import Sequences
from disentrec.errors import DisentrecError


def save(folder: Path, **tables) -> Path:
    folder.mkdir(exist_ok=True)
    for name, table in tables.items():
        if not isinstance(table, pa.Table):
            table = pa.Table.from_pandas(pd.DataFrame(table), preserve_index=False)
        pq.write_table(table, folder / f"{name}.parquet")
    return folder


def released(rows: list[tuple[list[int], int]]) -> pa.Table:
    lists, targets = zip(*rows, strict=True)
    return pa.table({"session": pa.array(lists, pa.list_(pa.int32())), "target": pa.array(targets, pa.int32())})


def as_lists(dataset) -> list[list[int]]:
    lists = dataset.session_lists()
    return [lists[row].tolist() for row in range(len(lists))]


@pytest.fixture
def session_folder(tmp_path):
    return save(
        tmp_path / "source",
        train=released([([1, 2], 3), ([4], 1), ([2, 2], 2)]),
        test=released([([3, 1], 2)]),
    )


def test_released_sessions(tmp_path, session_folder):
    dataset = import_layout(session_folder, tmp_path / "out")
    assert as_lists(dataset) == [[0, 1, 2], [3, 0], [1, 1, 1], [2, 0, 1]]
    assert dataset.sessions["split"].tolist() == ["train"] * 3 + ["test"]
    assert dataset.items["native_id"].tolist() == ["1", "2", "3", "4"]
    assert dataset.info["extra"]["layout"] == "sessions"
    assert dataset.info["provenance"].startswith("private")
    assert dataset.name == "out"
    assert import_layout(session_folder, tmp_path / "two", name="named").name == "named"
    assert read_dataset(tmp_path / "two").fingerprint == dataset.fingerprint


def test_a_draw_of_released_sessions_is_a_share_of_either_part(tmp_path):
    train = [([1 + n % 5, 2 + n % 7], 3 + n % 4) for n in range(40)] + [([20], 21)]
    source = save(tmp_path / "source", train=released(train), test=released([([1, 2], 3)] * 12))
    found = [import_layout(source, tmp_path / f"{n}", name="one", share=0.5, seed=n // 2) for n in (0, 1, 2)]
    assert found[0].sessions["split"].value_counts().to_dict() == {"train": 20, "test": 6}
    assert found[0].info["extra"]["sub_sample"] == "26 of 53 sessions, draw"
    assert found[0].fingerprint == found[1].fingerprint != found[2].fingerprint
    whole = import_layout(source, tmp_path / "whole", min_count=2)
    numbers = whole.items["native_id"].tolist()
    assert "20" not in numbers and "21" not in numbers and len(whole.sessions) == 52
    first = whole.session_lists()[0]
    assert [int(numbers[item]) for item in first] == [1, 2, 3]
    for share in (0, 1.5):
        with pytest.raises(DisentrecError, match="keeps no session"):
            import_layout(source, tmp_path / "none", share=share)


def test_mmsbr_sessions_are_split_by_a_seeded_draw(tmp_path):
    rows = [([row % 5 + 1], row % 3 + 6) for row in range(40)]
    items = {"item": range(1, 11), "price_level": range(10, 110, 10), "category": range(201, 211)}
    source = save(tmp_path / "source", test=released(rows), items=items)
    dataset = import_layout(source, tmp_path / "out")
    assert dataset.sessions["split"].value_counts().to_dict() == {"train": 32, "valid": 4, "test": 4}
    # Items 9 and 10 occur in no session.
    assert dataset.items["native_id"].tolist() == [str(item) for item in range(1, 9)]
    assert dataset.items["price_level"].tolist() == list(range(10, 90, 10))
    assert dataset.items["category"].tolist() == [str(name) for name in range(201, 209)]
    assert as_lists(dataset) == [[row % 5, row % 3 + 5] for row in range(40)]
    other = import_layout(source, tmp_path / "other", seed=1)
    assert other.sessions["split"].tolist() != dataset.sessions["split"].tolist()


def retail_folder(folder: Path, n_baskets: int = 20) -> Path:
    """Basket b is sold at time 1000 + b and listed from the last to the first; item 9 is sold late only."""
    lines = []
    for basket in range(n_baskets):
        items = [basket % 4, 4 + basket % 2, 6] + ([9] if basket >= 18 else [])
        for pos, item in enumerate(items):
            user = np.nan if basket == 0 else basket % 3
            lines.append((user, 50 - basket, item, pos, 1000 + basket, 1.0 + basket * (item == 6)))
    lines.append((1, 99, 6, 0, 2000, 1.0))  # an invoice of one line
    columns = ["user", "session", "item", "pos", "timestamp", "price"]
    table = pd.DataFrame(lines, columns=columns).sample(frac=1, random_state=0)
    items = pd.DataFrame({"item": range(10), "price": 7.0})
    items["native_id"] = [f"A{item}" for item in items["item"]]
    items["title"] = [f"thing {item}" for item in items["item"]]
    return save(folder, interactions=table, items=items)


def test_baskets_stand_in_time_order_and_are_split_by_time(tmp_path):
    dataset = import_layout(retail_folder(tmp_path / "source"), tmp_path / "out", min_count=1, dim=4)
    assert len(dataset.sessions) == 20  # one line is no session
    assert dataset.sessions["time"].tolist() == list(range(1000, 1020))
    assert dataset.sessions["split"].tolist() == ["train"] * 16 + ["valid"] * 2 + ["test"] * 2
    assert dataset.sessions["user"].tolist()[:4] == [-1, 1, 2, 0]
    # Items 7 and 8 are never sold, 9 only in test: neither is in the catalogue.
    assert dataset.items["native_id"].tolist() == [f"A{i}" for i in range(7)]
    assert as_lists(dataset)[:3] == [[0, 4, 6], [1, 5, 6], [2, 4, 6]]
    assert as_lists(dataset)[-1] == [3, 5, 6]
    assert dataset.items["price"].tolist()[5:] == [
        1.0,
        8.5,
    ]  # item 6 rose: the median of the 16 training baskets
    assert dataset.feature("text").shape == (7, 4)
    assert dataset.info["extra"]["options"]["min_count"] == 1


def test_cold_start_length_and_sub_samples_of_baskets(tmp_path):
    source = retail_folder(tmp_path / "source")
    cold = import_layout(source, tmp_path / "cold", min_count=0, dim=2)
    assert cold.items["native_id"].tolist()[-1] == "A9"
    assert cold.items["price"].tolist()[-1] == 7.0  # never sold in train: the source's own
    short = import_layout(source, tmp_path / "short", max_length=2, min_count=0, dim=2)
    assert as_lists(short)[0] == [0, 4]
    recent = import_layout(source, tmp_path / "recent", sessions=10, min_count=0, dim=2)
    assert recent.sessions["time"].tolist() == list(range(1010, 1020))
    assert recent.info["extra"]["sub_sample"] == "10 of 20 sessions, recent"
    drawn = import_layout(source, tmp_path / "drawn", sessions=10, sample="draw", min_count=0, dim=2)
    assert sorted(drawn.sessions["time"]) == drawn.sessions["time"].tolist() != recent.sessions["time"].tolist()
    assert len(drawn.sessions) == 10
    with pytest.raises(DisentrecError, match=r"unknown sample 'last'.*Valid: recent, draw"):
        import_layout(source, tmp_path / "last", sample="last")


def movielens_folder(folder: Path) -> Path:
    """User 0 saw films 0..8 in order, user 1 films 9..1 backwards, user 2 only two; film 11 is nobody's."""
    histories = [list(range(9)), list(range(9, 0, -1)), [0, 10]]
    rows = [(u, i, u + 1, 100 + i, p) for u, history in enumerate(histories) for p, i in enumerate(history)]
    table = pd.DataFrame(rows, columns=["user", "item", "native_user", "native_item", "seq_pos"])
    items = pd.DataFrame(
        {
            "item": range(12),
            "native_id": range(100, 112),
            "title": [f"film {word}" for word in "abcdefghijkl"],
            "year": 1990,
            "genres": ["Drama|War", "Comedy"] * 6,
            "abstract": ["about boats", None] * 6,
        }
    )
    save(folder, interactions=table.sample(frac=1, random_state=0), items=items)
    image = np.random.default_rng(0).random((12, 432)).astype(np.float16)
    image[2] = 0
    np.save(folder / "image_feat_hsv_hog_432.npy", image)
    return folder


def test_histories_become_blocks_counted_from_the_end(tmp_path):
    dataset = import_layout(movielens_folder(tmp_path / "source"), tmp_path / "out", block=3, min_count=1, dim=5)
    # Films that no training block holds go: users train on the first three of nine; user 2 has one block.
    assert dataset.items["native_id"].tolist() == ["100", "101", "102", "107", "108", "109"]
    assert as_lists(dataset) == [[0, 1, 2], [3, 4], [5, 4, 3], [2, 1]]
    assert dataset.sessions["split"].tolist() == ["train", "test"] * 2
    assert dataset.sessions["user"].tolist() == [0, 0, 1, 1]
    assert dataset.sessions["time"].tolist() == [0, 2, 0, 2]
    assert dataset.items["description"].tolist()[:2] == ["about boats", ""]
    assert dataset.feature("image").shape == dataset.feature("text").shape == (6, 5)
    assert dataset.feature("image").any(axis=1).tolist() == [True, True, False, True, True, True]


def test_uneven_histories_keep_their_last_blocks_whole(tmp_path):
    source = movielens_folder(tmp_path / "source")
    columns = ["user", "item", "native_user", "native_item", "seq_pos"]
    rows = [(0, film, 1, film, film) for film in range(11)] + [(1, film, 2, film, film) for film in range(9)]
    save(source, interactions=pd.DataFrame(rows, columns=columns))
    dataset = import_layout(source, tmp_path / "out", block=4, min_count=0, dim=2)
    # Eleven films leave a first block of three; nine leave one film, which is no session.
    expected = [[0, 1, 2], [3, 4, 5, 6], [7, 8, 9, 10], [1, 2, 3, 4], [5, 6, 7, 8]]
    assert as_lists(dataset) == expected
    assert dataset.sessions["split"].tolist() == ["train", "valid", "test", "valid", "test"]


def test_a_draw_of_users_is_seeded_and_recorded(tmp_path):
    rng = np.random.default_rng(0)
    rows = [(u, i, u, i, p) for u in range(30) for p, i in enumerate(rng.permutation(12)[:9])]
    source = movielens_folder(tmp_path / "source")
    save(
        source,
        interactions=pd.DataFrame(rows, columns=["user", "item", "native_user", "native_item", "seq_pos"]),
    )
    one = import_layout(source, tmp_path / "one", users=10, block=3, min_count=1, dim=2)
    two = import_layout(source, tmp_path / "two", users=10, block=3, min_count=1, dim=2)
    other = import_layout(source, tmp_path / "three", users=10, block=3, min_count=1, dim=2, seed=1)
    assert one.fingerprint == two.fingerprint != other.fingerprint
    assert one.sessions["user"].nunique() == 10
    assert one.info["extra"]["sub_sample"] == "10 of 30 users, drawn with seed 0"
    assert one.sessions["split"].value_counts().to_dict() == {"train": 10, "valid": 10, "test": 10}


def amazon_folder(folder: Path, **columns) -> Path:
    table = pd.DataFrame({"user": [1, 0, 0, 1], "item": [2, 1, 0, 0], **columns})
    items = {
        "item": range(3),
        "native_id": ["B0", None, "B2"],
        "title": ["red cup", None, "blue cup"],
        "categories": ["Home|Kitchen", "Home", "Home"],
        "price": [1.5, None, 3.0],
    }
    return save(folder, interactions=table, items=items)


def test_purchases_with_an_item_table(tmp_path):
    dataset = import_layout(amazon_folder(tmp_path / "source", seq_pos=[1, 1, 0, 0]), tmp_path / "out", dim=2)
    assert dataset.sessions is None
    assert dataset.interactions.to_dict("list") == {
        "user": [0, 0, 1, 1],
        "item": [0, 1, 0, 2],
        "time": [0, 1, 0, 1],
    }
    assert dataset.items["title"].tolist() == ["red cup", "", "blue cup"]
    assert dataset.items["category"].tolist() == ["Home|Kitchen", "Home", "Home"]
    assert dataset.items["price"].isna().tolist() == [False, True, False]
    assert dataset.feature("text").any(axis=1).tolist() == [True, False, True]


def test_published_splits_and_ready_features(tmp_path):
    source = amazon_folder(tmp_path / "source", split=["train", "val", "train", "test"])
    features = np.arange(6, dtype=np.float16).reshape(3, 2)
    np.save(source / "clip_text_512.npy", features)
    np.save(source / "audio_feat_128.npy", features + 1)
    save(source, interactions_other={"user": [0, 1], "item": [0, 1], "split": ["train", "test"]})
    dataset = import_layout(source, tmp_path / "out")
    assert sorted(dataset.interactions["split"]) == ["test", "train", "train", "valid"]
    assert dataset.feature_names == ("audio", "text")
    text = dataset.feature("text")
    assert np.linalg.norm(text, axis=1).mean() == pytest.approx(1, abs=1e-3)
    np.testing.assert_allclose(text * (5 / text[2, 1]), features, atol=1e-2)
    other = import_layout(source, tmp_path / "other", file="interactions_other")
    assert len(other.interactions) == 2
    with pytest.raises(DisentrecError, match=r"'nothing'.*Valid: interactions, interactions_other"):
        import_layout(source, tmp_path / "nothing", file="nothing")


def test_what_was_bought_again_is_tested_for_nobody(tmp_path):
    rows = {"user": [0, 0, 0, 1], "item": [1, 1, 0, 1], "split": ["train", "test", "test", "valid"]}
    dataset = import_layout(save(tmp_path / "source", interactions=rows), tmp_path / "out")
    assert dataset.interactions.to_dict("list") == {
        "user": [0, 0, 1], "item": [1, 0, 1], "split": ["train", "test", "valid"]
    }  # fmt: skip
    assert dataset.info["extra"]["bought_again"] == 1
    assert dataset.items.columns.tolist() == ["item"]


def test_bare_names_of_items(tmp_path):
    source = save(tmp_path / "source", interactions={"user": [0, 1], "item": [0, 1]})
    (source / "item_asin.csv").write_text("item,asin\n0,0097\n1,B001\n")
    assert import_layout(source, tmp_path / "out").items["native_id"].tolist() == ["0097", "B001"]


def test_wrong_calls_say_what_is_right(tmp_path, session_folder):
    with pytest.raises(DisentrecError, match=r"folder to import is not here.*says which folders"):
        import_layout(tmp_path / "nowhere", tmp_path / "out")
    with pytest.raises(DisentrecError, match=r"unknown layout 'session'.*Valid: amazon, .*sessions"):
        import_layout(session_folder, tmp_path / "out", layout="session")
    with pytest.raises(DisentrecError, match=r"not of the layout 'amazon': interactions.parquet is missing"):
        import_layout(session_folder, tmp_path / "out", layout="amazon")
    with pytest.raises(DisentrecError, match=r"unknown option of the layout sessions 'users'"):
        import_layout(session_folder, tmp_path / "out", users=3)
    retail = retail_folder(tmp_path / "retail")
    with pytest.raises(DisentrecError, match=r"unknown option of the layout online-retail 'min'.*min_count"):
        import_layout(retail, tmp_path / "out", min=3)
    for value in ("many", -1, 2.5, True):
        with pytest.raises(DisentrecError, match=r"sessions=.*not a valid option.*int of at least 0"):
            import_layout(retail, tmp_path / "out", sessions=value)
    with pytest.raises(DisentrecError, match=r"no session of 2 or more.*min_count=500.*Lower min_count"):
        import_layout(retail, tmp_path / "out", min_count=500)
    with pytest.raises(DisentrecError, match=r"block=1 makes no session"):
        import_layout(movielens_folder(tmp_path / "films"), tmp_path / "out", block=1)
    with pytest.raises(DisentrecError, match=r"no user has 3 blocks.*Lower block=6"):
        import_layout(tmp_path / "films", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DisentrecError, match=r"no known layout.*sessions: train.parquet \(session, target\)"):
        import_layout(tmp_path / "empty", tmp_path / "out")
    (retail / "items.parquet").unlink()
    with pytest.raises(DisentrecError, match=r"not readable.*The layout needs this parquet file"):
        import_layout(retail, tmp_path / "out")
    (session_folder / "test.parquet").write_bytes(b"PAR1")
    with pytest.raises(DisentrecError, match=r"not a parquet file.*test\.parquet.*Copy it again"):
        import_layout(session_folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_sessions_that_start_together_are_not_parted():
    split = split_by_time(np.array([0, 1, 2, 3, 4, 5, 6, 7, 7, 9]))
    assert split.tolist() == ["train"] * 7 + ["valid"] * 2 + ["test"]


def test_dropped_items_leave_dense_numbers():
    kept, old = keep_items(Sequences.from_lists([[0, 2, 4], [1, 3], [4]]), np.array([False, True, True, False, True]))
    assert [kept[row].tolist() for row in range(3)] == [[1, 2], [0], [2]]
    assert old.tolist() == [1, 2, 4]


# The reference data, where it is at hand.

AT_HAND = {
    "sessions_grocery": ("sessions", {"items": 7877, "sessions": 48040, "events": 165365}),
    "sessions_mmsbr_sports": ("mmsbr-sports", {"items": 13035, "sessions": 21119, "events": 56292}),
    "amazon_scientific_clip": ("amazon", {"items": 1585, "interactions": 19661, "users": 2928}),
    "tiktok": ("amazon", {"items": 6710, "interactions": 68722, "users": 9308}),
}


@pytest.mark.parametrize("folder", AT_HAND)
def test_reference_sets_as_counted_in_their_readmes(shared, tmp_path, folder):
    layout, counts = AT_HAND[folder]
    dataset = import_layout(shared / "data" / folder, tmp_path / "out")
    assert dataset.info["extra"]["layout"] == layout == recognise(shared / "data" / folder)
    assert dataset.info["counts"] == counts
    assert read_dataset(tmp_path / "out").fingerprint == dataset.fingerprint


def test_grocery_sessions_are_the_released_ones(shared, tmp_path):
    dataset = import_layout(shared / "data" / "sessions_grocery", tmp_path / "out")
    assert dataset.sessions["split"].value_counts().to_dict() == {"train": 43270, "test": 4770}
    source = pd.read_parquet(shared / "data" / "sessions_grocery" / "test.parquet")
    lists = dataset.session_lists()
    for row in (0, 1, 4769):
        released = [*source["session"][row], source["target"][row]]
        assert (lists[43270 + row] + 1).tolist() == released
    test = lists.take(np.arange(43270, 48040))
    assert test.lengths.mean() == pytest.approx(3.4, abs=0.1)


def test_a_sub_sample_of_films_has_text_and_posters(shared, tmp_path):
    dataset = import_layout(shared / "data" / "ml1m", tmp_path / "out", users=120)
    assert dataset.sessions["user"].nunique() == 120
    assert dataset.feature("text").any(axis=1).all()
    assert dataset.feature("image").any(axis=1).mean() > 0.99
    assert dataset.session_lists().lengths.max() == 6


def test_recent_baskets_have_titles_and_prices(shared, tmp_path):
    dataset = import_layout(shared / "data" / "online_retail", tmp_path / "out", sessions=1500)
    assert 1400 < len(dataset.sessions) <= 1500
    assert dataset.items["price"].between(0.01, 1000).all()
    assert dataset.session_lists().lengths.max() == 20
    assert dataset.feature("text").any(axis=1).mean() > 0.99


def test_every_layout_is_recognised(shared):
    found = {recognise(folder) for folder in (shared / "data").iterdir() if folder.is_dir()}
    # The other reading of a history, as sessions or as interactions, is to be asked for; csv is for readers' own data.
    assert found == set(LAYOUTS) - {"amazon-sessions", "movielens-1m-users", "csv"}


def test_amazon_histories_become_sessions_where_asked(tmp_path):
    events = {"user": [0] * 7 + [1] * 4, "item": [0, 1, 2, 3, 4, 5, 6, 0, 1, 2, 3], "seq_pos": [*range(7), *range(4)]}
    items = {
        "item": list(range(7)),
        "title": [f"word{n} lotion" for n in range(7)],
        "categories": ["Beauty|Skin"] * 7,
        "price": [1.0 + n for n in range(7)],
    }
    source = save(tmp_path / "source", interactions=events, items=items)
    options = {"layout": "amazon-sessions", "block": 2, "min_count": 0}
    dataset = import_layout(source, tmp_path / "out", **options)
    # User 0: a first block of one item, which is no session, then three of two. User 1 has two blocks: left out.
    assert as_lists(dataset) == [[0, 1], [2, 3], [4, 5]]
    assert dataset.sessions["split"].tolist() == ["train", "valid", "test"]
    assert dataset.items["title"].tolist() == [f"word{n} lotion" for n in range(1, 7)]
    assert dataset.items["price"].tolist() == [2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
    assert dataset.feature("text").shape == (6, 100)
    with pytest.raises(DisentrecError, match="block=1 makes no session"):
        import_layout(source, tmp_path / "other", layout="amazon-sessions", block=1)
