"""Where does the time go? Every model's stages: seconds, operations, bytes, and shares of this machine's ceilings.

    python -m benchmarks stages
    python -m benchmarks stages -- --models dimo lightgcn --data FOLDER --shared-machine

One training step is drawing a batch (and what the model plans for it), the loss terms (with the model's own forward
pass), backward and optimiser; the scores of one batch are timed beside it, reading and splitting the data once, and one
ranking of the validation part.
Operations and bytes are counted, operator by operator, on the batches that are timed, but apart from that
(benchmarks/counting.py). A stage's floor is what its operators would take one after the other, each as long as the
slower of its two needs: its operations at the measured speed of a product of two square matrices by the faster library,
its bytes at that of a copy too large for the caches. Settings are each model's own defaults, batches of 512; steps are
timed once more with batches of 2,048, which leave less of the time to what an operator costs before it does anything.
Times are the fastest of several, as the ceilings are: on a machine that others use, too, the rest is chance.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from common import as_worker, copy_ceiling, peak_mb, product_ceiling, write
from counting import Count, counted

from disentrec import models
from disentrec.data.protocol import Protocol
from disentrec.data.schema import read_dataset
from disentrec.models.kernels import linear
from disentrec.study.datasets import dataset_folder
from disentrec.study.runner import catalogue, environment, user_catalogue
from disentrec.training import Training, task_of

STAGES = ("batch", "loss", "backward", "optimiser")
SIDE = 1024
#: How often everything is timed, at least, and for how many seconds: disturbances are longer than a short step.
ROUNDS, SECONDS = 9, 1.0
#: A batch that fills a core, and how many of them are timed.
FILLED, BATCHES = 2048, 3
#: Users whose scores are timed: as many as a ranking holds at once.
BLOCK = 256


def main() -> None:
    """Measures, prints and writes one record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="*", default=list(models.available()), metavar="NAME")
    parser.add_argument("--data", default="bazaar-demo", help="a data set of the study, or a dataset folder")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batches", type=int, default=5, help=f"that are timed, each {ROUNDS} times or more")
    parser.add_argument("--shared-machine", action="store_true", help="say so in the record: others were computing")
    options = parser.parse_args()
    as_worker(options.threads)
    torch.set_num_threads(options.threads)
    first = (*products(), copy_ceiling())
    folder = dataset_folder(options.data)
    record = {
        "data": folder.name,
        "fingerprint": read_dataset(folder).fingerprint[:12],
        "environment": environment(options.threads, "cpu"),
        "shared_machine": options.shared_machine,
        "load_average": round(os.getloadavg()[0], 1),
        "batches_timed": options.batches,
        "rounds": ROUNDS,
    }
    found = {name: measure(name, folder, options.batches) for name in options.models}
    # Once more: on a machine that others use, the faster of two is nearer to what it can do.
    by_onednn, by_torch, copy = map(max, first, (*products(), copy_ceiling()))
    product = max(by_onednn, by_torch)
    ceilings = {"product_gflops": product, "matmul_gflops": by_torch, "copy_gbytes_per_s": copy}
    record["ceilings"] = {name: round(speed / 1e9, 1) for name, speed in ceilings.items()}
    for entry in found.values():
        for stage in (*entry["stages"].values(), *entry.get("filled", {}).get("stages", {}).values()):
            floor = stage.pop("floor", None)
            if floor is not None:
                stage["floor_ms"] = round(1000 * floor(product, copy), 3)
    write("stages", record | {"models": found, "peak_mb": peak_mb()})


def products() -> tuple[float, float]:
    """Returns operations per second of a product of square matrices, oneDNN's and torch's own."""
    return tuple(product_ceiling(SIDE, SIDE, SIDE, product) for product in (linear, F.linear))


