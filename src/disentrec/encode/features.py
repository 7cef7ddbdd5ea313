"""From an encoder's name to a feature beside a dataset folder: the registry, the options, and the record.

An encoder is a function `(dataset, work, *, options) -> (values, record)`; a new one joins TEXT or IMAGE. Its keyword
arguments are its options: one that no chosen encoder has is refused, so every option has an effect.
"""

from __future__ import annotations

import inspect
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from disentrec.data.schema import Dataset
from disentrec.devices import choose_device
from disentrec.encode.image import colour_hog, pca
from disentrec.encode.scaling import unit_mean_norm
from disentrec.encode.store import check_feature_name, write_feature
from disentrec.encode.text import MINILM, minilm_folder, tfidf_svd
from disentrec.errors import DisentrecError, unknown_name

Encoded = tuple[np.ndarray, dict[str, Any]]
Encoder = Callable[..., Encoded]
COLUMNS = ("title", "description")
LIBRARIES = ("disentrec", "numpy", "pillow", "scikit-learn", "tokenizers", "torch", "torchvision", "transformers")


def encode(
    dataset: Dataset, *, text: str | None = None, image: str | None = None, name: str | None = None, **options: Any
) -> dict[str, dict[str, Any]]:
    """Encodes the items of `dataset` by one text and/or one image encoder and returns the records by feature name.

    A feature is called as its encoder unless `name` is given; it is written whole at the end, and until then finished
    chunks stand in a work folder beside it, which the same call goes on from. All but tfidf-svd take `dim`, principal
    components fitted on all items. Raises DisentrecError for unknown names and for options without an effect.
    """
    chosen: dict[str, tuple[str, Encoder]] = {}
    for kind, given in (("text", text), ("image", image)):
        if given is not None:
            encoder, found = _encoder(kind, given)
            chosen.setdefault(name or encoder, (kind, found))
    if not chosen:
        raise DisentrecError("no encoder is named", how=f"Text: {', '.join(TEXT)}; image: {', '.join(IMAGE)}")
    if name is not None and text is not None and image is not None:
        raise DisentrecError(f"two features cannot both be called {name!r}", how="Encode text and image one by one")
    for feature in chosen:
        check_feature_name(feature)
    options = {key: value for key, value in options.items() if value is not None}
    takes = {feature: {*_options(encoder), "dim"} for feature, (_, encoder) in chosen.items()}
    for option in options:
        if not any(option in valid for valid in takes.values()):
            raise unknown_name("option", option, set().union(*takes.values()), where=f"encoder {', '.join(chosen)}")
    if options.get("dim", 1) < 1:
        raise DisentrecError(f"dim={options['dim']} is not valid", how="Give at least 1")
    records = {}
    for feature, (kind, encoder) in chosen.items():
        own = {key: value for key, value in options.items() if key in _options(encoder)}
        work = dataset.folder / "encoded" / f".{feature}.work"
        values, made = encoder(dataset, work, **own)
        dim = options.get("dim") if "dim" not in own else None
        values = values if dim is None else pca(values, dim)
        record = {"kind": kind, "dataset": dataset.fingerprint, "items": dataset.n_items, "pca": dim, **made}
        record["versions"] = {library: version(library) for library in LIBRARIES}
        records[feature] = write_feature(dataset.folder, feature, values, record)
        shutil.rmtree(work, ignore_errors=True)
    return records


def item_texts(dataset: Dataset, columns: Sequence[str] | None = None) -> tuple[list[str], list[str]]:
    """Returns one text per item, its columns joined by blanks, and these: title and description unless given."""
    where = dataset.folder / "items.parquet"
    valid = [name for name in dataset.items if pd.api.types.is_string_dtype(dataset.items[name])]
    names = [name for name in COLUMNS if name in valid] if columns is None else list(columns)
    for name in names:
        if name not in valid:
            raise unknown_name("text column", name, valid or ["none"], where=where)
    if not names:
        raise DisentrecError("no text to encode", where=where, how="Name columns with --columns")
    parts = [dataset.items[name].fillna("") for name in names]
    return [" ".join(part).strip() for part in zip(*parts, strict=True)], names


