"""The page across the papers: every deviation of every released code, what it is worth, and where it stands."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from IPython.display import Markdown
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from disentrec.paths import RESULTS, ROOT
from disentrec.report import tables
from disentrec.report.figures import BLUE, GREEN, INK, MUTED, ORANGE, PURPLE, STYLE, figure, myst_figure
from disentrec.report.prices import (
    HURTS,
    INFLATES,
    LOWERS,
    NOT_RUN,
    RAISES,
    UNCLEAR,
    Price,
    known_sets,
    order,
    prices,
    steps,
    unpriced,
)
from disentrec.study import Study, load_paper, paper_names
from disentrec.study.papers import Deviation, Paper

#: Colours of verdicts: towards a higher number, towards a lower one, nothing clear.
SHADES = {INFLATES: ORANGE, RAISES: GREEN, LOWERS: PURPLE, HURTS: BLUE, UNCLEAR: "#aab4be"}
VERDICTS = (INFLATES, RAISES, HURTS, LOWERS, UNCLEAR, NOT_RUN)


class PriceList:
    """The deviations of some papers over some budgets; every method returns the output of one cell."""

    def __init__(
        self, *, papers: Sequence[str] = (), budgets: Sequence[str] = ("demo", "real"), store: str = ""
    ) -> None:
        self.store = RESULTS if not store else Path(store) if Path(store).is_absolute() else ROOT / store
        found = [load_paper(name) for name in papers or paper_names()]
        self.papers = [paper for paper in found if paper.deviations]
        self.studies = {
            paper.id: {budget: Study(paper.id, budget, self.store) for budget in budgets} for paper in self.papers
        }
        self.sets = [pair for paper in self.papers for pair in known_sets(self.studies[paper.id])]
        self.found = [price for study, dataset in self.sets for price in prices(study, dataset)]
        self.order = order(self.found)

    def summary(self) -> Markdown:
        """Returns how many deviations there are, how many carry a number, and what these numbers say."""
        total = sum(len(paper.deviations) for paper in self.papers)
        switched = sum(bool(d.switch) for paper in self.papers for d in paper.deviations)
        lines = [
            f"{total} deviations were found in {len(self.papers)} code bases; {switched} of them can change a number"
            " and are switched here, one by one."
        ]
        measured = [price for price in self.found if price.deviation is not None]
        lines += [f"- {word}: {count}" for word in VERDICTS if (count := sum(p.verdict == word for p in measured))]
        lines[1:1] = ["", "Of the pairs of deviation and data set:", ""]
        return tables.show("\n".join(lines))

    def figure(self) -> Markdown:
        """Returns all measured deviations as one forest plot, the largest change first."""
        measured = [(deviation, [p for p in group if p.test is not None]) for deviation, group in self.order]
        measured = [(deviation, group) for deviation, group in measured if group]
        if not measured:
            return tables.show("No deviation was measured yet.")
        caption = (
            "What each deviation alone changes, in percent of the number without it (MRR@20 of sessions, NDCG@20 of"
            " users), with 95 % intervals; one marker per data set. Beyond 10 % the axis is logarithmic. Grey and"
            " hollow: not clear after Holm's correction within paper and data set."
        )
        said = "; ".join(
            f"{d.id} {', '.join(f'{tables.dataset_title(p.dataset)} {tables.signed(p.relative, 1)} %' for p in group)}"
            for d, group in measured
        )
        return tables.show(
            myst_figure(price_figure(measured), "price-list", caption, f"Forest plot of relative changes: {said}.")
        )

    def table(self) -> Markdown:
        """Returns the list: every deviation with a switch, the largest change first, one line per data set."""
        rows = []
        for deviation, group in self.order:
            for place, price in enumerate(group):
                head = (
                    [self._linked(price.paper, deviation), deviation.title, deviation.group] if not place else [""] * 3
                )
                tail = [deviation.verified] if not place else [""]
                rows.append([*head, tables.dataset_title(price.dataset), *_numbers(price), price.verdict, *tail])
        header = [
            "",
            "what the released code does",
            "group",
            "data",
            "Δ [95 % interval]",
            "Δ in %",
            "effect",
            "verified by",
        ]
        caption = (
            "Every deviation with a switch, alone, against the model as described: change in points of MRR@20"
            " (sessions) or NDCG@20 (users). On data without item features, D3, D4 and D10 are compared with D2, which"
            " gives the model a modality table. Where test judges, nothing ends the training early: D6, M6 and A1 are"
            " compared with the model trained to the last epoch. A link leads to file and line of the public code."
        )
        return tables.show(tables.myst_table(header, rows, caption, "tbl-price-list", "l"))

    def together(self) -> Markdown:
        """Returns all deviations of a paper at once, and what each group adds, one line per paper and data set."""
        rows = []
        for study, dataset in self.sets:
            total = next(
                p for p in self.found if p.deviation is None and (p.paper, p.dataset) == (study.paper, dataset)
            )
            found = steps(study, dataset)
            added = "; ".join(f"{step.label[2:]} {tables.signed(step.test.effect)}" for step in found[1:]) or NOT_RUN
            numbers = [tables.percent(total.base), *_numbers(total)]
            rows.append(
                [study.paper.label(study.paper.id), tables.dataset_title(dataset), *numbers, total.verdict, added]
            )
        header = [
            "",
            "data",
            "as described",
            "Δ as released [95 % interval]",
            "Δ in %",
            "effect together",
            "step by step",
        ]
        caption = (
            "All deviations of a release at once, with its hyper-parameters, against the model as described; last"
            " column: the points that each group adds to those before it."
        )
        return tables.show(tables.myst_table(header, rows, caption, "tbl-price-together", "l"))

    def unpriced(self) -> Markdown:
        """Returns the deviations without a switch, and why they carry no number."""
        rows = [
            [self._linked(paper, d), d.title, d.group, d.note, d.verified]
            for paper in self.papers
            for d in unpriced(paper)
        ]
        header = ["", "what the released code does", "group", "why it carries no number", "verified by"]
        caption = "Deviations that no switch turns on."
        return tables.show(tables.myst_table(header, rows, caption, "tbl-price-without", "l"))

    def findings(self) -> Markdown:
        """Returns a sentence per paper: what is clear, in points, the largest share first."""
        lines = []
        for paper in self.papers:
            own = [p for p in self.found if p.paper == paper and p.deviation is not None and p.test is not None]
            if not own:
                lines.append(f"- {paper.label(paper.id)}: not yet run.")
                continue
            clear = sorted((p for p in own if p.clear), key=lambda p: -abs(p.relative))
            said = "; ".join(
                f"{p.deviation.id} {p.verdict} on {tables.dataset_title(p.dataset)} ({tables.signed(p.test.effect)})"
                for p in clear
            )
            named = {p.deviation.id for p in clear}
            rest = [i for i in dict.fromkeys(p.deviation.id for p in own) if i not in named]
            lines.append(
                f"- {paper.label(paper.id)}: {said or 'nothing is clear'}."
                + f" Clear on no data set: {', '.join(rest)}." * bool(rest)
            )
        return tables.show("\n".join(lines))

    def left(self) -> Markdown:
        """Returns what was not run, with the commands that run it."""
        lines = []
        for studies in self.studies.values():
            for budget, study in studies.items():
                for name in ("audit", "waterfall"):
                    for dataset in study.datasets(study.paper.artefact(name)):
                        missing = sum(row.missing for row in study.result(name, dataset))
                        command = f"disentrec study {study.paper.id}/{name} --budget {budget} --datasets {dataset}"
                        lines += [f"- {tables.dataset_title(dataset)}: {missing} runs. `{command}`"] * bool(missing)
        return tables.show("\n".join(lines) or "Every planned run of this page is done.")

    def _linked(self, paper: Paper, deviation: Deviation) -> str:
        return f"[{deviation.id}]({paper.url(deviation)})"


def price_figure(measured: Sequence[tuple[Deviation, Sequence[Price]]]) -> Figure:
    """Returns a line per deviation with a marker per data set: the relative change in percent, coloured by verdict."""
    names = list(dict.fromkeys(price.dataset for _, group in measured for price in group))
    markers = dict(zip(names, "osD^vP*Xhd<>", strict=False))
    drawing, (axis,) = figure(width=7.6, height=1.5 + 0.4 * len(measured))
    with mpl.rc_context(STYLE):
        axis.axvline(0, color=MUTED, lw=1)
        for place, (_, group) in enumerate(measured):
            for price, shift in zip(
                group, np.linspace(-0.22, 0.22, len(group)) if len(group) > 1 else [0.0], strict=True
            ):
                shade = SHADES[price.verdict]
                ends = [100 * end / price.base for end in (price.test.low, price.test.high)]
                axis.plot(ends, [place + shift] * 2, color=shade, lw=1.6, solid_capstyle="round")
                axis.plot(
                    100 * price.relative, place + shift, markers[price.dataset], ms=6, color=shade,
                    mfc=shade if price.clear else "white",
                )  # fmt: skip
        axis.set_xscale("symlog", linthresh=10, linscale=0.9)
        ends = [100 * end / p.base for _, group in measured for p in group for end in (p.test.low, p.test.high)]
        ticks = [tick for tick in (-100, -30, -10, 0, 10, 30, 100, 300) if 1.4 * min(ends) <= tick <= 1.4 * max(ends)]
        axis.set_xticks(ticks, [f"{tick:+d}".replace("-", "−") if tick else "0" for tick in ticks])
        axis.set_xticks([], minor=True)
        axis.set_yticks(range(len(measured)), [_label(group[0]) for _, group in measured])
        axis.set_ylim(len(measured) - 0.4, -0.6)
        axis.set_xlabel("change of the number, percent (95 % interval)")
        words = dict.fromkeys(price.verdict for _, group in measured for price in group)
        handles = [Line2D([], [], color=SHADES[word], lw=4, label=word) for word in words]
        handles += [
            Line2D([], [], color=INK, marker=markers[name], ls="", mfc="white", label=tables.dataset_title(name))
            for name in names
        ]
        drawing.legend(handles=handles, loc="outside upper right", ncols=3, fontsize=8.5)
    return drawing


def _numbers(price: Price) -> list[str]:
    """Returns change with its interval, and relative change, as printed."""
    if price.test is None:
        return [NOT_RUN, ""]
    effect = tables.signed(price.test.effect)
    change = f"**{effect}**" if price.clear else effect
    return [f"{change} {tables.interval(price.test.low, price.test.high)}", tables.signed(price.relative, 1)]


def _label(price: Price, most: int = 44) -> str:
    """Returns a deviation as its row of the audit is called; without one, its title, cut between words."""
    for row in price.paper.artefact("audit").rows:
        if row.id == price.deviation.switch:
            return row.label
    title = f"{price.deviation.id} {price.deviation.title}"
    return title if len(title) <= most else title[:most].rsplit(" ", 1)[0].rstrip(",;:") + " …"
