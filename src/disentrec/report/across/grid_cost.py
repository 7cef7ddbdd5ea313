"""What a grid costs: hours of the records that are there, and a cost model of a GPU whose inputs are named."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from IPython.display import Markdown

from disentrec.paths import RESULTS, ROOT
from disentrec.report import tables
from disentrec.report.across.costs_figures import STEP
from disentrec.report.endurance import measurement
from disentrec.study import RunRecord, planned
from disentrec.study.cases import known_dataset


@dataclass(frozen=True)
class Device:
    """The inputs of the cost model. Speeds are those of a data sheet, the others assumed: no GPU was at hand."""

    title: str
    flop: float  # operations a second
    bytes: float  # bytes a second
    launch: float  # seconds in which a process issues one operator
    runs: int  # processes that share it


#: 32-bit floats without tensor cores; ten microseconds are what torch needs for an operator without a CUDA graph.
H200 = Device("NVIDIA H200", flop=67e12, bytes=4.8e12, launch=10e-6, runs=8)


@dataclass(frozen=True)
class Need:
    """What runs ask of a GPU: operators, issued one after the other, and seconds of work at the GPU's speed."""

    operators: float = 0.0
    work: float = 0.0

    def __add__(self, other: Need) -> Need:
        return Need(self.operators + other.operators, self.work + other.work)

    def __mul__(self, times: float) -> Need:
        return Need(self.operators * times, self.work * times)

    def seconds(self, device: Device) -> float:
        """Returns the seconds of all: processes issue side by side, and the device does one thing at a time."""
        return max(self.operators * device.launch / device.runs, self.work)


@dataclass
class Part:
    """The grid of one paper."""

    title: str
    runs: int = 0
    left: int = 0
    seconds: float = 0.0  # of one core, for the runs that are recorded
    need: Need = Need()

    @property
    def whole(self) -> float:
        """How many times what is recorded all of it is: runs that are left cost what the recorded cost on average."""
        return (self.runs + self.left) / self.runs


class GridCost:
    """The section: every method returns the output of one cell."""

    def __init__(
        self, measurements: str | Path, *, budget: str = "real", store: str | Path = "", device: Device = H200
    ) -> None:
        self.stages = measurement(ROOT / measurements, "stages").get("models", {})
        self.budget, self.store, self.device = budget, Path(store) if store else RESULTS, device

    def table(self) -> Markdown | None:
        """Returns runs and hours by paper, recorded and in all."""
        rows = [
            self._row(
                part.title, [part.runs, part.left], part.seconds, part.seconds * part.whole, part.need * part.whole
            )
            for part in self.parts
        ]
        if not rows:
            return None
        runs = [sum(part.runs for part in self.parts), sum(part.left for part in self.parts)]
        hours = sum(part.seconds for part in self.parts), sum(part.seconds * part.whole for part in self.parts)
        rows.append(self._row("all", runs, *hours, self._whole()))
        header = ["", "runs here", "left", "core hours here", "of all", f"{self.device.title}, minutes"]
        caption = f"What budget *{self.budget}* costs: measured hours of one core, and the model's minutes of one GPU."
        caption += " A run that several tables show counts once where it is there, and once per table where it is left."
        return tables.show(tables.myst_table(header, rows, caption, "tbl-costs-grid"))

    def reading(self) -> Markdown | None:
        """Returns the model in words, with its inputs."""
        if not self.parts:
            return None
        device, whole = self.device, self._whole()
        issuing, work = whole.operators * device.launch / device.runs, whole.work
        held = "issuing" if issuing > work else "the work itself"
        return tables.show(
            "No GPU was at hand, so the last column is **not measured**. It is a model: a run issues the operators"
            " that were counted on this page, once per step and once per ranking, in"
            f" {1e6 * device.launch:.0f} µs each; {device.runs} runs do so side by side. The GPU does their work one"
            f" after the other, each stage at {device.flop / 1e12:.0f} TFLOP/s and {device.bytes / 1e12:.1f} TB/s,"
            " whichever takes longer. Steps, epochs and batches are those of the records; a step's work grows with its"
            " batch, as if every catalogue had the size of the shop's. By this model all of it takes"
            f" {whole.seconds(device) / 60:,.0f} minutes, and {held} holds it up: {issuing / 60:,.0f} minutes of"
            f" issuing, {work / 60:,.0f} of work."
        )

    @cached_property
    def parts(self) -> list[Part]:
        """The papers that have recorded runs under this budget; a run of several papers is counted with the first."""
        found: dict[str, Part] = {}
        seen: set[str] = set()
        for study, artefact, dataset in planned(self.store):
            if study.budget.name != self.budget:
                continue
            paper, facts = study.paper, known_dataset(study.store, dataset) or {}
            part = found.setdefault(paper.id, Part(paper.label(paper.id)))
            results = study.result(artefact.id, dataset)
            part.left += sum(row.missing for row in results)
            new = {
                record.path.stem: record for row in results for record in row.records if record.path.stem not in seen
            }
            for record in new.values():
                part.runs += 1
                part.seconds += record.content["timing"]["total_s"]
                part.need += need(record, self.stages, facts, self.device)
            seen |= new.keys()
        return [part for part in found.values() if part.runs and part.need.operators]

    def _whole(self) -> Need:
        return sum((part.need * part.whole for part in self.parts), Need())

    def _row(self, title: str, runs: list[int], here: float, whole: float, asked: Need) -> list[str]:
        hours = [f"{value / 3600:,.1f}" for value in (here, whole)]
        return [title, *(f"{count:,}" for count in runs), *hours, f"{asked.seconds(self.device) / 60:,.0f}"]


def need(record: RunRecord, stages: dict[str, Any], facts: dict[str, Any], device: Device) -> Need:
    """Returns what a run asks for; nothing where its model's stages were not counted, or nothing is trained.

    stages: those of benchmarks/results/stages.json; facts: what the store knows of the data set.
    """
    spec = record.spec
    entry = stages.get(spec.model, {"stages": {}, "task": ""})
    counts = facts.get("statistics" if entry["task"] == "session" else "user_statistics")
    if counts is None or "operators" not in entry["stages"].get("loss", {}):
        return Need()
    cases, valid, test = (counts[name] for name in ("train", "valid", "test"))
    batch, epochs = spec.training.batch_size, len(record.content["curves"])
    step = sum((_stage(entry["stages"][name], device) for name in STEP), Need())
    step = Need(step.operators, step.work * batch / entry["batch_size"])
    ranking = _stage(entry["stages"]["evaluation"], device) * (1 / entry["ranked"])  # of one case
    return step * (epochs * math.ceil(cases / batch)) + ranking * (epochs * valid + test)


def _stage(found: dict[str, float], device: Device) -> Need:
    work = max(1e6 * found["mflop"] / device.flop, 1e6 * found["mbytes"] / device.bytes)
    return Need(found["operators"], work)
