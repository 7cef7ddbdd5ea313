"""How fast is LightGCN, how near to the machine's floor, and how does MMRec's own compare in the same run?

    python benchmarks/lightgcn_speed.py
    python benchmarks/lightgcn_speed.py --data FOLDER --peer PATH/TO/MMRec

Two layers of 64 numbers, batches of 2,048, one thread; one training epoch and one validation. Without `--data`, the
folder of a data set with users, pairs are drawn with the numbers of users, items, training and validation pairs of
Amazon Baby and its tail of popularity. `--peer` is a checkout of enoche/MMRec at commit e775373. Its data loaders,
model, trainer and evaluator are run from there as they are; set from outside is only what current libraries no longer
have (np.float, dok_matrix._update), what it imports and does not use (lmdb, utils.data_utils), and the CPU. Rounds of
ours and theirs take turns, so that both meet the same machine; reported is the ratio of the medians. At the end our
model gets their tables, and our validation has to find their Recall@20.

The program begins again as a worker of a grid does, with its allocation of memory (disentrec/workers.py), which both
sides then have. Floors are what the measured product and copy of this machine
would take for the operations and bytes counted; gathered rows are not among the bytes, since the tables fit the caches.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

import numpy as np
import torch
from common import Clock, as_worker, copy_ceiling, peak_mb, product_ceiling, synthetic_pairs, write
from mmrec import MMRec

from disentrec import models
from disentrec.data.interactions import Pairs, TopNSplit, split_interactions
from disentrec.data.protocol import Protocol
from disentrec.data.schema import read_dataset
from disentrec.evaluation.metrics import topn_from_ranks
from disentrec.evaluation.ranking import rank_pairs
from disentrec.models.base import UserCatalogue
from disentrec.study.runner import environment
from disentrec.training import Training
from disentrec.training.samplers import pair_batches

#: Amazon Baby under MMRec's rule, and its training items' tail of popularity.
N_USERS, N_ITEMS, N_TRAIN, N_VALID, EXPONENT = 19_445, 7_050, 118_551, 20_559, 0.65
DIM, LAYERS, BATCH, RATE, SEED = 64, 2, 2048, 1e-3, 999
TARGET = 3.0


class Ours:
    """Our loop's pieces, with a clock between them."""

    def __init__(self, split: TopNSplit) -> None:
        settings = {"dim": DIM, "layers": LAYERS, "penalty": "norm"}  # the penalty as MMRec has it
        self.split, self.training = split, Training(batch_size=BATCH, learning_rate=RATE)
        self.model = models.build("lightgcn", settings, UserCatalogue(split.train), SEED)
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr=RATE, fused=True)
        self.rng = np.random.default_rng(SEED)
        self.counts = np.diff(split.valid.offsets)[split.valid.some_users]

    def epoch(self) -> dict[str, float]:
        """Returns the seconds of an epoch's stages."""
        clock = Clock()
        self.model.train()
        for batch in pair_batches(self.split.train, self.training, self.rng):
            clock.lap("sampling")
            terms = self.model.losses(batch)
            clock.lap("forward")
            self.optimiser.zero_grad(set_to_none=True)
            torch.stack(list(terms.values())).sum().backward()
            clock.lap("backward")
            self.optimiser.step()
            clock.lap("optimiser")
        return clock.seconds

    def validate(self) -> tuple[dict[str, float], dict[str, float]]:
        """Returns the seconds of a validation's stages, and its metrics."""
        clock = Clock()
        hooks = (
            self.model.register_forward_pre_hook(lambda *_: clock.lap("ranks")),
            self.model.register_forward_hook(lambda *_: clock.lap("scoring")),
        )
        ranks = rank_pairs(self.model, self.split.train, self.split.valid)
        clock.lap("ranks")
        metrics = topn_from_ranks(ranks, self.counts)
        clock.lap("metrics")
        for hook in hooks:
            hook.remove()
        return clock.seconds, metrics


