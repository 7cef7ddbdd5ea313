"""The explore page's data: the model's own scores, the exact top ten for all weights, and few bytes."""

from __future__ import annotations

import base64
import json
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

from disentrec import models
from disentrec.data.bazaar import BazaarParameters, read_truth, write_bazaar
from disentrec.data.bazaar.pictures import SHAPES, pictured
from disentrec.data.bazaar.shop import KINDS
from disentrec.data.protocol import Protocol
from disentrec.data.sessions import pad, split_sessions
from disentrec.errors import DisentrecError
from disentrec.evaluation.explanations import explain, strongest
from disentrec.models.cooccurrence import cooccurrence_counts
from disentrec.paths import ROOT
from disentrec.report.explore import export as explore
from disentrec.report.explore import sprites
from disentrec.study.runner import catalogue


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A small shop, an untrained DIMO on it, and the page's data."""
    parameters = BazaarParameters(n_items=150, n_users=80, n_sessions=900, images=False, seed=3)
    dataset = write_bazaar(tmp_path_factory.mktemp("data") / "shop", parameters)
    split = split_sessions(dataset, Protocol())
    model = models.build("dimo", {"dim": 16}, catalogue(dataset, split), seed=1).eval()
    return dataset, split, model, explore.export(model, dataset, split, dataset.folder)


def unpacked(text, kind):
    return np.frombuffer(base64.b64decode(text), np.dtype(kind).newbyteorder("<"))


def pairs(content):
    """Yields (session, items of the page, parts in steps) of every session."""
    item, values = unpacked(content["item"], np.uint16), unpacked(content["parts"], np.int16).reshape(-1, 3)
    ends = np.cumsum([session["size"] for session in content["sessions"]])
    for session, end in zip(content["sessions"], ends, strict=True):
        rows = slice(end - session["size"], end)
        yield session, item[rows], values[rows]


def test_the_data_are_the_same_when_made_again(shop):
    dataset, split, model, content = shop
    assert json.dumps(explore.export(model, dataset, split, dataset.folder)) == json.dumps(content)


def test_parts_at_the_models_weights_are_the_models_scores(shop):
    dataset, split, model, content = shop
    for session, items, steps in pairs(content):
        batch = pad(split.test, np.array([session["case"]]))
        with torch.no_grad():
            scores = model(batch)[0].double().numpy()
        titles = [content["items"]["title"][item] for item in items]
        own = {title: row for row, title in enumerate(dataset.items["title"])}
        rows = [own[title] for title in titles if list(dataset.items["title"]).count(title) == 1]
        known = [n for n, title in enumerate(titles) if list(dataset.items["title"]).count(title) == 1]
        sums = (steps[known] * np.array(content["step"])) @ np.array(content["weights"])
        # Up to the session's mean and one unit for all sessions, the sums are the model's scores.
        slope, constant = np.polyfit(sums, scores[rows], 1)
        assert np.abs(slope * sums + constant - scores[rows]).max() < 2 * slope * max(content["step"])


def test_the_band_holds_the_first_ten_of_any_weights_and_little_more():
    rng = np.random.default_rng(0)
    values = rng.integers(-40, 40, size=(3, 300))
    kept = explore.band(values, 10)
    seen = set()
    for weights in [*np.eye(3), *rng.dirichlet([0.4] * 3, 400)]:
        order = np.lexsort((np.arange(300), -values.sum(0), -(weights @ values)))
        seen |= set(order[:10].tolist())
    assert seen <= set(kept.tolist())
    assert len(kept) < 150


