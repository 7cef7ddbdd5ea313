"""Pages on what DIMO's two causes hold: maps with their measures, contents, flags and explanations."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from IPython.display import Markdown

from disentrec.data.bazaar import CAUSES
from disentrec.report import figures, tables
from disentrec.report.chapter import Chapter, analysed, analysis_tables, mean_sd, state_maps
from disentrec.report.truth.flags import agreement, best_possible
from disentrec.study import RunRecord
from disentrec.study.cases import known_cases

MEASURES = {
    "cka": "similarity of the two causes (CKA)",
    "hsic_p": "p of their independence (HSIC, permutations)",
    "told_apart": "how well a linear probe tells them apart (1 = always)",
    "cka_id_proxy": "ID cause and its proxy (CKA)",
    "cka_modality_proxy": "modality cause and its proxy (CKA)",
    "category_in_id": "category of the last item, read off the ID cause",
    "category_in_modality": "category of the last item, read off the modality cause",
    "brand_in_id": "brand of the last item, read off the ID cause",
    "brand_in_modality": "brand of the last item, read off the modality cause",
}


def _with_truth(page: Chapter) -> Iterator[tuple[str, dict[str, np.ndarray], list[RunRecord]]]:
    """Yields data set, facts of its test cases and analysed records of DIMO, where causes are known."""
    for study, dataset in page.published():
        facts = known_cases(study.store, dataset)
        records = analysed(study, page.artefact.id, "dimo", dataset)
        if "cause" in facts and records:
            yield dataset, facts, records


def measures_table(page: Chapter) -> Markdown:
    """Returns one table per data set: every measure before and after training, of DIMO and of the control."""
    what = "What the causes of sampled test sessions of {title} hold"
    return analysis_tables(page, MEASURES, what)


def maps(page: Chapter) -> Markdown:
    """Returns one t-SNE figure per data set, before and after training, with the measure in each title."""
    parts = []
    for dataset, record, points, titles in state_maps(page):
        caption = (
            f"t-SNE of the ID and modality causes of {points[0].shape[1]} test sessions of"
            f" {tables.dataset_title(dataset)}, seed {record.spec.seed}. CKA says how similar the two sets are in the"
            " full space; trust, how far the map's neighbours are true ones. Distances between clusters mean nothing."
        )
        alt = f"Two scatter maps of session causes on {tables.dataset_title(dataset)}; {titles[0]}; {titles[1]}."
        name = f"{page.paper.id}-{page.artefact.id}-map-{dataset}"
        parts.append(
            figures.myst_figure(
                figures.clouds_figure(points, titles, ("ID cause", "modality cause")), name, caption, alt
            )
        )
    return tables.show(*parts)


def flags_table(page: Chapter) -> Markdown:
    """Returns how well flag, effect and template match the true cause, beside the best possible guess."""
    shown = []
    for dataset, facts, records in _with_truth(page):
        guesses = {
            "flag: the target is a listed neighbour of the session": "after_flag",
            "effect: the ID cause adds more to the target's score": "after_share",
        }
        rows = []
        for label, array in guesses.items():
            found = [agreement(record.arrays[array].astype(float), facts) for record in records]
            rows.append(
                [
                    label,
                    *(
                        mean_sd([getattr(one, name) for one in found], 2)
                        for name in ("precision", "recall", "informedness", "auc")
                    ),
                ]
            )
        best = best_possible(facts)
        rows.append(
            [
                "*Bayes' rule on the same choice*",
                *(f"*{value:.2f}*" for value in (best.precision, best.recall, best.informedness, best.auc)),
            ]
        )
        caption = (
            f"Does it name the true cause? Test choices of {tables.dataset_title(dataset)} made by ID or by modality;"
            " precision and recall of “ID”. Informedness is recall minus the share of false alarms: 0 is chance."
        )
        header = ["", "precision", "recall", "informedness", "AUC"]
        shown.append(tables.myst_table(header, rows, caption, f"tbl-{page.paper.id}-flags-{dataset}"))
    return tables.show(*shown)


def explanations_table(page: Chapter) -> Markdown:
    """Returns coverage and faithfulness of the two templates, and on the shop what caused the choices they explain."""
    rows = []
    for study, dataset in page.published():
        records = analysed(study, page.artefact.id, "dimo", dataset)
        if not records:
            continue
        extra = [record.content["extra"]["after"] for record in records]
        rows.append(
            [
                tables.dataset_title(dataset),
                mean_sd([100 * one["template_share"] for one in extra], 1),
                mean_sd([one["fidelity"] for one in extra if "fidelity" in one], 3),
                f"{int(np.mean([one['fidelity_cases'] for one in extra])):,}",
            ]
        )
    header = ["", "co-occurrence template, % of sessions", "fidelity, Δ ln rank", "sessions tested"]
    caption = (
        "Explanations of the first recommendation. Fidelity: how much further it falls when the cited item is deleted"
        " than when another item of the session is; above 0, the cited item mattered more. Mean ± sd over seeds."
    )
    return tables.show(tables.myst_table(header, rows, caption, f"tbl-{page.paper.id}-explanations"))


def hits_by_cause(page: Chapter) -> Markdown:
    """Returns which template explains the hits on the shop, by the true cause of the choice."""
    shown = []
    for dataset, facts, records in _with_truth(page):
        rows = []
        for number, cause in enumerate(CAUSES):
            chosen = facts["cause"] == number
            hits = [chosen & (record.arrays["test_rank"] <= 1) for record in records]
            share = [
                100 * float((record.arrays["after_template"][hit] > 0).mean())
                for record, hit in zip(records, hits, strict=True)
                if hit.any()
            ]
            rate = [100 * float(hit.sum() / max(chosen.sum(), 1)) for hit in hits]
            rows.append([cause, f"{int(chosen.sum()):,}", mean_sd(rate, 1), mean_sd(share, 1) if share else "–"])
        caption = (
            f"First recommendations on {tables.dataset_title(dataset)} that are the target (hits), by the true cause of"
            " the choice, and how often the co-occurrence template explains them."
        )
        header = ["true cause", "test choices", "hit at rank 1, %", "co-occurrence template, %"]
        shown.append(tables.myst_table(header, rows, caption, f"tbl-{page.paper.id}-hits-{dataset}"))
    return tables.show(*shown)


def examples(page: Chapter) -> Markdown:
    """Returns an example of each template on the shop: the first test case of its kind, not a chosen one.

    Its kind: the template is that of the first recommendation, the choice was made for the cause the template speaks
    of, and the chosen item is among the first ten.
    """
    lines = []
    for _, facts, records in _with_truth(page):
        arrays = records[0].arrays
        near = arrays["test_rank"] <= 10
        for template, cause in ((1, "id"), (-1, "modality")):
            kind = near & (arrays["after_template"] == template) & (facts["cause"] == CAUSES.index(cause))
            found = np.flatnonzero(kind & (arrays["after_cited"] >= 0) if template > 0 else kind)
            if len(found):
                lines.append(_example(facts, arrays, int(found[0]), template, cause))
    return tables.show("\n".join(lines) or "No test case of that kind.")


def _example(facts: dict, arrays: dict, case: int, template: int, cause: str) -> str:
    """Returns one worked example as a list item."""
    titles, plain = [tables.literal(title) for title in facts["title"]], facts["title"]
    prefix = facts["prefix_values"][facts["prefix_offsets"][case] : facts["prefix_offsets"][case + 1]]
    shown, top = [f"*{titles[item]}*" for item in prefix], titles[arrays["after_top"][case]]
    if template > 0:
        reason = f"often chosen together with *{titles[prefix[arrays['after_cited'][case]]]}*"
    else:
        words = [set(plain[item].split()) & set(plain[arrays["after_top"][case]].split()) for item in prefix]
        nearest = int(np.argmax([len(shared) for shared in words]))
        shared = ", ".join(map(tables.literal, sorted(words[nearest]))) or "no word of its title"
        reason = f"has features like *{titles[prefix[nearest]]}* (in common: {shared})"
    rank = int(np.ceil(arrays["test_rank"][case]))
    return (
        f"- After {', '.join(shown)}, DIMO recommends *{top}* first: {reason}. The customer chose"
        f" *{titles[facts['target'][case]]}*, which DIMO ranks {rank}; the true cause was {cause}."
    )
