"""What may stand between this machine and the study: one line per finding, with how to mend it."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import tomllib
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from disentrec import processor
from disentrec.encode.chunks import file_hash
from disentrec.encode.network import ARCHITECTURES
from disentrec.errors import DisentrecError
from disentrec.paths import DATA, RESULTS, ROOT
from disentrec.study.cases import known_dataset
from disentrec.study.sources import sources
from disentrec.study.store import Store

OK, WARNING, PROBLEM = "ok", "warning", "problem"
GB = 1 << 30
#: Free space and memory in GB: below the first a run fails, below the second the larger ones may.
DISK = (1, 5)
MEMORY = (2, 4)
BERT = "bert-base-uncased"
#: So many names stand in a line, the rest is counted.
NAMED = 3


@dataclass(frozen=True)
class Finding:
    """One line: what was looked at, how it is, and how to mend it where it is not well."""

    topic: str
    status: str
    text: str
    how: str = ""

    def __str__(self) -> str:
        return f"{self.status:8} {self.topic:9} {self.text}" + (f". {self.how}" if self.how else "")


def examine(root: Path = ROOT, data: Path = DATA, results: Path = RESULTS, *, full: bool = False) -> list[Finding]:
    """Returns every finding; `full` reads all data sets and compares their content with their fingerprints."""
    checks: list[Callable[[], Iterator[Finding]]] = [
        lambda: packages(root / "pyproject.toml"),
        devices,
        weights,
        lambda: data_sets(data, Store(results), full),
        lambda: places({"repository": root, "data": data, "results": results}),
        memory,
        threads,
        kernels,
        lambda: records(Store(results)),
    ]
    return [finding for check in checks for finding in check()]


def packages(pyproject: Path) -> Iterator[Finding]:
    """Yields Python and the pinned packages that are not as the project pins them."""
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    least, below = (tuple(map(int, text.split("."))) for text in re.findall(r"[\d.]+", project["requires-python"]))
    here = tuple(map(int, platform.python_version_tuple()[:2]))
    fits = least <= here < below
    how = "" if fits else f"The study needs {project['requires-python']}: make the environment anew with that"
    yield Finding("python", OK if fits else PROBLEM, platform.python_version(), how)
    wrong = 0
    for pin in project["dependencies"]:
        name, wanted = pin.split("==")
        found = installed(name)
        if found is None:
            wrong += 1
            yield Finding("packages", PROBLEM, f"{name} is not installed", "Run: pip install -e .")
        elif found != wanted:
            wrong += 1
            text = f"{name} is {found}, the published numbers were made with {wanted}"
            yield Finding("packages", WARNING, text, "Run: pip install -e .")
    if not wrong:
        yield Finding("packages", OK, f"all {len(project['dependencies'])} as pinned")
    for extra, pins in project.get("optional-dependencies", {}).items():
        lacking = [pin.split("==")[0] for pin in pins if installed(pin.split("==")[0]) is None]
        text = f"optional `{extra}`: " + (
            f"without {_some(lacking)} (pip install -e '.[{extra}]')" if lacking else "here"
        )
        yield Finding("packages", OK, text)


def installed(name: str) -> str | None:
    """Returns the version of an installed package without its build (+cpu, +cu128), None where it is absent."""
    try:
        return version(name).partition("+")[0]
    except PackageNotFoundError:
        return None


def devices() -> Iterator[Finding]:
    """Yields the GPUs, or that there are none, which nothing but speed depends on."""
    driver = Path("/proc/driver/nvidia/version")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        usable = torch.cuda.is_available()
    if usable:
        names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
        yield Finding("gpu", OK, f"{', '.join(names)}, CUDA {torch.version.cuda} (used only with --device cuda)")
    elif driver.exists():
        reason = str(said[0].message).splitlines()[0] if said else f"torch was built for CUDA {torch.version.cuda}"
        how = "Install the build of torch that fits the driver, or go on without: everything runs on a CPU"
        yield Finding("gpu", WARNING, f"there is a driver, but torch cannot use it: {reason}", how)
    else:
        yield Finding("gpu", OK, "none: everything runs on the CPU")


def weights() -> Iterator[Finding]:
    """Yields which weights of encoders lie in torch's cache; a damaged file is a problem, an absent one is not."""
    from huggingface_hub import try_to_load_from_cache  # half a second to import

    bert = isinstance(try_to_load_from_cache(BERT, "model.safetensors"), str)
    yield Finding("weights", OK, f"{BERT}: " + ("in the cache" if bert else "not in the cache (fetched on request)"))
    for name, network in ARCHITECTURES.items():
        path = Path(torch.hub.get_dir()) / "checkpoints" / network.weights.url.rpartition("/")[2]
        if not path.exists():
            yield Finding("weights", OK, f"{name}: not in the cache (fetched on request)")
        elif file_hash([path]).startswith(path.stem.rpartition("-")[2]):
            yield Finding("weights", OK, f"{name}: in the cache")
        else:
            yield Finding("weights", PROBLEM, f"{name}: {path} is damaged", "Delete it: it is fetched again")


