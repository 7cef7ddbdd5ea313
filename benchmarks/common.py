"""What the benchmarks share: ceilings of the machine, medians, sessions and users of a given size, records."""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
import types
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from disentrec.data.sequences import Sequences
from disentrec.data.sessions import SessionSplit, cases_of
from disentrec.models.kernels import linear
from disentrec.workers import ALLOCATION

RESULTS = Path(__file__).parent / "results"
#: Items and sessions of the released Grocery set of DIMO's first author.
N_ITEMS, N_TRAIN, N_SESSIONS = 7877, 43_270, 48_040


def as_worker(threads: int) -> None:
    """Begins this program again unless it runs as a worker of a grid does: only a process that starts so has it."""
    wanted = ALLOCATION | {"OMP_NUM_THREADS": str(threads)}
    if any(os.environ.get(name) != value for name, value in wanted.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | wanted)


def peak_mb() -> int:
    """Returns the largest resident size of this process so far; getrusage would begin with that of its parent."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) // 1024


def timed(step: Callable, chosen: list) -> float:
    """Returns the median seconds of `step` over all but the first of the batches."""
    return statistics.median(seconds_of(step, chosen))


def seconds_of(step: Callable, chosen: list) -> list[float]:
    """Returns the seconds of `step` for all but the first of the batches."""
    seconds = []
    for batch in chosen:
        started = time.perf_counter()
        step(batch)
        seconds.append(time.perf_counter() - started)
    return seconds[1:]


class Clock:
    """Seconds by name, each since the lap before."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.last = time.perf_counter()

    def lap(self, name: str) -> None:
        """Adds what passed to `name`."""
        now = time.perf_counter()
        self.seconds[name] += now - self.last
        self.last = now


def product_ceiling(rows: int, width: int, columns: int, product: Callable = linear) -> float:
    """Returns operations per second, the best of thirty times, of rows x width by width x columns.

    `product`: of (rows, width) and (columns, width); models.layers.linear takes oneDNN's, F.linear torch's own.
    """
    x, weight = torch.randn(rows, width), torch.randn(columns, width)
    return 2 * rows * width * columns / min(seconds_of(lambda _: product(x, weight), list(range(30))))


def copy_ceiling() -> float:
    """Returns bytes per second, read and written, of a copy too large for the caches."""
    source = torch.randn(32_000_000)
    target = torch.empty_like(source)
    return 2 * 4 * source.numel() / timed(lambda _: target.copy_(source), list(range(6)))


def synthetic_split(n_items: int = N_ITEMS) -> SessionSplit:
    """Returns seeded sessions with Grocery's number of sessions, lengths and tail of popularity."""
    rng = np.random.default_rng(0)
    weights = np.arange(1, n_items + 1.0) ** -0.8
    lengths = 2 + rng.geometric(0.41, N_SESSIONS) - 1
    items = rng.choice(n_items, size=lengths.sum(), p=weights / weights.sum()).astype(np.int32)
    sessions = Sequences(items, np.concatenate([[0], np.cumsum(lengths)]))
    train, test = np.arange(N_TRAIN), np.arange(N_TRAIN, N_SESSIONS)
    parts = [cases_of(sessions, rows, max_length=20) for rows in (train, test[:1], test)]
    lists = sessions.take(train)
    return SessionSplit(n_items, *parts, lists, lists)


def synthetic_pairs(n_users: int, n_items: int, n_pairs: int, exponent: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns distinct users and items in the order in which they are drawn, (n_pairs,) int64 each.

    Every user begins with three; the others go to users by the shop's spread of activity (data/bazaar/choices.py).
    Items are drawn by a popularity that falls with that exponent of their rank.
    """
    rng = np.random.default_rng(0)
    weights = np.arange(1, n_items + 1.0) ** -exponent
    activity = rng.pareto(2.0, n_users) + 0.2
    ranks, crowd = (np.cumsum(given / given.sum()) for given in (rng.permutation(weights), activity))
    found = np.empty(0, np.int64)
    while len(found) < n_pairs:
        users = np.searchsorted(crowd, rng.random(max(n_pairs // 2, 1000)))
        if not len(found):
            users = np.concatenate([np.tile(np.arange(n_users), 3), users])
        items = np.searchsorted(ranks, rng.random(len(users)))
        keys = users.clip(max=n_users - 1) * n_items + items.clip(max=n_items - 1)
        found = np.concatenate([found, keys])
        found = found[np.sort(np.unique(found, return_index=True)[1])]
    return found[:n_pairs] // n_items, found[:n_pairs] % n_items


def load_peer(checkout: Path, file: str = "model.py") -> types.ModuleType:
    """Returns `file` of the user's own checkout of a released program, with calls to CUDA removed, no more."""
    source = (checkout / file).read_text(encoding="utf-8")
    changes = {".cuda()": "", "torch.cuda.FloatTensor": "torch.FloatTensor", "device='cuda'": "device='cpu'"}
    changes |= {"from scipy.sparse import coo\n": ""}  # gone from current SciPy, and not used
    for call, replacement in changes.items():
        source = source.replace(call, replacement)
    module = types.ModuleType("peer")
    sys.path.insert(0, str(checkout))
    try:
        exec(compile(source, str(checkout / file), "exec"), module.__dict__)
    finally:
        sys.path.remove(str(checkout))
    module.trans_to_cuda = module.trans_to_cpu = lambda value: value
    return module


def peer_times(
    commit: str, model: torch.nn.Module, step: Callable, rank: Callable, split: SessionSplit, size: int, count: int
) -> dict:
    """Returns the seconds of a released program's steps and test batches, with what the whole would take.

    `step` and `rank` take the rows of a batch, of the training and of the test cases.
    """
    order = np.random.default_rng(0).permutation(len(split.train))
    rows = [order[start : start + size] for start in range(0, (count + 1) * size, size)]
    torch.autograd.set_detect_anomaly(True)  # as released: DIMO model.py:412, MMSBR model.py:670
    seconds = timed(step, rows)
    torch.autograd.set_detect_anomaly(False)
    model.eval()
    test_seconds = timed(rank, [np.arange(start, start + size) for start in range(0, 3 * size, size)])
    return {
        "commit": commit,
        "step_s": round(seconds, 3),
        "epoch_s": round(seconds * -(-len(split.train) // size), 1),
        "test_pass_s": round(test_seconds * -(-len(split.test) // size), 1),
        "note": "epoch and test pass are the median batch times the number of batches",
    }


def write(name: str, record: dict) -> None:
    """Prints a record and keeps it as results/`name`.json."""
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps(record, indent=1) + "\n"
    (RESULTS / f"{name}.json").write_text(text)
    print(text)
