"""The page on the baselines: are they as good here as where they were published?"""

from __future__ import annotations

import numpy as np
from IPython.display import Markdown

from disentrec.report import tables
from disentrec.report.chapter import Chapter, mean_sd
from disentrec.study.reported import reported

#: The artefact of reported.csv that holds MMRec's published table; which rows stand beside it says addrl.yaml.
PUBLISHED = "calibration"


def published_table(page: Chapter, dataset: str = "amazon-baby") -> Markdown:
    """Returns MMRec's published figures beside the same rows of this page, with their difference and its error.

    The error is that of a difference between two draws of the split: sqrt 2 times the standard error over users.
    """
    study = next((study for study, name in page.published() if name == dataset), None)
    results = {} if study is None else study.results_by_row(page.artefact.id, dataset)
    rows = []
    beside = page.paper.beside
    for entry in reported():
        metric, name = entry.metric, entry.model
        if not entry.artefact.startswith(PUBLISHED) or beside["datasets"].get(entry.dataset) != dataset:
            continue
        result = results.get(beside["rows"].get(name))
        records = [record for record in result.records if record.finished] if result else []
        cells = [name, metric, tables.percent(entry.value)]
        if records:
            ours = 100 * np.asarray([record.metric(metric.lower()) for record in records])
            scores = np.mean([record.scores(metric.lower()) for record in records], 0)
            error = np.sqrt(2 / len(scores)) * scores.std(ddof=1)
            cells += [mean_sd(ours, 2), tables.signed(ours.mean() / 100 - entry.value), tables.percent(error)]
        else:
            cells += [tables.NOT_RUN, "", ""]
        rows.append([*cells, f"{len(records)}", entry.source])
    header = ["", "metric", "MMRec", "here", "difference", "standard error", "seeds", "source"]
    caption = (
        f"MMRec's published figures on {tables.dataset_title(dataset)} and ours, in percent; mean ± sd over seeds. The"
        " standard error is that of the difference between two draws of the test pairs."
    )
    return tables.show(tables.myst_table(header, rows, caption, f"tbl-{page.paper.id}-published"))
