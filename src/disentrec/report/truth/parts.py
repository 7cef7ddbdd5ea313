"""The page that asks every model the same: are its parts what they are called, by the shop's truth?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
from IPython.display import Markdown
from scipy.special import expit
from scipy.stats import spearmanr

from disentrec.evaluation.disentanglement import linear_cka
from disentrec.evaluation.identification import auc_difference, reliability
from disentrec.report import figures, tables
from disentrec.report.chapter import Chapter, analysed, mean_sd
from disentrec.report.truth import figures as truth_figures
from disentrec.study import RunRecord
from disentrec.study.analysis.parts import QUESTIONS
from disentrec.study.papers import Row

TASKS = {False: "Sessions: next item", True: "Users: top-N"}
NONE = "has none"
WHAT = {"id": "made by ID, not by modality", "price": "made for the price, not for looks"}
TOLD = {"id": "choices by ID from those by modality", "price": "choices for the price from those for looks"}
#: What is read off parts, in the order of the table.
FACTORS = ("category", "brand", "colour", "pattern", "material", "price", "popularity")
MARKS = {"id": "ID", "modality": "content", "price": "price", "looks": "the rest"}
#: What stands for the ID where it is called otherwise.
OWN = {("idsf", "id"): "structure"}


def together(*parts: Markdown | None) -> Markdown | None:
    """Returns several outputs as that of one cell."""
    return tables.show(*(part.data for part in parts if part is not None))


def ladder(pages: Sequence[Chapter], question: str = "id") -> Markdown:
    """Returns the figure of the page: how far every model comes from chance to Bayes' rule in naming the cause."""
    panels, said = {}, []
    for page in pages:
        rows = [(row, records) for _, row, records in _rows(page)]
        found = [one for _, records in rows for one in _values(records, f"{question}_bayes_auc")]
        if not found:
            continue
        dots = []
        for row, records in rows:
            values = _values(records, f"{question}_auc")
            dots.append((row.label, row.model, values, NONE if records else tables.NOT_RUN))
            said.append(f"{row.label} {np.mean(values):.2f}" if values else f"{row.label} {dots[-1][3]}")
        panels[TASKS[page.paper.of_users]] = (dots, float(np.mean(found)))
        said.append(f"Bayes' rule {np.mean(found):.2f}")
    if not panels:
        return tables.show(f"{tables.NOT_RUN.capitalize()}.")
    caption = (
        f"Does a model know which choices were {WHAT[question]}? AUC of what one part adds to the chosen item's score"
        " minus what the other adds, for the true cause of every test choice on Bazaar. Dot: mean over seeds; bar:"
        " smallest to largest seed."
    )
    alt = f"Dot plot of AUC from chance, 0.5, to Bayes' rule. {'; '.join(said)}."
    return tables.show(
        figures.myst_figure(truth_figures.ladder_figure(panels), f"truth-ladder-{question}", caption, alt)
    )


def reliability_curves(pages: Sequence[Chapter], question: str = "id") -> Markdown:
    """Returns a panel per task: what models say at their word, against what happens; all seeds together."""
    panels, said = {}, []
    for page in pages:
        lines = []
        for _, row, records in _rows(page):
            known = [_cases(record, question) for record in records if f"after_{question}_effect" in record.arrays]
            if known:
                effect, truth = np.concatenate([c[0] for c in known]), np.concatenate([c[1] for c in known])
                lines.append((row.label, row.model, *reliability(expit(effect), truth)))
                best = known[0][2]
                bayes = ("Bayes' rule", "bayes", *reliability(best, known[0][1]))
        if lines:
            panels[TASKS[page.paper.of_users]] = [bayes, *lines]
            said += [f"{label} from {happens[0]:.2f} to {happens[-1]:.2f}" for label, _, _, happens in lines]
    if not panels:
        return tables.show(f"{tables.NOT_RUN.capitalize()}.")
    caption = (
        "Reliability on Bazaar: test choices in ten equally filled bins of 1 / (1 + exp(−effect)), and how many of them"
        f" were {WHAT[question]}. On the dashed diagonal the model's share is the true one; a flat line knows nothing."
    )
    alt = f"Reliability curves; share in the lowest and in the highest bin: {'; '.join(said)}."
    return tables.show(
        figures.myst_figure(truth_figures.reliability_figure(panels), f"truth-reliability-{question}", caption, alt)
    )


