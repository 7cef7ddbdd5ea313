"""Features of the study made beside a dataset folder: pseudo-modalities, known noise, known gaps, released bugs.

papers/datasets.yaml names them with a recipe and its options; `publish_features` makes what is missing and keeps the
records in the store, so that every spec can be rebuilt where the data may not be. Where the records came with the
store and the data came later, `complete_features` makes the features before runs read them.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from disentrec import models
from disentrec.data.drafts import write_atomically
from disentrec.data.protocol import Protocol
from disentrec.data.schema import Dataset, read_dataset
from disentrec.data.sessions import split_sessions
from disentrec.encode import pseudo
from disentrec.encode.image import pca
from disentrec.encode.scaling import unit_mean_norm
from disentrec.encode.store import feature_records, write_feature
from disentrec.encode.text import tfidf_svd_with
from disentrec.errors import DisentrecError, unknown_name
from disentrec.reading import read_json
from disentrec.study.datasets import dataset_folder
from disentrec.study.sources import sources
from disentrec.study.store import Store

DIM = 100


def publish_features(store: Store, name: str) -> dict[str, dict[str, Any]]:
    """Returns the records of a data set's encoded features, making those of its recipes that are missing."""
    known = known_features(store, name)
    recipes = _recipes(name)
    if recipes and set(recipes) <= set(known):
        return known
    here = complete_features(name)
    if not here:
        return known
    path = _path(store, name)
    text = json.dumps(here, indent=1, sort_keys=True) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))
    return here


def complete_features(name: str) -> dict[str, dict[str, Any]]:
    """Makes the features of a data set's recipes that its folder on this machine lacks; returns all its records."""
    recipes = _recipes(name)
    folder = dataset_folder(name)
    here = feature_records(folder)
    missing = {feature: recipe for feature, recipe in recipes.items() if feature not in here}
    if missing:
        dataset = read_dataset(folder)
        for feature, recipe in missing.items():
            here[feature] = make_feature(dataset, feature, recipe)
    return here


def known_features(store: Store, name: str) -> dict[str, dict[str, Any]]:
    """Returns what the store knows of a data set's encoded features, by name; never touches the data."""
    path = _path(store, name)
    return read_json(path) if path.exists() else {}


def make_feature(dataset: Dataset, name: str, recipe: dict[str, Any]) -> dict[str, Any]:
    """Makes one encoded feature by its recipe and returns its record; an unknown recipe lists the valid ones."""
    options = dict(recipe)
    kind = options.pop("recipe")
    if kind not in RECIPES:
        raise unknown_name("recipe", kind, RECIPES, where=f"encoded feature {name}")
    make = RECIPES[kind]
    valid = [name for name in inspect.signature(make).parameters if name != "dataset"]
    for option in options:
        if option not in valid:
            raise unknown_name(f"option of the recipe {kind}", option, valid or ["none"])
    try:
        values, notes = make(dataset, **options)
    except TypeError as error:
        raise DisentrecError(str(error), where=f"recipe {kind}", how="Give the option that is missing") from error
    real = name.removeprefix("pseudo_").split("_")[0]
    if name.startswith("pseudo_") and real in dataset.feature_names and values.any():
        notes = {**notes, "semantics": pseudo.semantics(dataset.feature(real), values)}
    return write_feature(dataset.folder, name, values, {"recipe": kind, "options": options, **notes})


def _recipes(name: str) -> Mapping[str, dict[str, Any]]:
    return sources()[name].encoded if name in sources() else {}


def _path(store: Store, name: str) -> Path:
    return store.root / "features" / f"{name}.json"


def _trained(dataset: Dataset) -> np.ndarray:
    """Returns which items were sold in train, (n_items,) bool: classifiers may learn from those."""
    split = split_sessions(dataset, Protocol())
    return np.bincount(split.train_sessions.values, minlength=dataset.n_items) > 0


def _texts(dataset: Dataset) -> list[str]:
    """Returns what stands in the text of every item; the words that the feature `text` was made of."""
    columns = [dataset.items[name].fillna("") for name in ("title", "category", "description") if name in dataset.items]
    if "parameters" in dataset.info["extra"]:  # the shop's text feature leaves the category out
        columns = [dataset.items["title"], dataset.items["description"]]
    return [" ".join(words).replace("|", " ") for words in zip(*columns, strict=True)]


