"""Importers of users: what is joined, drawn and kept, and that the entries of the study say what they bring."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from disentrec.data.interactions import split_interactions
from disentrec.data.layouts import import_layout
from disentrec.data.protocol import Protocol
from disentrec.data.schema import read_dataset, write_dataset
from disentrec.errors import DisentrecError
from disentrec.study.cases import modalities
from disentrec.study.datasets import import_dataset
from disentrec.study.runner import user_catalogue
from disentrec.study.sources import sources
from disentrec.study.store import Store


def save(folder: Path, **tables) -> Path:
    folder.mkdir(exist_ok=True)
    for name, table in tables.items():
        pd.DataFrame(table).to_parquet(folder / f"{name}.parquet", index=False)
    return folder


def beauty_folder(folder: Path) -> Path:
    """Six users who bought all four items, in the layout of amazon_beauty."""
    items = {
        "item": range(4),
        "native_id": ["B0", "B1", "B2", "B3"],
        "title": ["red soap", "blue soap", None, "red brush"],
        "brand": ["Lumo", "Unknown", None, "Orrin"],
        "categories": ["Beauty|Bath", "Beauty|Bath", "Beauty", "Beauty|Tools"],
        "price": [1.5, None, 3.0, 4.0],
        "sales_rank_type": ["Beauty", "Music", None, "Beauty"],
        "sales_rank": [7.0, 1.0, None, 900.0],
    }
    pairs = {"user": np.repeat(range(6), 4), "item": [0, 1, 2, 3] * 6, "seq_pos": [0, 1, 2, 3] * 6}
    return save(folder, interactions=pairs, items=items)


def sports_folder(folder: Path, mapped: tuple[int, ...] = (2, 0, 1)) -> Path:
    """Interactions of three items, whose attributes stand in another folder in another order."""
    save(folder / "sports", interactions={"user": [0, 0, 1], "item": [0, 1, 2], "split": ["train", "test", "train"]})
    items = {"item": range(3), "native_id": ["A", "B", "C"], "brand": ["x", None, "z"], "categories": ["S|a", "S", "S"]}
    save(folder / "attributes", items=items)
    pd.DataFrame({"mmrec_item": [1, 0, 2][: len(mapped)], "item": mapped}).to_csv(
        folder / "attributes" / "mmrec_item_map.csv", index=False
    )
    return folder / "sports"


def films_folder(folder: Path) -> Path:
    """Twelve users, each of whom saw film 0, film 9 and one other, latest film first in the file."""
    rows = [
        {"user": user, "item": film, "native_user": user + 1, "native_item": 50 + film, "seq_pos": place}
        for user in range(12)
        for place, film in enumerate((9, 1 + user % 4, 0))
    ]
    items = {
        "item": range(10),
        "native_id": range(50, 60),
        "title": [f"film {word}" for word in "abcdefghij"],
        "year": pd.array([1990, None] * 5, dtype="Int32"),
        "genres": ["Drama|War", "Comedy"] * 5,
        "abstract": ["about boats", None] * 5,
    }
    save(folder, interactions=pd.DataFrame(rows[::-1]), items=items)
    image = np.random.default_rng(0).random((10, 432)).astype(np.float16)
    image[0] = 0
    np.save(folder / "image_feat_hsv_hog_432.npy", image)
    return folder


def test_all_four_attributes_reach_a_model(tmp_path):
    dataset = import_layout(beauty_folder(tmp_path / "source"), tmp_path / "out", dim=2)
    assert dataset.items["sales_rank"].dtype == np.float64
    assert dataset.items["sales_rank_type"].tolist() == ["Beauty", "Music", "", "Beauty"]
    split = split_interactions(dataset, Protocol(split="mmrec"))
    assert [len(part) for part in (split.train, split.valid, split.test)] == [12, 6, 6]
    known = user_catalogue(dataset, split)
    np.testing.assert_array_equal(known.sales_rank, [7.0, 1.0, np.nan, 900.0])
    np.testing.assert_array_equal(known.prices, [1.5, np.nan, 3.0, 4.0])
    assert known.brands.tolist() == [0, -1, -1, 1]
    assert known.categories.tolist() == [1, 1, 0, 2]
    assert modalities(Store(tmp_path), str(dataset.folder)) == {"text", "price", "brand", "category", "sales_rank"}


@pytest.mark.parametrize("rank", [0.0, -3.0, np.inf])
def test_a_sales_rank_counts_from_one(tmp_path, rank):
    items = pd.DataFrame({"item": [0, 1], "sales_rank": [1.0, rank]})
    with pytest.raises(DisentrecError, match=r"row 1 is of a sales rank below 1.*sales_rank.*Count ranks from 1"):
        write_dataset(tmp_path / "out", name="out", items=items, licence="none", provenance="made up")
    items["sales_rank"] = [5, 1]  # integers become the stored floats
    made = write_dataset(tmp_path / "out", name="out", items=items, licence="none", provenance="made up")
    assert made.items["sales_rank"].tolist() == [5.0, 1.0] and made.items["sales_rank"].dtype == np.float64


def test_attributes_are_joined_by_their_map(tmp_path):
    dataset = import_layout(sports_folder(tmp_path), tmp_path / "out", attributes="attributes")
    # The map says: item 1 is C, item 0 is A, item 2 is B.
    assert dataset.items.to_dict("list") == {
        "item": [0, 1, 2],
        "native_id": ["A", "C", "B"],
        "brand": ["x", "z", ""],
        "category": ["S|a", "S", "S"],
    }
    assert dataset.interactions["split"].tolist() == ["train", "test", "train"]
    plain = import_layout(tmp_path / "sports", tmp_path / "plain")
    assert plain.items.columns.tolist() == ["item"]


def test_a_map_that_does_not_fit_is_refused(tmp_path):
    source = sports_folder(tmp_path, mapped=(2, 0))
    with pytest.raises(DisentrecError, match=r"1 items have no attributes, first 2.*Give every item a row"):
        import_layout(source, tmp_path / "out", attributes="attributes")
    sports_folder(tmp_path, mapped=(2, 7, 1))
    with pytest.raises(DisentrecError, match=r"1 items have no attributes, first 0"):
        import_layout(source, tmp_path / "out", attributes="attributes")
    with pytest.raises(DisentrecError, match=r"no map to join.*another folder of `attributes`"):
        import_layout(source, tmp_path / "out", attributes="nowhere")


def test_histories_of_films_stay_whole(tmp_path):
    source = films_folder(tmp_path / "source")
    dataset = import_layout(source, tmp_path / "out", layout="movielens-1m-users", min_count=3, dim=3)
    assert dataset.sessions is None
    # Film 5 to 8 are nobody's.
    assert dataset.items["native_id"].tolist() == ["50", "51", "52", "53", "54", "59"]
    assert dataset.interactions.iloc[:4].to_dict("list") == {
        "user": [0, 0, 0, 1], "item": [5, 1, 0, 5], "time": [0, 1, 2, 0]
    }  # fmt: skip
    assert dataset.feature("image").any(axis=1).tolist() == [False, True, True, True, True, True]
    assert dataset.feature("text").shape == (6, 3)
    rare = import_layout(source, tmp_path / "rare", layout="movielens-1m-users", min_count=4, dim=3)
    assert rare.items["native_id"].tolist() == ["50", "59"]
    with pytest.raises(DisentrecError, match=r"no film was seen 13 times.*Lower min_count=13"):
        import_layout(source, tmp_path / "none", layout="movielens-1m-users", min_count=13)


def test_a_draw_of_users_is_seeded_recorded_and_numbered_in_order(tmp_path):
    source = films_folder(tmp_path / "source")
    options = {"layout": "movielens-1m-users", "users": 6, "min_count": 1, "dim": 3}
    one, two = (import_layout(source, tmp_path / name, **options) for name in ("one", "two"))
    other = import_layout(source, tmp_path / "other", seed=1, **options)
    assert one.fingerprint == two.fingerprint != other.fingerprint
    assert one.info["extra"]["sub_sample"] == "6 of 12 users, drawn with seed 0"
    assert one.interactions["user"].tolist() == np.repeat(range(6), 3).tolist()
    chosen = np.sort(np.random.default_rng(0).choice(12, 6, replace=False))
    seen = one.items["native_id"][one.interactions["item"][one.interactions["time"] == 1]].astype(int)
    assert seen.tolist() == (51 + chosen % 4).tolist()


# The reference data, where it is at hand.

AT_HAND = {
    "amazon-baby": {"items": 7050, "interactions": 160792, "users": 19445},
    "amazon-sports": {"items": 18357, "interactions": 296337, "users": 35598},
    "amazon-scientific-clip": {"items": 1585, "interactions": 19661, "users": 2928},
    "amazon-scientific": {"items": 4344, "interactions": 58492, "users": 8317},
    "amazon-beauty": {"items": 12101, "interactions": 198502, "users": 22363},
    "movielens-1m-users": {"items": 2288, "interactions": 64789, "users": 400},
    "tiktok": {"items": 6710, "interactions": 68722, "users": 9308},
}
PARTS = {  # as published
    "amazon-baby": {"train": 118551, "valid": 20559, "test": 21682},
    "amazon-sports": {"train": 218409, "valid": 40029, "test": 37899},
    "tiktok": {"train": 59541, "valid": 3051, "test": 6130},
}


@pytest.mark.parametrize("name", AT_HAND)
def test_sets_of_users_bring_what_the_study_says(shared, tmp_path, name):
    source = sources()[name]
    dataset = read_dataset(import_dataset(name, shared / "data" / source.folder, tmp_path))
    assert dataset.info["counts"] == AT_HAND[name]
    if name in PARTS:
        assert dataset.interactions["split"].value_counts().to_dict() == PARTS[name]
    assert modalities(Store(tmp_path), str(dataset.folder)) == set(source.modalities)
    assert split_interactions(dataset, Protocol(split=source.split)).n_items == dataset.n_items


def test_brands_of_sports_stand_at_their_items(shared, tmp_path):
    """Two copies of the same interactions: each item has as many buyers in both."""
    data = shared / "data"
    dataset = read_dataset(import_dataset("amazon-sports", data / "amazon_sports", tmp_path))
    there = pd.read_parquet(data / "amazon_sports_attr" / "interactions.parquet")
    names = pd.read_parquet(data / "amazon_sports_attr" / "items.parquet").set_index("item")["native_id"]
    buyers = there["item"].map(names).value_counts()
    here = dataset.interactions["item"].value_counts().sort_index()
    assert here.tolist() == buyers[dataset.items["native_id"]].tolist()
    assert (dataset.items["brand"] != "").mean() == pytest.approx(0.601, abs=0.001)