def causes_table(pages: Sequence[Chapter]) -> Markdown:
    """Returns one table of both questions: AUC, calibration, and what a probability fitted to the effect is worth."""
    shown = []
    for question in QUESTIONS:
        rows = []
        for page in pages:
            bayes, ideal = [], []
            for _, row, records in _rows(page):
                names = ("auc", "skill", "ece", "informedness")
                values = [_values(records, f"{question}_{name}") for name in names]
                if records and not values[0]:
                    rows.append([row.label, NONE, *[""] * 4])
                    continue
                agree = [_agreement(records, question)] if values[0] and len(records) > 1 else []
                rows.append([row.label, *(_cell(one, records) for one in [*values, agree])])
                best = [_values(records, f"{question}_bayes_{name}") for name in names[:3]]
                bayes = [f"{np.mean(one):.2f}" for one in best] if all(best) else bayes
                perfect = [_values(records, f"{question}_ideal_{name}") for name in names]
                ideal = [f"{np.mean(one):.2f}" for one in perfect] if all(perfect) else ideal
            task = "users" if page.paper.of_users else "sessions"
            if ideal:
                rows.append([f"*Perfect parts, {task}*", *ideal, ""])
            if bayes:
                rows.append([f"*Bayes' rule, {task}*", *bayes, "", ""])
        rows.append(["*a constant*", "0.50", "0.00", "0.00", "0.00", ""])
        caption = (
            f"Which test choices were {WHAT[question]}? AUC: 0.5 is chance. Skill: how much lower the Brier score is"
            " than that of a constant, with probabilities fitted to the effect on other cases. ECE: calibration error"
            " of the effect read as a probability. Informedness: recall minus false alarms of its sign. Agreement:"
            " Spearman's correlation of the effects of two seeds. Perfect parts: parts that are the causes themselves."
            " Mean ± sd over seeds."
        )
        header = ["", "AUC", "skill", "ECE", "informedness", "agreement of seeds"]
        shown.append(tables.myst_table(header, rows, caption, f"tbl-truth-causes-{question}"))
    return tables.show(*shown)


def factors_figure(pages: Sequence[Chapter], question: str = "id", kind: str = "linear") -> Markdown:
    """Returns a heat map: what a probe reads off every part of every model, mean over seeds."""
    names, values = [], []
    for _, row, records in (entry for page in pages for entry in _rows(page)):
        for side in QUESTIONS[question]:
            cells = [_values(records, f"{kind}_{side}_{factor}") for factor in FACTORS]
            if all(cells):
                names.append(f"{row.label}: {_mark(row, side)}")
                values.append([max(float(np.mean(cell)), 0.0) for cell in cells])
    if not names:
        return tables.show(f"{tables.NOT_RUN.capitalize()}.")
    caption = (
        f"What a {kind} probe reads off the item rows of every part on Bazaar: 0 is no better than naming the commonest"
        " value, 1 is always right. On Bazaar, what goes together is independent of looks, so a part that holds only"
        " the ID stays faint."
    )
    alt = "Heat map of probes. " + "; ".join(
        f"{name}: " + ", ".join(f"{factor} {value:.2f}" for factor, value in zip(FACTORS, cells, strict=True))
        for name, cells in zip(names, values, strict=True)
    )
    drawing = figures.heat_figure(np.asarray(values), names, FACTORS, "probe, above the commonest value")
    drawing.set_size_inches(7.2, drawing.get_size_inches()[1])
    return tables.show(figures.myst_figure(drawing, f"truth-factors-{question}-{kind}", caption, alt))


def parts_table(pages: Sequence[Chapter]) -> Markdown:
    """Returns what parts hold one by one and share with each other: goes-with, DCI, MIG, SAP, CKA, HSIC, seeds."""
    rows = []
    for _, row, records in (entry for page in pages for entry in _rows(page)):
        for question, sides in QUESTIONS.items():
            if not _values(records, f"{question}_cka"):
                continue
            one, two = (_values(records, f"goes_with_{side}") for side in sides)
            measures = ("dci_disentanglement", "dci_completeness", "mig", "sap", "cka")
            cells = [mean_sd(_values(records, f"{question}_{name}"), 2) for name in measures]
            p = max(_values(records, f"{question}_hsic_p"))
            kept = " / ".join(
                f"{same:.2f}" if same is not None else "–" for same in (_stability(records, s) for s in sides)
            )
            label = f"{row.label}: {_mark(row, sides[0])} / {_mark(row, sides[1])}"
            rows.append([label, f"{np.mean(one):.2f} / {np.mean(two):.2f}", *cells, tables.p_value(p), kept])
    if not rows:
        return tables.show(f"{tables.NOT_RUN.capitalize()}.")
    header = [
        "parts",
        "finds what goes together, AUC",
        "DCI: D",
        "DCI: C",
        "MIG",
        "SAP",
        "CKA",
        "HSIC p",
        "CKA over seeds",
    ]
    caption = (
        "The two parts of a model on Bazaar. D, C, MIG and SAP: 1 if every factor is in one part that holds no other."
        " CKA between the parts: 0 unrelated, 1 the same; HSIC p: the largest over seeds of a permutation test that"
        " they are independent. CKA over seeds: is a part the same thing when trained again? Mean ± sd over seeds."
    )
    return tables.show(tables.myst_table(header, rows, caption, "tbl-truth-parts"))


