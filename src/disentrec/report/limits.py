"""Did training end by itself? Models whose best epoch is often the last one that their budget allows."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from disentrec.report.tables import dataset_title, myst_table
from disentrec.study import Store, load_paper

#: Below this share of runs a last epoch that happens to be the best one is no news.
SHARE = 0.25


def limits_table(store: Path | str) -> str:
    """Returns the models and data sets of which at least a quarter of the runs were best in their last epoch."""
    ends: dict[tuple[str, str, int], list[bool]] = defaultdict(list)
    for record in Store(store).records():
        spec = record.spec
        # Where test chooses the epoch, training goes on to the end in any case.
        if record.finished and len(record.content["curves"]) > 1 and not spec.protocol.select_on_test:
            last = record.content["best_epoch"] == spec.training.epochs - 1
            ends[spec.dataset, spec.model, spec.training.epochs].append(last)
    rows = [
        [dataset_title(dataset), label(model), str(epochs), f"{sum(last)} of {len(last)}"]
        for (dataset, model, epochs), last in sorted(ends.items())
        if sum(last) >= max(SHARE * len(last), 2)
    ]
    if not rows:
        return "No model's best epoch was its last in a quarter of its runs.\n"
    caption = (
        "Models that might have gained from more epochs: in at least"
        f" {100 * SHARE:.0f} % of their runs, the best epoch on validation was the last one allowed."
    )
    return myst_table(["Data", "Model", "Epochs allowed", "Runs that ended there"], rows, caption, "tbl-limits", "llr")


def label(model: str) -> str:
    """Returns a model's printed name, from the papers on sessions or on users."""
    for paper in ("dimo", "idsf"):
        if model in (known := load_paper(paper).models):
            return known[model]["label"]
    return model
