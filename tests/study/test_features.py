"""Features of the study: made once by a recipe, named in every run that reads them, refused when they changed."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from disentrec import models
from disentrec.cli import main
from disentrec.data.bazaar import BazaarParameters, write_bazaar
from disentrec.data.interactions import split_interactions
from disentrec.data.protocol import Protocol
from disentrec.data.schema import read_dataset
from disentrec.encode.store import feature_records, read_feature, write_feature
from disentrec.errors import DisentrecError
from disentrec.study import RunSpec, Store, Study
from disentrec.study.features import RECIPES, known_features, make_feature, publish_features
from disentrec.study.runner import run, user_catalogue
from disentrec.study.sources import sources
from disentrec.study.spec import encoded_for
from disentrec.training import Training

SMALL = {"dim": 8, "heads": 2, "rounds": 1, "content": ("text", "other"), "pseudo": ()}


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    return write_bazaar(tmp_path_factory.mktemp("data") / "shop", BazaarParameters.preset("tiny"))


def spec_of(shop, **settings) -> RunSpec:
    given = SMALL | settings
    encoded = encoded_for(models.configure("mmsbr", given), feature_records(shop.folder))
    training = Training(epochs=1)
    return RunSpec("mmsbr", shop.name, shop.fingerprint, settings=given, training=training, encoded=encoded)


@pytest.mark.parametrize("recipe", ["words-of-images", "spaced-words-of-images", "text-with-words-of-images"])
def test_recipes_of_words_cover_what_has_a_picture(shop, recipe):
    record = make_feature(shop, "made", {"recipe": recipe})
    values = read_feature(shop.folder, "made")
    assert values.shape == (shop.n_items, 100) and record["recipe"] == recipe and 0 < record["accuracy"] <= 1
    pictures = shop.feature("image").any(axis=1)
    # Spelt out in letters, no word is left (M9).
    expected = {"words-of-images": pictures, "spaced-words-of-images": 0 * pictures}.get(recipe, np.ones(len(values)))
    assert (values.any(axis=1) <= expected.astype(bool)).all()
    assert values.any() == (recipe != "spaced-words-of-images")


def test_pseudo_modalities_say_what_they_keep(shop):
    record = make_feature(shop, "pseudo_image", {"recipe": "predicted", "source": "text", "target": "image"})
    value, low, high, chance = record["semantics"]["found"]
    assert low <= value <= high and 0 < chance < 0.05
    assert "semantics" not in make_feature(shop, "labels", {"recipe": "labels", "column": "brand"})


@pytest.mark.parametrize("of", ["text", "image"])
def test_a_missing_modality_is_a_nested_share_of_the_items(shop, of):
    full = shop.feature(of)
    has, lost = full.any(axis=1), []
    for share in (0.3, 0.6):
        recipe = {"recipe": "missing", "of": of, "share": share}
        record = make_feature(shop, f"{of}_missing", recipe)
        values = read_feature(shop.folder, f"{of}_missing")
        lost.append((values != full).any(axis=1))
        assert record["missing"] == lost[-1].sum() == round(share * has.sum())
        assert np.unique(values[lost[-1]], axis=0) == pytest.approx(full[has & ~lost[-1]].mean(0)[None], abs=1e-6)
        assert record["options"] == {"of": of, "share": share}
    assert (lost[1] | ~lost[0]).all() and not (lost[1] & ~has).any()
    other = make_feature(shop, f"{of}_missing", recipe | {"seed": 1, "fill": "zeros"})
    values = read_feature(shop.folder, f"{of}_missing")
    assert other["missing"] == record["missing"] and (values.any(axis=1) == has).sum() == len(has) - other["missing"]


def test_a_feature_does_not_change_the_data_but_the_run(shop):
    before = spec_of(shop)
    write_feature(shop.folder, "other", np.ones((shop.n_items, 3)), {})
    one = spec_of(shop)
    assert read_dataset(shop.folder).fingerprint == shop.fingerprint
    assert before.hash != one.hash and one.encoded.keys() == {"other"}
    write_feature(shop.folder, "other", np.eye(shop.n_items, 3), {})
    two = spec_of(shop)
    assert len({before.hash, one.hash, two.hash}) == 3
    assert spec_of(shop, content=("text",)).encoded == {}  # not read, not named
    assert RunSpec.from_json(json.loads(json.dumps(two.to_json()))).hash == two.hash


def test_a_run_refuses_another_feature_than_it_names(shop, tmp_path):
    write_feature(shop.folder, "other", np.random.default_rng(0).normal(size=(shop.n_items, 3)), {})
    spec = spec_of(shop)
    record = run(spec, shop.folder, Store(tmp_path))
    assert record.finished and record.content["spec"]["encoded"] == dict(spec.encoded)
    write_feature(shop.folder, "other", np.ones((shop.n_items, 3)), {})
    with pytest.raises(DisentrecError, match="'other' changed since the spec was made"):
        run(spec, shop.folder, Store(tmp_path / "new"))


def test_publishing_makes_what_is_missing_once_and_needs_no_data_afterwards(tmp_path, monkeypatch):
    monkeypatch.setattr("disentrec.study.datasets.DATA", tmp_path)
    folder = tmp_path / "bazaar-tiny"
    write_bazaar(folder, BazaarParameters.preset("tiny"))
    monkeypatch.setattr("disentrec.study.features.dataset_folder", lambda name: folder)
    source = sources()["bazaar-tiny"]
    recipes = {"image_wrong": {"recipe": "wrong-rows", "of": "image", "share": 0.5}}
    monkeypatch.setitem(sources(), "bazaar-tiny", type(source)(**{**vars(source), "encoded": recipes}))
    store = Store(tmp_path / "store")
    made = publish_features(store, "bazaar-tiny")
    assert set(made) == {"image_wrong"} and known_features(store, "bazaar-tiny") == made
    stamp = (folder / "encoded" / "image_wrong.npy").stat().st_mtime_ns
    assert publish_features(Store(tmp_path / "second"), "bazaar-tiny") == made
    assert (folder / "encoded" / "image_wrong.npy").stat().st_mtime_ns == stamp
    monkeypatch.setattr("disentrec.study.features.dataset_folder", None)
    assert publish_features(store, "bazaar-tiny") == made


def test_a_grid_makes_the_features_that_the_store_knows_and_the_data_lack(tmp_path, monkeypatch):
    folder = tmp_path / "bazaar-tiny"
    shop = write_bazaar(folder, BazaarParameters.preset("tiny"))
    for place in ("features", "study"):
        monkeypatch.setattr(f"disentrec.study.{place}.dataset_folder", lambda name: folder)
    source = sources()["bazaar-tiny"]
    recipes = {"image_wrong": {"recipe": "wrong-rows", "of": "image", "share": 0.5}}
    monkeypatch.setitem(sources(), "bazaar-tiny", type(source)(**{**vars(source), "encoded": recipes}))
    study = Study("idsf", "demo", tmp_path / "store")
    publish_features(study.store, "bazaar-tiny")
    spec = spec_of(shop, content=("image_wrong",))
    shutil.rmtree(folder / "encoded")
    finished = []

    def engine(specs, folders, store, **options):
        finished.append([run(spec, folders(spec.dataset), store) for spec in specs])

    study._run([spec], engine)
    assert (folder / "encoded" / "image_wrong.npy").exists() and finished[0][0].finished
    shutil.rmtree(folder / "encoded")
    study._run([spec], engine)  # nothing left to run: nothing made
    assert not (folder / "encoded").exists()


def test_the_study_names_recipes_that_exist():
    for source in sources().values():
        for recipe in source.encoded.values():
            assert recipe["recipe"] in RECIPES
    for name in ("bazaar-demo", "amazon-scientific-clip"):
        made = {key: value for key, value in sources()[name].encoded.items() if "missing" in key}
        assert made == {
            f"{of}_missing{share}": {"recipe": "missing", "of": of, "share": share / 100}
            for of in ("text", "image")
            for share in (30, 60, 90)
        }


def test_wrong_recipes_list_the_right_ones(shop, capsys):
    with pytest.raises(DisentrecError, match=r"unknown recipe 'words'.*words-of-images"):
        make_feature(shop, "made", {"recipe": "words"})
    with pytest.raises(DisentrecError, match=r"unknown option of the recipe predicted 'form'.*source, target"):
        make_feature(shop, "made", {"recipe": "predicted", "form": "text"})
    with pytest.raises(DisentrecError, match=r"missing .*target.*recipe predicted"):
        make_feature(shop, "made", {"recipe": "predicted", "source": "text"})
    with pytest.raises(DisentrecError, match=r"unknown column 'colour'.*brand, category"):
        make_feature(shop, "made", {"recipe": "words-of-images", "column": "colour"})
    command = ["encode", str(shop.folder), "--recipe", "wrong-rows", "--set", "of=image", "--set", "share=0.5"]
    assert main([*command, "--as", "swapped"]) == 0
    assert "swapped: 100 dimensions" in capsys.readouterr().out


def test_trained_ids_begin_a_model_and_are_part_of_its_spec(shop):
    """A run that begins with trained rows names their digest; the rows are LightGCN's, the same twice."""
    options = {"recipe": "trained-ids", "dim": 8, "epochs": 2, "batch_size": 64}
    one, two = (make_feature(shop, name, options) for name in ("pretrained", "again"))
    assert one["sha256"] == two["sha256"] and 0 < one["recall@20"] <= 1
    begin = {"dim": 8, "features": ("text",), "initial_ids": "pretrained"}
    encoded = encoded_for(models.configure("idsf", begin), feature_records(shop.folder))
    assert encoded == {"pretrained": one["sha256"]}
    assert encoded_for(models.configure("idsf", {"dim": 8}), feature_records(shop.folder)) == {}
    known = user_catalogue(shop, split_interactions(shop, Protocol()), encoded)
    model = models.build("idsf", begin, known, 0)
    assert np.array_equal(model.ids["text"].detach().numpy(), read_feature(shop.folder, "pretrained"))
