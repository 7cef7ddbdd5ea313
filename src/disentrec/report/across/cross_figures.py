"""Figures across the papers: shares of what can be achieved, where the rest is lost, accuracy against cost."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from disentrec.report.across.cross import FAMILIES
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
    drawing, axes = figure(height=4.4, columns=len(panels), sharey=True)
    with mpl.rc_context(STYLE):
        for axis, (xlabel, points) in zip(axes, panels, strict=True):
            costs = np.asarray([point[2] for point in points])
            nothing = costs[costs > 0].min(initial=costs.max() or 1.0) / 6  # a log scale has no zero
            at = np.where(costs > 0, costs, nothing)
            axis.set_xscale("log")
            axis.grid(True, axis="y")
            front = sorted((x, point[3]) for x, point in zip(at, points, strict=True) if point[5])
            steps = np.asarray([*front, (at.max(), front[-1][1])]).T
            axis.plot(*steps, color=MUTED, lw=1.2, ls=(0, (4, 2)), drawstyle="steps-post", zorder=1)
            for x, (_, family, _, value, _, on_front) in zip(at, points, strict=True):
                colour = FAMILIES[family]
                axis.plot(x, value, "o", ms=8 if on_front else 6, color=colour, mfc=colour if on_front else "white")
            axis.set_xlim(at.min() / 2, at.max() * 3)
            axis.margins(y=0.12)
            ticks = _ticks(costs[costs > 0], at.max() * 3)
            zero = [(nothing, "none")] if (costs == 0).any() else []
            axis.set_xticks(*zip(*zero, *((tick, _short(tick)) for tick in ticks), strict=True))
            axis.minorticks_off()
            _name(axis, [(x, p[3], p[0], FAMILIES[p[1]]) for x, p in zip(at, points, strict=True) if p[4]])
            axis.set_xlabel(xlabel)
        axes[0].set_ylabel(ylabel)
        families = {point[1] for _, points in panels for point in points}
        _legend(drawing, families, Line2D([], [], color=MUTED, lw=1.2, ls=(0, (4, 2)), label="Pareto front (filled)"))
    return drawing


def _ticks(costs: np.ndarray, high: float) -> list[float]:
    """Returns round numbers over the range of costs: powers of ten, and where these are few their halves and fifths."""
    low = costs.min(initial=high)
    powers = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    subs = (1,) if high / low > 300 else (1, 2, 5)
    return [float(power * sub) for power in powers for sub in subs if low / 1.5 <= power * sub <= high]


def _short(value: float) -> str:
    """Returns a round number in few letters: 0.1, 20, 500k, 2M."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def _name(axis: Axes, places: Sequence[tuple[float, float, str, str]]) -> None:
    """Writes names beside their points: at the right above them, at the left below the front, the highest above it."""
    low, high = axis.get_ylim()
    middle = 10 ** np.mean(np.log10(axis.get_xlim()))
    for right in (True, False):
        side = sorted((place for place in places if (place[0] > middle) == right), key=lambda place: place[1])
        free = -np.inf if right else np.inf
        for number, (x, y, label, colour) in enumerate(side if right else side[::-1]):
            above = right or number == 0
            height = max(y, free) if right else y if above else min(y, free)
            free = height + (0.05 if right else -0.05) * (high - low) * (right or number > 0)
            axis.annotate(
                label, (x, height), (4 if right else -4 if above else 6, 5 if above else -3),
                textcoords="offset points", va="bottom" if above else "top", ha="right" if right else "left",
                color=colour, fontsize=8, path_effects=[withStroke(linewidth=2.5, foreground="white")],
            )  # fmt: skip


def _legend(drawing: Figure, families: set[str], *more: Line2D) -> None:
    handles = [_handle(name) for name in FAMILIES if name in families]
    handles += more
    drawing.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize=8.5)


def _handle(family: str) -> Line2D:
    return Line2D([], [], color=FAMILIES[family], marker="o", ls="", ms=6, label=family)
