"""Pages on MMSBR's items: how seldom seen ones fare, what pseudo-modalities keep, and maps of the modalities."""

from __future__ import annotations

import numpy as np
from IPython.display import Markdown

from disentrec.report import figures, tables
from disentrec.report.chapter import Chapter, analysis_tables, mean_sd, state_maps
from disentrec.report.compare import LEAST_CASES, score_matrix
from disentrec.study import Study
from disentrec.study.cases import known_cases
from disentrec.study.features import known_features

#: How often a target stands in the training sessions: name, least, most.
BUCKETS = (("never", 0, 0), ("1 to 5", 1, 5), ("6 to 20", 6, 20), ("more than 20", 21, np.inf))
METRIC = "prec@20"
MEASURES = {
    "cka": "similarity of text and image (CKA)",
    "told_apart": "how well a linear probe tells text from image (1 = always)",
    "text_found": "own pseudo-text among the nearest 1 %",
    "image_found": "own pseudo-image among the nearest 1 %",
    "text_overlap": "neighbours shared by text and pseudo-text",
    "image_overlap": "neighbours shared by image and pseudo-image",
    "category_in_text": "category, read off the text",
    "category_in_image": "category, read off the image",
    "category_in_fused": "category, read off the fused vector",
}


def _buckets(study: Study, dataset: str) -> dict[str, np.ndarray]:
    """Returns which test cases are in which bucket; buckets of hardly any case are left out."""
    seen = known_cases(study.store, dataset)["target_frequency"]
    found = {name: (seen >= least) & (seen <= most) for name, least, most in BUCKETS}
    return {name: keep for name, keep in found.items() if keep.sum() >= LEAST_CASES}


def cold_tables(page: Chapter) -> Markdown:
    """Returns one table and one figure per data set: accuracy by how often training saw the target."""
    shown = []
    for study, dataset in page.published():
        buckets = _buckets(study, dataset)
        rows, lines = [], {}
        for result in study.result(page.artefact.id, dataset):
            scores = score_matrix(result, METRIC)
            if scores is None:
                rows.append([result.row.label, *[tables.NOT_RUN] * len(buckets)])
                continue
            by_seed = {name: scores[:, keep].mean(1) for name, keep in buckets.items()}
            rows.append([result.row.label, *(mean_sd(100 * values, 1) for values in by_seed.values())])
            lines[result.row.label] = (result.row.model, [100 * values.mean() for values in by_seed.values()])
        title = tables.dataset_title(dataset)
        header = ["target seen in training", *(f"{name} ({keep.sum():,} cases)" for name, keep in buckets.items())]
        caption = (
            f"{tables.metric_title(METRIC)} on {title} by how often training saw the target; mean ± sd over seeds."
        )
        shown.append(tables.myst_table(header, rows, caption, f"tbl-{page.paper.id}-cold-{dataset}"))
        if lines and len(buckets) > 1:
            drawing = figures.lines_figure(
                list(buckets),
                lines,
                "places of the target in the training sessions",
                f"{tables.metric_title(METRIC)}, percent",
            )
            alt = f"Lines of {tables.metric_title(METRIC)} over frequency on {title}: " + "; ".join(
                f"{name} from {values[0]:.1f} to {values[-1]:.1f}" for name, (_, values) in lines.items()
            )
            name = f"{page.paper.id}-cold-{dataset}"
            caption = f"Accuracy on {title} by how often training saw the target. Mean over seeds."
            shown.append(figures.myst_figure(drawing, name, caption, alt))
    return tables.show(*shown)


def semantics_table(page: Chapter) -> Markdown:
    """Returns what every pseudo-modality keeps of the real one, on all data sets of the page."""
    rows = []
    for study in page.studies.values():
        for dataset in page.only or study.datasets(page.artefact):
            for name, record in known_features(study.store, dataset).items():
                if "semantics" not in record or name not in ("pseudo_text", "pseudo_image"):
                    continue
                made = {
                    "words-of-images": "words of a classifier of categories",
                    "drawn-from-titles": "drawn from the title",
                }
                cells = [
                    tables.dataset_title(dataset),
                    name.replace("_", "-"),
                    made.get(record["recipe"], "predicted by a regression"),
                ]
                for measure in ("found", "overlap"):
                    value, low, high, chance = (100 * bound for bound in record["semantics"][measure])
                    cells += [f"{value:.1f} [{low:.1f}, {high:.1f}]", f"{chance:.1f}"]
                rows.append(cells)
    header = ["", "", "how it is made", "own among the nearest 1 %", "chance", "shared neighbours", "chance"]
    caption = "What pseudo-modalities keep of the real modalities, in percent with 95 % intervals over items."
    return tables.show(tables.myst_table(header, rows, caption, f"tbl-{page.paper.id}-semantics"))


def maps(page: Chapter) -> Markdown:
    """Returns one t-SNE figure per data set: items by modality, before and after training."""
    parts = []
    for dataset, _, points, titles in state_maps(page):
        labels = ("text", "pseudo-text", "image", "pseudo-image")[: len(points[0])]
        title = tables.dataset_title(dataset)
        caption = (
            f"t-SNE of purified features of {points[0].shape[1]} sampled items of {title}, one seed. CKA says how"
            " similar text and image are in the full space; trust, how far the map's neighbours are true ones."
        )
        alt = f"Two scatter plots of items of {title} by modality. " + ". ".join(titles)
        name = f"{page.paper.id}-maps-{dataset}"
        parts.append(figures.myst_figure(figures.clouds_figure(points, titles, labels), name, caption, alt))
    return tables.show(*parts) if parts else tables.show("Not yet run.")


def measures_table(page: Chapter) -> Markdown:
    """Returns how the modalities of sampled items lie to each other, before and after training."""
    return analysis_tables(page, MEASURES, "How alike the modalities of sampled items of {title} are")
