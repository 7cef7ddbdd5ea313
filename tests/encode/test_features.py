"""From `disentrec encode` to a feature with its record: the registry, the options and their refusal."""

from __future__ import annotations

import re
from importlib.metadata import version

import numpy as np
import pytest
import safetensors.torch
import torch
import torchvision

from disentrec.cli import main
from disentrec.data.bazaar import BazaarParameters, write_bazaar
from disentrec.data.schema import Dataset, read_dataset
from disentrec.encode import own_labels, transformer
from disentrec.encode.features import IMAGE, LIBRARIES, TEXT, encode, item_texts
from disentrec.encode.image import pca
from disentrec.encode.scaling import GRID, unit_mean_norm
from disentrec.encode.store import feature_records, read_feature
from disentrec.encode.transformer import TextSettings, encode_texts, load_transformer
from tests.encode.tiny import write_transformer


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_bazaar(tmp_path_factory.mktemp("bazaar") / "tiny", BazaarParameters.preset("tiny"))


@pytest.fixture
def dataset(written, tmp_path):
    """The shop in a folder of its own, so that features of other tests are not there."""
    for path in written.folder.iterdir():
        (tmp_path / path.name).symlink_to(path)
    return read_dataset(tmp_path)


@pytest.fixture(scope="module")
def bert(written, tmp_path_factory):
    words = sorted({word for text in item_texts(written)[0] for word in text.lower().split() if word.isalpha()})
    return write_transformer(tmp_path_factory.mktemp("models") / "Tiny BERT", words)


def files(dataset) -> list[str]:
    folder = dataset.folder / "encoded"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_the_defaults_are_the_features_of_the_embedded_shop(dataset, capsys):
    arguments = ["--text", "tfidf-svd", "--image", "colour-hog", "--dim", "100"]
    assert main(["encode", str(dataset.folder), *arguments]) == 0
    np.testing.assert_array_equal(read_feature(dataset.folder, "tfidf-svd"), dataset.feature("text"))
    np.testing.assert_array_equal(read_feature(dataset.folder, "colour-hog"), dataset.feature("image"))
    covered = int(dataset.feature("image").any(axis=1).sum())
    assert 0 < covered < 120
    assert f"colour-hog: 100 dimensions, {covered} of 120 items" in capsys.readouterr().out
    records = feature_records(dataset.folder)
    assert records["colour-hog"]["pca"] == 100 and records["colour-hog"]["covered"] == covered
    assert records["tfidf-svd"]["columns"] == ["title", "description"]
    assert records["tfidf-svd"]["dataset"] == dataset.fingerprint
    assert read_dataset(dataset.folder).fingerprint == dataset.fingerprint  # the data set itself has not changed


def test_a_transformer_of_ones_own_from_its_folder(dataset, bert):
    arguments = ["--text", str(bert), "--columns", "title", "--pooling", "pooler", "--max-tokens", "9"]
    assert main(["encode", str(dataset.folder), *arguments, "--batch-size", "10", "--device", "cpu"]) == 0
    assert files(dataset) == ["tiny-bert.json", "tiny-bert.npy"]  # nothing of the work is left
    model, titles = load_transformer(bert), dataset.items["title"].tolist()
    settings = TextSettings(pooling="pooler", max_tokens=9)
    wanted = unit_mean_norm(encode_texts(model, titles, settings))
    found = read_feature(dataset.folder, "tiny-bert")
    assert np.abs(found - wanted).max() <= GRID
    record = feature_records(dataset.folder)["tiny-bert"]
    told = {
        "encoder": "tiny-bert", "kind": "text", "columns": ["title"], "pooling": "pooler", "attention_mask": True,
        "max_tokens": 9, "batch_size": 10, "unit": False, "pca": None, "device": "cpu", "items": 120, "dim": 16,
        "weights_sha256": model.sha256, "covered": int(found.any(axis=1).sum()),
    }  # fmt: skip
    assert told.items() <= record.items()
    assert record["versions"] == {library: version(library) for library in LIBRARIES}
    assert str(bert.parent) not in str(record)  # places differ between machines


def test_released_switches_and_components(dataset, bert):
    right = encode(dataset, text=str(bert), name="right", dim=5, device="cpu")["right"]
    released = encode(dataset, text=str(bert), name="m12", attention_mask=False, dim=5, device="cpu")["m12"]
    assert (right["dim"], right["pca"], right["attention_mask"], released["attention_mask"]) == (5, 5, True, False)
    assert right["sha256"] != released["sha256"]
    raw = unit_mean_norm(encode_texts(load_transformer(bert), item_texts(dataset)[0]))
    np.testing.assert_array_equal(read_feature(dataset.folder, "right"), pca(raw, 5))


