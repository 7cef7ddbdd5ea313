"""The data of the book's explore page: a trained DIMO taken apart, so that a reader can weigh its parts anew.

An item's score for a session is a sum of parts: DIMO's c_id . h and c_mo . m (Eq. 11), and, not of DIMO, minus the
distance of its price to the session's. Parts are in standard deviations, rounded to steps of a 16-bit integer. Of each
session the page has the items that are among the first ten under *some* weights, none of them negative: what it
shows is the exact top ten of the whole catalogue. Texts stay in the item table; explanations are given as evidence.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from disentrec import models
from disentrec.data.bazaar import CAUSES, Oracle, read_truth
from disentrec.data.drafts import write_atomically
from disentrec.data.schema import Dataset, read_dataset
from disentrec.data.sequences import Sequences
from disentrec.data.sessions import SessionCases, SessionSplit, pad
from disentrec.errors import DisentrecError
from disentrec.evaluation.explanations import STOP_WORDS, ItemFacts, explain_all, strongest
from disentrec.models.cooccurrence import cooccurrence_counts
from disentrec.models.dimo import DIMO
from disentrec.paths import PACKAGE, ROOT
from disentrec.report.explore import sprites
from disentrec.study import Study
from disentrec.study.datasets import dataset_folder
from disentrec.study.runner import catalogue
from disentrec.study.store import RunRecord
from disentrec.training import task_of, train

PARTS = ("id", "modality", "price")
TOP = 10
#: Test sessions shown of each true cause, and how many items they may have before the choice.
PER_CAUSE, LENGTHS = 15, (2, 6)
TARGET = Path("book") / "_static" / "explore" / "data.js"
#: Code whose change means other data; the rest of the package does not touch this page.
SOURCES = (
    "report/explore/export.py", "report/explore/sprites.py", "models/dimo.py", "models/layers.py", "models/kernels.py",
    "models/cooccurrence.py", "evaluation/explanations.py", "data/bazaar/pictures.py",
)  # fmt: skip
LARGEST = np.iinfo(np.int16).max
#: Hits are counted at weights that are whole fiftieths and add up to 1.
GRID = 50


@dataclass(frozen=True)
class Parts:
    """What the score of every item is made of, for every session."""

    values: np.ndarray  # (cases, PARTS, n_items) float32, mean 0 over the items, in standard deviations
    weights: np.ndarray  # (PARTS,) at which the model's own scores come out, but for a constant per session

    def steps(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the chosen cases in whole numbers of steps, int16, and the step of each part, (PARTS,)."""
        chosen = self.values[rows].astype(np.float64)
        step = np.abs(chosen).max((0, 2)) / LARGEST
        return np.rint(chosen / step[:, None]).astype(np.int16), step


def chosen_record(root: Path = ROOT) -> RunRecord | None:
    """Returns the published run that the page takes apart, DIMO as described on the shop, its first seed; or None."""
    results = Study("dimo", "demo", root / "results").result("main", "bazaar-demo")
    return next((record for row in results if row.row.id == "dimo" for record in row.records), None)


def write_explore(root: Path = ROOT) -> bool:
    """Writes the page's data, if the file was made from other inputs, and returns whether it did.

    The model is trained again from the record's spec, which takes half a minute; the file says what it scores, and
    what the record says. Without the page or the record there is nothing to write.
    """
    target = root / TARGET
    record = chosen_record(root) if (root / "book" / "explore.md").exists() else None
    if record is None:
        return False
    inputs = input_hash(record)
    if target.exists() and f'"inputs":"{inputs}"' in target.read_text()[:200]:
        return False
    content = {"inputs": inputs, **retrained(record)}
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    target.parent.mkdir(parents=True, exist_ok=True)
    # A script, because a page opened from a folder may not read a file of data.
    write_atomically(target, lambda file: file.write(f"globalThis.EXPLORE={text};\n".encode()))
    return True


def input_hash(record: RunRecord) -> str:
    """Returns the hash of everything the data depend on: the spec, which names the shop, and the code."""
    total = hashlib.sha256(record.spec.hash.encode())
    for name in SOURCES:
        total.update((PACKAGE / name).read_bytes())
    return total.hexdigest()[:16]


