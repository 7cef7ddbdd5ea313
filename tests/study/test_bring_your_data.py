"""The page on one's own data: its files are read, and its five commands make a table."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest
from PIL import Image

from disentrec.data.schema import read_dataset

from .repository import Repository, caption, commands_of

PAGE = "bring_your_data.md"
KINDS, SESSIONS = 8, 240


def shop(folder):
    """Writes a small shop with the header of the page: what is bought together is of one colour."""
    rng = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    events = next(csv.reader(io.StringIO(caption(PAGE, "my_shop/interactions.csv"))))
    items = next(csv.reader(io.StringIO(caption(PAGE, "my_shop/items.csv"))))
    with (folder / "items.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, items)
        writer.writeheader()
        for item in range(4 * KINDS):
            kind, form = divmod(item, 4)
            texts = {
                "title": f"thing form{form}",
                "description": f"colour{kind}, plain",
                "category": f"all|colour{kind}",
            }
            writer.writerow({"item": f"i{item}", **texts, "brand": f"maker{form}", "price": 1 + item})
            colour = tuple(int(value) for value in rng.integers(0, 256, 3))
            Image.new("RGB", (16, 16), colour).save(folder / "images" / f"i{item}.png")
    with (folder / "interactions.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, events)
        writer.writeheader()
        for session in range(SESSIONS):
            for step, form in enumerate(rng.permutation(4)[:3]):
                seconds = 1_700_000_000 + 600 * session + step
                names = {
                    "user": f"u{session % 40}",
                    "item": f"i{4 * (session % KINDS) + form}",
                    "session": f"s{session}",
                }
                writer.writerow({**names, "timestamp": seconds})


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    copy = Repository(tmp_path_factory.mktemp("repository"))
    copy.shorten()
    return copy


def test_the_files_of_the_page_are_an_import(tmp_path):
    from disentrec.data.layouts import import_layout

    (tmp_path / "my_shop").mkdir()
    for name in ("interactions.csv", "items.csv"):
        (tmp_path / "my_shop" / name).write_text(caption(PAGE, f"my_shop/{name}"))
    dataset = import_layout(tmp_path / "my_shop", tmp_path / "out")
    assert (len(dataset.sessions), len(dataset.interactions), dataset.n_items) == (1, 3, 2)


def test_five_commands_make_a_table(repository):
    shop(repository.root / "my_shop")
    commands = commands_of(PAGE)
    assert len(commands) == 5
    said = [repository.run(command) for command in commands]
    dataset = read_dataset(repository.root / "data" / "my-shop")
    assert (len(dataset.sessions), len(dataset.interactions)) == (SESSIONS, 3 * SESSIONS)
    assert dataset.feature_names == ("image", "text")
    assert "colour-hog" in said[2] and "tfidf-svd" in said[2]
    assert json.loads(said[3].partition("\n")[2])["prec@5"] > 0.5  # chance: 5 of 32
    notebook = json.loads((repository.root / "mine.ipynb").read_text())
    shown = json.dumps([cell.get("outputs") for cell in notebook["cells"]])
    for row in ("POP", "One-hop co-occurrence", "DIMO (as described)", "DIMO (as released)"):
        assert f"| {row} |" in shown, row
    assert list((repository.root / "runs" / "records" / "my-shop" / "dimo").glob("*.json"))
