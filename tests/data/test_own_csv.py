"""CSV files of one's own: what must come out written down, and errors that name file, line and column."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from disentrec.data.layouts import import_layout, recognise
from disentrec.errors import DisentrecError

ITEMS = "item,title,price\ncup,Red cup,3.50\npot,Tea pot,\nhat,Felt hat,$12\nmat,Door mat,7\n"


def write(folder, interactions, items=ITEMS):
    folder.mkdir(exist_ok=True)
    (folder / "interactions.csv").write_text(interactions, encoding="utf-8")
    (folder / "items.csv").write_text(items, encoding="utf-8")
    return folder


def lists(dataset):
    found = dataset.session_lists()
    names = dataset.items["native_id"]
    return [[names[item] for item in found[row]] for row in range(len(found))]


def test_named_sessions_keep_their_order_in_time(tmp_path):
    rows = ["session,item,timestamp", "b,pot,30", "a,cup,20", "b,cup,10", "a,hat,15", "c,mat,99"]
    source = write(tmp_path / "in", "\n".join(rows))
    assert recognise(source) == "csv"
    dataset = import_layout(source, tmp_path / "out")
    assert lists(dataset) == [["cup", "pot"], ["hat", "cup"]]  # c has one item, and with it mat leaves
    assert dataset.sessions["time"].tolist() == [10, 15]
    assert dataset.interactions is None and "user" not in dataset.sessions
    assert dataset.items["native_id"].tolist() == ["cup", "pot", "hat"]
    assert dataset.items["price"].tolist()[::2] == [3.5, 12.0] and dataset.items["price"].isna()[1]
    assert dataset.feature_names == ("text",)


def test_a_pause_ends_a_session_and_users_keep_all_their_interactions(tmp_path):
    rows = ["user,item,timestamp", "ann,cup,1970-01-01 00:00:00", "ann,pot,1800", "ann,hat,3601", "bob,mat,50.0"]
    dataset = import_layout(write(tmp_path / "in", "\n".join(rows)), tmp_path / "out")
    assert lists(dataset) == [["cup", "pot"]]  # a pause of 1,800 seconds does not end it, one of 1,801 does
    assert dataset.sessions["user"].tolist() == [0]
    assert dataset.interactions["user"].tolist() == [0, 0, 0, 1]
    assert dataset.interactions["item"].tolist() == [0, 1, 2, 3]
    assert dataset.interactions["time"].tolist() == [0, 1800, 3601, 50]
    longer = import_layout(write(tmp_path / "in", "\n".join(rows)), tmp_path / "longer", gap=1801)
    assert lists(longer) == [["cup", "pot", "hat"]]


def test_without_times_and_sessions_there_are_interactions(tmp_path):
    dataset = import_layout(write(tmp_path / "in", "user,item\nu2,cup\nu1,cup\nu2,pot\n"), tmp_path / "out")
    assert dataset.sessions is None
    assert dataset.interactions[["user", "item"]].to_numpy().tolist() == [[1, 0], [0, 0], [1, 1]]
    often = import_layout(tmp_path / "in", tmp_path / "often", min_count=2)
    assert often.items["native_id"].tolist() == ["cup"] and len(often.interactions) == 2


def test_no_name_of_a_user_or_session_enters_the_folder(tmp_path):
    rows = "user,session,item\nannabel,visit-77,cup\nannabel,visit-77,pot\n"
    folder = import_layout(write(tmp_path / "in", rows), tmp_path / "out").folder
    content = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    assert b"annabel" not in content and b"visit-77" not in content


def test_pictures_are_found_by_item_or_by_name(tmp_path):
    source = write(tmp_path / "in", "session,item\na,cup\na,pot\n")
    (source / "images").mkdir()
    for name, colour in (("cup.png", "red"), ("pot.png", "blue")):
        whole = io.BytesIO()
        Image.new("RGB", (8, 8), colour).save(whole, "PNG")
        (source / "images" / name).write_bytes(whole.getvalue())
    by_item = import_layout(source, tmp_path / "out")
    assert by_item.images() == [(source / "images" / name).read_bytes() for name in ("cup.png", "pot.png")]
    assert by_item.feature_names == ("image", "text")
    write(source, "session,item\na,cup\na,pot\n", "item,image\ncup,pot.png\npot,\n")
    by_name = import_layout(source, tmp_path / "named")
    assert by_name.images() == [(source / "images" / "pot.png").read_bytes(), None]
    write(source, "session,item\na,cup\na,pot\n", "item,image\ncup,../items.csv\npot,\n")
    with pytest.raises(DisentrecError, match=r"no picture '\.\./items.csv' \(in .*items.csv, line 2, column image\)"):
        import_layout(source, tmp_path / "other")
    (source / "images" / "cup.png").write_bytes(b"GIF89a")
    with pytest.raises(DisentrecError, match=r"neither PNG nor JPEG \(in .*cup.png\)"):
        import_layout(write(source, "session,item\na,cup\na,pot\n"), tmp_path / "other")


@pytest.mark.parametrize(
    ("interactions", "items", "message"),
    [
        ("item\ncup\n", ITEMS, "neither a column 'user' nor 'session'"),
        ("user,item,stars\nu,cup,5\n", ITEMS, r"unknown column 'stars' \(in .*interactions.csv, line 1\).*Valid: item"),
        (
            "user,item\nu,cup\n\nu,bag\n",
            ITEMS,
            r"'bag' is not in items.csv \(in .*interactions.csv, line 4, column item",
        ),
        ("user,item\nu,cup,1\n", ITEMS, r"3 cells, but 2 columns \(in .*interactions.csv, line 2\)"),
        ("user,item\nu,\n", ITEMS, r"an empty cell \(in .*interactions.csv, line 2, column item"),
        ("user,item\n,cup\n", ITEMS, r"an empty cell \(in .*interactions.csv, line 2, column user"),
        (
            "user,item,timestamp\nu,cup,1\nu,pot,soon\n",
            ITEMS,
            r"'soon' is no timestamp \(in .*, line 3, column timestamp",
        ),
        ("user,item,session\nu,cup,a\nv,pot,a\n", ITEMS, r"'a' belongs to two users \(in .*, line 3, column session"),
        ("session,item\na,cup\nb,pot\n", ITEMS, "no session of 2 or more items"),
        ("user,item\n", ITEMS, "a header and no row"),
        ("user,item\nu,cup\n", "item\ncup\ncup\n", r"'cup' a second time \(in .*items.csv, line 3.*line 2 already"),
        (
            "user,item\nu,cup\n",
            'item,title,price\ncup,"two\nlines",cheap\n',
            r"'cheap' is no price \(in .*, line 3, col",
        ),
        ("user,item\nu,cup\n", "item,item\ncup,cup\n", "two columns have one name"),
        ('user,item\nu,"cup\n', ITEMS, "not readable"),
    ],
)
def test_bad_rows_say_file_line_and_column(tmp_path, interactions, items, message):
    source = write(tmp_path / "in", interactions, items)
    with pytest.raises(DisentrecError, match=message):
        import_layout(source, tmp_path / "out", layout="csv")
    assert not (tmp_path / "out").exists()


def test_other_columns_can_be_passed_over(tmp_path):
    source = write(tmp_path / "in", "user,item,stars\nu,cup,5\n")
    assert len(import_layout(source, tmp_path / "out", ignore="stars, weight").interactions) == 1
