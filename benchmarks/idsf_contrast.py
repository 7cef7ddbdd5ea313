"""What does IDSF's contrast of all items with all others cost, and what does the released formulation?

    python benchmarks/idsf_contrast.py
    python benchmarks/idsf_contrast.py --peer PATH/TO/IDSF

Both sides compute the same: the six terms of a step and their gradient, on 7,050 items (Baby) and 128 columns. The
released formulation is written out here from its description: blocks of 4,096 rows, everything kept for autograd.
`--peer` is a checkout of VanillaCreamer/IDSF at commit 0ed83d7, whose own function is then read and run from there
instead. Steps of both sides take turns in one run, so that what else the machine does falls on both; every peak is that
of a process of its own, less what it held before the step.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from common import load_peer, product_ceiling, write
from torch import Tensor

from disentrec.models.contrast import info_nce
from disentrec.models.kernels import unit
from disentrec.study.runner import environment

N_ITEMS, DIM, TEMPERATURE, ROWS = 7050, 128, 0.5, 4096
#: Anchor and target of every term, among: projected, ID and mixture of both modalities, content.
V, IID, H_V, T, TID, H_T, C = range(7)
TERMS = ((V, H_V), (IID, H_V), (T, H_T), (TID, H_T), (H_V, C), (H_T, C))
BUDGET_MB, WANTED = 1500, 4.0


def main() -> None:
    """Measures, prints and writes one record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", type=Path, help="a checkout of the released code")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--items", type=int, default=N_ITEMS)
    parser.add_argument("--steps", type=int, default=3, help="of each side")
    parser.add_argument("--peak-of", choices=("ours", "released"), help="one step of one side, then print its peak")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    released = released_term if options.peer is None else peer_term(options.peer)
    tables = correlated_tables(options.items)
    sides: dict[str, Callable] = {"ours": our_step, "released": lambda tables: released_step(tables, released)}
    if options.peak_of:
        print(json.dumps(peak_of(sides[options.peak_of], tables)))
        return
    gradient_of(our_step, tables)  # oneDNN compiles a product at its first use
    gradients, seconds = {}, {name: [] for name in sides}
    for _ in range(options.steps):
        for name, side in sides.items():
            started = time.perf_counter()
            gradients[name] = gradient_of(side, tables)
            seconds[name].append(time.perf_counter() - started)
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    ceiling, flops = product_ceiling(256, DIM, options.items), count_step(options.items)
    record = {
        "data": "random tables, targets near their anchors",
        "n_items": options.items,
        "dim": DIM,
        "terms": len(TERMS),
        "environment": environment(options.threads, "cpu"),
        "ceiling_gflops": round(ceiling / 1e9, 1),
        "gflop": round(flops / 1e9, 1),
        "floor_s": round(flops / ceiling, 3),
        "ours": {
            "step_s": round(middle["ours"], 3),
            "share_of_floor": round(flops / ceiling / middle["ours"], 3),
            **peak_in_child("ours", options),
        },
        "released": {
            "source": "written out here" if options.peer is None else "checkout",
            "step_s": round(middle["released"], 3),
            **peak_in_child("released", options),
        },
        "largest_difference": {
            "loss": abs(gradients["ours"][0] / gradients["released"][0] - 1),
            "gradient": max(
                float((one - two).abs().max() / two.abs().max())
                for one, two in zip(gradients["ours"][1], gradients["released"][1], strict=True)
            ),
        },
    }
    record["ratio"] = round(middle["released"] / middle["ours"], 1)
    record["below_budget"] = record["ours"]["step_mb"] < BUDGET_MB
    record["fast_enough"] = record["ratio"] >= WANTED
    write("idsf_contrast", record)


def correlated_tables(n: int) -> list[Tensor]:
    """Returns seven seeded tables, (n, dim) each, the mixtures near what they mix."""
    torch.manual_seed(0)
    v, iid, t, tid = (torch.randn(n, DIM) for _ in range(4))
    h_v, h_t = (v + iid) / 2, (t + tid) / 2
    tables = [v, iid, h_v, t, tid, h_t, (h_v + h_t) / 2]
    return [table.requires_grad_() for table in tables]


def our_step(tables: list[Tensor]) -> Tensor:
    """Returns the sum of the terms as the model computes it: every table is given norm 1 once."""
    rows = [unit(table) for table in tables]
    return sum(info_nce(rows[anchor], rows[target], TEMPERATURE) for anchor, target in TERMS)


def released_step(tables: list[Tensor], term: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Returns the sum of the terms, each from the raw tables."""
    return sum(term(tables[anchor], tables[target]) for anchor, target in TERMS)


def released_term(anchors: Tensor, targets: Tensor) -> Tensor:
    """Returns one term as the released code is described (papers/idsf.md, Section 3): norms taken in every block."""
    losses = []
    for rows in torch.arange(len(anchors)).split(ROWS):
        own = unit(anchors[rows])
        among = torch.exp(own @ unit(anchors).T / TEMPERATURE)  # (rows, n)
        between = torch.exp(own @ unit(targets).T / TEMPERATURE)
        positive, itself = (scores[:, rows].diagonal() for scores in (between, among))
        losses.append(-torch.log(positive / (among.sum(1) + between.sum(1) - itself)))
    return torch.cat(losses).mean()


def peer_term(checkout: Path) -> Callable[[Tensor, Tensor], Tensor]:
    """Returns the released program's own term, from the user's checkout."""
    arguments, sys.argv = sys.argv, sys.argv[:1]  # which it would take for its own
    try:
        program = load_peer(checkout, "models.py")
    finally:
        sys.argv = arguments
    holder = next(kind for kind in vars(program).values() if hasattr(kind, "batched_contrastive_loss"))
    model = holder.__new__(holder)
    torch.nn.Module.__init__(model)
    model.tau = TEMPERATURE
    return model.batched_contrastive_loss


def gradient_of(step: Callable[[list[Tensor]], Tensor], tables: list[Tensor]) -> tuple[float, tuple[Tensor, ...]]:
    """Returns a step's loss and the gradient of every table."""
    loss = step(tables)
    return loss.item(), torch.autograd.grad(loss, tables)


def count_step(n: int) -> float:
    """Returns multiply-adds (twice counted) of a step: scores and two gradients of all pairs.

    Among anchors the scores are symmetric, so half of them do, and one product with them is their gradient.
    """
    between, among = 3.0, 1.5
    return len(TERMS) * (between + among) * 2 * n * n * DIM


def peak_of(step: Callable[[list[Tensor]], Tensor], tables: list[Tensor]) -> dict[str, int]:
    """Returns the peak of this process in a step, and what the step added to what was held before, in MB."""
    small = [table[:64].detach().requires_grad_() for table in tables]
    gradient_of(step, small)  # libraries load what they need at first use
    before = peak_kb()
    gradient_of(step, tables)
    return {"step_mb": (peak_kb() - before) // 1024, "process_mb": peak_kb() // 1024}


def peak_kb() -> int:
    """Returns the largest resident size of this process so far; getrusage would begin with that of its parent."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1])


def peak_in_child(side: str, options: argparse.Namespace) -> dict[str, int]:
    """Returns `peak_of` one side, in a process of its own."""
    command = [sys.executable, __file__, "--peak-of", side, "--items", str(options.items)]
    command += ["--threads", str(options.threads)]
    command += [] if options.peer is None else ["--peer", str(options.peer)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


if __name__ == "__main__":
    main()