def test_hits_are_those_of_the_ranking_at_the_same_weights(shop):
    dataset, split, model, content = shop
    hits = unpacked(content["hits"], np.uint16).reshape(-1, 4)
    prices = dataset.items["price"].to_numpy()
    found = explore.parts(model, split.test, prices)
    weights = explore.grid()
    for point in (0, 37, len(weights) - 1):
        scores = np.einsum("k,nki->ni", weights[point], found.values.astype(np.float64))
        own = scores[np.arange(len(scores)), split.test.target]
        assert hits[point].sum() == ((scores > own[:, None] + 1e-4).sum(1) < 10).sum()
    assert sum(content["chosen"]) == len(split.test)
    # The page finds a point by this sum.
    points = [i * 51 - i * (i - 1) // 2 + m for i, m, _ in weights]
    assert points == list(range(len(weights)))


def test_the_evidence_is_that_of_the_templates(shop):
    dataset, split, model, content = shop
    counts = strongest(cooccurrence_counts(split.train_sessions, split.n_items), model.config.lists)
    met, often = unpacked(content["met"], np.uint8), unpacked(content["often"], np.uint8)
    items = np.unique(np.concatenate([split.test.prefix[s["case"]] for s in content["sessions"]]))
    assert len(items) <= len(content["items"]["title"])
    place = 0
    prices = dataset.items["price"].to_numpy()
    steps, _ = explore.parts(model, split.test, prices).steps(np.array([s["case"] for s in content["sessions"]]))
    for number, session in enumerate(content["sessions"]):
        kept = np.union1d(explore.band(steps[number], 10), split.test.target[session["case"]])
        prefix = split.test.prefix[session["case"]]
        for item in kept:
            said = explain(prefix.tolist(), int(item), counts, dataset.items)
            assert (said.template == "cooccurrence") == (met[place] > 0)
            if met[place]:
                assert prefix[met[place] - 1] == said.evidence["item"]
                assert often[place] == said.evidence["count"]
            place += 1
    assert place == len(met)


def test_every_cause_is_shown_and_true(shop):
    dataset, split, _, content = shop
    truth = read_truth(dataset.folder)
    causes = [session["cause"] for session in content["sessions"]]
    assert set(causes) == {0, 1, 2, 3}
    assert max(causes.count(cause) for cause in range(4)) <= explore.PER_CAUSE
    for session in content["sessions"]:
        row = split.test.session[session["case"]]
        assert session["cause"] == truth.cause[truth.offsets[row + 1] - 1]
        assert 2 <= len(session["items"]) <= 6
        assert sum(session["posterior"]) == pytest.approx(1, abs=0.003)


def test_a_number_that_does_not_fit_is_refused():
    with pytest.raises(DisentrecError, match="do not fit uint8"):
        explore._packed(np.array([3, 256]), np.uint8)


def test_sprites_show_what_pictures_show(shop):
    truth = read_truth(shop[0].folder)
    for item in range(150):
        seen, _ = pictured(truth.world.shop, truth.world.parameters, item)
        found = sprites.codes(truth, item)
        if seen is None:
            assert found is None
            continue
        shown = zip(sprites.SHOWN.items(), found, strict=True)
        words = {name: values[code] for (name, values), code in shown if code >= 0}
        assert words == {name: word for name, word in seen.items() if name in sprites.SHOWN}


def test_every_kind_has_a_silhouette_of_its_own_that_is_drawn():
    sheet = sprites.sheet()
    assert len({json.dumps(shape) for shape in sheet["shapes"]}) == len(KINDS) == len(SHAPES)
    for shape in [*sheet["shapes"], sheet["neutral"]]:
        assert shape[0][0] != "hole"
        for what, path in shape:
            assert what in ("fill", "hole", "line")
            ElementTree.fromstring(f'<path d="{path}"/>')
            assert path.startswith("M")
            assert "nan" not in path


def test_the_published_page_is_of_the_published_run_and_small():
    text = (ROOT / explore.TARGET).read_text()
    content = json.loads(text.removeprefix("globalThis.EXPLORE=").removesuffix(";\n"))
    assert content["model"]["record"] == explore.chosen_record().spec.hash
    assert content["model"]["mrr"] == content["model"]["published"]
    folder = (ROOT / explore.TARGET).parent
    assert sum(path.stat().st_size for path in folder.iterdir()) < 300_000
    assert not any(address in path.read_text() for path in folder.iterdir() for address in ("https:", "//cdn"))


def test_nothing_is_trained_when_nothing_changed(tmp_path, monkeypatch):
    made = []
    record = explore.chosen_record()
    monkeypatch.setattr(explore, "retrained", lambda record: made.append(record) or {"model": 1})
    monkeypatch.setattr(explore, "chosen_record", lambda root: record)
    assert not explore.write_explore(tmp_path)  # no such page
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "explore.md").write_text("# Page")
    assert explore.write_explore(tmp_path)
    assert not explore.write_explore(tmp_path)
    assert made == [record]
    monkeypatch.setattr(explore, "input_hash", lambda record: "another")
    assert explore.write_explore(tmp_path)
    assert len(made) == 2
