"""The scorecard: every claim decided from records by the test its paper's YAML names, stated before the runs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from disentrec.data.drafts import write_atomically
from disentrec.paths import RESULTS
from disentrec.report.compare import Comparison, compare_rows, score_matrix
from disentrec.report.tables import dataset_title, metric_title, myst_table, row_comparisons, table_pairs
from disentrec.report.truth.flags import informedness_interval
from disentrec.study import Study, load_paper, paper_names
from disentrec.study.cases import known_cases, known_dataset
from disentrec.study.features import known_features
from disentrec.study.papers import Claim
from disentrec.study.store import Store
from disentrec.study.study import selection_metric

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
VERDICTS = ("reproduced", "partly", "not reproduced", "not testable here", "not yet run")


@dataclass(frozen=True)
class Evidence:
    """One comparison that bears on a claim: on one data set, for one part of its test."""

    part: int
    dataset: str
    what: str
    effect: float
    low: float
    high: float
    holds: bool
    seeds: int
    unit: str


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


def gather(claim: Claim, studies: Mapping[str, Study]) -> list[Evidence]:
    """Returns the evidence of every part of a claim's test, from all budgets whose runs are complete."""
    return [
        item
        for number, part in enumerate(claim.test.get("parts", ()))
        for study in studies.values()
        for dataset in part.get("datasets", study.datasets(study.paper.artefact(part["artefact"])))
        if known_dataset(study.store, dataset) is not None
        for item in KINDS[part["kind"]](number, part, study, dataset)
    ]


def _pairs(number: int, part: Mapping[str, Any], study: Study, dataset: str) -> Iterator[Evidence]:
    """Rows against rows: `pairs: [[better, worse], ...]`."""
    carried = {row.id for row in study.rows(study.paper.artefact(part["artefact"]), dataset)}
    pairs = [tuple(pair) for pair in part["pairs"] if carried >= set(pair)]
    seeds = {result.row.id: len(result.records) for result in study.result(part["artefact"], dataset)}
    for item in _within_table(study, part, dataset, pairs):
        if item.test is not None:
            labels = [study.paper.artefact(part["artefact"]).row(row).label for row in (item.row, item.against)]
            yield Evidence(
                number,
                dataset,
                " against ".join(labels),
                item.test.effect,
                item.test.low,
                item.test.high,
                item.clearly_better,
                seeds[item.row],
                part["metric"],
            )


def _best_rival(number: int, part: Mapping[str, Any], study: Study, dataset: str) -> Iterator[Evidence]:
    """A row against the rival that is best on validation."""
    results = {result.row.id: result for result in study.result(part["artefact"], dataset)}
    rivals = [name for name in part["rivals"] if name in results]
    if any(score_matrix(results[name], part["metric"]) is None for name in [part["row"], *rivals] if name in results):
        return
    if part["row"] not in results or not rivals:
        return
    valid = {
        name: np.mean([record.metric(selection_metric(record.spec.model), "valid") for record in results[name].records])
        for name in rivals
    }
    best = max(rivals, key=valid.__getitem__)
    pairs = [(part["row"], name) for name in rivals]
    seldom = part.get("seen_at_most")
    for item in _within_table(study, part, dataset, pairs, seen_at_most=seldom):
        if item.against == best and item.test is not None:
            what = f"against {results[best].row.label}, the best baseline on validation"
            what += "" if seldom is None else f", on targets seen at most {seldom} times"
            yield Evidence(
                number,
                dataset,
                what,
                item.test.effect,
                item.test.low,
                item.test.high,
                item.clearly_better,
                len(results[item.row].records),
                part["metric"],
            )


def _within_table(
    study: Study, part: Mapping[str, Any], dataset: str, pairs: list[tuple[str, str]], **cases: Any
) -> list[Comparison]:
    """Returns the comparisons that a claim names, corrected together with all others of the table they stand in."""
    named = {frozenset(pair) for pair in pairs}
    others = [pair for pair in table_pairs(study, part["artefact"], dataset) if frozenset(pair) not in named]
    found = compare_rows(study, part["artefact"], dataset, [*pairs, *others], part["metric"], **cases)
    return found[: len(pairs)]


def _measure(number: int, part: Mapping[str, Any], study: Study, dataset: str) -> Iterator[Evidence]:
    """A measure of analysed runs above (or below) a bound, or that of another row, seed by seed."""
    results = {result.row.id: result for result in study.result(part["artefact"], dataset)}
    values = _measured(results.get(part["row"]), part["measure"])
    if "against" in part:
        other = _measured(results.get(part["against"]), part["measure"])
        values = values - other if len(values) == len(other) else np.empty(0)
    if len(values) < 2:
        return
    values = values - part.get("bound", 0.0)
    low, high = stats.t.interval(0.95, len(values) - 1, values.mean(), max(stats.sem(values), 1e-12))
    holds = high < 0 if part.get("direction") == "lower" else low > 0
    yield Evidence(
        number,
        dataset,
        part["what"],
        float(values.mean()),
        float(low),
        float(high),
        bool(holds),
        len(values),
        part["measure"],
    )


def _measured(result, name: str) -> np.ndarray:
    if result is None or not result.complete:
        return np.empty(0)
    found = [record.content["extra"].get("after", {}).get(name) for record in result.records]
    return np.asarray([value for value in found if value is not None], dtype=float)


def _truth(number: int, part: Mapping[str, Any], study: Study, dataset: str) -> Iterator[Evidence]:
    """The flag against the true cause: better than `share` of what Bayes' rule can tell, over cases."""
    facts = known_cases(study.store, dataset)
    results = {result.row.id: result for result in study.result(part["artefact"], dataset)}
    if "cause" not in facts or part["row"] not in results or not results[part["row"]].complete:
        return
    records = [record for record in results[part["row"]].records if "after_flag" in record.arrays]
    if records:
        # The flag is read off the training sessions alone: it hardly differs between seeds, so cases are resampled.
        effect, low, high = informedness_interval(records[0].arrays["after_flag"], facts, part["share"])
        yield Evidence(number, dataset, part["what"], effect, low, high, low > 0, len(records), "informedness")


def _semantics(number: int, part: Mapping[str, Any], study: Study, dataset: str) -> Iterator[Evidence]:
    """What a pseudo-modality keeps of the real one (encode.pseudo.semantics), less a bound, over items."""
    for name, record in known_features(study.store, dataset).items():
        if name in part["features"] and "semantics" in record:
            value, low, high, _ = (
                bound - part["bound"] * (place < 3) for place, bound in enumerate(record["semantics"]["found"])
            )
            what = f"{name.replace('_', ' ')}, {part['what']}"
            yield Evidence(number, dataset, what, value, low, high, low > 0, 1, "share of items")


KINDS = {"semantics": _semantics, "truth": _truth, "pairs": _pairs, "best_rival": _best_rival, "measure": _measure}


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
    rows = []
    for entry in entries:
        if paper is not None and entry["paper"] != paper:
            continue
        claim = entry["claim"]
        if entry["chapter"] and entry["verdict"] != "not yet run":
            claim = f"[{claim}](/book/chapters/{entry['chapter']}.ipynb)"
        datasets = ", ".join(map(dataset_title, entry["datasets"])) or "–"
        rows.append([entry["id"], claim, f"**{entry['verdict']}**", format_effect(entry), datasets])
    header = ["Claim", "What the paper says", "Verdict", "Effect [95 % interval]", "Data"]
    return myst_table(header, rows, "The claims and what became of them.", name).replace("| --: |", "| :-- |")
