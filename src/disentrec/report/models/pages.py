"""A page per model for whoever has to run one: what it reads, what it costs, how far it gets, when to take it.

Generated from the model's file, its line in `report.advice`, its grid and the published records, by `disentrec book`.
The papers' models have a walk that was written by hand; it includes the same text.
"""

from __future__ import annotations

import inspect
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from disentrec import models
from disentrec.data.drafts import sweep, write_atomically
from disentrec.paths import ROOT
from disentrec.report.across.cross import labels
from disentrec.report.models import tables as model_tables
from disentrec.report.models.advice import ADVICE, UNKNOWN
from disentrec.report.models.overview import DATASET, SHEETS, WALKS, page_of
from disentrec.report.models.settings import written
from disentrec.report.models.standings import Standing, standings
from disentrec.report.models.tables import foremost, label_of, largest, model_link, ordinal, seconds
from disentrec.report.tables import dataset_title, metric_title, percent
from disentrec.study.spec import changed
from disentrec.study.study import selection_metric

WHEN, UNLESS = "Take it", "Leave it"
TINY = "bazaar-tiny"
COMMAND = """```bash
disentrec train {name} {dataset}
```"""
PYTHON = """```python
from disentrec.data.protocol import Protocol
from disentrec.data.schema import read_dataset
from disentrec.study import RunSpec, Store
from disentrec.study.datasets import dataset_folder
from disentrec.study.runner import run

folder = dataset_folder("{tiny}")
fingerprint = read_dataset(folder).fingerprint
spec = RunSpec("{name}", "{tiny}", fingerprint, protocol=Protocol({split}))
record = run(spec, folder, Store("runs"))
print(record.metric("{metric}"))
```"""


class Doc(NamedTuple):
    """What the file of a model says of it: a first sentence, and the rest in paragraphs."""

    first: str
    rest: str


def write_model_pages(store: Path | str, book: Path) -> None:
    """Writes the page of every model below `book`/models, and removes those of models that are gone.

    What the walks of the papers' models include is written to `book`/_generated/sheet-NAME.md.
    """
    found = standings(store)
    wanted = {}
    for name in models.available():
        text = engineers_block(name, found)
        if name in WALKS:
            wanted[book / "_generated" / f"sheet-{name}.md"] = text
        else:
            wanted[book / "models" / page_of(name)] = f"{page_head(name)}\n{text}"
    for folder in SHEETS.values():
        (book / "models" / folder).mkdir(parents=True, exist_ok=True)
        sweep([book / "models" / folder])
        for path in (book / "models" / folder).glob("*.md"):
            if path not in wanted:
                path.unlink()
    for path, text in wanted.items():
        write_atomically(path, lambda file, text=text: file.write(text.encode()))


def page_head(name: str) -> str:
    """Returns the title of a model's page, what it is in a sentence and its paper."""
    doc, cites = doc_of(name), ADVICE.get(name, UNKNOWN).cites
    parts = [f"# {label_of(name)}", f":::{{div}} lead\n{doc.first}\n:::"]
    if doc.rest or cites:
        parts.append(f"{doc.rest} {{cite:p}}`{cites}`".strip() if cites else doc.rest)
    return "\n\n".join(parts) + "\n"


def engineers_block(name: str, found: Sequence[Standing]) -> str:
    """Returns all that follows the head: the facts at a glance, advice, inputs, cost, accuracy, settings, commands."""
    own = [one for one in found if name in one.rows]
    parts = [
        _glance(name, own), _advice(name, own), "## What it reads", model_tables.inputs(name),
        "## What it costs", model_tables.costs(name, own), "## How far it gets", model_tables.accuracy(name, own),
        "## Settings", model_tables.settings(name), "## Train it", _commands(name, own), "## Its files", _files(name),
    ]  # fmt: skip
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


def doc_of(name: str) -> Doc:
    """Returns the first sentence and the rest of a model's docstring: its module's, then what its class adds.

    Where a module has several models, their classes alone speak.
    """
    model = models.get(name)
    module = inspect.getmodule(model)
    own = inspect.getdoc(model) or ""
    if own.startswith("See the module's docstring."):
        own = ""
    several = sum(models.get(other).__module__ == model.__module__ for other in models.available()) > 1
    text = own if several else inspect.getdoc(module) or own
    first, _, rest = text.partition("\n\n")
    first = " ".join(first.split())
    head, stop, tail = first.partition(". ")
    first, tail = (head + stop.strip(), tail) if stop and not head.endswith("al") else (first, "")
    label, colon, after = first.partition(": ")
    if colon and after and len(label.split()) <= 3:  # the page's title says the name
        first = after[0].upper() + after[1:]
    more = [] if several or not own else [" ".join(own.split())]
    return Doc(first, "\n\n".join(part for part in (tail, rest, *more) if part.strip()))


