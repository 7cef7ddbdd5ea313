"""The scorecard: every claim decided from records by the test its paper's YAML names, stated before the runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from disentrec.data.drafts import write_atomically
from disentrec.paths import RESULTS
from disentrec.report.evidence import Evidence, gather
from disentrec.report.tables import dataset_title, metric_title, myst_table, row_comparisons
from disentrec.study import Study, load_paper, paper_names
from disentrec.study.cases import known_dataset
from disentrec.study.papers import Claim
from disentrec.study.store import Store

#: Measures that are no ranking metric, in print; others are printed as they are called.
UNITS = {
    "cka": "CKA",
    "sap": "SAP",
    "dci_disentanglement": "DCI disentanglement",
    "partial_text": "partial rank correlation",
    "partial_image": "partial rank correlation",
    "partial_co_users": "partial rank correlation",
    "fidelity": "fidelity (Δ ln rank)",
}
HEADER = ["Claim", "What the paper says", "Verdict", "Effect [95 % interval]"]
VERDICTS = ("reproduced", "partly", "not reproduced", "not testable here", "not yet run")


def decide(claim: Claim, evidence: list[Evidence]) -> str:
    """Returns the verdict: all parts clear on most data sets, some of them, or none.

    A part holds where every comparison of a data set is clear in the claimed direction.
    """
    if not evidence:
        return "not testable here" if claim.test.get("not_testable") else "not yet run"
    parts = {item.part for item in evidence}
    majority = []
    for part in parts:
        datasets = {item.dataset for item in evidence if item.part == part}
        held = [
            all(item.holds for item in evidence if item.part == part and item.dataset == dataset)
            for dataset in datasets
        ]
        majority.append(2 * sum(held) > len(held))
    if all(majority) and len(parts) == len(claim.test["parts"]):
        return "reproduced"
    return "partly" if any(item.holds for item in evidence) else "not reproduced"


def scorecard(store: Path | str = RESULTS) -> list[dict[str, Any]]:
    """Returns one entry per claim of every paper, computed from the records of a store."""
    entries = []
    for name in paper_names():
        paper = load_paper(name)
        studies = {budget: Study(name, budget, store) for budget in paper.budgets}
        for claim in paper.claims:
            evidence = gather(claim, studies)
            first = [item for item in evidence if item.part == 0]
            effect, low, high = _pooled(first)
            entries.append(
                {
                    "id": claim.id,
                    "paper": name,
                    "claim": claim.claim,
                    "verdict": decide(claim, evidence),
                    "effect": effect,
                    "interval": None if effect is None else [low, high],
                    "unit": first[0].unit if first else None,
                    "protocol": "clean",
                    "datasets": sorted({item.dataset for item in evidence}),
                    "seeds": min((item.seeds for item in evidence), default=0),
                    "chapter": claim.chapter,
                    "evidence": [_rounded(item) for item in evidence],
                }
            )
    return entries


def _pooled(evidence: list[Evidence]) -> tuple[float | None, float | None, float | None]:
    """Returns the mean over data sets of the weakest comparison of each, with a normal interval."""
    if not evidence:
        return None, None, None
    weakest = {}
    for item in sorted(evidence, key=lambda item: item.effect, reverse=True):
        weakest[item.dataset] = item
    effects = np.asarray([item.effect for item in weakest.values()])
    errors = np.asarray([(item.high - item.low) / 3.92 for item in weakest.values()])
    half = 1.96 * np.sqrt((errors**2).sum()) / len(errors)
    return tuple(round(float(value), 6) for value in (effects.mean(), effects.mean() - half, effects.mean() + half))


def _rounded(item: Evidence) -> dict[str, Any]:
    return {name: round(value, 6) if isinstance(value, float) else value for name, value in vars(item).items()}


def deviations(store: Path | str = RESULTS) -> list[dict[str, Any]]:
    """Returns what every released deviation changes, one entry per deviation, data set and metric."""
    entries = []
    for name in paper_names():
        paper = load_paper(name)
        known = {deviation.switch: deviation for deviation in paper.deviations if deviation.switch}
        for budget in paper.budgets if "audit" in paper.artefacts else ():
            study = Study(name, budget, store)
            artefact = paper.artefact("audit")
            for dataset in study.datasets(artefact):
                if known_dataset(study.store, dataset) is None:
                    continue
                for metric in artefact.metrics:
                    for item in row_comparisons(study, "audit", dataset, metric):
                        if item.test is None or item.row not in known:
                            continue
                        deviation = known[item.row]
                        entries.append(
                            {
                                "paper": name,
                                "id": deviation.id,
                                "file": f"{deviation.file}:{deviation.lines}",
                                "commit": paper.commit,
                                "switch": deviation.switch,
                                "dataset": dataset,
                                "metric": metric,
                                "change": round(item.test.effect, 6),
                                "interval": [round(item.test.low, 6), round(item.test.high, 6)],
                                "seeds": item.test.n_seeds,
                                "clear": item.clear,
                            }
                        )
    return entries


def write_scorecard(store: Path | str = RESULTS) -> list[dict[str, Any]]:
    """Writes `scorecard.json` and `deviations.json` into a store and returns the scorecard."""
    entries = scorecard(store)
    for name, content in (("scorecard", entries), ("deviations", deviations(store))):
        text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        write_atomically(Store(store).root / f"{name}.json", lambda file, text=text: file.write(text.encode()))
    return entries


def print_scorecard(entries: list[dict[str, Any]]) -> None:
    """Prints one line per claim."""
    for entry in entries:
        print(f"{entry['id']:9} {entry['verdict']:18} {format_effect(entry):34} {entry['claim']}")


def format_effect(entry: Mapping[str, Any]) -> str:
    """Returns effect and interval as printed: percentage points for ranking metrics, plain numbers for measures."""
    if entry["effect"] is None:
        return "–"
    points = "@" in entry["unit"]
    scale, digits = (100, 2) if points else (1, 3)
    effect, low, high = (
        f"{scale * value:+.{digits}f}".replace("-", "−") for value in (entry["effect"], *entry["interval"])
    )
    plain = UNITS.get(entry["unit"], entry["unit"].replace("_", " "))
    unit = f"{metric_title(entry['unit'])} points" if points else plain
    return f"{effect} [{low}, {high}] {unit}"


def scorecard_table(entries: list[dict[str, Any]], paper: str | None = None, name: str = "tbl-scorecard") -> str:
    """Returns the scorecard as a MyST table, of one paper or of all."""
    shown = [entry for entry in entries if paper in (None, entry["paper"])]
    rows = [
        [*scorecard_row(entry, "/book/chapters"), ", ".join(map(dataset_title, entry["datasets"])) or "–"]
        for entry in shown
    ]
    caption = "The claims and what became of them."
    return myst_table([*HEADER, "Data"], rows, caption, name, "l")


def scorecard_row(entry: Mapping[str, Any], chapters: str) -> list[str]:
    """Returns the cells of one claim below HEADER; a claim that was run links to its chapter below `chapters`."""
    claim = entry["claim"]
    if entry["chapter"] and entry["verdict"] != "not yet run":
        claim = f"[{claim}]({chapters}/{entry['chapter']}.ipynb)"
    return [entry["id"], claim, f"**{entry['verdict']}**", format_effect(entry)]
