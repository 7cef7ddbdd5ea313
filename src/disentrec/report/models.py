"""Every model in one table for whoever has to choose: what it reads, what it costs on the shop, when to take it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from disentrec import models
from disentrec.report.tables import metric_title, myst_table, percent
from disentrec.study import RowResult, Study, load_paper, paper_names
from disentrec.study.study import selection_metric

DATASET = "bazaar-demo"
#: Where a paper's model has a walk of its own, beside this table's page.
WALKS = ("dimo", "mmsbr", "addrl", "idsf")
HEADINGS = {"session": "A session, what next?", "top-n": "A user, which items?"}


class Advice(NamedTuple):
    """What of a model's file is not a number: the inputs it reads, and when to take it."""

    reads: str
    when: str


ADVICE: Mapping[str, Advice] = {
    # sessions
    "atten-mixer": Advice("sessions", "several readings of the last items, without a graph"),
    "bert4rec": Advice("sessions", "long sessions whose order matters little; needs many epochs"),
    "cohhn": Advice("sessions, price, category", "price decides, and no text or image is at hand"),
    "cotrec": Advice("sessions", "few sessions: two views of them teach each other"),
    "dhcn": Advice("sessions", "items that meet in many sessions, whatever their order"),
    "dimo": Advice("sessions, text, image", "the answer must say whether ID or content spoke"),
    "late-fusion": Advice("sessions, text, image", "a control: two models trained apart, their scores added"),
    "lessr": Advice("sessions", "the order of clicks matters and sessions are long"),
    "mmsbr": Advice("text, image, price", "items come and go: it knows none by its ID"),
    "msgifsr": Advice("sessions", "runs of items, two or three in a row, mean something"),
    "narm": Advice("sessions", "a small neural baseline with an order"),
    "one-hop": Advice("sessions", "first of all: counts in a second, hard to beat, explains itself"),
    "pop": Advice("sessions", "the floor that everything must beat"),
    "repeat": Advice("the session itself", "how much is mere repetition"),
    "sasrec": Advice("sessions", "the usual transformer; order matters"),
    "sknn": Advice("sessions", "neighbours without training; fresh sessions count at once"),
    "spop": Advice("sessions", "customers come back to what they saw"),
    "sr-gnn": Advice("sessions", "returns to the same items within a session"),
    "two-towers": Advice("sessions, text, image", "the plain start, and a control: no loss parts ID and content"),
    "unisrec": Advice("text, image", "new items, and order matters"),
    # users
    "addrl": Advice("pairs, text, image, price, popularity, brand, category", "each attribute needs a knob of its own"),
    "bm3": Advice("pairs, text, image", "no negatives can be drawn"),
    "bpr": Advice("pairs", "the smallest trained baseline"),
    "dgcf": Advice("pairs", "intents behind IDs are of interest; slow"),
    "dmrl": Advice("pairs, text, image", "weights of modalities per user, item and factor"),
    "freedom": Advice("pairs, text, image", "content is good: a fixed graph of similar items, quickly trained"),
    "grcn": Advice("pairs, text, image", "clicks are noisy: content prunes the graph"),
    "idsf": Advice("pairs, text, image", "content is good, and IDs are to add to it"),
    "item-knn": Advice("pairs", "first of all: no training, hard to beat"),
    "lattice": Advice("pairs, text, image", "as FREEDOM, with a graph that is learned; slower"),
    "lightgcn": Advice("pairs", "the usual graph model; IDs alone"),
    "mmgcn": Advice("pairs, text, image", "a graph per modality; mainly for comparison"),
    "most-popular": Advice("pairs", "the floor that everything must beat"),
    "ngcf": Advice("pairs", "LightGCN's ancestor; mainly for comparison"),
    "slmrec": Advice("pairs, text, image", "modalities are to find each other without labels"),
    "vbpr": Advice("pairs, text, image", "the smallest model that sees content"),
}
#: Of a model that was added and has no line above yet.
UNKNOWN = Advice("–", "–")


def models_tables(store: Path | str) -> str:
    """Returns one table of all registered models per task, with parameters, seconds and accuracy from records."""
    found = published_rows(store)
    parts = []
    for task, heading in HEADINGS.items():
        names = models.available(task)
        metric = metric_title(selection_metric(names[0]))
        header = ["Model", "Reads", "Parameters", "Seconds", metric, "When to take it"]
        order = sorted(names, key=lambda name: -_mean(name, found[name]) if name in found else 0.0)
        rows = [_line(name, found.get(name)) for name in order]
        caption = (
            f"{heading} Trained parameters, seconds of a whole run on one core, and {metric} in percent on the shop's"
            " test part, means over seeds, best first. A dash: not run there."
        )
        table = myst_table(header, rows, caption, f"tbl-models-{task}")
        alignment = "| :-- | :-- | --: | --: | --: | :-- |"
        lines = [alignment if line.startswith("| :--") else line for line in table.splitlines()]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def published_rows(store: Path | str) -> dict[str, RowResult]:
    """Returns by model the first row that was run on the shop, main tables before others, none as released."""
    found: dict[str, RowResult] = {}
    for main in (True, False):
        for name in paper_names():
            paper = load_paper(name)
            for artefact in (one.id for one in paper.artefacts.values() if (one.id == "main") == main):
                study = Study(name, "demo", store)
                if DATASET not in study.datasets(paper.artefact(artefact)):
                    continue
                for row in study.result(artefact, DATASET):
                    finished = [record for record in row.records if record.finished]
                    if finished and row.row.id != "released":
                        found.setdefault(finished[0].spec.model, row)
    return found


def _line(name: str, result: RowResult | None) -> list[str]:
    label = f"[`{name}`]({name}.md)" if name in WALKS else f"`{name}`"
    advice = ADVICE.get(name, UNKNOWN)
    if result is None:
        return [label, advice.reads, "–", "–", "–", advice.when]
    records = [record for record in result.records if record.finished]
    count = int(records[0].content["n_parameters"])
    seconds = float(np.mean([record.content["timing"]["total_s"] for record in records]))
    shown = f"{seconds:.0f}" if seconds >= 1 else "< 1"
    return [label, advice.reads, f"{count:,}" if count else "none", shown, percent(_mean(name, result)), advice.when]


def _mean(name: str, result: RowResult) -> float:
    """Returns a model's metric on test, the mean over its seeds."""
    return float(np.mean([record.metric(selection_metric(name)) for record in result.records if record.finished]))