def _glance(name: str, own: Sequence[Standing]) -> str:
    """Returns four cards: what it reads, its size, a run's seconds its place; on the shop if it was run there."""
    advice, shown = ADVICE.get(name, UNKNOWN), foremost(own)
    cards = [(advice.reads, "reads")]
    if shown is None:
        cards += [("–", "parameters"), ("–", "seconds"), ("–", "no run is published yet")]
    else:
        row, title = shown.rows[name], dataset_title(shown.dataset)
        cards.append((f"{row.parameters:,}" if row.parameters else "none", f"parameters on {title}"))
        cards.append((f"{seconds(row.total_s)} s", "a run, one core"))
        place = f"{ordinal(shown.rank(name))} of {len(shown.rows)}"
        cards.append((percent(row.mean), f"{metric_title(shown.metric)}, {place}"))
    body = "\n".join(f":::{{grid-item-card}} {value}\n:shadow: none\n{below}\n:::" for value, below in cards)
    return f"::::{{grid}} 2 2 4 4\n:gutter: 2\n:class-container: glance\n\n{body}\n::::"


def _advice(name: str, own: Sequence[Standing]) -> str:
    advice = ADVICE.get(name, UNKNOWN)
    if not advice.take:
        return f"No advice is written for `{name}` yet: it is a line of `src/disentrec/report/models/advice.py`."
    sides = ((WHEN, advice.take), (UNLESS, advice.leave))
    cards = "\n".join(f":::{{grid-item-card}} {title}\n:shadow: none\n{text}\n:::" for title, text in sides)
    grid = f"::::{{grid}} 1 1 2 2\n:gutter: 3\n:class-container: advice\n\n{cards}\n::::"
    said = [_ahead(name, one) for one in largest(own)]
    return "\n\n".join([grid, *([f"**By the records.** {' '.join(said)}"] if said else [])])


def _ahead(name: str, standing: Standing) -> str:
    """Returns in a sentence which models are both more accurate and quicker on one data set."""
    mine, title = standing.rows[name], dataset_title(standing.dataset)
    better = [other for other, row in standing.rows.items() if row.mean > mine.mean and row.total_s < mine.total_s]
    if not better:
        return f"On {title} nothing that is quicker is more accurate."
    better.sort(key=lambda other: -standing.rows[other].mean)
    named = better if len(better) <= 3 else better[:2]
    names = [model_link(other) for other in named] + ([f"{len(better) - 2} more"] if len(better) > 3 else [])
    return f"On {title} {labels(names)} {'are' if len(better) > 1 else 'is'} both quicker and more accurate."


def _commands(name: str, own: Sequence[Standing]) -> str:
    task = models.get(name).task
    parts = [COMMAND.format(name=name, dataset=DATASET)]
    shown = foremost(own)
    if shown is not None and shown.dataset == DATASET:
        line = train_command(shown.rows[name].spec)
        if line != f"disentrec train {name} {DATASET}":
            said = f"With the configuration that validation chose on {dataset_title(DATASET)}, as in the table above:"
            parts.append(f"{said}\n\n```bash\n{line}\n```")
    split = {"session": "", "top-n": 'split="time"'}[task]
    metric = selection_metric(name)
    parts.append("The same from Python, on a smaller shop:")
    parts.append(PYTHON.format(name=name, tiny=TINY, split=split, metric=metric))
    return "\n\n".join(parts)


def train_command(spec: Any) -> str:
    """Returns the command that trains a spec's model with its settings; lines of it end in a backslash."""
    options = {"--set": changed(spec.config()), "--training": changed(spec.training)}
    lines = [f"disentrec train {spec.model} {spec.dataset}"]
    for option, values in options.items():
        if values:
            words = [f"{option} {shlex.quote(f'{key}={written(value)}')}" for key, value in values.items()]
            lines += [f"  {' '.join(words[at : at + 3])}" for at in range(0, len(words), 3)]
    return " \\\n".join(lines)


def _files(name: str) -> str:
    module = models.get(name).__module__
    place = f"src/{module.replace('.', '/')}.py"
    stem = module.rpartition(".")[2]
    tests = sorted((ROOT / "tests" / "models").glob("test_*.py"))
    marks = (f"disentrec.models.{stem} import", f"disentrec.models import {stem}", f'"{name}"')
    found = [f"`tests/models/{path.name}`" for path in tests if any(mark in path.read_text() for mark in marks)]
    lines = [f"- `{place}`, one file with the settings, the model and its losses"]
    lines += [f"- tests: {', '.join(found)}"] if found else []
    return "\n".join([*lines, "- the contract that it keeps: [](/book/add_a_model.md)"])
