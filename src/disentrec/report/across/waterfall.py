"""The way from a paper to its released code as a figure: one bar per group of deviations."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
from IPython.display import Markdown
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from disentrec.report import tables
from disentrec.report.chapter import Chapter
from disentrec.report.figures import BLUE, INK, MUTED, ORANGE, STYLE, figure, myst_figure
from disentrec.report.prices import Step, price_metric, steps

#: The same three colours wherever a price is drawn.
UP, DOWN, NONE = ORANGE, BLUE, "#aab4be"
CAPTION = (
    "{metric} on {title} as described and on the clean protocol (top) and as released (bottom), and what each group of"
    " deviations changes when added to those above it. Numbers: points, with 95 % intervals (thin lines) over cases and"
    " seeds; grey where a change is not clear after Holm's correction. *Settings* are the release's hyper-parameters"
    " in place of those chosen on validation."
)


def colour(effect: float, clear: bool) -> str:
    """Returns the colour of a change: up, down, or not clear."""
    return NONE if not clear else UP if effect > 0 else DOWN


def waterfall_figure(found: Sequence[Step], metric: str) -> Figure:
    """Returns the figure of a waterfall: the first and the last number as dots, every change between as a bar."""
    drawing, (axis,) = figure(height=1.35 + 0.36 * (len(found) + 1))
    last = len(found)
    with mpl.rc_context(STYLE):
        before = 100 * found[0].value
        _total(axis, before, 0)
        for place, step in enumerate(found[1:], 1):
            after = 100 * step.value
            shade = colour(step.test.effect, step.clear)
            axis.plot([before, before], [place - 1, place], color=MUTED, lw=0.8, zorder=1)
            axis.barh(place, after - before, left=before, height=0.56, color=shade, zorder=2)
            low, high = before + 100 * step.test.low, before + 100 * step.test.high
            axis.plot([low, high], [place, place], color=INK, lw=1.1, zorder=3)
            axis.annotate(
                tables.signed(step.test.effect, 1), (max(low, high, before, after), place), (6, 0),
                textcoords="offset points", va="center", color=INK, fontweight="bold" if step.clear else "normal",
            )  # fmt: skip
            before = after
        axis.plot([before, before], [last - 1, last], color=MUTED, lw=0.8, zorder=1)
        _total(axis, before, last)
        axis.set_yticks(range(last + 1), [step.label for step in found] + ["as released"])
        axis.set_ylim(last + 0.6, -0.6)
        axis.set_xlabel(f"{tables.metric_title(metric)}, percent")
        axis.use_sticky_edges = False
        axis.margins(x=0.12)
        legend = [(UP, "raises the number"), (DOWN, "lowers it"), (NONE, "no clear change")]
        drawing.legend(
            handles=[Patch(color=shade, label=word) for shade, word in legend], loc="outside upper right", ncols=3
        )
    return drawing


def waterfalls(page: Chapter) -> Markdown:
    """Returns the waterfall of each data set of an audit, and the command where runs of it are left."""
    parts = []
    for budget, study in page.studies.items():
        for dataset in study.datasets(study.paper.artefact("audit")) if not page.only else page.only:
            title = tables.dataset_title(dataset)
            missing = sum(row.missing for row in study.result("waterfall", dataset))
            found = [] if missing else steps(study, dataset)
            if missing:
                command = f"disentrec study {study.paper.id}/waterfall --budget {budget} --datasets {dataset}"
                parts.append(f"- {title}: {missing} runs of the steps are left. `{command}`")
            elif not found:
                parts.append(f"- {title}: a run of the steps diverged, so that they are not drawn.")
            else:
                metric = price_metric(study.paper)
                caption = CAPTION.format(metric=tables.metric_title(metric), title=title)
                said = "; ".join(f"{step.label} {tables.signed(step.test.effect)}" for step in found[1:])
                ends = f"as described {tables.percent(found[0].value)}, as released {tables.percent(found[-1].value)}"
                alt = f"Waterfall of {tables.metric_title(metric)} on {title}: {ends}; {said}."
                name = f"{study.paper.id}-waterfall-{dataset}"
                parts.append(myst_figure(waterfall_figure(found, metric), name, caption, alt))
    return tables.show(*parts)


def _total(axis, value: float, place: int) -> None:
    axis.plot(value, place, "o", color=INK, ms=7, zorder=4)
    axis.annotate(
        f"{value:.1f}", (value, place), (9, 0), textcoords="offset points", va="center", color=INK, fontweight="bold"
    )
