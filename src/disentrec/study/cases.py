"""What is known of a data set besides its runs: its identity, its statistics, and facts of every test case.

Kept beside the records (`results/datasets/<name>.json` and `.npz`), so that every table can be rebuilt where the
data may not be.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from disentrec.data.drafts import write_atomically
from disentrec.data.files import read_arrays
from disentrec.data.interactions import TopNSplit, split_interactions
from disentrec.data.protocol import Protocol
from disentrec.data.schema import Dataset, read_dataset
from disentrec.data.sequences import Sequences
from disentrec.data.sessions import SessionSplit, split_sessions
from disentrec.encode.pseudo import missing_rows
from disentrec.errors import DisentrecError
from disentrec.evaluation.ranking import FURTHEST
from disentrec.paths import DATA
from disentrec.reading import read_json
from disentrec.study.datasets import dataset_folder
from disentrec.study.sources import sources
from disentrec.study.store import Store

#: Modalities that are numbers for every item; the others are columns of the item table, or pictures.
FEATURES = {"text", "image", "audio"}
#: What an oracle may know, from everything to one cause alone (BAZAAR.md).
CEILINGS = ("all", "type", "id", "modality", "popularity")


def publish_dataset(store: Store, name: str) -> dict[str, Any]:
    """Returns identity and statistics of a data set, computing and keeping them in the store on first use."""
    if Path(name).name != name:  # records lie in a folder of the data set's name
        how = f"Keep it in the data folder, {DATA.name}/, and give its name: {Path(name).name}"
        raise DisentrecError(f"a study knows a data set by its name, not by the path {name}", how=how)
    path = store.root / "datasets" / f"{name}.json"
    if path.exists():
        return read_json(path)
    dataset = read_dataset(dataset_folder(name))
    info = {
        "name": name,
        "fingerprint": dataset.fingerprint,
        "licence": dataset.info["licence"],
        "provenance": dataset.info["provenance"],
        "options": dataset.info.get("extra", {}),
        "features": {feature: dataset.info["features"][feature] for feature in dataset.feature_names},
    }
    facts = {}
    if dataset.sessions is not None:
        split = split_sessions(dataset, Protocol())
        info["statistics"], facts = statistics(dataset, split), case_facts(dataset, split)
    if dataset.interactions is not None:
        pairs = split_interactions(dataset, Protocol(split=split_rule(name)))
        info["user_statistics"] = user_statistics(dataset, pairs)
        facts |= user_facts(dataset, pairs)
    write_atomically(path.with_suffix(".npz"), lambda file: np.savez_compressed(file, **facts))
    text = json.dumps(info, indent=1, sort_keys=True) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))
    return info


def split_rule(name: str) -> str:
    """Returns how the users' histories of a data set are split in this study; "" as published, else MMRec's rule."""
    return sources()[name].split if name in sources() else ""


def known_dataset(store: Store, name: str) -> dict[str, Any] | None:
    """Returns what the store knows of a data set, or None; never touches the data."""
    path = store.root / "datasets" / f"{name}.json"
    return read_json(path) if path.exists() else None


def known_cases(store: Store, name: str) -> dict[str, np.ndarray]:
    """Returns the facts of every test case, in the order of the records' ranks."""
    return read_arrays(store.root / "datasets" / f"{name}.npz")


def has_features(store: Store, name: str) -> bool:
    """True when the items of a data set bring text, images or other features."""
    info = known_dataset(store, name)
    if info is not None:
        return bool(info["features"])
    if name in sources():
        return bool(set(sources()[name].modalities) & FEATURES)
    return bool(read_dataset(dataset_folder(name)).feature_names)


def modalities(store: Store, name: str) -> set[str]:
    """Returns what the items of a data set bring: its features, the attributes it knows, and "pictures"."""
    if name in sources():
        return set(sources()[name].modalities)
    dataset = read_dataset(dataset_folder(name))
    found = set(dataset.feature_names)
    found |= {"price"} if {"price", "price_level"} & set(dataset.items) else set()
    found |= {"brand", "category", "sales_rank"} & set(dataset.items)
    return found | ({"pictures"} if (dataset.folder / "images.parquet").exists() else set())


def statistics(dataset: Dataset, split: SessionSplit) -> dict[str, Any]:
    """Returns the statistics the papers print, and those a reader should know before believing a table."""
    sessions = dataset.session_lists()
    frequency = np.bincount(split.train_sessions.values, minlength=dataset.n_items)
    facts = case_facts(dataset, split, with_truth=False)
    return {
        "sessions": len(sessions),
        "train": len(split.train),
        "valid": len(split.valid),
        "test": len(split.test),
        "items": dataset.n_items,
        "interactions": len(sessions.values),
        "mean_length": float(sessions.lengths.mean()),
        "share_target_in_prefix": float(facts["repeat"].mean()),
        "share_session_in_train": float(facts["verbatim"].mean()),
        "items_unseen_in_train": int((frequency == 0).sum()),
        "median_item_frequency": float(np.median(frequency)),
    }


