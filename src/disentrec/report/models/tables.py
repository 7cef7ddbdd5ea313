"""The tables of a model's page: its inputs, what it costs, how far it gets, its settings."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

from disentrec import models
from disentrec.report.models.advice import ADVICE, UNKNOWN
from disentrec.report.models.overview import DATASET, page_of
from disentrec.report.models.settings import paper_of, settings_of, tuning_grid, written
from disentrec.report.models.standings import Standing
from disentrec.report.tables import dataset_title, metric_title, myst_table, percent

#: What stands under an input in a dataset folder, and what happens where there is none.
SESSIONS = "`sessions.parquet`: the items of each visit in their order"
PAIRS = "`interactions.parquet`: who chose which item"
FEATURES = "{}: a row per item, from `disentrec encode` or your own"
LESS = "The model is that part less."
INPUTS = {
    "price": ("`price` in `items.parquet`, as money or as levels", LESS),
    "popularity": ("sales ranks; where there are none, counts in train", LESS),
    "brand": ("`brand` in `items.parquet`", LESS),
    "category": ("`category` in `items.parquet`", LESS),
}
REFUSED = "The data set is refused: another task's."
ONE_IS_ENOUGH = "One of them is enough; a data set with none is refused, with a hint how to encode some."
#: What is trained without any feature, on what is left.
GOES_ON = {"addrl": "Left out: IDs and the attributes remain."}


def inputs(name: str) -> str:
    """Returns what a model reads of a dataset folder, and what happens where it is missing."""
    model, reads = models.get(name), ADVICE.get(name, UNKNOWN).reads.split(", ")
    of_sessions = model.task == "session"
    what, base = (SESSIONS, "sessions") if of_sessions else (PAIRS, "pairs")
    if not {"sessions", "pairs", "the session itself", "–"} & set(reads):
        what += "; which item it was is read from its features alone"
    rows = [[base, what, REFUSED]]
    features = [kind for kind in reads if kind in ("text", "image")]
    if features:
        places = ", ".join(f"`features/{kind}.npy`" for kind in features)
        rows.append([", ".join(features), FEATURES.format(places), GOES_ON.get(name, ONE_IS_ENOUGH)])
    rows += [[kind, *INPUTS[kind]] for kind in reads if kind in INPUTS]
    header = ["Input", "Where it stands", "If there is none"]
    text = myst_table(header, rows, "What a dataset folder holds for it.", f"tbl-model-{name}-inputs", "l")
    paper = paper_of(name)
    without = paper.models[name].get("without_features", {}) if paper else {}
    if without:
        said = ", ".join(f"`{key}={written(value)}`" for key, value in without.items())
        text += f"\nIn the study, data sets without features are run with {said}.\n"
    return text + "\n[](/book/bring_your_data.md) says how a dataset folder is made."


def costs(name: str, own: Sequence[Standing]) -> str:
    """Returns what the runs of a model took, a line per data set."""
    if not own:
        return f"No run of `{name}` is published yet, so nothing was measured."
    rows = []
    for one in largest(own):
        row = one.rows[name]
        epochs = [seconds(row.epoch_s), f"{row.epochs:g}"] if row.parameters else ["–", "–"]
        size = f"{row.parameters:,}" if row.parameters else "none"
        rows.append(
            [dataset_title(one.dataset), f"{one.items:,}", size, *epochs, seconds(row.total_s), f"{row.peak_mb:,.0f}"]
        )
    header = ["Data", "Items", "Parameters", "Seconds per epoch", "Epochs to the best", "Seconds in all", "Peak MB"]
    machine = "; ".join(dict.fromkeys(one.rows[name].machine for one in own))
    caption = (
        f"Medians over the seeds of the main table, each run on {machine}. The peak is that of the whole"
        " process, libraries and data included."
    )
    table = myst_table(header, rows, caption, f"tbl-model-{name}-cost")
    return table + "\n[](/book/chapters/costs.ipynb) takes the time of a step apart."


def accuracy(name: str, own: Sequence[Standing]) -> str:
    """Returns the places of a model in the tables it stands in, linked to their chapters."""
    if not own:
        return f"No run of `{name}` is published yet: [](/book/not_yet_run.md) lists the tables it is planned in."
    rows = []
    for one in own:
        row, best = one.rows[name], max(one.rows, key=lambda other: one.rows[other].mean)
        spread = f" ± {percent(row.sd)}" if row.seeds > 1 else ""
        first = "it is the best" if best == name else f"{model_link(best)} {percent(one.rows[best].mean)}"
        place = f"{ordinal(one.rank(name))} of {len(one.rows)}"
        rows.append([one.link, dataset_title(one.dataset), percent(row.mean) + spread, place, first, f"{row.seeds}"])
    metric = metric_title(own[0].metric)
    caption = f"{metric} in percent on test, mean ± sd over seeds, and the place among the models of the table."
    header = ["Table", "Data", metric, "Place", "Best", "Seeds"]
    table = myst_table(header, rows, caption, f"tbl-model-{name}-accuracy", "llrrlr")
    after = "Places go by means; the linked tables say which differences are more than chance."
    return f"{table}\n{after}"


def settings(name: str) -> str:
    """Returns the fields of a model's settings with their defaults, the values of its grid and their comments."""
    found = settings_of(name)
    if not found:
        return "It has none."
    rows = [
        [f"`{one.name}`", f"`{written(one.default)}`", ", ".join(map(written, one.tuned)) or "–", one.note]
        for one in found
    ]
    # A caption stands behind a fence of backticks and can hold none.
    caption = " ".join((inspect.getdoc(models.get(name).Config) or "").replace("`", "").split())
    header = ["Setting", "Default", "Tuned over", "What it is"]
    grid, paper = tuning_grid(name), paper_of(name)
    said = "It is not tuned in this study; settings are given by `--set`."
    if grid and paper:
        counts = ", ".join(f"{budget.name} {min(budget.tuning, len(grid))}" for budget in paper.budgets.values())
        said = f"Its grid has {len(grid)} configurations, of which a budget takes the first ones: {counts}."
        said += " What begins with `training.` is given by `--training`, the rest by `--set`."
    return myst_table(header, rows, caption, f"tbl-model-{name}-settings", "l") + f"\n{said}"


def label_of(name: str) -> str:
    """Returns the name of a model in print; of one that stands in no study, its name on the command line."""
    paper = paper_of(name)
    return paper.label(name) if paper else name


def foremost(own: Sequence[Standing]) -> Standing | None:
    """Returns the largest table on the shop; elsewhere, the first."""
    found = largest(own)
    return next((one for one in found if one.dataset == DATASET), found[0] if found else None)


def largest(own: Sequence[Standing]) -> list[Standing]:
    """Returns of every data set the table with the most models."""
    best: dict[str, Standing] = {}
    for one in own:
        if one.dataset not in best or len(one.rows) > len(best[one.dataset].rows):
            best[one.dataset] = one
    return list(best.values())


def model_link(name: str) -> str:
    """Returns the printed name of a model, linked to its page."""
    return f"[{label_of(name)}](/book/models/{page_of(name)})"


def seconds(value: float) -> str:
    """Returns a duration in seconds as printed."""
    return "< 0.1" if value < 0.1 else f"{value:.1f}" if value < 10 else f"{value:,.0f}"


def ordinal(number: int) -> str:
    """Returns a place as printed: 1st, 2nd, 11th."""
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
