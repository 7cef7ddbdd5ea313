"""One run from spec to record: load, build, train, score the test part once, analyse, save."""

from __future__ import annotations

import hashlib
import json
import platform
import resource
import subprocess
import time
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from disentrec import models
from disentrec.data.drafts import claim
from disentrec.data.fingerprint import array_hash
from disentrec.data.interactions import TopNSplit
from disentrec.data.protocol import Protocol
from disentrec.data.schema import Dataset, read_dataset
from disentrec.data.sessions import SessionSplit
from disentrec.devices import check_device, check_precision
from disentrec.encode.store import read_feature
from disentrec.errors import DisentrecError
from disentrec.models import Catalogue, UserCatalogue
from disentrec.paths import PACKAGE, ROOT
from disentrec.study.spec import RunSpec
from disentrec.study.store import RunRecord, Store
from disentrec.training import Checkpoint, Task, TrainingResult, task_of, train

#: A training is kept at the end of an epoch when so many seconds have passed since it was kept last.
CHECKPOINT_SECONDS = 60.0


def run(
    spec: RunSpec,
    folder: Path,
    store: Store,
    *,
    threads: int = 1,
    device: str = "cpu",
    precision: str = "float32",
    compiled: bool = False,
    checkpoint: float = CHECKPOINT_SECONDS,
    wait: bool = True,
) -> RunRecord | None:
    """Returns the record of `spec`, from the store if it is there, else by running it.

    `device`, `threads`, `precision` (devices.PRECISIONS) and `compiled` (steps by torch.compile, of models that can be)
    are the machine's, not the spec's; the record names them.

    One process alone runs a spec; while another one does, this one waits for its record, or returns None at once
    without `wait`. A run that was killed goes on from its checkpoint. Raises DisentrecError if `folder` holds other
    data than the spec names.
    """
    record = store.get(spec)
    if record is not None:
        return record
    check_device(device)
    check_precision(precision, device)
    compiled = compiled and models.get(spec.model).compiles
    machine = Machine(threads, device, precision, compiled)
    with claim(store.unfinished(spec, "lock"), wait=wait) as mine:
        if not mine:
            return None
        kept = Checkpoint(store.unfinished(spec, "safetensors"), _key(machine), checkpoint)
        record = store.get(spec) or _run(spec, folder, store, machine, kept)
        kept.remove()
        return record


class Machine(NamedTuple):
    """What a run is computed on, and how."""

    threads: int
    device: str
    precision: str
    compiled: bool


def _run(spec: RunSpec, folder: Path, store: Store, machine: Machine, checkpoint: Checkpoint) -> RunRecord:
    started = time.perf_counter()
    torch.set_num_threads(machine.threads)
    kind = models.get(spec.model).task
    dataset, task = _load(folder, kind, spec.protocol)
    if dataset.fingerprint != spec.fingerprint:
        raise DisentrecError(
            f"the data changed: the spec names {spec.fingerprint[:12]}, the folder holds {dataset.fingerprint[:12]}",
            where=folder,
            how="Make the specs again from this folder, or restore the data; an embedded set is made anew if deleted",
        )
    known = (catalogue if kind == "session" else user_catalogue)(dataset, task.split, spec.encoded)
    model = models.build(spec.model, spec.settings, known, spec.seed)
    before = _analysis(model, dataset, task, spec) if spec.analyse is True else None
    result = train(
        model, task, spec.training, spec.seed, machine.device, checkpoint, machine.precision, machine.compiled
    )
    scoring = time.perf_counter()
    metrics, arrays = _score(model, task, spec, result)
    scored = time.perf_counter()
    extra: dict[str, Any] = {}
    if spec.analyse and result.status == "finished":
        states = {"after": _analysis(model.cpu(), dataset, task, spec)}
        states |= {"before": before} if before is not None else {}
        extra = {state: found.measures for state, found in states.items()}
        for state, found in states.items():
            arrays |= {f"{state}_{name}": array for name, array in found.arrays.items()}
    epochs = max(len(result.curves), 1)
    content = {
        "status": result.status,
        "spec": spec.to_json(),
        "metrics": metrics,
        "best_epoch": result.best_epoch,
        "curves": result.curves,
        "n_parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "extra": extra,
        "timing": {
            "train_s": round(result.train_seconds, 2),
            "epoch_s": round(result.train_seconds / epochs, 3),
            "test_s": round(scored - scoring, 3),
            "total_s": round(time.perf_counter() - started, 2),
            "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
            **({} if machine.device == "cpu" else {"peak_gpu_mb": round(torch.cuda.max_memory_allocated() / 2**20)}),
        },
        "environment": environment(*machine),
        "commit": commit(),
    }
    return store.save(spec, content, arrays)


def _analysis(model: models.SessionModel | models.TopNModel, dataset: Dataset, task: Task, spec: RunSpec):
    from disentrec.study.analysis import analyse  # scikit-learn's import is not free, and few runs need it

    return analyse(model, dataset, task.split, "own" if spec.analyse is True else spec.analyse)


