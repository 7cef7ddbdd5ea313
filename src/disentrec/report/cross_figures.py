"""Figures across the papers: shares of what can be achieved, where the rest is lost, accuracy against cost."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from disentrec.report.cross import FAMILIES
from disentrec.report.figures import INK, MUTED, RED, STYLE, figure

#: (label, family, value, low, high), fractions.
Line = tuple[str, str, float, float, float]
#: (label, family, cost, value in percent, is it named, is it on the front).
Point = tuple[str, str, float, float, bool, bool]


def tenths(value: float) -> str:
    """Returns a number with one decimal, a true minus sign and no minus zero."""
    return f"{round(value, 1) + 0.0:.1f}".replace("-", "−")


def shares_figure(lines: Sequence[Line], xlabel: str) -> Figure:
    """Returns a dot with its interval per line, the first on top, coloured by family; the optimum is a line at 100."""
    drawing, (axis,) = figure(height=1.1 + 0.27 * len(lines))
    with mpl.rc_context(STYLE):
        for place, (_, family, *values) in enumerate(reversed(lines)):
            value, low, high = (100 * bound for bound in values)
            colour = FAMILIES[family]
            axis.plot([low, high], [place, place], color=colour, lw=2.2, solid_capstyle="round", alpha=0.55)
            axis.plot(value, place, "o", color=colour, ms=6.5)
            axis.annotate(
                f"{round(value)}".replace("-", "−"), (high, place), (6, 0),
                textcoords="offset points", va="center", color=INK, fontsize=8.5,
            )  # fmt: skip
        axis.set_yticks(range(len(lines)), [label for label, *_ in reversed(lines)])
        axis.axvline(0, color=MUTED, lw=1)
        axis.axvline(100, color=RED, lw=1.2, ls=(0, (4, 2)))
        axis.annotate(
            "optimum", (100, 1), (-4, -2), xycoords=("data", "axes fraction"), textcoords="offset points",
            color=RED, ha="right", va="top", fontsize=8.5,
        )  # fmt: skip
        axis.set_xlabel(xlabel)
        axis.margins(y=0.04)
        _legend(drawing, {family for _, family, *_ in lines})
    return drawing


def losses_figure(values: np.ndarray, rows: Sequence[str], columns: Sequence[str]) -> Figure:
    """Returns an annotated matrix with a last column of sums; values: (rows, columns), points lost."""
    drawing, (axis,) = figure(width=7.2, height=0.9 + 0.27 * len(rows))
    total = values.sum(1, keepdims=True)
    limit = np.abs(values).max()
    with mpl.rc_context(STYLE):
        shaded = np.hstack([values, np.full_like(total, np.nan)])  # sums are on another scale: no shade
        axis.imshow(shaded, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto")
        for (row, column), value in np.ndenumerate(np.hstack([values, total])):
            dark = column < values.shape[1] and abs(value) > 0.65 * limit
            axis.annotate(
                tenths(value), (column, row), ha="center", va="center", fontsize=8.5,
                color="white" if dark else INK, weight="normal" if column < values.shape[1] else "bold",
            )  # fmt: skip
        axis.set_xticks(range(len(columns) + 1), [*columns, "in all"], fontsize=8.5, color=INK)
        axis.xaxis.tick_top()
        axis.set_yticks(range(len(rows)), rows)
        axis.grid(False)
    return drawing


def cost_figure(panels: Sequence[tuple[str, Sequence[Point]]], ylabel: str) -> Figure:
    """Returns accuracy against one cost per panel, on a log scale; rows that cost nothing stand at its left end.

    A line joins the Pareto front: no other row is as cheap and as good.
    """
    drawing, axes = figure(height=4.2, columns=len(panels), sharey=True)
    with mpl.rc_context(STYLE):
        for axis, (xlabel, points) in zip(axes, panels, strict=True):
            costs = np.asarray([point[2] for point in points])
            least = costs[costs > 0].min() if (costs > 0).any() else 1.0
            nothing = least / 8
            axis.set_xscale("log")
            axis.grid(True, axis="y")
            at = {point: max(point[2], nothing) for point in points}
            front = sorted((point for point in points if point[5]), key=lambda point: at[point])
            steps = [[at[p] for p in front] + [max(at.values())], [p[3] for p in front] + [front[-1][3]]]
            axis.plot(*steps, color=MUTED, lw=1.2, ls=(0, (4, 2)), drawstyle="steps-post", zorder=1)
            for point in points:
                label, family, _, value, named, on_front = point
                colour = FAMILIES[family]
                axis.plot(at[point], value, "o", ms=8 if on_front else 6, color=colour, mfc=colour if on_front else "white")
            _name(axis, [(at[p], p[3], p[0], FAMILIES[p[1]]) for p in points if p[4]])
            if (costs == 0).any():
                axis.axvline(least / 2.5, color=MUTED, lw=0.6)
                axis.annotate(
                    "none", (nothing, 0), (0, 3), xycoords=("data", "axes fraction"), textcoords="offset points",
                    ha="center", color=MUTED, fontsize=8.5,
                )  # fmt: skip
                kept = [tick for tick in axis.get_xticks() if tick >= least / 2.5]
                axis.set_xlim(nothing / 2, max(at.values()) * 2.5)
                axis.set_xticks([tick for tick in kept if tick <= max(at.values()) * 2.5])
                axis.minorticks_off()
            axis.margins(x=0.12, y=0.1)
            axis.set_xlabel(xlabel)
        axes[0].set_ylabel(ylabel)
        families = {point[1] for _, points in panels for point in points}
        _legend(drawing, families, Line2D([], [], color=MUTED, lw=1.2, ls=(0, (4, 2)), label="Pareto front (filled)"))
    return drawing


def _name(axis: Axes, places: Sequence[tuple[float, float, str, str]]) -> None:
    """Writes names beside their points, moved up so that no two of one panel share a height."""
    low, high = axis.get_ylim()
    taken: list[float] = []
    for x, y, label, colour in sorted(places, key=lambda place: place[1]):
        height = max([y, *(t + 0.045 * (high - low) for t in taken if abs(t - y) < 0.2 * (high - low))])
        taken.append(height)
        left = x > 10 ** np.mean(np.log10(axis.get_xlim()))
        axis.annotate(
            label, (x, height), (-8 if left else 8, 0), textcoords="offset points", va="center",
            ha="right" if left else "left", color=colour, fontsize=8,
        )  # fmt: skip


def _legend(drawing: Figure, families: set[str], *more: Line2D) -> None:
    handles = [_handle(name) for name in FAMILIES if name in families]
    handles += more
    drawing.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=8.5)


def _handle(family: str) -> Line2D:
    return Line2D([], [], color=FAMILIES[family], marker="o", ls="", ms=6, label=family)