def data_sets(folder: Path, store: Store, full: bool) -> Iterator[Finding]:
    """Yields the study's data sets that are here, compared with those of the records, and the names of the others."""
    absent = []
    for name, source in sources().items():
        place = folder / name
        if not (place / "dataset.json").exists():
            if source.source != "bazaar":
                absent.append(name)
            continue
        try:
            fingerprint = _fingerprint(place, full)
        except DisentrecError as error:
            yield Finding("data", PROBLEM, f"{name}: {error.what}", error.how or "Make the folder again")
            continue
        known = known_dataset(store, name)
        if known is not None and known["fingerprint"] != fingerprint:
            text = f"{name} is {fingerprint[:12]}, the records are of {known['fingerprint'][:12]}"
            yield Finding("data", WARNING, text, "Runs of it would be new ones: make the folder again as it was")
        else:
            yield Finding("data", OK, f"{name}: here" + (", as in the records" if known else ", without records"))
    if absent:
        text = f"not here: {', '.join(absent)} (`disentrec data list`; the book needs none of them)"
        yield Finding("data", OK, text)


def _fingerprint(folder: Path, full: bool) -> str:
    from disentrec.data.schema import read_dataset

    if full:
        return read_dataset(folder).fingerprint
    try:
        return json.loads((folder / "dataset.json").read_text(encoding="utf-8"))["fingerprint"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DisentrecError(f"dataset.json is not readable: {error}", where=folder, how="Make it again") from error


def places(folders: dict[str, Path]) -> Iterator[Finding]:
    """Yields room and permission of the folders that are written to."""
    for name, folder in folders.items():
        there = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
        free = shutil.disk_usage(there).free / GB
        if not os.access(there, os.W_OK):
            yield Finding("disk", PROBLEM, f"{name}: {there} cannot be written", "Allow it, or move the repository")
            continue
        status = _status(free, DISK)
        how = "" if status == OK else f"Make room: {DISK[1]} GB are enough for the book and its environment's caches"
        yield Finding("disk", status, f"{name}: {free:.0f} GB free", how)


def memory() -> Iterator[Finding]:
    """Yields the memory a process can still get, where the system says it; that of its group, if that is less."""
    found = [size for size in (_available(), _group_limit()) if size is not None]
    if found:
        status = _status(min(found) / GB, MEMORY)
        how = "" if status == OK else f"Close other programs or lower --jobs: a run takes up to {MEMORY[1]} GB"
        yield Finding("memory", status, f"{min(found) / GB:.1f} GB available", how)


def _available() -> int | None:
    info = Path("/proc/meminfo")
    found = re.search(r"MemAvailable:\s+(\d+) kB", info.read_text()) if info.exists() else None
    return int(found[1]) * 1024 if found else None


def _group_limit() -> int | None:
    limit, used = (Path("/sys/fs/cgroup") / name for name in ("memory.max", "memory.current"))
    if not limit.exists() or not used.exists() or limit.read_text().strip() == "max":
        return None
    return int(limit.read_text()) - int(used.read_text())


def threads() -> Iterator[Finding]:
    """Yields how many processors there are and how many threads a process would begin."""
    affinity = getattr(os, "sched_getaffinity", None)
    processors = len(affinity(0)) if affinity else os.cpu_count() or 1
    text = f"{processors} processors, {torch.get_num_threads()} threads by default, one for each run of a grid"
    if torch.get_num_threads() > processors:
        how = f"Set OMP_NUM_THREADS to at most {processors}"
        yield Finding("threads", WARNING, text, how)
    else:
        yield Finding("threads", OK, text)


def kernels() -> Iterator[Finding]:
    """Yields whether NumPy multiplies as it did when the published data were made."""
    (kind,) = processor.KERNELS.values()
    if not processor.capable():
        text = f"NumPy cannot multiply by the kernels of the published data ({kind}, AVX2) on this processor"
        yield Finding("kernels", WARNING, text, "Features made here may differ in their last digits, and make new runs")
    elif not processor.settled():
        text = f"NumPy multiplies by other kernels than those of the published data ({kind})"
        yield Finding("kernels", WARNING, text, "Unset OPENBLAS_CORETYPE")
    else:
        yield Finding("kernels", OK, f"NumPy multiplies as for the published data ({kind})")


def records(store: Store) -> Iterator[Finding]:
    """Yields whether every record can be read, has its arrays, and is named as this code would name it."""
    faults: dict[str, list[str]] = {"unreadable": [], "arrays": [], "foreign": []}
    count = 0
    for path in sorted(store.root.glob("records/*/*/*.json")):
        count += 1
        place = path.relative_to(store.root).as_posix()
        try:
            record = store.read(path)
        except DisentrecError:
            faults["unreadable"].append(place)
            continue
        if not path.with_suffix(".npz").exists():
            faults["arrays"].append(place)
        try:
            named = record.spec.hash
        except (DisentrecError, KeyError, TypeError):  # a model or setting that is no more
            named = ""
        if named != path.stem:
            faults["foreign"].append(place)
    says = {
        "unreadable": (PROBLEM, "cannot be read", "Delete them: the runs are done again"),
        "arrays": (PROBLEM, "lack their ranks (.npz)", "Delete them: the runs are done again"),
        "foreign": (WARNING, "are of other code", "Tables leave them out: run `disentrec study` again"),
    }
    for fault, found in faults.items():
        if found:
            status, text, how = says[fault]
            yield Finding("records", status, f"{len(found)} of {count} {text}: {_some(found)}", how)
    if not any(faults.values()):
        yield Finding("records", OK, f"{count}, all of this code")
    if kept := list(store.root.glob("unfinished/*.safetensors")):
        yield Finding(
            "records", OK, f"{len(kept)} runs were stopped half way; the next `disentrec study` goes on there"
        )


def _status(value: float, limits: tuple[float, float]) -> str:
    return PROBLEM if value < limits[0] else WARNING if value < limits[1] else OK


def _some(names: list[str]) -> str:
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