def test_an_interrupted_encoding_goes_on_and_cleans_up(dataset, bert, monkeypatch, capsys):
    arguments = ["encode", str(dataset.folder), "--text", str(bert)]
    encode_chunk, in_chunks, calls = transformer._encode, transformer.in_chunks, []
    monkeypatch.setattr(transformer, "in_chunks", lambda *given, **more: in_chunks(*given, **more | {"size": 50}))

    def interrupted(model, texts, settings):
        if len(calls) == 1:
            raise KeyboardInterrupt
        calls.append(len(texts))
        return encode_chunk(model, texts, settings)

    monkeypatch.setattr(transformer, "_encode", interrupted)
    assert main(arguments) == 130
    assert files(dataset) == [".tiny-bert.work"] and not feature_records(dataset.folder)
    monkeypatch.setattr(transformer, "_encode", lambda *given: calls.append(len(given[1])) or encode_chunk(*given))
    assert main(arguments) == 0
    filled = int(read_feature(dataset.folder, "tiny-bert").any(axis=1).sum())
    assert calls[0] == 50 and sum(calls) == filled  # no row twice
    assert files(dataset) == ["tiny-bert.json", "tiny-bert.npy"]


def test_a_network_and_a_transformer_in_one_call(dataset, bert, tmp_path, monkeypatch):
    few = [*dataset.images()[:6], *[None] * 114]
    monkeypatch.setattr(Dataset, "images", lambda self: few)
    torch.manual_seed(0)
    model = torchvision.models.googlenet(weights=None, aux_logits=False, init_weights=False)
    path = tmp_path / "googlenet.safetensors"
    safetensors.torch.save_file(model.state_dict(), path)
    given = ["--text", str(bert), "--image", "googlenet", "--weights", str(path), "--batch-size", "3"]
    assert main(["encode", str(dataset.folder), *given, "--no-eval-mode", "--no-input-transform", "--dim", "8"]) == 0
    record = feature_records(dataset.folder)["googlenet"]
    told = {"eval_mode": False, "input_transform": False, "batch_size": 3, "layer": "global average pool", "pca": 8}
    assert told.items() <= record.items() and len(record["weights_sha256"]) == 64
    assert feature_records(dataset.folder)["tiny-bert"]["dim"] == 8


def test_own_labels_of_a_stated_level(dataset, monkeypatch):
    quick = own_labels.OwnLabelSettings
    monkeypatch.setattr(own_labels, "OwnLabelSettings", lambda level: quick(level=level, steps=3, side=32))
    assert main(["encode", str(dataset.folder), "--image", "own-labels", "--level", "1"]) == 0
    record = feature_records(dataset.folder)["own-labels"]
    assert record["training"]["level"] == 1 and 2 <= record["training"]["classes"] <= 8
    assert 0 <= record["training"]["held_out_accuracy"] <= 1
    values = read_feature(dataset.folder, "own-labels")
    assert np.linalg.norm(values[values.any(axis=1)], axis=1).mean() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no encoder is named"),
        (["--text", "word2vec"], f"unknown text encoder 'word2vec'. Valid: a folder.*{', '.join(sorted(TEXT))}"),
        (["--image", "vgg"], f"unknown image encoder 'vgg'.*{', '.join(sorted(IMAGE))}"),
        (["--text", "tfidf-svd", "--pooling", "cls"], "unknown option 'pooling'.*Valid: columns, dim"),
        (["--image", "colour-hog", "--no-eval-mode"], "unknown option 'eval_mode'"),
        (["--image", "own-labels", "--weights", "x.pth"], "unknown option 'weights'"),
        (["--text", "tfidf-svd", "--columns", "title,price"], "unknown text column 'price'.*title"),
        (["--text", "tfidf-svd", "--dim", "0"], "dim=0 is not valid"),
        (["--text", "tfidf-svd", "--image", "colour-hog", "--as", "x"], "cannot both be called 'x'"),
        (["--text", "tfidf-svd", "--as", "../x"], "no name of a feature"),
    ],
)
def test_what_cannot_be_done_is_said(dataset, capsys, arguments, message):
    assert main(["encode", str(dataset.folder), *arguments]) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not files(dataset)
