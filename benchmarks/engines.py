"""Would a compiler, or several seeds trained as one model, be faster? Training steps, each way, in one run.

    python -m benchmarks engines
    python -m benchmarks engines -- --models bpr dimo --device cuda

Eager is how the package trains. Compiled: `torch.compile` of the loss terms, shapes dynamic, with the seconds it takes
before it has seen the batches once. Batched: the parameters of `--seeds` models stacked and their loss terms mapped
over by `torch.func.vmap`, all reading one batch; milliseconds are per seed. Where one of them cannot be, the record
says why. Neither can call oneDNN's product as the package does, so both multiply by torch's own.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable

import numpy as np
import torch
import torch._inductor.config
from common import as_worker, write
from torch import Tensor, nn

from disentrec import models
from disentrec.data.protocol import Protocol
from disentrec.data.schema import read_dataset
from disentrec.devices import check_device
from disentrec.models import layers
from disentrec.study.datasets import dataset_folder
from disentrec.study.runner import catalogue, environment, user_catalogue
from disentrec.training import Training, task_of

MODELS = ("two-towers", "dimo", "sasrec", "bpr", "vbpr", "lightgcn", "addrl")
#: Batches of a round, rounds that warm up, and rounds of which the fastest counts.
BATCHES, WARM, ROUNDS = 8, 2, 5


class Loss(nn.Module):
    """A model as a function of its parameters: a batch in, the sum of its loss terms out."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch) -> Tensor:
        """Returns the loss, a scalar."""
        return torch.stack(list(self.model.losses(batch).values())).sum()


def main() -> None:
    """Measures, prints and writes one record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="*", default=MODELS, metavar="NAME")
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
    found = {}
    for name in options.models:
        kind = models.get(name).task
        task = task_of(kind, dataset, Protocol())
        known = (catalogue if kind == "session" else user_catalogue)(dataset, task.split)
        batches = [batch for batch, _ in zip(_batches(task), range(BATCHES), strict=False)]
        found[name] = measure(name, known, batches, options.seeds, options.device)
        print(name, found[name], flush=True)
    record = {
        "data": folder.name, "environment": environment(1, options.device), "seeds": options.seeds,
        "batch_size": Training().batch_size, "shared_machine": options.shared_machine,
        "load_average": round(os.getloadavg()[0], 1), "models": found,
    }  # fmt: skip
    write("engines", record)


def measure(name: str, known, batches: list, seeds: int, device: str) -> dict:
    """Returns milliseconds of a step, eager, compiled and batched, or why there are none."""

    def build(seed: int) -> Loss:
        model = models.build(name, {}, known, seed).to(device).train()
        if hasattr(model, "begin_epoch"):
            model.begin_epoch(0)
        return Loss(model)

    eager = build(0)
    batches = [batch.planned(eager.model.plan(batch)).to(device) for batch in batches]
    found: dict = {"eager_ms": _step_ms(eager, list(eager.parameters()), batches)}
    narrow, layers.NARROW = layers.NARROW, 10**9  # every product is torch's own
    try:
        found["own_products_ms"] = _step_ms(eager, list(eager.parameters()), batches)
        found["compiled"] = _tried(lambda: _compiled(build(0), batches))
        found["batched"] = _tried(lambda: _batched([build(seed) for seed in range(seeds)], batches))
    finally:
        layers.NARROW = narrow
    return found


def _compiled(loss: Loss, batches: list) -> dict:
    torch._dynamo.reset()
    torch._inductor.config.force_disable_caches = True  # what another run compiled does not count
    compiled = torch.compile(loss, dynamic=True)
    started = time.perf_counter()
    for batch in batches:
        compiled(batch).backward()
    seconds = time.perf_counter() - started
    return {"ms": _step_ms(compiled, list(loss.parameters()), batches), "compile_s": round(seconds, 1)}


def _batched(losses: list[Loss], batches: list) -> dict:
    parameters, buffers = torch.func.stack_module_state(losses)
    own = losses[0]

    def one(parameters: dict, buffers: dict, batch) -> Tensor:
        return torch.func.functional_call(own, (parameters, buffers), (batch,))

    def step(batch) -> Tensor:
        mapped = torch.func.vmap(lambda p, b: one(p, b, batch), randomness="different")
        return mapped(parameters, buffers).sum()

    return {"ms_per_seed": round(_step_ms(step, list(parameters.values()), batches) / len(losses), 3)}


def _tried(work: Callable[[], dict]) -> dict:
    try:
        return work()
    except Exception as error:  # whatever torch refuses with
        return {"refused": str(error).strip().splitlines()[0][:200]}


def _step_ms(loss: Callable, parameters: list, batches: list) -> float:
    """Returns the mean over batches of the fastest round of loss, gradients and optimiser."""
    optimiser = torch.optim.Adam(parameters, fused=True)
    seconds = np.zeros((WARM + ROUNDS, len(batches)))
    for number in range(WARM + ROUNDS):
        for place, batch in enumerate(batches):
            _wait(batch)
            started = time.perf_counter()
            optimiser.zero_grad(set_to_none=True)
            loss(batch).backward()
            optimiser.step()
            _wait(batch)
            seconds[number, place] = time.perf_counter() - started
    return round(1000 * float(seconds[WARM:].min(0).mean()), 3)


def _wait(batch) -> None:
    if next(iter(vars(batch).values())).is_cuda:
        torch.cuda.synchronize()


def _batches(task):
    rng = np.random.default_rng(0)
    while True:
        yield from task.batches(Training(), rng)


if __name__ == "__main__":
    main()
