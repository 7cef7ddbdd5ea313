"""Figures of the book in one house style: one function per figure, same colour for a model everywhere."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from disentrec import models
from disentrec.data.drafts import write_atomically
from disentrec.evaluation.metrics import per_case
from disentrec.paths import BOOK, GENERATED
from disentrec.report.compare import Comparison
from disentrec.report.tables import CEILING_LABELS, known_optimum, metric_title
from disentrec.study import RowResult

# Okabe and Ito's colours, told apart with every common colour vision.
INK, MUTED, GRID = "#1f2933", "#6b7785", "#e4e8ec"
BLUE, ORANGE, GREEN, RED, PURPLE, SKY = "#0072B2", "#D55E00", "#009E73", "#C0392B", "#9B5094", "#56B4E9"
COLOURS = {
    "dimo": BLUE,
    "mmsbr": RED,
    "unisrec": "#B05B8A",
    "cohhn": "#7A6A00",
    "sasrec": "#3B7F6A",
    "bert4rec": "#5E8C31",
    "lessr": "#7B68B5",
    "dhcn": "#4C6FA8",
    "cotrec": "#2E8BA0",
    "msgifsr": "#A0522D",
    "atten-mixer": "#87627A",
    "narm": GREEN,
    "sr-gnn": PURPLE,
    "sknn": ORANGE,
    "two-towers": "#4A5560",
    "late-fusion": "#8C6BB1",
    "one-hop": "#B8860B",
    "repeat": MUTED,
    "spop": MUTED,
    "pop": MUTED,
    "addrl": BLUE,
    "idsf": RED,
    "lightgcn": GREEN,
    "lightgcn-mmrec": "#6DB33F",
    "bpr": PURPLE,
    "bpr-mmrec": "#C792C0",
    "item-knn": ORANGE,
    "ngcf": "#3B7F6A",
    "dgcf": "#5E8C31",
    "vbpr": "#B05B8A",
    "mmgcn": "#7B68B5",
    "grcn": "#4C6FA8",
    "lattice": "#2E8BA0",
    "slmrec": "#7A6A00",
    "dmrl": "#A0522D",
    "bm3": "#87627A",
    "freedom": "#B8860B",
    "most-popular": MUTED,
}
#: Comes with matplotlib.
FONT = "DejaVu Sans"
#: Lines of one model, in their order.
DASHES = ("-", (0, (3, 2)), (0, (1, 1.5)))
STYLE = {
    "figure.dpi": 110,
    "font.family": FONT,
    "font.size": 9.5,
    "axes.edgecolor": GRID,
    "axes.labelcolor": INK,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "x",
    "grid.color": GRID,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": INK,
    "ytick.left": False,
    "xtick.bottom": False,
    "legend.frameon": False,
    "svg.hashsalt": "disentrec",  # the same figure gives the same bytes
    "svg.fonttype": "path",
}
#: Matplotlib writes the date and its version into a file unless told not to.
NO_METADATA = {"Date": None, "Creator": None}


def use_own_font() -> None:
    """Has figures drawn in the font that came with matplotlib, whichever of its name the system has: the same bytes."""
    fonts = font_manager.fontManager
    fonts.ttflist = [font for font in fonts.ttflist if font.name != FONT]
    for style in ("", "-Bold", "-Oblique", "-BoldOblique"):
        fonts.addfont(Path(mpl.get_data_path(), "fonts", "ttf", f"{FONT.replace(' ', '')}{style}.ttf"))


use_own_font()


def figure(
    width: float = 7.2, height: float = 3.2, columns: int = 1, rows: int = 1, **options
) -> tuple[Figure, np.ndarray]:
    """Returns a figure and its axes, row by row, in house style; it is never shown or registered globally."""
    with mpl.rc_context(STYLE):
        drawing = Figure(figsize=(width, height), layout="constrained")
        return drawing, np.atleast_1d(drawing.subplots(rows, columns, **options)).ravel()


def myst_figure(drawing: Figure, name: str, caption: str, alt: str, *, folder: Path = GENERATED) -> str:
    """Writes `name`.svg and returns the numbered MyST figure that shows it.

    `alt` is what a reader who cannot see the figure is told; it must not be empty.
    """
    if not alt.strip():
        raise ValueError(f"figure {name} has no text alternative")
    path, drawn = folder / f"{name}.svg", io.StringIO()
    with mpl.rc_context(STYLE):
        drawing.savefig(drawn, format="svg", bbox_inches="tight", metadata=NO_METADATA)
    text = _steady(drawn.getvalue())
    write_atomically(path, lambda file: file.write(text.encode()))
    place = f"/{path.relative_to(BOOK.parent).as_posix()}" if path.is_relative_to(BOOK.parent) else str(path)
    lines = [
        f"```{{figure}} {place}",
        f":name: fig-{name}",
        ":width: 100%",
        f":alt: {' '.join(alt.split())}",
        "",
        caption,
        "```",
    ]
    return "\n".join(lines) + "\n"


def _steady(svg: str) -> str:
    """Returns a drawing that is the same where a layout differs in its last digits, and without trailing blanks.

    Places are kept to a thousandth of a point, and ids, which are hashes of places, are numbered.
    """
    ids = dict.fromkeys(re.findall(r'id="(\w*[0-9a-f]{10})"', svg))
    numbered = {old: f"{old[0]}{number}" for number, old in enumerate(ids, 1)}
    svg = re.sub(r'(?<=["#])\w*[0-9a-f]{10}(?=[")])', lambda found: numbered.get(found[0], found[0]), svg)
    svg = re.sub(r"(?<!scale\()\b\d+\.\d{4,}", lambda found: f"{float(found[0]):.3f}".rstrip("0").rstrip("."), svg)
    return re.sub(r"[ \t]+$", "", svg, flags=re.MULTILINE)


def accuracy_figure(results: Sequence[RowResult], facts: dict[str, np.ndarray], metric: str = "mrr@20") -> Figure:
    """Returns a dot per row with its spread over seeds; for sessions of the embedded shop also the Bayes optimum."""
    shown = [result for result in results if result.records and all(r.finished for r in result.records)]
    drawing, (axis,) = figure(height=0.9 + 0.32 * len(shown))
    with mpl.rc_context(STYLE):
        for position, result in enumerate(reversed(shown)):
            values = 100 * np.asarray(result.metric(metric))
            colour = COLOURS.get(result.row.model, INK)
            axis.plot([0, values.mean()], [position, position], color=colour, lw=1.4, alpha=0.35)
            axis.plot(
                [values.min(), values.max()],
                [position] * 2,
                color=colour,
                lw=5,
                alpha=0.3,
                solid_capstyle="round",
            )
            axis.plot(values.mean(), position, "o", color=colour, ms=6.5)
            axis.annotate(
                f"{values.mean():.1f}",
                (values.max(), position),
                (7, 0),
                textcoords="offset points",
                va="center",
                color=INK,
            )
        axis.set_yticks(range(len(shown)), [result.row.label for result in reversed(shown)])
        axis.set_xlabel(f"{metric_title(metric)} on test, percent")
        axis.set_xlim(left=0)
        axis.margins(y=0.06)
        tasks = {models.get(result.records[0].spec.model).task for result in shown}
        if tasks and known_optimum(facts, *tasks):
            best = 100 * per_case(facts["oracle_rank_all"], metric).mean()
            axis.axvline(best, color=RED, lw=1.2, ls=(0, (4, 2)))
            axis.annotate(
                f"{CEILING_LABELS['all']} {best:.1f}",
                (best, 1),
                (-4, -2),
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                color=RED,
                ha="right",
                va="top",
                fontsize=8.5,
            )
    return drawing


def effects_figure(comparisons: Sequence[Comparison], labels: dict[str, str]) -> Figure:
    """Returns a forest plot: the effect of every row against its reference, with its interval.

    A filled dot is clear after Holm's correction; a hollow one is not.
    """
    shown = [comparison for comparison in comparisons if comparison.test is not None]
    drawing, (axis,) = figure(height=0.9 + 0.32 * max(len(shown), 1))
    with mpl.rc_context(STYLE):
        axis.axvline(0, color=MUTED, lw=1)
        for position, comparison in enumerate(reversed(shown)):
            test = comparison.test
            colour = MUTED if not comparison.clear else GREEN if test.effect > 0 else ORANGE
            axis.plot(
                [100 * test.low, 100 * test.high],
                [position] * 2,
                color=colour,
                lw=2.2,
                solid_capstyle="round",
            )
            axis.plot(
                100 * test.effect,
                position,
                "o",
                ms=6.5,
                color=colour,
                mfc=colour if comparison.clear else "white",
            )
        axis.set_yticks(range(len(shown)), [labels[comparison.row] for comparison in reversed(shown)])
        if shown:
            axis.set_xlabel(f"change in {metric_title(shown[0].metric)}, percentage points (95 % interval)")
        axis.margins(y=0.08)
    return drawing


def clouds_figure(points: Sequence[np.ndarray], titles: Sequence[str], labels: Sequence[str]) -> Figure:
    """Returns t-SNE maps side by side; points: per panel (clouds, n, 2), one cloud for every label."""
    drawing, axes = figure(height=3.5, columns=len(points))
    with mpl.rc_context(STYLE):
        for axis, clouds, title in zip(axes, points, titles, strict=True):
            for cloud, colour, label in zip(clouds, (BLUE, ORANGE, SKY, "#E69F00"), labels, strict=False):
                axis.scatter(*cloud.T, s=5, color=colour, alpha=0.65, lw=0, label=label, rasterized=True)
            axis.set_title(title)
            axis.set_xticks([])
            axis.set_yticks([])
            axis.grid(False)
        axes[0].legend(loc="upper left", markerscale=2.5, handletextpad=0.2, borderpad=0.1)
    return drawing


def lines_figure(
    groups: Sequence[str],
    lines: dict[str, tuple[str, Sequence[float]]],
    xlabel: str,
    ylabel: str,
    *,
    from_zero: bool = True,
) -> Figure:
    """Returns one line per name over ordered groups, named at its end; lines: name -> (model, values)."""
    drawing, (axis,) = figure(height=3.4)
    with mpl.rc_context(STYLE):
        axis.grid(True, axis="y")
        axis.grid(False, axis="x")
        # Names at the ends must not cover each other: at least so far apart, in the order of their lines.
        ends = sorted(lines, key=lambda name: lines[name][1][-1])
        top = max(np.nanmax(values) for _, values in lines.values())
        bottom = 0 if from_zero else min(np.nanmin(values) for _, values in lines.values())
        place, least = {}, 0.055 * (top - bottom)
        for name in ends:
            place[name] = max(lines[name][1][-1], max(place.values(), default=-np.inf) + least)
        for number, (name, (model, values)) in enumerate(lines.items()):
            colour = COLOURS.get(model, INK)
            dash = DASHES[[m for m, _ in lines.values()][:number].count(model) % len(DASHES)]
            axis.plot(range(len(groups)), values, "o", ls=dash, color=colour, lw=1.8, ms=5)
            end = len(groups) - 1
            axis.annotate(
                name, (end, place[name]), (8, 0), textcoords="offset points", va="center", color=colour,
                annotation_clip=False,  # a name that was pushed above the axes is still a name
            )  # fmt: skip
        axis.set_xticks(range(len(groups)), groups)
        axis.set_xlabel(xlabel)
        axis.set_ylabel(ylabel)
        if from_zero:
            axis.set_ylim(bottom=0)
    return drawing


def bars_figure(values: dict[str, Sequence[float]], xlabel: str, reference: tuple[float, str] | None = None) -> Figure:
    """Returns one dot with its spread over seeds for every name; `reference`, a line and its name, if any."""
    drawing, (axis,) = figure(height=0.9 + 0.32 * len(values))
    with mpl.rc_context(STYLE):
        for position, (_, seeds) in enumerate(reversed(values.items())):
            seeds = np.asarray(seeds)
            axis.plot(
                [seeds.min(), seeds.max()],
                [position] * 2,
                color=BLUE,
                lw=5,
                alpha=0.3,
                solid_capstyle="round",
            )
            axis.plot(seeds.mean(), position, "o", color=BLUE, ms=6.5)
        axis.set_yticks(range(len(values)), list(reversed(values)))
        axis.set_xlabel(xlabel)
        axis.margins(y=0.08)
        if reference is not None:
            axis.axvline(reference[0], color=RED, lw=1.2, ls=(0, (4, 2)), label=reference[1])
            if reference[1]:
                axis.legend(loc="lower right")
    return drawing


def heat_figure(values: np.ndarray, rows: Sequence[str], columns: Sequence[str], label: str) -> Axes:
    """Returns a small annotated matrix as a figure."""
    drawing, (axis,) = figure(width=5.2, height=1.1 + 0.4 * len(rows))
    with mpl.rc_context(STYLE):
        image = axis.imshow(values, cmap="Blues", aspect="auto")
        for (row, column), value in np.ndenumerate(values):
            dark = value > 0.6 * np.nanmax(values)
            axis.annotate(f"{value:.2f}", (column, row), ha="center", va="center", color="white" if dark else INK)
        axis.set_xticks(range(len(columns)), columns)
        axis.set_yticks(range(len(rows)), rows)
        axis.grid(False)
        drawing.colorbar(image, ax=axis, label=label)
    return drawing
