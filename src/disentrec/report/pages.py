"""The generated parts of the prose pages: scorecard, landing figure, what was not run, the rerun.

Pages include them (`{include}`), so a number in prose is computed from records as those of the chapters are.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from disentrec import models
from disentrec.data.drafts import write_atomically
from disentrec.evaluation.metrics import per_case
from disentrec.report.endurance import inputs_text, kills_table
from disentrec.report.figures import BLUE, GREEN, INK, MUTED, ORANGE, RED, STYLE, figure, myst_figure
from disentrec.report.limits import limits_table
from disentrec.report.models.overview import models_tables
from disentrec.report.sameness import processors_text, versions_text
from disentrec.report.scorecard import HEADER, VERDICTS, scorecard_row, scorecard_table
from disentrec.report.tables import dataset_title, known_optimum, metric_title, myst_table, plain_table, signed
from disentrec.study import RowResult, RunSpec, load_paper, paper_names, planned
from disentrec.study.cases import known_cases, known_dataset
from disentrec.study.store import Store
from disentrec.study.study import selection_metric

#: Words carry the verdict; the colour only repeats it.
BADGES = dict(zip(VERDICTS, ("success", "warning", "danger", "muted", "muted"), strict=True))
#: Between these marks the README repeats the scorecard, for those who see it before the book.
MARKS = ("<!-- scorecard: written by `disentrec book` -->", "<!-- end of scorecard -->")
RELEASED = "released"
#: Measures that a claim says to fall.
FALLING = ("cka",)
#: By what a run that is made again is compared with the published one.
RERUN = {"session": ("prec@20", "mrr@20"), "top-n": ("ndcg@20", "recall@20")}
#: Of one data set: its title, (label, percent, colour) per row, and the Bayes optimum or NaN.
Line = tuple[str, list[tuple[str, float, str]], float]


def write_pages(store: Path | str, folder: Path, entries: Sequence[dict[str, Any]], measured: Path) -> None:
    """Writes what prose pages include into `folder`: from the records of a store, its scorecard, and benchmarks."""
    _write(folder / "scorecard.md", landing_scorecard(entries))
    _write(folder / "findings.md", findings(entries))
    _write(folder / "not_yet_run.md", not_yet_run(store, entries))
    _write(folder / "story.md", story(store, folder))
    _write(folder / "models.md", models_tables(store))
    _write(folder / "limits.md", limits_table(store))
    _write(folder / "kills.md", kills_table(measured))
    _write(folder / "wrong_files.md", inputs_text(measured))
    _write(folder / "versions.md", versions_text(Store(store), measured))
    _write(folder / "processors.md", processors_text(measured))


def write_readme(path: Path, entries: Sequence[dict[str, Any]]) -> None:
    """Writes the scorecard between the two marks of a README; one without them stays as it is."""
    text = path.read_text() if path.exists() else ""
    if all(mark in text for mark in MARKS):
        before, after = text.split(MARKS[0])[0], text.split(MARKS[1])[1]
        _write(path, f"{before}{MARKS[0]}\n\n{readme_scorecard(entries)}\n{MARKS[1]}{after}")


def readme_scorecard(entries: Sequence[dict[str, Any]]) -> str:
    """Returns the scorecard as a plain Markdown table, with links that work in the repository."""
    return _unbroken(plain_table(HEADER, [scorecard_row(entry, "book/chapters") for entry in entries], "l"))


def landing_scorecard(entries: Sequence[dict[str, Any]]) -> str:
    """Returns the claims that were decided as one table, and in a sentence what was not."""
    decided = {entry["paper"] for entry in entries if entry["verdict"] != "not yet run"}
    shown = [entry for entry in entries if entry["paper"] in decided]
    waiting = {entry["paper"] for entry in entries} - decided
    parts = [badges(scorecard_table(shown))] if shown else ["No claim was decided yet.\n"]
    if waiting:
        count = sum(entry["paper"] in waiting for entry in entries)
        parts.append(f"{count} claims of other papers are stated and [not yet run](/book/not_yet_run.md).\n")
    return "\n".join(parts)


def findings(entries: Sequence[dict[str, Any]]) -> str:
    """Returns what a reader takes from the scorecard: how many claims hold, which, and how far that goes."""
    held, partly, failed = (
        [entry for entry in entries if entry["verdict"] == verdict]
        for verdict in ("reproduced", "partly", "not reproduced")
    )
    decided = [*held, *partly, *failed]
    if not decided:
        return "No claim was decided yet.\n"
    share = f"All {len(entries)} claims" if len(decided) == len(entries) else f"{len(decided)} of {len(entries)} claims"
    said = [f"{share} are decided: **{len(held)} reproduced, {len(partly)} partly, {len(failed)} not reproduced**."]
    names = "; ".join(f"{entry['claim']} ({entry['id']})" for entry in held)
    said += [f"What is reproduced: {names}."] * bool(held)
    beats = [f"{e['id']} {e['verdict']}" for e in decided if e["claim"].startswith("beats")]
    said += [f"The main claim of a paper, that its model beats the baselines: {', '.join(beats)}."] * bool(beats)
    if failed:
        other = ", ".join(entry["id"] for entry in failed if _opposite(entry)) or "none"
        said.append(
            f"*Not reproduced* does not mean refuted: of these {len(failed)} claims, the printed interval lies on the"
            f" other side of zero for {other}; the rest is not clear in either direction."
        )
    made = sum(all(name.startswith("bazaar") for name in entry["datasets"]) for entry in decided)
    said += [f"{made} of the {len(decided)} verdicts rest on the embedded shop alone."] * bool(made)
    return "\n".join(said) + "\n"


def badges(table: str) -> str:
    """Returns a scorecard table whose verdicts are badges and whose claim ids do not break."""
    table = _unbroken(table)
    for verdict, kind in BADGES.items():
        table = table.replace(f"| **{verdict}** |", f"| {{bdg-{kind}}}`{verdict}` |")
    return table


def _unbroken(table: str) -> str:
    return re.sub(r"^(\| [A-Z]+)-", "\\1\N{NON-BREAKING HYPHEN}", table, flags=re.MULTILINE)


def not_yet_run(store: Path | str, entries: Sequence[dict[str, Any]]) -> str:
    """Returns what is planned and not in the store: runs by budget with their command, then open claims."""
    parts = []
    for (paper, budget), rows in _left(store).items():
        note = load_paper(paper).budget(budget).note
        name = _name(paper)
        header = ["Table", "Data", "Runs done", "Left"]
        caption = f"{name}, budget *{budget}*: runs that are not done yet."
        table = myst_table(header, rows, caption, f"tbl-left-{paper}-{budget}", "llr")
        command = f"```bash\ndisentrec study {paper} --budget {budget} --jobs 4\n```\n"
        parts += [f"**{name}, {budget}.** {note}\n", command, table]
    parts = parts or ["Every planned run is done.\n"]
    open_claims = [
        [entry["id"], entry["claim"], entry["verdict"]]
        for entry in entries
        if entry["verdict"] in ("not yet run", "not testable here")
    ]
    if open_claims:
        caption = "Claims that are not decided yet."
        header = ["Claim", "What the paper says", "State"]
        parts.append(myst_table(header, open_claims, caption, "tbl-claims-open", "l"))
    return "\n".join(parts)


def story(store: Path | str, folder: Path) -> str:
    """Returns the figures of the landing page as MyST, one per task: where the papers stand, described and released."""
    parts = []
    for task, metric in (("session", "mrr@20"), ("top-n", "recall@20")):
        lines = story_lines(store, task, metric)
        if not lines:
            continue
        title = metric_title(metric)
        caption = (
            f"{title} on test, in percent; dots are means over seeds. *As described* and *as released* are the same"
            " model without and with the deviations of the released code. Grey: the best baseline that trains nothing;"
            " green: the best trained baseline, both chosen on validation."
        )
        if any(np.isfinite(optimum) for _, _, optimum in lines):
            caption += " The red line is the Bayes optimum, known only for data that we made."
        said = [f"{name}: " + ", ".join(f"{row} {value:.1f}" for row, value, _ in dots) for name, dots, _ in lines]
        alt = f"Dot plot of {title} in percent. {'; '.join(said)}"
        drawing = story_figure(lines, title)
        parts.append(myst_figure(drawing, "story" if task == "session" else "story-users", caption, alt, folder=folder))
    return "\n".join(parts) or "The figure of this page appears with the first complete main table.\n"


def story_lines(store: Path | str, task: str = "session", metric: str = "mrr@20") -> list[Line]:
    """Returns per data set its title, (label, percent, colour) of its rows, and the Bayes optimum or NaN.

    The rows: the best baseline without parameters and the best trained one, by validation; then every paper of the
    task, as described and as released. Data sets whose main table lacks a run are left out.
    """
    found: dict[str, dict[str, RowResult]] = {}
    own: dict[str, list[RowResult]] = {}
    learned: dict[str, bool] = {}
    for study, artefact, dataset in planned(store):
        paper, results = study.paper, study.result(artefact.id, dataset)
        if artefact.id != "main" or models.get(paper.id).task != task or any(not row.complete for row in results):
            continue
        learned |= {name: entry.get("learned", True) for name, entry in paper.models.items()}
        rows = found.setdefault(dataset, {})
        rows |= {row.row.model: row for row in results if row.row.model not in paper_names()}
        own.setdefault(dataset, []).extend(row for row in results if row.row.model == paper.id)
    lines = []
    for dataset, rows in found.items():
        free = [row for name, row in rows.items() if not learned[name]]
        trained = [row for name, row in rows.items() if learned[name]]
        chosen = [(_best(group), colour) for group, colour in ((free, MUTED), (trained, GREEN)) if group]
        chosen += [(row, ORANGE if row.row.id == RELEASED else BLUE) for row in own[dataset]]
        points = [(row.row.label, 100 * float(np.mean(row.metric(metric))), colour) for row, colour in chosen]
        facts = known_cases(Store(store), dataset)
        optimum = per_case(facts["oracle_rank_all"], metric).mean() if known_optimum(facts, task) else np.nan
        lines.append((dataset_title(dataset), points, 100 * float(optimum)))
    return lines


def story_figure(lines: Sequence[Line], title: str) -> Figure:
    """Returns one panel per data set with a labelled dot per row; the Bayes optimum is a line."""
    sizes = [len(dots) + 1.4 for _, dots, _ in lines]
    drawing, _ = figure(height=0.5 + 0.28 * sum(sizes))
    values = [value for _, dots, optimum in lines for value in (*(dot[1] for dot in dots), optimum)]
    right = 1.12 * np.nanmax(values)
    with mpl.rc_context(STYLE):
        drawing.clear()
        axes = np.atleast_1d(drawing.subplots(len(lines), 1, sharex=True, height_ratios=sizes))
        for axis, (name, points, optimum) in zip(axes, lines, strict=True):
            for place, (_, value, colour) in enumerate(reversed(points)):
                axis.plot([0, value], [place, place], color=colour, lw=1.6, alpha=0.35)
                axis.plot(value, place, "o", color=colour, ms=7)
                axis.annotate(
                    f"{value:.1f}", (value, place), (8, 0), textcoords="offset points", va="center", zorder=5,
                    color=INK, bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
                )  # fmt: skip
            axis.set_yticks(range(len(points)), [label for label, _, _ in reversed(points)])
            axis.set_title(name)
            axis.set_xlim(0, right)
            axis.margins(y=0.16)
            if np.isfinite(optimum):
                axis.axvline(optimum, color=RED, lw=1.3, ls=(0, (4, 2)))
                axis.annotate(
                    f"Bayes optimum {optimum:.1f}", (optimum, 1), (0, 4), textcoords="offset points",
                    xycoords=("data", "axes fraction"), color=RED, ha="center", va="bottom", fontsize=8.5,
                )  # fmt: skip
        axes[-1].set_xlabel(f"{title}, percent")
    return drawing


def write_rerun(store: Path | str, rerun: Path, target: Path) -> None:
    """Writes what the runs of this machine say beside the published ones; a hint where there are none."""
    _write(target, rerun_table(Store(store), Store(rerun)))


def rerun_table(published: Store, here: Store) -> str:
    """Returns a table of the runs made again: how many agree with the published ones, and by how much."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    pairs = ((record, published.path(_as_published(published, record.spec))) for record in here.records())
    for record, path in pairs:
        entry = {"here": record, "there": published.read(path) if path.exists() else None}
        groups.setdefault((record.spec.dataset, record.spec.model), []).append(entry)
    if not groups:
        return "Nothing was run again on this machine yet: `make book` does it.\n"
    rows = []
    for (dataset, model), entries in groups.items():
        both = [entry for entry in entries if entry["there"] is not None]
        gaps = {metric: _gaps(both, metric) for metric in RERUN[models.get(model).task]}
        same = int(sum(np.logical_and(*(np.abs(gap) < 1e-9 for gap in gaps.values())))) if both else 0
        shown = [signed(gap[np.argmax(np.abs(gap))], 3) if len(gap) else "–" for gap in gaps.values()]
        minutes = sum(entry["here"].content["timing"]["total_s"] for entry in entries) / 60
        counts = [f"{len(entries)}", f"{same} of {len(both)}"]
        rows.append([model, dataset_title(dataset), *counts, *shown, f"{minutes:.1f}"])
    header = ["Model", "Data", "Runs", "Same as published"]
    header += ["Largest Δ Prec@20 (users: NDCG@20)", "Largest Δ MRR@20 (Recall@20)", "Minutes"]
    caption = "The study of the embedded shop, run again on this machine. Differences Δ in percentage points."
    return myst_table(header, rows, caption, "tbl-rerun")