def main() -> None:
    """Measures, prints and writes one record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="a dataset folder with users")
    parser.add_argument("--peer", type=Path, help="a checkout of MMRec")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5, help="epochs and validations that are timed, after one")
    options = parser.parse_args()
    as_worker(options.threads)
    torch.set_num_threads(options.threads)
    split = split_interactions(read_dataset(options.data), Protocol()) if options.data else synthetic_split()
    ours = Ours(split)
    ours.epoch(), ours.validate()  # not timed
    peak = peak_mb()  # before the peer's data come
    product, copy = product_ceiling(256, DIM, N_ITEMS), copy_ceiling()
    peer = MMRec(options.peer, split, layers=LAYERS, seed=SEED) if options.peer else None
    if peer:
        peer.round()
    stages, theirs = [], []
    for _ in range(options.rounds):
        stages.append(ours.epoch() | ours.validate()[0])
        if peer:
            theirs.append(peer.round())
    found = _medians(stages)
    steps = -(-len(split.train) // BATCH)
    training = [name for name in found if name in ("sampling", "forward", "backward", "optimiser")]
    train_s, valid_s = (
        statistics.median(sum(seconds for name, seconds in stage.items() if (name in training) == wanted)
                          for stage in stages) for wanted in (True, False)
    )  # fmt: skip
    step = count_step(split)
    floor = max(step["flop"] / product, step["bytes"] / copy)
    scoring = 2.0 * len(split.valid.some_users) * split.n_items * DIM
    record = {
        "data": options.data.name if options.data else "synthetic",
        "n_users": split.n_users,
        "n_items": split.n_items,
        "n_train": len(split.train),
        "n_valid": len(split.valid),
        "environment": environment(options.threads, "cpu"),
        "ceilings": {"product_gflops": round(product / 1e9, 1), "copy_gbytes_per_s": round(copy / 1e9, 1)},
        "training": {
            "epoch_s": round(train_s, 3),
            "steps": steps,
            "step_ms": round(1000 * train_s / steps, 2),
            "stages_ms_of_a_step": {name: round(1000 * found[name] / steps, 2) for name in training},
            "mflop_of_a_step": round(step["flop"] / 1e6, 1),
            "mbytes_of_a_step": round(step["bytes"] / 1e6, 1),
            "of_which_mbytes": {name: round(count / 1e6, 1) for name, count in step["parts"].items()},
            "mbytes_gathered_from_the_caches": round(step["gathered"] / 1e6, 1),
            "floor_ms": round(1000 * floor, 2),
            "share_of_floor": round(floor / (train_s / steps), 3),
        },
        "validation": {
            "seconds": round(valid_s, 3),
            "stages_s": {name: round(found[name], 3) for name in found if name not in training},
            "gflop_of_scoring": round(scoring / 1e9, 1),
            "share_of_product_in_scoring": round(scoring / product / found["scoring"], 3),
        },
        "peak_mb": peak,
    }
    if peer:
        other = _medians(theirs)
        total = statistics.median(sum(seconds.values()) for seconds in theirs)
        own = statistics.median(sum(stage.values()) for stage in stages)
        record["peer"] = {
            "commit": "e775373",
            "epoch_s": round(other["training"], 2),
            "validation_s": round(other["validation"], 2),
            "of_which_sampling_s": round(other["sampling"], 2),
        }
        record["ratio_to_peer"] = {
            "epoch": round(other["training"] / train_s, 1),
            "validation": round(other["validation"] / valid_s, 1),
            "both": round(total / own, 1),
            "target": TARGET,
            "reached": total / own >= TARGET,
            "rounds": options.rounds,
        }
        record["recall@20"] = {
            "epochs": options.rounds + 1,
            "ours": round(ours.validate()[1]["recall@20"], 4),
            "peer": float(peer.result["recall@20"]),
        }
        with torch.no_grad():
            ours.model.table.copy_(peer.table())
        record["recall@20"]["peer_tables_in_our_model"] = round(ours.validate()[1]["recall@20"], 4)
    write("lightgcn_speed", record)


def count_step(split: TopNSplit) -> dict:
    """Returns operations and bytes moved at least, of one training step.

    Two passes of the graph per layer, forward and backward: a multiply-add per edge and number. Each reads and writes a
    table, and a column and a weight per edge. Tables of (users + items, dim) besides: a sum per layer forward and one
    backward (two read, one written), the gradient of the batch's rows (one written), and Adam (four read, three
    written, some twelve operations a number). BPR: two products per pair, of which a pass forward and two backward.
    """
    table = (split.n_users + split.n_items) * DIM
    edges = 2 * len(split.train)
    passes = 2 * LAYERS
    parts = {
        "graph": passes * (2 * 4 * table + 12 * edges),
        "sums": passes * 3 * 4 * table,
        "rows": 4 * table + 2 * 3 * 3 * BATCH * DIM * 4,
        "adam": 7 * 4 * table,
    }
    flop = passes * 2 * edges * DIM + (passes + 12) * table + 3 * 2 * 2 * BATCH * DIM
    return {
        "flop": float(flop),
        "bytes": float(sum(parts.values())),
        "parts": parts,
        "gathered": float(passes * edges * DIM * 4),
    }


def synthetic_split() -> TopNSplit:
    """Returns seeded pairs of Baby's size; every user validates on one, the first drawn, and some on another."""
    users, items = synthetic_pairs(N_USERS, N_ITEMS, N_TRAIN + N_VALID, EXPONENT)
    rows = np.unique(users, return_index=True)[1]
    rows = np.concatenate([rows, np.arange(len(users) - (N_VALID - len(rows)), len(users))])
    held = np.zeros(len(users), dtype=bool)
    held[rows] = True
    parts = [Pairs.of(N_USERS, N_ITEMS, users[keep], items[keep]) for keep in (~held, held)]
    return TopNSplit(*parts, parts[1])


def _medians(rounds: list[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.median(stage[name] for stage in rounds) for name in rounds[0]}


if __name__ == "__main__":
    main()
