"""The data chapter: statistics beside the reported ones, what to know before believing a table, and the shop."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from IPython.display import Markdown
from PIL import Image

from disentrec.data.bazaar import CAUSES, draw_title
from disentrec.data.drafts import write_atomically
from disentrec.evaluation.metrics import per_case
from disentrec.paths import GENERATED, RESULTS
from disentrec.report.tables import CEILING_LABELS, NOT_RUN, dataset_title, myst_table, percent, show
from disentrec.study import Store
from disentrec.study.cases import CEILINGS, known_cases, known_dataset
from disentrec.study.reported import reported

#: Titles whose pictures are shown in the book; the renderer draws just what they say.
SHOWN = (
    "Nordal red striped mug", "Lumo teal dotted teapot", "Quill yellow plain kite", "Vesper blue starred bottle",
    "Elvik green wavy birdhouse", "Pavo orange checked case", "Umbra Lane purple plain lamp", "Kestrel pink dotted hat",
    "Sorrel brown striped drum", "Wexley white plain clock", "Brimlo black starred lantern",
    "Tindra grey checked scarf",
)  # fmt: skip


def statistics_table(names: Sequence[str], store: Path = RESULTS) -> Markdown:
    """Returns one line per data set; a data set without records says so."""
    rows = []
    for name in names:
        info = known_dataset(Store(store), name)
        if info is None or "statistics" not in info:
            rows.append([dataset_title(name), NOT_RUN, *[""] * 7])
            continue
        found = info["statistics"]
        parts = " / ".join(f"{found[part]:,}" for part in ("train", "valid", "test"))
        rows.append(
            [
                dataset_title(name), f"{found['items']:,}", parts, f"{found['mean_length']:.2f}",
                percent(found["share_target_in_prefix"], 1), percent(found["share_session_in_train"], 1),
                f"{found['median_item_frequency']:.0f}", f"{found['items_unseen_in_train']:,}",
                ", ".join(sorted(info["features"])) or "IDs only",
            ]
        )  # fmt: skip
    header = [
        "", "items", "sessions train / valid / test", "mean length", "target in prefix, %", "session in training, %",
        "median frequency", "unseen items", "content",
    ]  # fmt: skip
    caption = "The data sets of this study under the clean protocol. The shares are of test sessions."
    return show(myst_table(header, rows, caption, "tbl-data-statistics"))


def user_statistics_table(names: Sequence[str], store: Path = RESULTS) -> Markdown:
    """Returns one line per data set of users; a data set without records says so."""
    rows = []
    for name in names:
        info = known_dataset(Store(store), name)
        if info is None or "user_statistics" not in info:
            rows.append([dataset_title(name), NOT_RUN, *[""] * 6])
            continue
        found = info["user_statistics"]
        parts = " / ".join(f"{found[part]:,}" for part in ("train", "valid", "test"))
        counts = [f"{found[part]:,}" for part in ("users", "items")]
        density, unseen = percent(found["density"], 3), f"{found['items_unseen_in_train']:,}"
        median = f"{found['median_item_frequency']:.0f}"
        content = ", ".join(sorted(info["features"])) or "IDs only"
        rows.append([dataset_title(name), *counts, parts, density, median, unseen, content])
    header = ["", "users", "items", "pairs train / valid / test", "density, %", "median buyers", "unseen", "content"]
    caption = "The data sets of users under the clean protocol. A pair counts once, where it occurs first."
    return show(myst_table(header, rows, caption, "tbl-data-users"))


def reported_note(page: str = "/book/chapters/reported.ipynb") -> Markdown:
    """Returns how many figures of the papers' own data could be sourced, and where they stand beside ours."""
    found = [entry for entry in reported() if entry.artefact.startswith("dataset statistics")]
    sets = {(entry.paper, entry.dataset) for entry in found}
    return show(
        f"The papers' own data are not available; ours differ. {len(found)} figures on {len(sets)} of their data sets"
        f" have a source: they are compared with ours on [a page of their own]({page})."
    )


def causes_table(name: str, store: Path = RESULTS) -> Markdown:
    """Returns what the embedded shop knows of its test choices: their causes and the best possible rankings."""
    if known_dataset(Store(store), name) is None:
        return show(f"{dataset_title(name)}: {NOT_RUN}.")
    facts = known_cases(Store(store), name)
    posterior = facts["cause_posterior"].argmax(1)
    rows = []
    for number, cause in enumerate(CAUSES):
        chosen = facts["cause"] == number
        named = percent(float((posterior[chosen] == number).mean()), 1) if chosen.any() else "–"
        rows.append([cause, percent(float(chosen.mean()), 1), named])
    table = myst_table(
        ["cause", "share of test choices, %", "named by Bayes' rule, %"],
        rows,
        f"Why the test choices of {dataset_title(name)} were made, and how often the best possible guess names it.",
        "tbl-data-causes",
    )
    metrics = ("prec@1", "prec@20", "mrr@20", "ndcg@20")
    ceilings = [
        [
            CEILING_LABELS[knowing],
            *(percent(float(per_case(facts[f"oracle_rank_{knowing}"], m).mean())) for m in metrics),
        ]
        for knowing in CEILINGS
    ]
    header = ["knowing", "Prec@1", "Prec@20", "MRR@20", "NDCG@20"]
    caption = f"The best any model could do on {dataset_title(name)}, exactly, in percent."
    return show(table, myst_table(header, ceilings, caption, "tbl-data-ceilings"))


def pictures(folder: Path = GENERATED, columns: int = 6) -> Markdown:
    """Returns a sheet of pictures as the shop draws them from titles."""
    tiles = [Image.open(io.BytesIO(draw_title(title, seed))).convert("RGB") for seed, title in enumerate(SHOWN)]
    side, gap = tiles[0].width, 6
    lines = -(-len(tiles) // columns)
    sheet = Image.new("RGB", (columns * (side + gap) - gap, lines * (side + gap) - gap), "white")
    for number, tile in enumerate(tiles):
        sheet.paste(tile, ((number % columns) * (side + gap), (number // columns) * (side + gap)))
    write_atomically(folder / "shop.png", lambda file: sheet.save(file, format="PNG"))
    caption = "Pictures of the shop, drawn from titles: " + "; ".join(SHOWN[:6]) + "; and so on."
    alt = f"A sheet of {len(SHOWN)} drawn shop items, such as a red striped mug and a teal dotted teapot."
    lines = [
        "```{figure} /book/_generated/shop.png",
        ":name: fig-data-shop",
        ":width: 100%",
        f":alt: {alt}",
        "",
        caption,
        "```",
    ]
    return show("\n".join(lines))


def frequency_note(names: Sequence[str], store: Path = RESULTS) -> Markdown:
    """Returns a sentence per data set on how much of its test part rewards memory alone."""
    lines = []
    for name in names:
        if known_dataset(Store(store), name) is None:
            continue
        facts = known_cases(Store(store), name)
        easy = float(np.mean(facts["repeat"] | facts["verbatim"]))
        rare = float(np.mean(facts["target_frequency"] < 5))
        lines.append(
            f"- {dataset_title(name)}: {percent(easy, 1)} % of the test cases repeat an item of their prefix or occur"
            f" word for word in the training part; {percent(rare, 1)} % ask for an item seen fewer than five times."
        )
    return show("\n".join(lines))