def catalogue(dataset: Dataset, split: SessionSplit, encoded: Mapping[str, str] | None = None) -> Catalogue:
    """Returns what a model may know of `dataset` under `split`, with the encoded features of these digests.

    Raises DisentrecError if an encoded feature is missing or another one than named.
    """
    items = dataset.items
    return Catalogue(
        n_items=dataset.n_items,
        sessions=split.train_sessions,
        graph_sessions=split.graph_sessions,
        features=_features(dataset, encoded),
        prices=items["price"].to_numpy(dtype=np.float64) if "price" in items else None,
        price_levels=items["price_level"].to_numpy(dtype=np.int64) if "price_level" in items else None,
        categories=np.unique(items["category"].fillna("").astype(str), return_inverse=True)[1]
        if "category" in items
        else None,
    )


def user_catalogue(dataset: Dataset, split: TopNSplit, encoded: Mapping[str, str] | None = None) -> UserCatalogue:
    """Returns what a user -> top-N model may know of `dataset` under `split`, as `catalogue` does for sessions."""
    items = dataset.items
    return UserCatalogue(
        train=split.train,
        features=_features(dataset, encoded),
        prices=items["price"].to_numpy(dtype=np.float64) if "price" in items else None,
        sales_rank=items["sales_rank"].to_numpy(dtype=np.float64) if "sales_rank" in items else None,
        brands=_codes(items["brand"]) if "brand" in items else None,
        categories=_codes(items["category"]) if "category" in items else None,
    )


def _features(dataset: Dataset, encoded: Mapping[str, str] | None) -> dict[str, np.ndarray]:
    features = {name: dataset.feature(name) for name in dataset.feature_names}
    for name, digest in (encoded or {}).items():
        features[name] = read_feature(dataset.folder, name)
        if array_hash(features[name]) != digest:
            raise DisentrecError(
                f"the feature {name!r} changed since the spec was made",
                where=dataset.folder,
                how="Make the specs again from this folder, or encode the feature as before",
            )
    return features


def _codes(column: pd.Series) -> np.ndarray:
    """Returns a code per value in their order, -1 where nothing is known, (n_items,) int64."""
    texts = column.fillna("").astype(str).to_numpy()
    values, codes = np.unique(texts, return_inverse=True)
    unknown = np.isin(values, ("", "Unknown"))
    return np.where(unknown, -1, np.cumsum(~unknown) - 1)[codes].astype(np.int64)


@lru_cache(maxsize=4)
def _load(folder: Path, kind: str, protocol: Protocol) -> tuple[Dataset, Task]:
    dataset = read_dataset(folder)
    return dataset, task_of(kind, dataset, protocol)


def _score(
    model: models.SessionModel | models.TopNModel, task: Task, spec: RunSpec, result: TrainingResult
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Returns the metrics as the protocol reports them, and the per-case ranks behind them."""
    arrays = task.cases()
    if result.status == "diverged":
        return {"valid": {}, "test": {}}, arrays
    if spec.protocol.select_on_test:
        test, ranks = task.selected_on_test(result.test_ranks, spec.training)
        return {"valid": {}, "test": test}, arrays | ranks
    ranks = task.rank(model, "test", spec.training)
    arrays["test_rank"] = ranks
    valid = next(entry["valid"] for entry in result.curves if entry["epoch"] == result.best_epoch)
    return {"valid": valid, "test": task.metrics(ranks, "test", spec.training)}, arrays


def environment(threads: int, device: str, precision: str = "float32", compiled: bool = False) -> dict[str, Any]:
    """Returns what a number may depend on besides the spec."""
    names = ("torch", "numpy", "scipy", "disentrec")
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in names},
        "threads": threads,
        "device": device if device == "cpu" else torch.cuda.get_device_name(device),
        "cpu": _cpu(),
        "system": platform.system(),
        **({} if precision == "float32" else {"precision": precision}),
        **({"compiled": True} if compiled else {}),
    }


def _key(machine: Machine) -> str:
    """Returns what besides the spec a training must share with the checkpoint it goes on from."""
    return json.dumps({**environment(*machine), "code": package_digest()}, sort_keys=True)


@lru_cache(maxsize=1)
def package_digest() -> str:
    """Returns a digest of the package: a commit does not tell two states of changed files apart."""
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


@lru_cache(maxsize=1)
def _cpu() -> str:
    """Returns the processor's name, generation and instruction set, without the machine's name."""
    info = Path("/proc/cpuinfo")
    lines = [line.partition(":") for line in info.read_text().splitlines()] if info.exists() else []
    said = {name.strip(): value.strip() for name, _, value in lines}
    # On a rented machine the name alone may be no more than "AMD EPYC".
    found = [f"{name} {said[name]}" for name in ("cpu family", "model") if name in said]
    generation = f" ({', '.join(found).removeprefix('cpu ')})" if found else ""
    return f"{said.get('model name', platform.machine())}{generation}, {torch.backends.cpu.get_cpu_capability()}"


@lru_cache(maxsize=1)
def commit() -> str:
    """Returns the commit of the code, marked when `src` differs from it; "unknown" outside a repository."""
    try:
        head = _git("rev-parse", "--short=12", "HEAD")
        return head + ("+changes" if _git("status", "--porcelain", "--", "src") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()
