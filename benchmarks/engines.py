"""Would a compiler, or several seeds trained as one model, be faster? Training steps, each way, in one run.

    python -m benchmarks engines
    python -m benchmarks engines -- --models bpr dimo --device cuda

Eager is how the package trains. Compiled: `--compile` of `disentrec train` and `study`, with the seconds it takes
before it has seen the batches once; sessions, which that option leaves out, by `torch.compile` with dynamic shapes.
Batched: the parameters of `--seeds` models of users stacked and their loss terms mapped over by `torch.func.vmap`,
each with batches of its own, drawn from its own seed; milliseconds are per seed. `vmap` knows torch's own product and
not oneDNN's. Where one of them cannot be, the record says why.
"""

from __future__ import annotations

import argparse
import itertools
import os
import time
from collections.abc import Callable

import numpy as np
import torch
import torch._inductor.config
from common import as_worker, write
from torch import Tensor

from disentrec import models
from disentrec.data.protocol import Protocol
from disentrec.data.schema import read_dataset
from disentrec.devices import check_device
from disentrec.models import kernels
from disentrec.models.base import PairBatch
from disentrec.study.datasets import dataset_folder
from disentrec.study.runner import catalogue, environment, user_catalogue
from disentrec.training import Training, task_of
from disentrec.training.compiled import CompiledLosses

#: Models of sessions that stand for the others; of users all that are trained.
SESSIONS = ("two-towers", "dimo", "sasrec")
#: Batches of a round, rounds that warm up, and rounds of which the fastest counts.
BATCHES, WARM, ROUNDS = 8, 2, 5


def main() -> None:
    """Measures, prints and writes one record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="*", default=None, metavar="NAME")
    parser.add_argument("--data", default="bazaar-demo", help="a data set of the study, or a dataset folder")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--shared-machine", action="store_true", help="say so in the record: others were computing")
    options = parser.parse_args()
    as_worker(1)
    torch.set_num_threads(1)
    check_device(options.device)
    folder = dataset_folder(options.data)
    dataset = read_dataset(folder)
    torch._inductor.config.force_disable_caches = True  # what another run compiled does not count
    torch.compile(torch.sin)(torch.ones(8, device=options.device))  # what is made once for all that follow
    found = {}
    for name in options.models or (*SESSIONS, *_users()):
        kind = models.get(name).task
        task = task_of(kind, dataset, Protocol())
        known = (catalogue if kind == "session" else user_catalogue)(dataset, task.split)
        found[name] = measure(name, known, task, options.seeds, options.device)
        print(name, found[name], flush=True)
    record = {
        "data": folder.name, "environment": environment(1, options.device), "seeds": options.seeds,
        "batch_size": Training().batch_size, "shared_machine": options.shared_machine,
        "load_average": round(os.getloadavg()[0], 1), "models": found,
    }  # fmt: skip
    write("engines", record)


def measure(name: str, known, task, seeds: int, device: str) -> dict:
    """Returns milliseconds of a step, eager, compiled and batched, or why there are none."""

    def build(seed: int):
        model = models.build(name, {}, known, seed).to(device).train()
        if hasattr(model, "begin_epoch"):
            model.begin_epoch(0)
        return model

    eager = build(0)
    batches = [batch.planned(eager.plan(batch)).to(device) for batch in _batches(task, 0)]
    found: dict = {"eager_ms": _step_ms(eager.losses, list(eager.parameters()), batches)}
    found["compiled"] = _tried(lambda: _compiled(build(0), batches, device))
    narrow, kernels.NARROW = kernels.NARROW, 10**9  # every product is torch's own
    try:
        found["batched"] = _tried(lambda: _batched([build(seed) for seed in range(seeds)], task, device))
    finally:
        kernels.NARROW = narrow
    return found


def _compiled(model, batches: list, device: str) -> dict:
    if model.task == "session":
        torch._dynamo.reset()
        losses_of = torch.compile(model.losses, dynamic=True)
    elif model.compiles:
        losses_of = CompiledLosses(model, len(batches[0].users), device)
    else:
        raise NotImplementedError(f"{model.name} says that it cannot be compiled")
    started = time.perf_counter()
    for batch in batches:
        _loss(losses_of(batch)).backward()
    _wait(batches[0])
    seconds = time.perf_counter() - started
    return {"ms": _step_ms(losses_of, list(model.parameters()), batches), "compile_s": round(seconds, 1)}


def _batched(found: list, task, device: str) -> dict:
    own, *_ = found
    if own.task == "session":
        raise NotImplementedError("sessions of several seeds have no common shape")
    parameters, buffers = torch.func.stack_module_state(found)
    # One batch of every seed, with a first dimension of seeds.
    drawn = zip(*(_batches(task, seed) for seed in range(len(found))), strict=True)
    batches = [
        PairBatch(*(torch.stack([getattr(one, part) for one in row]) for part in ("users", "positives", "negatives")))
        for row in drawn
    ]

    def one(parameters: dict, buffers: dict, users: Tensor, positives: Tensor, negatives: Tensor) -> dict:
        batch = PairBatch(users, positives, negatives)
        with torch.nn.utils.stateless._reparametrize_module(own, parameters | buffers):
            return own.losses(batch)

    def losses_of(batch: PairBatch) -> dict[str, Tensor]:
        mapped = torch.func.vmap(one, randomness="different")
        return mapped(parameters, buffers, batch.users, batch.positives, batch.negatives)

    ms = _step_ms(losses_of, list(parameters.values()), [batch.to(device) for batch in batches])
    return {"ms_per_seed": round(ms / len(found), 3)}


def _users() -> list[str]:
    learned = (name for name in models.available() if models.get(name).task == "top-n")
    return [name for name in learned if name not in ("item-knn", "most-popular")]


def _loss(terms: dict[str, Tensor]) -> Tensor:
    """Returns the sum of all terms, of all seeds where they have several."""
    return torch.stack([term.sum() for term in terms.values()]).sum()


def _tried(work: Callable[[], dict]) -> dict:
    try:
        return work()
    except Exception as error:  # whatever torch refuses with
        return {"refused": str(error).strip().splitlines()[0][:200]}


def _step_ms(losses_of: Callable, parameters: list, batches: list) -> float:
    """Returns the mean over batches of the fastest round of loss, gradients and optimiser."""
    optimiser = torch.optim.Adam(parameters, fused=True)
    seconds = np.zeros((WARM + ROUNDS, len(batches)))
    for number in range(WARM + ROUNDS):
        for place, batch in enumerate(batches):
            _wait(batch)
            started = time.perf_counter()
            optimiser.zero_grad(set_to_none=True)
            _loss(losses_of(batch)).backward()
            optimiser.step()
            _wait(batch)
            seconds[number, place] = time.perf_counter() - started
    return round(1000 * float(seconds[WARM:].min(0).mean()), 3)


def _wait(batch) -> None:
    if next(iter(vars(batch).values())).is_cuda:
        torch.cuda.synchronize()


def _batches(task, seed: int) -> list:
    """Returns the first batches of an epoch of that seed."""
    drawn = task.batches(Training(), np.random.default_rng(seed))
    return list(itertools.islice(drawn, BATCHES))


if __name__ == "__main__":
    main()
