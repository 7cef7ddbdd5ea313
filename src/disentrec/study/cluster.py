"""A grid of runs over many machines, by Ray: the records of the local engine, in the store of the machine it began on.

Machines need not share a disk: a data set travels once to each of them, a record travels back. They need the same
code, which is compared before anything is run.
"""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from tqdm import tqdm

from disentrec import processor
from disentrec.data.drafts import claim, draft_of
from disentrec.devices import check_precision
from disentrec.errors import DisentrecError
from disentrec.study.runner import CHECKPOINT_SECONDS, commit, package_digest, run
from disentrec.study.spec import RunSpec
from disentrec.study.store import RunRecord, Store
from disentrec.workers import ALLOCATION


@dataclass(frozen=True)
class Cluster:
    """Where a grid runs, and what each of its runs may take; calling it runs one, as `run_grid` does on one machine."""

    #: "auto" or host:port of a cluster that was started; None starts one of `jobs` runs at a time on this machine.
    address: str | None = None
    #: A share of a GPU: 0.25 puts four runs on each. With 0, runs are on CPUs.
    gpus_per_run: float = 0.0
    #: What layers multiply in (devices.PRECISIONS).
    precision: str = "float32"
    #: Steps by torch.compile, of models that can be.
    compiled: bool = False
    #: So often is a run begun again whose process or machine was lost. One that raises is not.
    retries: int = 3
    #: Every machine sees the dataset folders under the same path: nothing is sent.
    shared_data: bool = False
    #: Where a machine keeps what it was sent and its checkpoints; None: its temporary folder. On a disk that all
    #: machines share, a run whose machine was lost goes on from its checkpoint instead of from the beginning.
    scratch: Path | None = None

    def __call__(
        self,
        specs: Sequence[RunSpec],
        folders: Callable[[str], Path],
        store: Store,
        *,
        jobs: int = 1,
        threads: int = 1,
        checkpoint: float = CHECKPOINT_SECONDS,
    ) -> list[RunRecord]:
        """Returns the records of all specs, running those the store does not hold.

        Claims, resumption and errors are those of `run_grid`. Raises DisentrecError when Ray is not installed, when a
        machine has other code, and when the processes of a run are lost more often than `retries` allow.
        """
        check_precision(self.precision, self.device)
        store.tidy()
        unique = {spec.hash: spec for spec in specs}
        missing = [spec for spec in unique.values() if spec not in store]
        if missing:
            with (
                self._connected(jobs, threads) as ray,
                tqdm(total=len(unique), initial=len(unique) - len(missing), desc="runs", disable=None) as bar,
            ):
                task = self._task(ray, threads, checkpoint)
                for patient in (False, True):  # runs that another grid is at come last, as on one machine
                    missing = [spec for spec in missing if spec not in store]
                    _round(ray, task, missing, _Sender(ray, folders, self.shared_data), store, patient, bar)
        return [record for spec in specs if (record := store.get(spec)) is not None]

    @property
    def device(self) -> str:
        """What a run computes on."""
        return "cuda" if self.gpus_per_run else "cpu"

    @contextmanager
    def _connected(self, jobs: int, threads: int) -> Iterator[ModuleType]:
        """Yields Ray, connected; a connection that was there stays, one made here ends."""
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # it would report home
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        try:
            import ray
        except ImportError as error:
            raise DisentrecError("Ray is not installed", how='Install it: pip install "disentrec[cluster]"') from error
        if ray.is_initialized():
            yield ray
            return
        own = {"address": self.address} if self.address else {"address": "local", "num_cpus": jobs * threads}
        try:
            ray.init(**own, include_dashboard=None if self.address else False, log_to_driver=False)
        except ConnectionError as error:
            raise DisentrecError(
                f"no cluster answers: {error}", where=self.address, how="Start one: ray start --head"
            ) from error
        try:
            yield ray
        finally:
            ray.shutdown()

    def _task(self, ray: ModuleType, threads: int, checkpoint: float) -> Callable:
        """Returns what submits a run: (spec, the data set's name, its folder or what was sent) -> reference."""
        variables = ALLOCATION | {"OMP_NUM_THREADS": str(threads)}  # as for local workers
        variables |= processor.KERNELS if processor.capable() else {}
        remote = ray.remote(_work).options(
            num_cpus=threads,
            num_gpus=self.gpus_per_run,
            max_retries=self.retries,
            retry_exceptions=False,
            runtime_env={"env_vars": variables},
        )
        options = {
            "threads": threads, "device": self.device, "precision": self.precision, "compiled": self.compiled,
            "checkpoint": checkpoint,
        }  # fmt: skip
        return lambda spec, data: remote.remote(spec, data, package_digest(), self.scratch, options)