def _as_published(published: Store, spec: RunSpec) -> RunSpec:
    """Returns the spec on the published data: those made here may differ in last digits (disentrec/processor.py)."""
    info = known_dataset(published, spec.dataset)
    return spec if info is None else replace(spec, fingerprint=info["fingerprint"])


def _left(store: Path | str) -> dict[tuple[str, str], list[list[str]]]:
    """Returns per paper and budget one line for every table and data set with runs left."""
    found: dict[tuple[str, str], list[list[str]]] = {}
    for study, artefact, dataset in planned(store):
        results = study.result(artefact.id, dataset)
        left, done = sum(row.missing for row in results), sum(len(row.records) for row in results)
        if left:
            title = f"{artefact.title} (`{artefact.id}`)"
            row = [title, dataset_title(dataset), f"{done}", f"{left}"]
            found.setdefault((study.paper.id, study.budget.name), []).append(row)
    return found


def _name(paper: str) -> str:
    """Returns the printed name of a paper, or the title of what is no paper."""
    found = load_paper(paper)
    return found.label(paper) if paper in found.models else found.title


def _gaps(entries: Sequence[dict[str, Any]], metric: str) -> np.ndarray:
    gaps = [entry["here"].metric(metric) - entry["there"].metric(metric) for entry in entries]
    return np.nan_to_num(np.asarray(gaps, dtype=float))  # both diverged: no difference


def _best(results: Sequence[RowResult]) -> RowResult:
    metric = selection_metric(results[0].records[0].spec.model)
    return max(results, key=lambda row: np.mean([record.metric(metric, "valid") for record in row.records]))


def _opposite(entry: dict[str, Any]) -> bool:
    """True where the interval of the printed effect lies wholly on the side that the claim denies."""
    low, high = entry["interval"]
    return low > 0 if entry["unit"] in FALLING else high < 0


def _write(path: Path, text: str) -> None:
    write_atomically(path, lambda file: file.write(text.encode()))