def sentences(pages: Sequence[Chapter]) -> Markdown:
    """Returns a sentence per model and question: how far it comes, and whether that is more than the control does."""
    lines = []
    for page in pages:
        runs = {row.id: (row, records) for _, row, records in _rows(page)}
        control, of_control = runs.get(page.artefact.reference, (None, []))
        for name, (row, records) in runs.items():
            if not records:
                lines.append(f"- {row.label}: {tables.NOT_RUN}.")
                continue
            for question in QUESTIONS:
                values = _values(records, f"{question}_auc")
                if not values:
                    if question == "id":
                        lines.append(
                            f"- {row.label} has no part that stands for the ID, so it identifies no such cause."
                        )
                    continue
                best = np.mean(_values(records, f"{question}_bayes_auc"))
                way = (np.mean(values) - 0.5) / (best - 0.5)
                place = f"{100 * way:.0f} % of the way from chance to" if way >= 0 else "below chance, far from"
                place = "no better than chance, far from" if f"{np.mean(values):.2f}" == "0.50" else place
                text = f"- {row.label} tells {TOLD[question]} with an AUC of {np.mean(values):.2f}: {place} Bayes' rule"
                text += f" ({best:.2f})"
                if name != page.artefact.reference and _values(of_control, f"{question}_auc"):
                    text += f"; {_against(records, of_control, question, control.label)}"
                lines.append(f"{text}.")
    return tables.show("\n".join(lines) or "Nothing to say before the runs are there.")


def _against(records: list[RunRecord], others: list[RunRecord], question: str, label: str) -> str:
    effects, others = ([_cases(one, question) for one in group] for group in (records, others))
    truth = effects[0][1]
    gap, low, high = auc_difference(np.stack([e[0] for e in effects]), np.stack([o[0] for o in others]), truth)
    word = "more than" if low > 0 else "less than" if high < 0 else "not clearly other than"
    return f"{word} {label} ({gap:+.2f}, 95 % interval {low:+.2f} to {high:+.2f})".replace("-", "−")


def _mark(row: Row, side: str) -> str:
    return OWN.get((row.model, side), MARKS[side])


def _rows(page: Chapter) -> Iterator[tuple[str, Row, list[RunRecord]]]:
    """Yields data set, row and its analysed records of the first data set, in the order of the paper's YAML."""
    for study in page.studies.values():
        for dataset in (page.only or study.datasets(page.artefact))[:1]:
            for row in study.rows(page.artefact, dataset):
                yield dataset, row, analysed(study, page.artefact.id, row.id, dataset)


def _values(records: Sequence[RunRecord], measure: str) -> list[float]:
    found = (record.content["extra"]["after"].get(measure) for record in records)
    return [value for value in found if value is not None]


def _cell(values: Sequence[float], records: Sequence[RunRecord]) -> str:
    if not records:
        return tables.NOT_RUN
    return mean_sd(values, 2).replace("-0.00", "0.00").replace("-", "−") if len(values) else "–"


def _cases(record: RunRecord, question: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns effect, truth (bool) and the best possible probability of the cases that the question is about."""
    arrays = record.arrays
    rows = arrays[f"after_{question}_truth"] >= 0
    effect, truth, bayes = (arrays[f"after_{question}_{name}"][rows] for name in ("effect", "truth", "bayes"))
    return effect.astype(np.float64), truth == 1, bayes.astype(np.float64)


def _agreement(records: Sequence[RunRecord], question: str) -> float:
    effects = [_cases(record, question)[0] for record in records]
    return float(np.mean([spearmanr(one, two)[0] for one, two in combinations(effects, 2)]))


def _stability(records: Sequence[RunRecord], side: str) -> float | None:
    """Returns the mean CKA of a part over pairs of seeds; None of a single one."""
    rows = [record.arrays[f"after_part_{side}"].astype(np.float64) for record in records]
    pairs = [linear_cka(one, two) for one, two in combinations(rows, 2)]
    return float(np.mean(pairs)) if pairs else None