def retrained(record: RunRecord) -> dict[str, Any]:
    """Returns the page's data from a model trained again as its record says."""
    spec = record.spec
    folder = dataset_folder(spec.dataset)
    dataset = read_dataset(folder)
    task = task_of("session", dataset, spec.protocol)
    model = models.build(spec.model, spec.settings, catalogue(dataset, task.split, spec.encoded), spec.seed)
    train(model, task, spec.training, spec.seed)
    metrics = task.metrics(task.rank(model, "test", spec.training), "test", spec.training)
    scores = {"record": spec.hash, "mrr": metrics["mrr@20"], "published": record.metric("mrr@20")}
    return {"model": scores, **export(model.eval(), dataset, task.split, folder)}


def export(model: DIMO, dataset: Dataset, split: SessionSplit, folder: Path) -> dict[str, Any]:
    """Returns everything the page shows, ready for JSON. `folder` holds the shop's truth."""
    truth = read_truth(folder)
    oracle = Oracle(truth)
    causes = oracle.true_causes(split.test)
    rows = sample(split.test, causes)
    cases = split.test.take(rows)
    found = parts(model, split.test, dataset.items["price"].to_numpy(dtype=np.float64))
    steps, step = found.steps(rows)
    # The true choice is kept even where no weights bring it to the top.
    kept = [np.union1d(band(part, TOP), target) for part, target in zip(steps, cases.target, strict=True)]
    items = np.unique(np.concatenate([cases.prefix.values, *kept]))
    counts = strongest(cooccurrence_counts(split.train_sessions, split.n_items), model.config.lists)
    places = evidence(cases.prefix, kept, counts, ItemFacts.of(dataset.items))
    posterior = oracle.cause_posterior(cases).round(3)
    sessions = [
        {
            "case": int(row),
            "items": np.searchsorted(items, cases.prefix[number]).tolist(),
            "target": int(np.searchsorted(items, cases.target[number])),
            "cause": int(causes[row]),
            "posterior": posterior[number].tolist(),
            "size": len(kept[number]),
        }
        for number, row in enumerate(rows)
    ]
    return {
        "top": TOP,
        "catalogue": split.n_items,
        "causes": CAUSES,
        "chosen": np.bincount(causes, minlength=len(CAUSES)).tolist(),
        "grid": GRID,
        "hits": _packed(hits(found, split.test.target, causes), np.uint16),
        "step": step.tolist(),
        "weights": found.weights.tolist(),
        "items": _items(dataset, items, truth),
        "stop": sorted(STOP_WORDS),
        "sprites": sprites.sheet(),
        "sessions": sessions,
        "item": _packed(np.concatenate([np.searchsorted(items, one) for one in kept]), np.uint16),
        "parts": _packed(np.concatenate([steps[n][:, one].T for n, one in enumerate(kept)]), np.int16),
        **{name: _packed(values, np.uint8) for name, values in places.items()},
    }


def sample(test: SessionCases, causes: np.ndarray) -> np.ndarray:
    """Returns the first PER_CAUSE test cases of each cause whose prefix has a length of LENGTHS, ascending."""
    fits = (test.prefix.lengths >= LENGTHS[0]) & (test.prefix.lengths <= LENGTHS[1])
    return np.sort(np.concatenate([np.flatnonzero(fits & (causes == n))[:PER_CAUSE] for n in range(len(CAUSES))]))


@torch.no_grad()
def parts(model: DIMO, test: SessionCases, prices: np.ndarray) -> Parts:
    """Returns the parts of the scores of all cases; a part's unit is its mean spread."""
    encoded, batch = model.encode_items(), pad(test, np.arange(len(test)))
    causes = model.causes(batch, encoded)
    logs = np.log(prices)
    profile = np.bincount(test.prefix.rows, logs[test.prefix.values]) / test.prefix.lengths
    raw = [(causes[name] @ table.T).double().numpy() for name, table in zip(("c_id", "c_mo"), encoded, strict=True)]
    raw.append(-np.abs(logs - profile[:, None]))
    spread = np.array([values.std(1).mean() for values in raw])
    values = np.stack([part - part.mean(1, keepdims=True) for part in raw], 1) / spread[:, None]
    return Parts(values.astype(np.float32), np.array([*spread[:2], 0.0]) / spread[:2].sum())


