"""Figures of the pages that hold models' parts against the shop's truth, in the style of report/figures.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from disentrec.report.figures import COLOURS, DASHES, INK, MUTED, RED, STYLE, figure

#: A row of a panel: label, model, and its AUC over seeds, empty where the model has no such parts or was not run.
Dot = tuple[str, str, Sequence[float], str]


def ladder_figure(panels: Mapping[str, tuple[Sequence[Dot], float]]) -> Figure:
    """Returns a ladder per task from chance to Bayes' rule, a dot for every model; its spread over seeds is the bar.

    panels: title -> rows (label, model, AUC per seed, what is said instead of a dot), and the AUC of Bayes' rule.
    """
    sizes = [len(rows) + 0.6 for rows, _ in panels.values()]
    least = min((value for rows, _ in panels.values() for _, _, values, _ in rows for value in values), default=0.5)
    drawing, _ = figure(height=1.1 + 0.42 * sum(sizes))
    with mpl.rc_context(STYLE):
        drawing.clear()
        axes = np.atleast_1d(drawing.subplots(len(panels), 1, sharex=True, height_ratios=sizes))
        for axis, (title, (rows, best)) in zip(axes, panels.items(), strict=True):
            axis.axvline(0.5, color=MUTED, lw=1.2, ls=(0, (4, 2)))
            axis.axvline(best, color=RED, lw=1.2, ls=(0, (4, 2)))
            for text, place, colour in (("chance", 0.5, MUTED), (f"Bayes' rule {best:.2f}", best, RED)):
                axis.annotate(
                    text, (place, 1), (0, 3), xycoords=("data", "axes fraction"), textcoords="offset points",
                    ha="center", va="bottom", color=colour, fontsize=8.5,
                )  # fmt: skip
            for place, (_, model, values, said) in enumerate(reversed(rows)):
                if not len(values):
                    axis.annotate(said, (0.5, place), (8, 0), textcoords="offset points", va="center", color=MUTED)
                    continue
                colour, mean = COLOURS.get(model, INK), np.mean(values)
                axis.plot([0.5, mean], [place, place], color=colour, lw=1.4, alpha=0.35)
                axis.plot([min(values), max(values)], [place] * 2, color=colour, lw=5, alpha=0.3)
                # A variant of a model has its colour, and a hollow dot.
                again = model in [other for _, other, *_ in rows[: len(rows) - 1 - place]]
                axis.plot(mean, place, "o", color=colour, mfc="white" if again else colour, ms=7)
                right = mean >= 0.5
                axis.annotate(
                    f"{mean:.2f}", (max(values) if right else min(values), place), (8 if right else -8, 0),
                    textcoords="offset points", va="center", ha="left" if right else "right", color=INK,
                )  # fmt: skip
            axis.set_yticks(range(len(rows)), [label for label, *_ in reversed(rows)])
            axis.set_ylim(-0.6, len(rows) - 0.4)
            axis.set_title(title, pad=16)
            axis.set_xlim(min(0.4, least - 0.08), 1.04)
        axes[-1].set_xlabel("AUC of the model's effect against the true cause")
    return drawing


def reliability_figure(panels: Mapping[str, Sequence[tuple[str, str, np.ndarray, np.ndarray]]]) -> Figure:
    """Returns a panel per task: how often a choice was made by ID where a model says so with that probability.

    panels: title -> (label, model, said, happens), (bins,) each. The diagonal is to be taken at one's word.
    """
    drawing, axes = figure(height=3.5, columns=len(panels), sharey=True)
    with mpl.rc_context(STYLE):
        for axis, (title, lines) in zip(axes, panels.items(), strict=True):
            axis.grid(True, axis="both")
            axis.plot([0, 1], [0, 1], color=MUTED, lw=1.2, ls=(0, (4, 2)))
            for number, (label, model, said, happens) in enumerate(lines):
                dash = DASHES[[other for _, other, *_ in lines[:number]].count(model) % len(DASHES)]
                width, size = (1, 2) if model == "bayes" else (1.8, 4)
                axis.plot(
                    said, happens, "osD^v"[number % 5], ls=dash, lw=width, ms=size, color=COLOURS.get(model, INK),
                    label=label,
                )  # fmt: skip
            axis.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), aspect="equal")
            axis.set_title(title)
            axis.set_xlabel("says: made by ID")
            axis.legend(loc="upper left", fontsize=8)
        axes[0].set_ylabel("was made by ID, share")
    return drawing