def measure(name: str, folder: Path, count: int) -> dict:
    """Returns a model's stages, each with milliseconds, operations and bytes."""
    kind = models.get(name).task
    started = time.perf_counter()
    dataset = read_dataset(folder)
    task = task_of(kind, dataset, Protocol())
    loaded = time.perf_counter()
    known = (catalogue if kind == "session" else user_catalogue)(dataset, task.split)
    model = models.build(name, {}, known, seed=0).train()
    built = time.perf_counter()
    found = {"load": _stage(loaded - started), "build": _stage(built - loaded)}
    training = Training()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    filled = {}
    if parameters:
        found |= _step(model, task, training, parameters, count)
        steps = _step(model, task, replace(training, batch_size=FILLED), parameters, BATCHES)
        filled = {"filled": {"batch_size": FILLED, "stages": steps}}
    batch = next(task.batches(training, np.random.default_rng(0)))
    asked = batch if kind == "session" else batch.users[:BLOCK]
    with torch.no_grad():
        model.eval()
        seconds = _fastest(lambda: model(asked))
        with counted() as work:
            model(asked)
    found["forward"] = _stage(seconds, work)
    seconds = _fastest(lambda: task.rank(model, "valid", training))
    with counted() as work:
        ranks = task.rank(model, "valid", training)
    found["evaluation"] = _stage(seconds, work)
    steps = -(-len(task.split.train) // training.batch_size)
    return {
        "task": kind,
        "batch_size": training.batch_size,
        "steps_of_an_epoch": steps,
        "ranked": len(ranks),
        "parameters": sum(parameter.numel() for parameter in parameters),
        "stages": found,
        **filled,
    }


def _step(model, task, training: Training, parameters: list, count: int) -> dict:
    """Returns the stages of a training step, each the mean over `count` batches of a batch's fastest round."""
    optimiser = torch.optim.Adam(parameters, fused=True)
    if hasattr(model, "begin_epoch"):  # models of users
        model.begin_epoch(0)
    state: dict = {}

    def batch() -> None:
        drawn = next(state["source"])
        state["batch"] = drawn.planned(model.plan(drawn))

    def loss() -> None:
        state["loss"] = torch.stack(list(model.losses(state["batch"]).values())).sum()

    def backward() -> None:
        optimiser.zero_grad(set_to_none=True)
        state["loss"].backward()

    pieces: dict[str, Callable] = dict(zip(STAGES, (batch, loss, backward, optimiser.step), strict=True))

    def once() -> np.ndarray:
        state["source"] = _endless(task, training)
        return np.array([[_seconds(pieces[name]) for name in STAGES] for _ in range(count)])

    once()
    fastest = functools.reduce(np.minimum, _rounds(once)).mean(0).tolist()
    works = {name: Count() for name in STAGES}
    state["source"] = _endless(task, training)
    for _, (name, piece) in itertools.product(range(count), pieces.items()):
        with counted() as work:
            piece()
        works[name].operators += work.operators
    return {name: _stage(seconds, works[name], count) for name, seconds in zip(STAGES, fastest, strict=True)}


def _rounds(work: Callable) -> Iterator:
    """Yields what `work` returns, ROUNDS times or more, for SECONDS or longer."""
    started = time.perf_counter()
    for number in itertools.count():
        if number >= ROUNDS and time.perf_counter() - started > SECONDS:
            return
        yield work()


def _fastest(work: Callable) -> float:
    work()
    return min(_rounds(lambda: _seconds(work)))


def _seconds(work: Callable) -> float:
    """Returns the seconds of `work`, once."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _endless(task, training: Training):
    rng = np.random.default_rng(0)
    while True:
        yield from task.batches(training, rng)


def _stage(seconds: float, work: Count | None = None, times: int = 1) -> dict:
    """Returns the entry of a stage; the work is that of so many times."""
    found = {"ms": round(1000 * seconds, 3)}
    if work is None:
        return found
    counts = {"operators": work.launches, "mflop": work.flop / 1e6, "mbytes": work.bytes / 1e6}
    found |= {name: round(value / times, 3) for name, value in counts.items()}
    return found | {"floor": lambda product, copy: work.floor(product, copy) / times}


if __name__ == "__main__":
    main()