def grid() -> np.ndarray:
    """Returns all weights in whole GRID-ths that add up to 1, (points, PARTS) int, by ID, then by modality."""
    return np.array([(i, m, GRID - i - m) for i in range(GRID + 1) for m in range(GRID + 1 - i)])


def hits(found: Parts, targets: np.ndarray, causes: np.ndarray) -> np.ndarray:
    """Returns how many choices of each true cause are among the first TOP at each point of the grid, (points, causes).

    Of items that score alike the target comes first.
    """
    weights, counts = grid().astype(np.float32) / GRID, np.zeros((len(grid()), len(CAUSES)), dtype=np.int64)
    for values, target, cause in zip(found.values, targets, causes, strict=True):
        ahead = (weights @ (values - values[:, [target]]) > 0).sum(1)
        counts[:, cause] += ahead < TOP
    return counts


def band(values: np.ndarray, top: int) -> np.ndarray:
    """Returns the items that may be among the first `top` of some weighted sum of parts, ascending.

    values: (parts, items) of whole numbers; weights are not negative, ties go to the larger plain sum, then to the
    smaller number. An item is left out when `top` others are nowhere worse and so precede it whatever the weights.
    """
    order = np.lexsort((np.arange(values.shape[1]), -values.sum(0, dtype=np.int64)))
    ranked = values[:, order]
    # Whoever is nowhere worse has no smaller sum and therefore stands before.
    kept = [n for n in range(ranked.shape[1]) if (ranked[:, :n] >= ranked[:, [n]]).all(0).sum() < top]
    return np.sort(order[kept])


def evidence(prefixes: Sequences, items: list[np.ndarray], counts, facts: ItemFacts) -> dict[str, np.ndarray]:
    """Returns for every session and each of its items what both templates cite, one entry per pair.

    met: place, from 1, of the session's item it was chosen with most, 0 where it was with none; often: how many
    times; like: place of the item it resembles most.
    """
    sizes = [len(one) for one in items]
    repeated, recommended = prefixes.take(np.repeat(np.arange(len(prefixes)), sizes)), np.concatenate(items)
    met = explain_all(repeated, recommended, counts, facts)
    like = explain_all(repeated, recommended, counts * 0, facts)
    cited = [one.evidence if one.template == "cooccurrence" else None for one in met]
    return {
        "met": np.array([_place(repeated[n], one) if one else 0 for n, one in enumerate(cited)]),
        "often": np.array([int(one["count"]) if one else 0 for one in cited]),
        "like": np.array([_place(repeated[n], one.evidence) for n, one in enumerate(like)]),
    }


def _place(prefix: np.ndarray, found: Mapping[str, Any]) -> int:
    return int(np.flatnonzero(prefix == found["item"])[-1]) + 1


def _items(dataset: Dataset, chosen: np.ndarray, truth) -> dict[str, Any]:
    facts, table = ItemFacts.of(dataset.items), dataset.items
    paths = sorted({facts.paths[item] for item in chosen})
    brands = sorted({facts.brands[item] for item in chosen})
    return {
        "title": [facts.titles[item] for item in chosen],
        "brands": brands,
        "brand": [brands.index(facts.brands[item]) for item in chosen],
        "paths": paths,
        "path": [paths.index(facts.paths[item]) for item in chosen],
        "price": [float(table["price"].iloc[item]) for item in chosen],
        "picture": [sprites.codes(truth, int(item)) for item in chosen],
    }


def _packed(values: np.ndarray, kind: type) -> str:
    """Returns numbers as base64 of little-endian integers; those that do not fit raise."""
    fitting = np.asarray(values)
    if len(fitting) and not np.array_equal(fitting.astype(kind), fitting):
        raise DisentrecError(f"values from {fitting.min()} to {fitting.max()} do not fit {np.dtype(kind)}")
    return base64.b64encode(np.ascontiguousarray(fitting, np.dtype(kind).newbyteorder("<")).tobytes()).decode()