class _Sender:
    """Gives a run its data set: the folder where machines share it, else the folder packed once into Ray's store."""

    def __init__(self, ray: ModuleType, folders: Callable[[str], Path], shared: bool) -> None:
        self.ray, self.folders, self.shared = ray, folders, shared
        self.sent: dict[Path, Any] = {}

    def __call__(self, spec: RunSpec) -> Any:
        folder = Path(self.folders(spec.dataset)).resolve()
        if self.shared:
            return folder
        if folder not in self.sent:
            self.sent[folder] = self.ray.put(pack(folder))
        return self.sent[folder]


def _round(
    ray: ModuleType,
    task: Callable,
    specs: Sequence[RunSpec],
    sender: _Sender,
    store: Store,
    patient: bool,
    bar: tqdm,
) -> None:
    """Runs the specs that no other grid is at (`patient`: waits for their claims) and saves what comes back."""
    with ExitStack() as claims:
        pending: dict[Any, RunSpec] = {}
        try:
            for spec in specs:
                mine = claims.enter_context(claim(store.unfinished(spec, "lock"), wait=patient))
                if mine and spec not in store:
                    pending[task(spec, sender(spec))] = spec
            while pending:
                (done, *_), _ = ray.wait(list(pending), num_returns=1)
                spec = pending.pop(done)
                content, arrays = _result(ray, done, spec)
                # The same code ran there; a machine without the repository cannot name its commit.
                store.save(spec, {**content, "commit": commit()}, arrays)
                bar.update()
        except BaseException:
            for reference in pending:
                ray.cancel(reference, force=True)
            raise


def _result(ray: ModuleType, reference: Any, spec: RunSpec) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None  # as it was raised there
    except ray.exceptions.RayError as error:
        raise DisentrecError(
            f"a run of {spec.model} on {spec.dataset} was lost with its process or machine, and again when retried:"
            f" {type(error).__name__}",
            where=spec.hash,
            how="Look at the memory it needs, give it more retries, and start the same command again",
        ) from error


def _work(
    spec: RunSpec, data: np.ndarray | Path, digest: str, scratch: Path | None, options: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Returns what the record of `spec` holds; runs on any machine of the cluster."""
    if package_digest() != digest:
        raise DisentrecError(
            f"a machine has other code: {package_digest()} instead of {digest}",
            how="Install the same commit of disentrec on every machine",
        )
    scratch = scratch_folder() if scratch is None else Path(scratch)
    # What was begun here, or on a machine that shares this folder, is gone on with.
    store = Store(scratch / "store")
    record = run(spec, data if isinstance(data, Path) else unpack(data, scratch), store, **options)
    content, arrays = record.content, record.arrays
    for path in (record.path, record.path.with_suffix(".npz")):
        path.unlink(missing_ok=True)
    return content, arrays


def scratch_folder() -> Path:
    """Returns where a machine keeps what it was sent, one folder per user."""
    return Path(tempfile.gettempdir()) / f"disentrec-{os.getuid()}"


def pack(folder: Path) -> np.ndarray:
    """Returns a dataset folder with its encoded features as one array of bytes; hidden files stay behind."""
    with io.BytesIO() as buffer:
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            for path in sorted(folder.rglob("*")):
                place = path.relative_to(folder)
                if path.is_file() and not any(part.startswith(".") for part in place.parts):
                    archive.add(path, place.as_posix(), recursive=False)
        return np.frombuffer(buffer.getvalue(), np.uint8)


def unpack(data: np.ndarray, scratch: Path) -> Path:
    """Returns the dataset folder that was packed, unpacked once per machine under the digest of its bytes."""
    name = hashlib.sha256(data).hexdigest()[:16]
    folder = scratch / "data" / name
    with claim(scratch / f"{name}.lock"):
        if not folder.exists():
            with draft_of(folder) as draft, tarfile.open(fileobj=io.BytesIO(data)) as archive:
                archive.extractall(draft, filter="data")
    return folder