def _words(
    dataset: Dataset, image: str, column: str, top: int, unspaced_last_batch: bool
) -> tuple[list[str], dict[str, Any]]:
    if column not in dataset.items:
        raise unknown_name("column", column, dataset.items.columns, where=dataset.folder)
    labels = dataset.items[column].fillna("").astype(str).tolist()
    words, accuracy = pseudo.words_of_images(
        dataset.feature(image), labels, _trained(dataset), top=top, unspaced_last_batch=unspaced_last_batch
    )
    return words, {"accuracy": round(accuracy, 4), "classes": len({label for label in labels if label})}


def _words_of_images(
    dataset: Dataset, *, image: str = "image", column: str = "category", top: int = 2,
    unspaced_last_batch: bool = False, spaced: bool = False,
) -> tuple[np.ndarray, dict]:  # fmt: skip
    words, notes = _words(dataset, image, column, top, unspaced_last_batch)
    if spaced:
        words = pseudo.spaced_characters(words)
    return tfidf_svd_with(_texts(dataset), words, DIM)[1], notes


def _text_with_words(
    dataset: Dataset, *, image: str = "image", column: str = "category", top: int = 2
) -> tuple[np.ndarray, dict]:
    words, notes = _words(dataset, image, column, top, False)
    together = [f"{text} {seen}" for text, seen in zip(_texts(dataset), words, strict=True)]
    return tfidf_svd_with(together, (), DIM)[0], notes


def _drawn_from_titles(dataset: Dataset) -> tuple[np.ndarray, dict]:
    from disentrec.data.bazaar import draw_title

    titles = dataset.items["title"].tolist()
    return pseudo.drawn_from_texts(dataset.images(), titles, draw_title, DIM), {"generator": "the shop's renderer"}


def _generated_from_titles(
    dataset: Dataset, *, model: str = "stabilityai/sd-turbo", steps: int = 2, device: str = "cpu"
) -> tuple[np.ndarray, dict]:
    draw = pseudo.diffusion(model, steps, device)
    titles = dataset.items["title"].fillna("").tolist()
    return pseudo.drawn_from_texts(dataset.images(), titles, draw, DIM), {"generator": model}


def _predicted(dataset: Dataset, *, source: str, target: str) -> tuple[np.ndarray, dict]:
    return pseudo.predicted(dataset.feature(source), dataset.feature(target), _trained(dataset)), {}


def _wrong_rows(dataset: Dataset, *, of: str, share: float) -> tuple[np.ndarray, dict]:
    return pseudo.wrong_rows(dataset.feature(of), share), {}


def _missing(
    dataset: Dataset, *, of: str, share: float = 0.3, seed: int = 0, fill: str = "mean"
) -> tuple[np.ndarray, dict]:
    lost = pseudo.missing_rows(dataset.feature(of), share, seed)
    return pseudo.without_rows(dataset.feature(of), lost, fill), {"missing": int(lost.sum())}


def _labels(dataset: Dataset, *, column: str) -> tuple[np.ndarray, dict]:
    labels = dataset.items[column].fillna("").astype(str)
    hot = (labels.to_numpy()[:, None] == np.unique(labels)).astype(np.float64)
    return pca(hot, DIM) if hot.shape[1] > 1 else unit_mean_norm(hot), {"classes": hot.shape[1]}


def _trained_ids(
    dataset: Dataset, *, dim: int = 64, epochs: int = 20, batch_size: int = 1024, learning_rate: float = 0.003,
    seed: int = 0,
) -> tuple[np.ndarray, dict]:  # fmt: skip
    """The item rows of a LightGCN, trained on the training pairs and selected on validation."""
    from disentrec.study.cases import split_rule
    from disentrec.training import Training, task_of, train

    task = task_of("top-n", dataset, Protocol(split=split_rule(dataset.name)))
    model = models.build("lightgcn", {"dim": dim}, models.UserCatalogue(task.split.train), seed)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the same rows for any number of threads
    result = train(model, task, Training(epochs, batch_size, learning_rate), seed)
    torch.set_num_threads(threads)
    best = result.curves[result.best_epoch]["valid"][task.selection]
    rows = model.table.detach()[model.n_users :].cpu().numpy()
    return rows, {"model": "lightgcn", task.selection: round(best, 4)}


#: Recipe -> function (dataset, **options) -> (values, notes for the record).
RECIPES: dict[str, Callable[..., tuple[np.ndarray, dict]]] = {
    "words-of-images": _words_of_images,
    "spaced-words-of-images": partial(_words_of_images, spaced=True),
    "text-with-words-of-images": _text_with_words,
    "drawn-from-titles": _drawn_from_titles,
    "generated-from-titles": _generated_from_titles,
    "predicted": _predicted,
    "wrong-rows": _wrong_rows,
    "missing": _missing,
    "labels": _labels,
    "trained-ids": _trained_ids,
}
