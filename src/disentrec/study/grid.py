"""A grid of runs over local processes: resumes, survives a killed worker, stops at the first mistake."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from tqdm import tqdm

from disentrec.devices import check_device, check_precision
from disentrec.errors import DisentrecError
from disentrec.study.runner import CHECKPOINT_SECONDS, run
from disentrec.study.spec import RunSpec
from disentrec.study.store import RunRecord, Store
from disentrec.workers import ALLOCATION, end_with_parent

#: A worker that dies (out of memory, killed) takes the pool with it: begin again with what is left, so often.
ROUNDS = 3


def run_grid(
    specs: Sequence[RunSpec],
    folders: Callable[[str], Path],
    store: Store,
    *,
    jobs: int = 1,
    threads: int = 1,
    device: str = "cpu",
    precision: str = "float32",
    compiled: bool = False,
    checkpoint: float = CHECKPOINT_SECONDS,
) -> list[RunRecord]:
    """Returns the records of all specs, running those the store does not hold.

    `folders` gives the dataset folder of a name. On a GPU (`device` "cuda") the `jobs` runs share it. `precision`,
    `compiled`: as for `run`. A run that raises stops the grid with its own error; runs finished so far stay. A run that
    another grid is at is left to it, and waited for in the end. Raises DisentrecError when workers die in every round.
    """
    check_device(device)
    check_precision(precision, device)
    machine = {"threads": threads, "device": device, "precision": precision, "compiled": compiled}
    options = machine | {"checkpoint": checkpoint}
    store.tidy()
    unique = {spec.hash: spec for spec in specs}
    missing = [spec for spec in unique.values() if spec not in store]
    with tqdm(total=len(unique), initial=len(unique) - len(missing), desc="runs", disable=None) as bar:
        if jobs == 1:
            for patient in (False, True):
                left = []
                for spec in missing:
                    if run(spec, folders(spec.dataset), store, **options, wait=patient) is None:
                        left.append(spec)
                    else:
                        bar.update()
                missing = left
        else:
            for _ in range(ROUNDS):
                missing = [spec for spec in missing if spec not in store]
                if not missing or _round(missing, folders, store, jobs, options, bar):
                    break
            else:
                raise DisentrecError(
                    f"workers died in each of {ROUNDS} rounds; {len(missing)} runs are left",
                    where=store.root,
                    how="Look at the memory they need, lower --jobs, and start the same command again",
                )
    return [record for spec in specs if (record := store.get(spec)) is not None]


def _round(
    specs: Sequence[RunSpec],
    folders: Callable,
    store: Store,
    jobs: int,
    options: Mapping[str, Any],
    bar: tqdm,
) -> bool:
    """Returns True when every spec ran, False when a worker died."""
    # Spawned, not forked: OpenMP's threads do not survive a fork. One thread each keeps two runs apart.
    os.environ["OMP_NUM_THREADS"] = str(options["threads"])
    for name, value in ALLOCATION.items():
        os.environ.setdefault(name, value)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=end_with_parent) as pool:
        try:
            for patient in (False, True):
                pending: set[Future] = {
                    pool.submit(run, spec, folders(spec.dataset), store, **options, wait=patient)
                    for spec in specs
                    if not patient or spec not in store
                }
                while pending:
                    done, pending = wait(pending, return_when=FIRST_COMPLETED)
                    for future in done:
                        bar.update(future.result() is not None)
        except BrokenProcessPool:
            return False
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return True
