"""Does another processor, or another number of threads, give the same bytes? An epoch of every model, each way.

    python -m benchmarks processors
    python -m benchmarks processors -- --models dimo lightgcn

One process per way trains every model for an epoch on the shop, and ranks the test part: twice as it is, with two and
with four threads, and held to the instructions of an older processor (AVX2), as far as NumPy, torch, oneDNN and MKL can
be told. Compared are the bytes of all parameters and ranks and, where they differ, the selection metric.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys

import torch
from common import as_worker, write

from disentrec import models
from disentrec.data.protocol import Protocol
from disentrec.data.schema import read_dataset
from disentrec.processor import OLDER
from disentrec.study.datasets import dataset_folder
from disentrec.study.runner import catalogue, environment, user_catalogue
from disentrec.training import Training, task_of, train

#: What is compared with one thread and all instructions: variables and threads.
WAYS = {"again": ({}, 1), "two threads": ({}, 2), "four threads": ({}, 4), "AVX2": (OLDER, 1)}


def main() -> None:
    """Measures, prints and writes one record; with --way, prints what one process finds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="*", default=list(models.available()), metavar="NAME")
    parser.add_argument("--data", default="bazaar-demo", help="a data set of the study, or a dataset folder")
    parser.add_argument("--threads", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.threads:
        as_worker(options.threads)
        torch.set_num_threads(options.threads)
        for name in options.models:
            print(json.dumps(trained(name, options.data)), flush=True)
        return
    one = _process(options, {}, 1)
    found: dict = {name: {} for name in one}
    for way, (variables, threads) in WAYS.items():
        for name, other in _process(options, variables, threads).items():
            points = 100 * (other["value"] - one[name]["value"])
            found[name][way] = {"same": other["bytes"] == one[name]["bytes"], "points": round(points, 3)}
        print(way, sum(entry[way]["same"] for entry in found.values()), "of", len(found), flush=True)
    write("processors", {"data": options.data, "environment": environment(1, "cpu"), "older": OLDER, "models": found})


def trained(name: str, data: str) -> dict:
    """Returns a digest of what an epoch makes of a model, and its selection metric on test."""
    kind = models.get(name).task
    dataset = read_dataset(dataset_folder(data))
    task = task_of(kind, dataset, Protocol())
    known = (catalogue if kind == "session" else user_catalogue)(dataset, task.split)
    model, training = models.build(name, {}, known, seed=1), Training(epochs=1)
    train(model, task, training, seed=1)
    ranks = task.rank(model, "test", training)
    digest = hashlib.sha256(ranks.tobytes())
    for tensor in model.state_dict().values():
        digest.update(tensor.contiguous().numpy().tobytes())
    return {"model": name, "bytes": digest.hexdigest(), "value": task.metrics(ranks, "test", training)[task.selection]}


def _process(options: argparse.Namespace, variables: dict[str, str], threads: int) -> dict[str, dict]:
    command = [sys.executable, __file__, "--threads", str(threads), "--data", options.data, "--models", *options.models]
    done = subprocess.run(command, env=os.environ | variables, check=True, stdout=subprocess.PIPE, text=True)
    return {entry["model"]: entry for entry in map(json.loads, done.stdout.splitlines())}


if __name__ == "__main__":
    main()
