"""How fast is MMSBR, how near to the machine's floor, and how does the released code compare in the same run?

    python benchmarks/mmsbr_speed.py
    python benchmarks/mmsbr_speed.py --peer PATH/TO/MMSBR

Same mathematics on both sides: all items fused by six layers, two contrasts of the whole catalogue with the 100
largest scores as negatives, batches of 100, on sessions of Grocery's size (7,877 items), random features and prices.
`--peer` is the folder MMSBR/ of a checkout of Zhang-xiaokun/MMSBR at commit b640ff4; its model.py is read and run from
there with calls to CUDA removed, nothing else. Floors are what the measured product and copy of this machine would take
for the operations and bytes counted; they are not a timed test. The peak of the paper's largest set, 18,796 items, is
measured in a process of its own.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from common import N_ITEMS, copy_ceiling, load_peer, peak_mb, peer_times, product_ceiling, synthetic_split, timed, write

from disentrec import models
from disentrec.data.sessions import SessionCases, batches, pad
from disentrec.evaluation.ranking import rank_cases
from disentrec.models import Catalogue
from disentrec.study.runner import environment

DIM, BATCH, LARGEST = 64, 100, 18_796
TABLES = ("text", "image", "pseudo_text", "pseudo_image")


def main() -> None:
    """Measures, prints and writes one record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", type=Path, help="the folder MMSBR/ of a checkout of the released code")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batches", type=int, default=7, help="steps that are timed, after one that is not")
    parser.add_argument("--peer-batches", type=int, default=2)
    parser.add_argument("--items", type=int, default=N_ITEMS)
    parser.add_argument("--peak-only", action="store_true", help="two training steps, then print the peak in MB")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    split = synthetic_split(options.items)
    shop = _catalogue(split)
    model = models.build("mmsbr", vars(models.get("mmsbr").Config.released()), shop, seed=0).train()
    optimiser = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], fused=True)
    chosen = list(islice(batches(split.train, BATCH, np.random.default_rng(0)), options.batches + 1))

    def step(batch) -> None:
        optimiser.zero_grad(set_to_none=True)
        sum(model.losses(batch).values()).backward()
        optimiser.step()

    if options.peak_only:
        for batch in chosen[:2]:
            step(batch)
        print(peak_mb())
        return
    gemm, copy = product_ceiling(8 * 1024, DIM, 4 * DIM), copy_ceiling()
    seconds = timed(step, chosen)
    test_pass = timed(lambda _: rank_cases(model, split.test), [0, 1])
    flops, moved = count_step(split.n_items, model.config)
    floor = max(flops / gemm, moved / copy)
    record = {
        "data": "synthetic",
        "n_items": split.n_items,
        "n_train": len(split.train),
        "n_test": len(split.test),
        "environment": environment(options.threads, "cpu"),
        "ceilings": {"gemm_gflops": round(gemm / 1e9, 1), "copy_gbytes_per_s": round(copy / 1e9, 1)},
        "exact_batch_100": {
            "step_s": round(seconds, 3),
            "epoch_s": round(seconds * -(-len(split.train) // BATCH), 1),
            "test_pass_s": round(test_pass, 2),
            "gflop": round(flops / 1e9, 1),
            "gbytes": round(moved / 1e9, 2),
            "floor_s": round(floor, 3),
            "share_of_floor": round(floor / seconds, 3),
            "peak_mb": peak_mb(),
        },
        "peak_mb_18796_items": _peak(LARGEST),
    }
    if options.peer is not None:
        record["peer"] = _peer(options.peer, shop, split, options.peer_batches)
        ours, theirs = record["exact_batch_100"], record["peer"]
        record["ratio_to_peer"] = {
            "training_step": round(theirs["step_s"] / ours["step_s"], 1),
            "test_pass": round(theirs["test_pass_s"] / ours["test_pass_s"], 1),
        }
    write("mmsbr_speed", record)


def count_step(n: int, config) -> tuple[float, float]:
    """Returns multiply-adds (twice counted) and bytes moved at least, of one training step over n items.

    Forward and backward of a product cost three products. Per token of a layer: 4 d^2 for attention's maps, 8 d^2 for
    the feed-forward, 2 x tokens x d for attention itself. A contrast scores all pairs once; its gradient is sparse.
    Bytes: each of a layer's eight intermediate tables (two of them four times as wide) once written, twice read.
    """
    d, tokens = config.dim, config.tokens + config.pivots
    layers = 2 * config.rounds
    per_token = 2 * (4 * d * d + 8 * d * d + 2 * tokens * d)
    # The last layer of each modality is read at its pivots alone: their output map and feed-forward, keys of all.
    unread = 2 * config.tokens * 2 * (d * d + 8 * d * d + (0 if config.softmax_over_queries else d * d))
    extract = 2 * 2 * 2 * config.tokens * d * d
    head = 2 * (config.pivots * d * d + d * d)
    contrast = 2 * 2 * n * n * d
    floats = 3 * layers * n * tokens * d * (6 + 2 * 4) + 2 * n * n
    return 3.0 * n * (tokens * layers * per_token - unread + extract + head) + contrast, 4.0 * floats


def _catalogue(split) -> Catalogue:
    rng = np.random.default_rng(1)
    n = split.n_items
    features = {name: rng.standard_normal((n, DIM)).astype(np.float32) for name in TABLES}
    levels, categories = rng.integers(1, 101, n), rng.integers(600, size=n)
    return Catalogue(n, split.train_sessions, split.graph_sessions, features, None, levels, categories)


def _peak(n: int) -> int:
    """Returns the peak of two training steps over n items, in a process of its own."""
    command = [sys.executable, __file__, "--items", str(n), "--peak-only"]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def _peer(checkout: Path, shop: Catalogue, split, count: int) -> dict:
    """Times training and test batches of the released program; its files are read from the user's checkout."""
    n = split.n_items
    levels, categories = shop.price_levels, shop.categories + 1
    program = load_peer(checkout)
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "datasets" / "peer"
        place.mkdir(parents=True)
        for name in ("img", "text", "imgText", "textImg"):
            np.save(place / f"{name}Matrixpca.npy", np.zeros((n, DIM), dtype=np.float32))
        os.chdir(folder)
        try:
            model = program.Beyond(
                price_list=levels, category_list=categories, n_node=n, n_price=100, n_category=600, lr=1e-3, layers=6,
                feature_num=4, l2=1e-5, lam=0.01, dataset="peer", num_heads=4, emb_size=DIM, img_emb_size=DIM,
                text_emb_size=DIM, feature_emb_size=DIM, batch_size=BATCH, num_negatives=100,
            )  # fmt: skip
        finally:
            os.chdir(before)
    of_level, of_category = (np.concatenate([[0], values]) for values in (levels, categories))

    class Cases:
        """What the released `perform` asks for: a batch by its rows."""

        def __init__(self, cases: SessionCases) -> None:
            self.cases = cases

        def get_slice(self, rows):
            batch = pad(self.cases, rows)
            items = batch.items.numpy()
            return (
                batch.target.numpy(), batch.length[:, None].numpy(), items, items, batch.mask.long().numpy(),
                of_level[items], of_category[items],
            )  # fmt: skip

    train, test = Cases(split.train), Cases(split.test)

    def step(rows) -> None:
        model.zero_grad()
        target, scores, contrast = program.perform(model, rows, train)
        (model.loss_function(scores + 1e-8, target) + contrast).backward()
        model.optimizer.step()

    def rank(rows) -> None:
        np.argsort(-program.perform(model, rows, test)[1].detach().numpy(), 1)

    return peer_times("b640ff4", model, step, rank, split, BATCH, count)


if __name__ == "__main__":
    main()
