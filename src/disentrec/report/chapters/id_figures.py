"""Figures of IDSF's pages, in the style of report/figures.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from scipy.stats import rankdata

from disentrec.report.figures import COLOURS, GRID, INK, MUTED, STYLE, figure
from disentrec.study.papers import Row

#: Categories by their number: Okabe and Ito's colours, each with a mark of its own; the last is for the others.
CLOUD_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#B8860B")
MARKS = ("o", "^", "s", "D", "v", "P")
LONGEST = 20


def heats_figure(panels: Sequence[tuple[str, np.ndarray]], codes: np.ndarray, names: Sequence[str]) -> Figure:
    """Returns heat maps, three in a row: of every pair of items, how many pairs of its panel it is more alike than.

    panels: (title, upper triangle of the similarities); codes: the items' categories, ascending, by place in `names`.
    Ranks put cosines of any kind on one scale; they are what the correlations are computed from. The less alike half
    of the pairs stays white, so that what is alike stands out.
    """
    n, rows = len(codes), -(-len(panels) // 3)
    drawing, axes = figure(height=0.8 + 2.4 * rows, columns=3, rows=rows)
    edges = np.r_[0, np.flatnonzero(np.diff(codes)) + 1, n]
    middles, sizes = (edges[:-1] + edges[1:]) / 2, np.diff(edges)
    labels = [_short(names[code]) for code in np.unique(codes)]
    with mpl.rc_context(STYLE):
        for axis in axes[len(panels) :]:
            axis.set_visible(False)
        for place, (axis, (title, triangle)) in enumerate(zip(axes, panels, strict=False)):
            image = axis.imshow(_percentiles(triangle, n), cmap="Blues", vmin=50, vmax=100, interpolation="nearest")
            for edge in edges:
                axis.axhline(edge - 0.5, color=MUTED, lw=0.4, alpha=0.6)
                axis.axvline(edge - 0.5, color=MUTED, lw=0.4, alpha=0.6)
            axis.set_title(title)
            axis.set_xticks([])
            axis.grid(False)
            axis.spines[:].set_visible(False)
            # A category of hardly any item has no room for its name.
            shown = [number for number, size in enumerate(sizes) if size >= 0.05 * n and place % 3 == 0]
            axis.set_yticks(middles[shown] - 0.5, [labels[number] for number in shown], fontsize=8)
        bar = drawing.colorbar(image, ax=axes.tolist(), shrink=0.45, aspect=30, location="bottom", pad=0.02)
        bar.outline.set_visible(False)
        bar.set_label("more alike than so many percent of the panel's pairs")
    return drawing


def _percentiles(triangle: np.ndarray, n: int) -> np.ndarray:
    """Returns the share of pairs that each pair is more alike than, percent, (n, n); nan on the diagonal."""
    full = np.full((n, n), np.nan)
    above = np.triu_indices(n, 1)
    ranks = (rankdata(triangle) - 0.5) / len(triangle)
    full[above] = full.T[above] = 100 * ranks
    return full


def maps_figure(panels: Sequence[tuple[str, np.ndarray, np.ndarray]], names: Sequence[str]) -> Figure:
    """Returns scatter maps side by side; panels: (title, (n, 2), codes by place in `names`, whose last is the rest)."""
    drawing, axes = figure(height=4.1, columns=len(panels))
    with mpl.rc_context(STYLE):
        for axis, (title, points, codes) in zip(axes, panels, strict=True):
            for code in reversed(range(len(names))):
                rest = code == len(names) - 1
                axis.scatter(
                    *points[codes == code].T,
                    s=8 if rest else 24,
                    color=MUTED if rest else CLOUD_COLOURS[code],
                    marker="o" if rest else MARKS[code],
                    alpha=0.45 if rest else 0.85,
                    lw=0,
                    label=_short(names[code]),
                )
            axis.set_title(title)
            axis.set_xticks([])
            axis.set_yticks([])
            axis.grid(False)
            axis.spines[:].set_visible(False)
        handles, labels = axes[0].get_legend_handles_labels()
        drawing.legend(
            handles[::-1], labels[::-1], loc="outside lower center", ncols=4, handletextpad=0.1, columnspacing=1.2
        )
    return drawing


def correlations_figure(
    panels: Mapping[str, Sequence[tuple[str, Row, Sequence[float], Sequence[float], tuple[float, float]]]],
) -> Figure:
    """Returns a panel per kind of correlation; a line of it: (name or "", row, untrained, trained, by chance).

    Lines without a name stand below the one they belong to.
    """
    count = max(map(len, panels.values()))
    drawing, axes = figure(height=1.3 + 0.3 * count, columns=len(panels), sharey=True, sharex=True)
    models: dict[str, str] = {}
    with mpl.rc_context(STYLE):
        for axis, (title, lines) in zip(axes, panels.items(), strict=True):
            axis.axvline(0, color=MUTED, lw=1)
            place, ticks = 0.0, []
            for name, row, before, after, (low, high) in lines:
                place -= 1.5 if name else 0.8
                ticks += [(place, name)] * bool(name)
                colour = COLOURS.get(row.model, INK)
                models[row.label] = colour
                axis.plot([low, high], [place] * 2, color=GRID, lw=9, solid_capstyle="butt", zorder=1)
                if len(before):
                    axis.plot(np.mean(before), place, "o", ms=5, mfc="white", color=colour, zorder=3)
                axis.plot([min(after), max(after)], [place] * 2, color=colour, lw=4, alpha=0.35, zorder=2)
                axis.plot(np.mean(after), place, "o", ms=6.5, color=colour, zorder=4)
            axis.set_title(title)
            axis.set_yticks([y - 0.4 * (len(models) - 1) for y, _ in ticks], [name for _, name in ticks])
            axis.set_xlabel("rank correlation")
        dots = [mpl.lines.Line2D([], [], color=colour, marker="o", ls="", ms=6.5) for colour in models.values()]
        rings = [mpl.lines.Line2D([], [], color=INK, marker="o", mfc="white", ls="", ms=5)]
        bars = [mpl.lines.Line2D([], [], color=GRID, lw=7)]
        drawing.legend(
            dots + rings + bars,
            [*models, "untrained", "by chance"],
            loc="outside lower center",
            ncols=len(models) + 2,
            handlelength=1.2,
            handletextpad=0.6,
            columnspacing=1.4,
        )
    return drawing


def sweeps_figure(
    panels: Mapping[str, tuple[Mapping[float, Sequence[float]], float]], ylabel: str, model: str = "idsf"
) -> Figure:
    """Returns a panel per setting: the metric over its values, in order and not to scale; panels: see `sweeps`."""
    drawing, axes = figure(height=3.3, columns=len(panels), sharey=True)
    with mpl.rc_context(STYLE):
        for axis, (title, (points, chosen)) in zip(axes, panels.items(), strict=True):
            axis.grid(True, axis="y")
            axis.grid(False, axis="x")
            colour = COLOURS[model]
            means = [100 * np.mean(seeds) for seeds in points.values()]
            for place, seeds in enumerate(points.values()):
                values = 100 * np.asarray(seeds)
                axis.plot([place] * len(values), values, "o", color=colour, ms=3.5, alpha=0.4, mew=0)
            axis.plot(range(len(means)), means, "o-", color=colour, lw=1.8, ms=5.5)
            place = list(points).index(chosen)
            axis.plot(place, means[place], "o", ms=12, mfc="none", mec=INK, mew=1.3)
            axis.annotate(
                "chosen",
                (place, means[place]),
                (0, 11),
                textcoords="offset points",
                ha="center",
                color=INK,
                fontsize=8.5,
            )
            axis.set_xticks(range(len(points)), [f"{value:g}" for value in points])
            axis.set_xlabel(title)
            axis.margins(x=0.08, y=0.18)
        axes[0].set_ylabel(ylabel)
    return drawing


def _short(name: str) -> str:
    """Returns a name that has room; a dollar sign of a shop begins no formula."""
    name = name if len(name) <= LONGEST else name[: LONGEST - 1].rstrip() + "…"
    return name.replace("$", r"\$")
