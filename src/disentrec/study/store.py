"""The store of finished runs: one JSON record and one npz of per-case arrays each, written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from disentrec.data.drafts import sweep, write_atomically, writing
from disentrec.data.files import read_arrays
from disentrec.errors import DisentrecError
from disentrec.reading import read_json
from disentrec.study.spec import RunSpec
from disentrec.training.tasks import case_scores

FORMAT = 1


@dataclass(frozen=True)
class RunRecord:
    """A finished (or diverged) run, as read from the store."""

    path: Path
    content: dict[str, Any]

    @cached_property
    def spec(self) -> RunSpec:
        """The spec that was run."""
        return RunSpec.from_json(self.content["spec"])

    @property
    def finished(self) -> bool:
        """False for a run whose loss became non-finite."""
        return self.content["status"] == "finished"

    @cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        """Per-case ranks and whatever else the run kept."""
        return read_arrays(self.path.with_suffix(".npz"), how="Delete the record; the run will be done again")

    def metric(self, name: str, part: str = "test") -> float:
        """Returns one metric as a fraction; NaN for a diverged run."""
        if not self.finished:
            return float("nan")
        found = self.content["metrics"].get(part)
        if not isinstance(found, dict) or not isinstance(found.get(name), int | float):
            raise DisentrecError(f"no metric {name!r} of {part}", where=self.path, how="Delete it and run it again")
        return found[name]

    def scores(self, metric: str) -> np.ndarray:
        """Returns per-case scores whose mean is the reported metric, (cases,) float64; cases are sessions or users."""
        spec = self.content["spec"]
        return case_scores(self.arrays, metric, spec["protocol"], spec["training"]["batch_size"])


class Store:
    """Finished runs under `root/records/<dataset>/<model>/<hash>.json`."""

    def __init__(self, root: Path | str) -> None:
        self.root = Path(root)

    def path(self, spec: RunSpec) -> Path:
        """Returns where the record of `spec` is or will be."""
        return self.root / "records" / spec.dataset / spec.model / f"{spec.hash}.json"

    def __contains__(self, spec: RunSpec) -> bool:
        return self.path(spec).exists()

    def get(self, spec: RunSpec) -> RunRecord | None:
        """Returns the record of `spec`, or None if it was not run."""
        path = self.path(spec)
        return self.read(path) if path.exists() else None

    def read(self, path: Path) -> RunRecord:
        """Returns the record at `path`; a damaged one raises DisentrecError."""
        content = read_json(path, what="unreadable run record", how="Delete the file; the run will be done again")
        spec, metrics = content.get("spec"), content.get("metrics")
        kinds = {"finished": dict, "diverged": dict | None}
        whole = isinstance(spec, dict) and isinstance(metrics, kinds.get(str(content.get("status")), ()))
        if content.get("format") != FORMAT or not whole:
            raise DisentrecError("not a run record of this version", where=path, how="Delete the file")
        return RunRecord(path, content)

    def records(self) -> Iterator[RunRecord]:
        """Yields every record, in the order of their paths."""
        for path in sorted(self.root.glob("records/*/*/*.json")):
            yield self.read(path)

    def save(self, spec: RunSpec, content: dict[str, Any], arrays: dict[str, np.ndarray]) -> RunRecord:
        """Writes the arrays, then the record: a record that exists is whole."""
        path = self.path(spec)
        write_atomically(path.with_suffix(".npz"), lambda file: np.savez_compressed(file, **arrays))
        text = json.dumps({"format": FORMAT, "hash": spec.hash, **content}, indent=1, sort_keys=True) + "\n"
        write_atomically(path, lambda file: file.write(text.encode()))
        return RunRecord(path, json.loads(text))

    def unfinished(self, spec: RunSpec, kind: str) -> Path:
        """Returns where a run keeps what it needs until it is recorded: kind "lock" or "safetensors"."""
        return self.root / "unfinished" / f"{spec.hash}.{kind}"

    def tidy(self) -> None:
        """Removes what killed processes left: parts of files, and checkpoints and claims of runs that are recorded."""
        sweep([*self.root.glob("records/*/*"), *(self.root / name for name in ("unfinished", "datasets", "features"))])
        recorded = {path.stem for path in self.root.glob("records/*/*/*.json")}
        for path in self.root.glob("unfinished/*.*"):
            if path.stem in recorded:  # killed before it could do so itself
                with writing(path, "removed"):
                    path.unlink(missing_ok=True)
