"""Figures of the page on costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from disentrec.report.figures import BLUE, COLOURS, GREEN, INK, MUTED, ORANGE, RED, SKY, STYLE, figure
from disentrec.study import load_paper, paper_names

#: Stages of a training step -> their names in print and their colours.
STEP = {"batch": "drawing", "loss": "loss", "backward": "gradients", "optimiser": "optimiser"}
SHADES = dict(zip(STEP, (ORANGE, BLUE, SKY, GREEN), strict=True))
#: Where the axis of shares ends: a table that fits the caches may be many times its floor.
EDGE = 1.5
#: What memory is for.
PARTS = {"rest": MUTED, "interaction": BLUE, "user": SKY, "item": ORANGE}
PLURALS = {"rest": "imports and the rest", "interaction": "interactions", "user": "users", "item": "items"}


@lru_cache(maxsize=1)
def _labels() -> dict[str, str]:
    papers = [paper for paper in map(load_paper, paper_names()) if "main" in paper.artefacts]
    rows = [(paper.program(row.model), row.label) for paper in papers for row in paper.artefact("main").rows]
    return dict(reversed(rows))  # the first row of a program names it


def label(model: str) -> str:
    """Returns a model's name as the tables of the papers print it, without "(as described)"."""
    return _labels().get(model, model).partition(" (")[0]


def times(ratio: float) -> str:
    """Returns a ratio as printed."""
    return f"{ratio:,.0f}×" if ratio >= 10 else f"{ratio:.1f}×"


def milliseconds(value: float) -> str:
    """Returns milliseconds as printed: two digits below ten."""
    return f"{value:.2f}" if value < 10 else f"{value:,.0f}"


def step_figure(steps: Mapping[str, Mapping[str, float]]) -> Figure:
    """Returns a bar per model, cut by the share of each stage; steps: model -> stage -> milliseconds."""
    drawing, (axis,) = figure(height=1.1 + 0.32 * len(steps))
    with mpl.rc_context(STYLE):
        for position, step in enumerate(reversed(steps.values())):
            total, left = sum(step.values()), 0.0
            for stage, value in step.items():
                share = 100 * value / total
                axis.barh(position, share, left=left, height=0.62, color=SHADES[stage], edgecolor="white", lw=0.8)
                left += share
            axis.annotate(
                f"{milliseconds(total)} ms", (100, position), (6, 0), textcoords="offset points", va="center", color=INK
            )
        axis.set_yticks(range(len(steps)), [label(name) for name in reversed(steps)])
        axis.set_xlim(0, 100)
        axis.set_xlabel("share of a training step, percent")
        axis.margins(y=0.03)
        _legend(axis, {STEP[stage]: SHADES[stage] for stage in STEP})
    return drawing


def ceiling_figure(shares: Mapping[str, Mapping[str, float]], targets: Mapping[str, float]) -> Figure:
    """Returns a panel per kind of work with a dot per model: the floor as a share of the time taken.

    `targets`: what the share should be, a thin line. Shares beyond `EDGE` are arrows at the edge with their numbers.
    """
    names = list(dict.fromkeys(name for found in shares.values() for name in found))
    drawing, axes = figure(height=1.2 + 0.32 * len(names), columns=len(shares), sharex=True, sharey=True)
    with mpl.rc_context(STYLE):
        for axis, (title, found) in zip(axes, shares.items(), strict=True):
            axis.axvline(1, color=RED, lw=1.2, ls=(0, (4, 2)))
            axis.axvline(targets[title], color=MUTED, lw=1)
            for name, share in found.items():
                place, colour = len(names) - 1 - names.index(name), COLOURS.get(name, INK)
                beyond = share > EDGE
                axis.plot([0, min(share, EDGE)], [place] * 2, color=colour, lw=1.4, alpha=0.35)
                axis.plot(min(share, EDGE), place, ">" if beyond else "o", ms=6.5, color=colour, clip_on=False)
                if beyond:
                    near = dict(textcoords="offset points", ha="right", va="bottom", fontsize=8)
                    axis.annotate(f"{share:.1f}", (EDGE, place), (-6, 1), **near)
            axis.set_title(title)
            axis.set_xlim(0, EDGE)
            axis.set_xlabel("floor / time taken")
        axes[0].set_ylim(-0.7, len(names) - 0.3)
        axes[0].set_yticks(range(len(names)), [label(name) for name in reversed(names)])
    return drawing


def peer_figure(peers: Sequence[Mapping[str, Any]]) -> Figure:
    """Returns a dot per comparison: how many times as long the released program takes."""
    drawing, (axis,) = figure(height=0.9 + 0.32 * len(peers))
    with mpl.rc_context(STYLE):
        axis.axvline(1, color=MUTED, lw=1)
        for position, peer in enumerate(reversed(peers)):
            colour = COLOURS.get(peer["model"], INK)
            axis.plot([1, peer["ratio"]], [position] * 2, color=colour, lw=1.4, alpha=0.35)
            axis.plot(peer["ratio"], position, "o", color=colour, ms=6.5)
            axis.annotate(
                times(peer["ratio"]), (peer["ratio"], position), (8, 0), textcoords="offset points", va="center"
            )
        axis.set_xscale("log")
        ticks = [tick for tick in (1, 3, 10, 30, 100, 300, 1000) if tick <= 2 * max(p["ratio"] for p in peers)]
        axis.set_xticks(ticks, [f"{tick:,}×" for tick in ticks], minor=False)
        axis.set_xticks([], minor=True)
        axis.set_yticks(range(len(peers)), [peer["what"] for peer in reversed(peers)])
        axis.set_xlabel("seconds of the released program / seconds here (log scale)")
        axis.margins(x=0.1, y=0.06)
    return drawing


def memory_figure(parts: Mapping[str, Mapping[str, float]], budget: float) -> Figure:
    """Returns a bar per model, cut by what its memory is for, and the budget; parts: model -> part -> GB."""
    drawing, (axis,) = figure(height=1.3 + 0.4 * len(parts))
    with mpl.rc_context(STYLE):
        for position, found in enumerate(reversed(parts.values())):
            left = 0.0
            for part, value in found.items():
                axis.barh(position, value, left=left, height=0.6, color=PARTS[part], edgecolor="white", lw=0.8)
                left += value
            axis.annotate(f"{left:.1f}", (left, position), (6, 0), textcoords="offset points", va="center")
        axis.axvline(budget, color=RED, lw=1.2, ls=(0, (4, 2)))
        axis.annotate(
            f"{budget:.0f} GB", (budget, 0.5), (-5, 0), xycoords=("data", "axes fraction"), textcoords="offset points",
            color=RED, ha="right", va="center", fontsize=8.5,
        )  # fmt: skip
        axis.set_yticks(range(len(parts)), [label(name) for name in reversed(parts)])
        axis.set_xlabel("predicted peak memory, GB")
        axis.set_xlim(left=0)
        _legend(axis, {PLURALS[part]: PARTS[part] for part in PARTS})
    return drawing


def _legend(axis, shades: Mapping[str, str]) -> None:
    handles = [mpl.patches.Patch(color=colour, label=name) for name, colour in shades.items()]
    axis.legend(handles=handles, loc="lower left", bbox_to_anchor=(-0.01, 1), ncols=len(shades), handlelength=1)