def _tfidf(dataset: Dataset, work: Path, *, dim: int = 100, columns: Sequence[str] | None = None) -> Encoded:
    texts, columns = item_texts(dataset, columns)
    return tfidf_svd(texts, dim), {"encoder": "tfidf-svd", "columns": columns, "layer": "truncated SVD of TF-IDF"}


def _transformer(
    dataset: Dataset,
    work: Path,
    *,
    encoder: str,
    source: Callable[[], Path | str],
    defaults: Mapping[str, Any],
    model_folder: Path | None = None,
    columns: Sequence[str] | None = None,
    device: str | None = None,
    **settings: Any,
) -> Encoded:
    from disentrec.encode.transformer import TextSettings, encode_texts, load_transformer

    texts, columns = item_texts(dataset, columns)
    device, chosen = choose_device(device), TextSettings(**{**defaults, **settings})
    transformer = load_transformer(source() if model_folder is None else model_folder, device)
    values = unit_mean_norm(encode_texts(transformer, texts, chosen, work=work))
    made = {"encoder": encoder, "columns": columns, "layer": "last hidden states", **vars(chosen), "device": device}
    return values, {**made, "weights_sha256": transformer.sha256}


def _colour_hog(dataset: Dataset, work: Path) -> Encoded:
    return colour_hog(dataset.images()), {"encoder": "colour-hog", "layer": "colour and edge histograms"}


def _network(
    dataset: Dataset,
    work: Path,
    *,
    encoder: str,
    weights: Path | None = None,
    device: str | None = None,
    **settings: Any,
) -> Encoded:
    from disentrec.encode.network import NetworkSettings, encode_images, load_network

    device, chosen = choose_device(device), NetworkSettings(**settings)
    network = load_network(encoder, weights, chosen, device)
    values = unit_mean_norm(encode_images(network, dataset.images(), work=work))
    made = {"encoder": encoder, "layer": network.architecture.layer, **vars(chosen), "device": device}
    return values, {**made, "weights_sha256": network.sha256}


def _own_labels(dataset: Dataset, work: Path, *, level: int = 2) -> Encoded:
    from disentrec.encode.own_labels import OwnLabelSettings, own_labels

    values, made = own_labels(dataset, OwnLabelSettings(level=level))
    return unit_mean_norm(values), {"encoder": "own-labels", **made, "device": "cpu"}


def _text_transformer(encoder: str, source: Callable[[], Path | str], **defaults: Any) -> Encoder:
    return partial(_transformer, encoder=encoder, source=source, defaults=defaults)


#: Name -> encoder of the items' texts. A folder that holds a transformer is valid too.
TEXT: dict[str, Encoder] = {
    "tfidf-svd": _tfidf,
    "minilm": _text_transformer("minilm", minilm_folder, **MINILM),
    "bert-base-uncased": _text_transformer("bert-base-uncased", lambda: "bert-base-uncased"),
}
#: Name -> encoder of the items' images.
IMAGE: dict[str, Encoder] = {
    "colour-hog": _colour_hog,
    "googlenet": partial(_network, encoder="googlenet"),
    "vit_b_16": partial(_network, encoder="vit_b_16"),
    "own-labels": _own_labels,
}
#: What is passed on to the settings of a kind of encoder, beside its own keyword arguments.
PASSED = {
    _transformer: ("pooling", "attention_mask", "max_tokens", "batch_size"),
    _network: ("eval_mode", "input_transform", "batch_size"),
}


def _encoder(kind: str, name: str) -> tuple[str, Encoder]:
    """Returns the name for the feature and the encoder."""
    registry = TEXT if kind == "text" else IMAGE
    if name in registry:
        return name, registry[name]
    if kind == "text" and Path(name).is_dir():
        short = re.sub(r"[^a-z0-9_.-]+", "-", Path(name).resolve().name.lower()).strip("-._") or "transformer"
        return short, _text_transformer(short, lambda: name)
    valid = [*registry, "a folder with a transformer"] if kind == "text" else registry
    raise unknown_name(f"{kind} encoder", name, valid)


def _options(encoder: Encoder) -> set[str]:
    """Returns the names of the options of an encoder."""
    function, bound = (encoder.func, encoder.keywords) if isinstance(encoder, partial) else (encoder, {})
    found = inspect.signature(function).parameters.values()
    own = {value.name for value in found if value.kind is value.KEYWORD_ONLY and value.name not in bound}
    return own | set(PASSED.get(function, ()))
