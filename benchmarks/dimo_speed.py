"""How fast is DIMO, how near to the machine's floor, and how does the released code compare in the same run?

    python benchmarks/dimo_speed.py                                   # synthetic sessions of the size of Grocery
    python benchmarks/dimo_speed.py --data data/sessions-grocery --peer PATH/TO/DIMO

Same mathematics on both sides: exact propagation of both tables, the co-occurrence constraint over all items, batches
of 50. `--peer` is a checkout of Zhang-xiaokun/DIMO at commit 4ff44ea; its files are read and run from there with calls
to CUDA removed and ragged arrays kept as objects (papers/dimo.md, section 7), nothing else. Floors are what the
measured product and copy of this machine would take for the operations and bytes counted; they are not a timed test.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
import types
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from common import copy_ceiling, load_peer, peer_times, product_ceiling, synthetic_split, timed, write

from disentrec import models
from disentrec.data.protocol import Protocol
from disentrec.data.schema import read_dataset
from disentrec.data.sessions import SessionSplit, batches, pad, split_sessions
from disentrec.evaluation.ranking import rank_cases
from disentrec.models import Catalogue
from disentrec.models.cooccurrence import cooccurrence_counts, last_zeros, row_normalised, top_neighbours
from disentrec.study.runner import environment

DIM = 100


def main() -> None:
    """Measures, prints and writes one record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="a dataset folder of sessions; synthetic ones if not given")
    parser.add_argument("--peer", type=Path, help="a checkout of the released code")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batches", type=int, default=10, help="steps that are timed, after one that is not")
    parser.add_argument("--peer-batches", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    name, split = _split(options.data)
    gemm, copy = product_ceiling(512, 2 * DIM, split.n_items, F.linear), copy_ceiling()
    record = {
        "data": name,
        "n_items": split.n_items,
        "n_train": len(split.train),
        "n_test": len(split.test),
        "environment": environment(options.threads, "cpu"),
        "ceilings": {"gemm_gflops": round(gemm / 1e9, 1), "copy_gbytes_per_s": round(copy / 1e9, 1)},
    }
    exact = models.get("dimo").Config.released()
    sampled = {"use": "id", "constraint_items": 512, "weight_cooccurrence": 0.1}
    features = {}
    catalogue = Catalogue(split.n_items, split.train_sessions, split.graph_sessions, features)
    record["exact_batch_50"] = _ours(vars(exact), catalogue, split, 50, options.batches, gemm, copy)
    record["sampled_batch_512_id_only"] = _ours(sampled, catalogue, split, 512, options.batches, gemm, copy)
    record["peak_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    if options.peer is not None:
        record["peer"] = _peer(options.peer, split, options.peer_batches)
        ours, theirs = record["exact_batch_50"], record["peer"]
        record["ratio_to_peer"] = {
            "training_epoch": round(theirs["epoch_s"] / ours["epoch_s"], 1),
            "test_pass": round(theirs["test_pass_s"] / ours["test_pass_s"], 1),
        }
    write("dimo_speed", record)


def _ours(settings: dict, catalogue: Catalogue, split: SessionSplit, size: int, count: int, gemm: float, copy: float):
    model = models.build("dimo", settings, catalogue, seed=0).train()
    optimiser = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], fused=True)
    chosen = [
        batch for batch, _ in zip(batches(split.train, size, np.random.default_rng(0)), range(count + 1), strict=False)
    ]

    def step(batch) -> None:
        optimiser.zero_grad(set_to_none=True)
        sum(model.losses(batch).values()).backward()
        optimiser.step()

    seconds = timed(step, chosen)
    started = time.perf_counter()
    rank_cases(model, split.test)
    test_pass = time.perf_counter() - started
    flops, moved = count_step(model, size)
    floor = max(flops / gemm, moved / copy)
    return {
        "step_s": round(seconds, 4),
        "epoch_s": round(seconds * -(-len(split.train) // size), 2),
        "test_pass_s": round(test_pass, 3),
        "gflop": round(flops / 1e9, 2),
        "gbytes": round(moved / 1e9, 3),
        "floor_s": round(floor, 4),
        "share_of_floor": round(floor / seconds, 3),
    }


def count_step(model, batch_size: int) -> tuple[float, float]:
    """Returns multiply-adds (twice counted) and bytes moved at least, of one training step.

    Forward and backward of a product cost three products; a propagation step and its transpose cost two. Bytes: every
    table row a step reads or writes once per pass, the score matrix six times (scores, softmax and gradients).
    """
    n, d, config = model.n_items, model.config.dim, model.config
    tables = 2 if config.use == "both" else 1
    propagated = tables if config.propagate_modality else 1
    edges = len(model.propagation.forward_columns)
    anchors = min(config.constraint_items or n, n)
    scores = 3 * 2 * batch_size * n * d * tables
    spread = 2 * 2 * edges * d * config.steps * propagated
    constraint = 3 * 2 * anchors * 2 * config.lists * d
    optimiser = 10 * n * d * tables
    floats = (
        6 * batch_size * n
        + 4 * config.steps * propagated * n * d
        + 3 * anchors * 2 * config.lists * d
        + 7 * n * d * tables
    )
    return scores + spread + constraint + optimiser, 4.0 * floats


def _split(folder: Path | None) -> tuple[str, SessionSplit]:
    if folder is not None:
        dataset = read_dataset(folder)
        return dataset.name, split_sessions(dataset, Protocol.clean(validation=0.0001))
    return "synthetic", synthetic_split()


def _peer(checkout: Path, split: SessionSplit, count: int) -> dict:
    """Times training and test batches of the released program; its files are read from the user's checkout."""
    n, size = split.n_items, 50
    counts = cooccurrence_counts(split.graph_sessions, n)
    positives, weights = top_neighbours(counts, 10)
    lists = [positives + 1, last_zeros(counts, 10) + 1, -weights]
    graph = row_normalised(counts)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "datasets" / "peer"
        place.mkdir(parents=True)
        (place / "frequence.txt").touch()
        np.save(place / "textMatrixpca100.npy", np.zeros((n, DIM), dtype=np.float32))
        program = load_peer(checkout)
        program.pickle = types.SimpleNamespace(load=lambda _: lists)
        before = Path.cwd()
        os.chdir(folder)
        try:
            model = program.Disen(
                adjacency=graph.tocoo(), n_node=n, lr=1e-3, co_layer=4, l2=1e-5, item_beta=1e-3, pro_beta=1e-3,
                cri_beta=1e-3, dataset="peer", num_heads=4, emb_size=DIM, text_emb_size=DIM, batch_size=size,
            )  # fmt: skip
        finally:
            os.chdir(before)

    def inputs(cases, rows):
        batch = pad(cases, rows)
        flags = torch.ones(len(rows), dtype=torch.long)
        return batch.items, flags, batch.length[:, None], batch.items, batch.mask.long(), batch.target

    def scores(rows, cases):
        id_rows, mo_rows, id_cause, mo_cause, loss = model(*inputs(cases, rows))
        return id_cause @ id_rows.T + mo_cause @ mo_rows.T, loss

    def step(rows) -> None:
        model.zero_grad()
        found, loss = scores(rows, split.train)
        (model.loss_function(found + 1e-8, torch.from_numpy(split.train.target[rows])) + loss).backward()
        model.optimizer.step()

    def rank(rows) -> None:
        np.argsort(-scores(rows, split.test)[0].detach().numpy(), 1)

    return peer_times("4ff44ea", model, step, rank, split, size, count)


if __name__ == "__main__":
    main()
