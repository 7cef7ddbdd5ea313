"""Figures of AD-DRL's chunks in the house style: what they know, where they lie, and what turning one up does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from disentrec.report.figures import BLUE, GREEN, INK, MUTED, ORANGE, PURPLE, SKY, STYLE, figure

#: One colour per chunk, then grey for free ones; also for the commonest values of an attribute.
PALETTE = (BLUE, ORANGE, GREEN, "#CC79A7", "#E69F00", SKY, PURPLE)
PALE = "#c6ced6"


def probe_figure(panels: Mapping[str, np.ndarray], chunks: Sequence[str], attributes: Sequence[str]) -> Figure:
    """Returns a matrix per panel, (chunks, attributes): what a probe reads; a chunk's own attribute is framed."""
    drawing, axes = figure(6.2, 1.55 + 0.36 * len(chunks), len(panels), sharey=True)
    with mpl.rc_context(STYLE):
        for axis, (title, values) in zip(axes, panels.items(), strict=True):
            axis.imshow(values, cmap="Blues", aspect="auto", vmin=0, vmax=1)
            for (row, column), value in np.ndenumerate(values):
                if np.isfinite(value):
                    colour = "white" if value > 0.6 else INK
                    axis.annotate(two_digits(value), (column, row), ha="center", va="center", color=colour, fontsize=10)
            for column, name in enumerate(attributes):
                corner = (column - 0.47, list(chunks).index(name) - 0.47)
                axis.add_patch(Rectangle(corner, 0.94, 0.94, fill=False, ec=ORANGE, lw=2))
            axis.set_xticks(range(len(attributes)), attributes, rotation=40, ha="right", rotation_mode="anchor")
            axis.set_yticks(range(len(chunks)), chunks)
            axis.tick_params(labelsize=10.5, colors=INK, length=0)
            axis.set_title(title)
            axis.grid(False)
            axis.spines["bottom"].set_visible(False)
        axes[0].set_ylabel("chunk", fontsize=10.5)
        drawing.supxlabel("attribute read off it", fontsize=10.5, color=INK)
    return drawing


def chunk_map_figure(
    maps: Mapping[str, np.ndarray], values: np.ndarray, chunks: Sequence[str], attributes: Sequence[str]
) -> Figure:
    """Returns every map twice, left by chunk, right by the value of the chunk's own attribute.

    maps: title -> (K, items, 2); values: (attributes, items), -1 unknown. Only the commonest values have a colour.
    """
    drawing, _ = figure(6.4, 3.25 * len(maps))
    drawing.clear()
    with mpl.rc_context(STYLE):
        axes = np.atleast_2d(drawing.subplots(len(maps), 2))
        colours = {name: PALETTE[k] if name in attributes else MUTED for k, name in enumerate(chunks)}
        by_value = {name: _by_frequency(values[k]) for k, name in enumerate(attributes)}
        for row, (title, points) in zip(axes, maps.items(), strict=True):
            for name, cloud in zip(chunks, points.astype(np.float64), strict=True):
                own = by_value.get(name, [PALE] * cloud.shape[0])
                for axis, colour in zip(row, (colours[name], own), strict=True):
                    axis.scatter(*cloud.T, s=9, c=colour, alpha=0.8, lw=0, rasterized=True)
            for axis, what in zip(row, ("by chunk", "by its attribute's value"), strict=True):
                axis.set_title(f"{title}, {what}")
                axis.set_xticks([])
                axis.set_yticks([])
                axis.grid(False)
                axis.spines["bottom"].set_visible(False)
        dots = [Line2D([], [], ls="", marker="o", ms=6, color=colour) for colour in colours.values()]
        drawing.legend(dots, colours, loc="outside lower left", ncols=len(chunks), handletextpad=0.1, columnspacing=1)
    return drawing


def control_figure(panels: Mapping[str, np.ndarray], chunks: Sequence[str], attributes: Sequence[str]) -> Figure:
    """Returns a panel per model, one line per chunk turned up: how far every attribute moves, its own as a filled dot.

    panels: title -> (chunks, attributes), changes as fractions.
    """
    drawing, axes = figure(6.4, 1.5 + 0.42 * len(chunks), len(panels), sharex=True, sharey=True)
    with mpl.rc_context(STYLE):
        for axis, (title, values) in zip(axes, panels.items(), strict=True):
            axis.axvline(0, color=MUTED, lw=1)
            for row, name in enumerate(chunks):
                for column, attribute in enumerate(attributes):
                    own = attribute == name
                    shown = {"color": PALETTE[column], "ms": 9 if own else 6, "mfc": None if own else "white"}
                    axis.plot(100 * values[row, column], row, "o", mew=1.6, zorder=3 if own else 2, **shown)
                if name in attributes:
                    target = 100 * values[row, list(attributes).index(name)]
                    axis.annotate(
                        f"{target:+.1f}".replace("-", "−"), (target, row), (0, 7), textcoords="offset points",
                        ha="center", va="bottom", fontsize=9.5,
                    )  # fmt: skip
            axis.set_yticks(range(len(chunks)), chunks)
            axis.set_ylim(len(chunks) - 0.5, -0.75)
            axis.margins(x=0.12)
            axis.set_title(title)
        axes[0].set_ylabel("chunk turned up")
        drawing.supxlabel("change among the first 20, percentage points", fontsize=9.5, color=INK)
        dots = [Line2D([], [], ls="", marker="o", ms=6, color=PALETTE[k]) for k in range(len(attributes))]
        drawing.legend(dots, attributes, loc="outside upper left", ncols=len(attributes), handletextpad=0.1)
    return drawing


def preference_figure(truth: np.ndarray, shares: np.ndarray, titles: Sequence[str]) -> Figure:
    """Returns a panel per attribute, a dot per type of customer: what they go by against what the chunks say.

    truth, shares: (types, attributes).
    """
    drawing, axes = figure(6.4, 2.7, len(titles), sharey=True)
    with mpl.rc_context(STYLE):
        for column, (axis, title) in enumerate(zip(axes, titles, strict=True)):
            axis.grid(True, axis="both")
            axis.axhline(1, color=MUTED, lw=1)
            axis.plot(100 * truth[:, column], shares[:, column], "o", ms=5.5, color=BLUE, alpha=0.75, mew=0)
            axis.set_title(title)
        axes[0].set_ylabel("chunk's share, mean = 1")
        drawing.supxlabel("true share of what the type prefers, percent", fontsize=9.5, color=INK)
    return drawing


def two_digits(value: float) -> str:
    """Returns a number as printed, with a true minus sign and no negative zero."""
    return f"{round(value, 2) + 0.0:.2f}".replace("-", "−")


def _by_frequency(codes: np.ndarray) -> list[str]:
    """Returns a colour per item: that of its value's place among the commonest, pale for the others."""
    values, counts = np.unique(codes[codes >= 0], return_counts=True)
    common = values[np.argsort(-counts, kind="stable")][: len(PALETTE)]
    colours = dict(zip(common.tolist(), PALETTE, strict=False))
    return [colours.get(code, PALE) for code in codes.tolist()]
