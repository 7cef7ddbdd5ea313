"""What would ten million interactions with a million items need? A cost model from sizes 100 and 10 times smaller.

    python -m benchmarks large                  # the model, from runs of a hundredth and ten times that
    python -m benchmarks large -- --full        # the size itself: minutes to hours, and the memory the model predicts

Trained are BPR and LightGCN with their default settings, in a process of their own for each size, which reads its pairs
from a file: building the graph, steps of 2,048 pairs, and the ranking of two blocks of users among all items. Four
sizes, of which three have ten times the interactions, users or items, give the bytes that each of these adds; a fifth,
ten times the first in everything, is predicted and then measured, so that the model's error is known. Seconds are kept
and not extrapolated: tables of this size lie in the caches, those of the whole do not.

Pairs are drawn by the embedded shop's constants. The shop itself draws every choice from the probabilities of all
items, at this size 10^13 of them: its own generator is not meant for it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from common import as_worker, peak_mb, synthetic_pairs, timed, write

from disentrec import models
from disentrec.data.bazaar.parameters import POPULARITY_EXPONENT
from disentrec.data.interactions import Pairs
from disentrec.evaluation.ranking import rank_pairs
from disentrec.models.base import UserCatalogue
from disentrec.study.runner import environment
from disentrec.training import Training
from disentrec.training.samplers import pair_batches

#: Interactions, users, items; as many pairs per user as in benchmarks/users_scaling.py.
LARGE = np.array([10_000_000, 483_092, 1_000_000])
SHARE, FACTOR, BATCH, BLOCK, STEPS, BUDGET_MB = 100, 10, 2048, 256, 4, 12_000
NAMES = ("interaction", "user", "item")


def main() -> None:
    """Measures, prints and writes one record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="*", default=["bpr", "lightgcn"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--full", action="store_true", help="the whole size, too")
    parser.add_argument("--shared-machine", action="store_true", help="say so in the record: others were computing")
    parser.add_argument("--only", nargs=2, metavar=("MODEL", "FILE"), help="print one measurement, in this process")
    options = parser.parse_args()
    if options.only:
        as_worker(options.threads)
        torch.set_num_threads(options.threads)
        print(json.dumps(measure(options.only[0], Path(options.only[1]))))
        return
    sizes = np.tile(LARGE // SHARE, (5, 1))
    sizes[[1, 2, 3], [0, 1, 2]] *= FACTOR
    sizes[4] *= FACTOR
    if options.full:
        sizes = np.vstack([sizes, LARGE])
    found: dict[str, list[dict]] = {name: [] for name in options.models}
    with tempfile.TemporaryDirectory() as folder:
        for size in sizes:
            file = _draw(size, Path(folder))
            for name in options.models:
                found[name].append(_apart(name, file, options.threads))
    record = {
        "data": "synthetic, by the embedded shop's constants",
        "environment": environment(options.threads, "cpu"),
        "shared_machine": options.shared_machine,
        "share": SHARE,
        "factor": FACTOR,
        "large": dict(zip(("interactions", "users", "items"), LARGE.tolist(), strict=True)),
        "batch_size": BATCH,
        "block": BLOCK,
        "budget_mb": BUDGET_MB,
        "choices_times_items_of_the_shop": float(LARGE[0]) * float(LARGE[2]),
        "models": {name: _model(sizes, entries) for name, entries in found.items()},
    }
    write("large", record)


def measure(name: str, file: Path) -> dict:
    """Returns the peak memory above that of the imports, and the seconds of a step and of building the model."""
    before = peak_mb()
    with np.load(file, allow_pickle=False) as archive:
        n_users, n_items = archive["shape"].tolist()
        train, held_out = (Pairs.of(n_users, n_items, *archive[part]) for part in ("train", "held_out"))
    started = time.perf_counter()
    model = models.build(name, {}, UserCatalogue(train), seed=0).train()
    build = time.perf_counter() - started
    peaks = {"build": peak_mb() - before}
    optimiser = torch.optim.Adam(model.parameters(), fused=True)
    source = pair_batches(train, Training(batch_size=BATCH), np.random.default_rng(0))

    def step(_) -> None:
        batch = next(source)
        optimiser.zero_grad(set_to_none=True)
        torch.stack(list(model.losses(batch).values())).sum().backward()
        optimiser.step()

    seconds = timed(step, list(range(STEPS + 1)))
    # The selected state is kept beside the one that trains (training/loop.py).
    best = {key: value.detach().clone() for key, value in model.state_dict().items()}
    peaks["training"] = peak_mb() - before
    started = time.perf_counter()
    rank_pairs(model, train, held_out, BLOCK)
    ranking = time.perf_counter() - started
    found = {"peak_mb": peak_mb() - before, "step_ms": round(1000 * seconds, 2), "build_s": round(build, 3)}
    found |= {"ranking_s": round(ranking, 3), "ranked_users": len(held_out.some_users)}
    kept = sum(value.numel() * value.element_size() for value in best.values())
    return found | {"imports_mb": before, "peaks_mb": peaks, "state_mb": round(kept / 1e6, 1)}


def _draw(size: np.ndarray, folder: Path) -> Path:
    """Returns the file of seeded training pairs of a size, and of held-out ones of two blocks of users."""
    n_pairs, n_users, n_items = size.tolist()
    users, items = synthetic_pairs(n_users, n_items, n_pairs + 2 * BLOCK, POPULARITY_EXPONENT)
    pairs = np.stack([users, items])
    file = folder / "pairs.npz"
    np.savez(file, train=pairs[:, 2 * BLOCK :], held_out=pairs[:, : 2 * BLOCK], shape=[n_users, n_items])
    return file


def _apart(name: str, file: Path, threads: int) -> dict:
    """Returns one measurement, made in a process of its own."""
    command = [sys.executable, __file__, "--only", name, str(file), "--threads", str(threads)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def _model(sizes: np.ndarray, entries: list[dict]) -> dict:
    """Returns what was measured, the bytes each interaction, user and item adds, and what that makes of the whole."""
    design = np.column_stack([np.ones(len(sizes)), sizes])
    peaks = np.array([entry["peak_mb"] for entry in entries])
    weights = np.linalg.solve(design[:4], peaks[:4])
    imports = round(float(np.median([entry["imports_mb"] for entry in entries])))
    whole = imports + float(np.array([1, *LARGE]) @ weights)
    made = {"whole": entries[5] | {"all_mb": entries[5]["imports_mb"] + entries[5]["peak_mb"]}} if entries[5:] else {}
    return made | {
        "sizes": [
            dict(zip(("interactions", "users", "items"), size.tolist(), strict=True)) | entry
            for size, entry in zip(sizes, entries, strict=True)
        ],
        "bytes_per": dict(zip(NAMES, (round(float(b) * 2**20, 1) for b in weights[1:]), strict=True)),
        "check": {"predicted_mb": round(float(design[4] @ weights)), "measured_mb": round(float(peaks[4]))},
        "imports_mb": imports,
        "predicted_mb": round(whole),
        "fits": whole < BUDGET_MB,
    }


if __name__ == "__main__":
    main()