def case_facts(dataset: Dataset, split: SessionSplit, *, with_truth: bool = True) -> dict[str, np.ndarray]:
    """Returns per test case: does the target repeat, does the session stand in train, how often was its item seen.

    On the embedded shop also the cause of the choice, the best possible guess of it, and the ranks of every oracle.
    """
    test = split.test
    owner = test.prefix.rows
    repeat = np.zeros(len(test), dtype=bool)
    repeat[owner[test.prefix.values == test.target[owner]]] = True
    frequency = np.bincount(split.train_sessions.values, minlength=dataset.n_items)
    facts = {
        "session": test.session.astype(np.int32),
        "repeat": repeat,
        "verbatim": _contained(test.full(), split.train_sessions),
        "target_frequency": frequency[test.target].astype(np.int32),
        "prefix_length": test.prefix.lengths.astype(np.int16),
    }
    if with_truth and (dataset.folder / "truth").is_dir():
        from disentrec.data.bazaar import Oracle, read_truth

        oracle = Oracle(read_truth(dataset.folder))
        facts["cause"] = oracle.true_causes(test).astype(np.int8)
        facts["cause_posterior"] = oracle.cause_posterior(test).astype(np.float32)
        for knowing in CEILINGS:
            facts[f"oracle_rank_{knowing}"] = oracle.ceiling_ranks(test, knowing=knowing).astype(np.float32)
        # The shop is ours to publish: examples in the book show its titles.
        facts["title"] = dataset.items["title"].to_numpy(dtype=str)
        facts["prefix_values"], facts["prefix_offsets"] = test.prefix.values, test.prefix.offsets
        facts["target"] = test.target.astype(np.int32)
    return facts


def user_statistics(dataset: Dataset, split: TopNSplit) -> dict[str, Any]:
    """Returns the statistics of a data set of users under a split."""
    train = np.bincount(split.train.items, minlength=dataset.n_items)
    n_pairs = sum(map(len, (split.train, split.valid, split.test)))
    return {
        "users": split.n_users,
        "items": dataset.n_items,
        "pairs": n_pairs,
        "train": len(split.train),
        "valid": len(split.valid),
        "test": len(split.test),
        "test_users": len(split.test.some_users),
        "density": n_pairs / (split.n_users * dataset.n_items),
        "items_unseen_in_train": int((train == 0).sum()),
        "median_item_frequency": float(np.median(train)),
    }


def user_facts(dataset: Dataset, split: TopNSplit) -> dict[str, np.ndarray]:
    """Returns per test pair its user, item and how often train holds that; per test user their pairs in train.

    On the embedded shop, split by time, also the optimal rank of every pair (bazaar.users: of early choices).
    """
    train = np.bincount(split.train.items, minlength=split.n_items)
    facts = {
        "pair_user": split.test.users.astype(np.int32),
        "pair_item": split.test.items.astype(np.int32),
        "pair_frequency": train[split.test.items].astype(np.int32),
        "user_history": np.diff(split.train.offsets)[split.test.some_users].astype(np.int32),
    }
    facts |= {f"pair_lost_{of}": lost[split.test.items] for of, lost in lost_modalities(dataset).items()}
    if (dataset.folder / "truth").is_dir() and split_rule(dataset.name) == "time":
        from disentrec.data.bazaar import read_truth
        from disentrec.data.bazaar.users import USER_KNOWING, UserOracle

        oracle = UserOracle(read_truth(dataset.folder), dataset)
        for knowing in USER_KNOWING:
            ranks = np.minimum(oracle.ceiling_ranks(split, knowing), FURTHEST)
            facts[f"user_oracle_rank_{knowing}"] = ranks.astype(np.float32)
    return facts


def lost_modalities(dataset: Dataset) -> dict[str, np.ndarray]:
    """Returns, per modality that the study takes from items of this set, the smallest share of items at which each
    loses it, (n_items,) float32; infinite for items that never do, or had none."""
    recipes = sources()[dataset.name].encoded.values() if dataset.name in sources() else ()
    found: dict[str, np.ndarray] = {}
    for recipe in sorted((one for one in recipes if one["recipe"] == "missing"), key=lambda one: -one["share"]):
        of = recipe["of"]
        lost = missing_rows(dataset.feature(of), recipe["share"], recipe.get("seed", 0))
        found.setdefault(of, np.full(dataset.n_items, np.inf, dtype=np.float32))[lost] = recipe["share"]
    return found


def _contained(sessions: Sequences, known: Sequences) -> np.ndarray:
    """Returns whether each session stands in `known` item by item, (n,) bool."""
    kept = {known[row].tobytes() for row in range(len(known))}
    return np.asarray([sessions[row].tobytes() in kept for row in range(len(sessions))])
