"""Are reasons worth having? DIMO's templates and variants: coverage, fidelity, agreement with the true cause."""

from __future__ import annotations

import numpy as np
import torch

from disentrec.data.bazaar import read_truth
from disentrec.data.schema import Dataset
from disentrec.data.sessions import SessionCases, SessionSplit, batches
from disentrec.errors import DisentrecError
from disentrec.evaluation.explanations import ItemFacts, cause_agreement, fidelity_by_deletion, strongest
from disentrec.evaluation.reasons import VARIANTS, evidence, reasons
from disentrec.models.base import SessionModel
from disentrec.models.cooccurrence import cooccurrence_counts
from disentrec.study.analysis.answers import lifts, session_answers
from disentrec.study.analysis.base import Analysis
from disentrec.study.analysis.parts import QUESTIONS, Parts, parts_of

#: Items in a co-occurrence set, as in DIMO.
LISTS = 10


@torch.no_grad()
def analyse_reasons(model: SessionModel, dataset: Dataset, split: SessionSplit) -> Analysis:
    """Returns the measures `<variant>_<measure>` of evaluation/reasons.py's variants for a model of two parts.

    Of reasons for the first recommendation: `cooccurrence` and `grounded`, shares; `fidelity`, `wins` and `inner` by
    deletion of the item that is cited. Of reasons for the item that was chosen, where its cause is known: `auc` and
    `informedness` of the template as a guess of "by ID", with Bayes' own as `bayes_*`.
    """
    parts, test = parts_of(model), split.test
    if not set(QUESTIONS["id"]) <= set(parts.items):
        raise DisentrecError(
            "reasons are asked of models with an ID and a modality part", where=f"model {model.name}",
            how="Drop `analyse` from this row",
        )  # fmt: skip
    encoded = model.encode_items()

    def score(batch):
        return model(batch, encoded)

    top = np.concatenate([score(batch).argmax(1).numpy() for batch in batches(test, 512)])
    counts = cooccurrence_counts(split.train_sessions, split.n_items)
    listed, frequency = strongest(counts, LISTS), np.bincount(split.train_sessions.values, minlength=split.n_items)
    facts = ItemFacts.of(dataset.items)
    measures: dict[str, float] = {}
    found = evidence(test.prefix, top, listed, frequency, facts)
    effect = id_effect(parts, test, top)
    for variant in VARIANTS:
        given = reasons(found, variant, effect)
        faithful = fidelity_by_deletion(score, test.prefix, top, given.cited)
        measures |= {
            f"{variant}_cooccurrence": float((given.weight > 0).mean()),
            f"{variant}_grounded": float(given.grounded.mean()),
            f"{variant}_fidelity": faithful.effect,
            f"{variant}_wins": faithful.wins,
            f"{variant}_inner": faithful.effect_inner,
        }
    if (dataset.folder / "truth").is_dir():
        measures |= _agreement(parts, dataset, split, evidence(test.prefix, test.target, listed, frequency, facts))
    return Analysis({name: value for name, value in measures.items() if np.isfinite(value)})


def id_effect(parts: Parts, test: SessionCases, items: np.ndarray) -> np.ndarray:
    """Returns what the ID part argues for an item of every case beyond the modality part, in sd of each, (cases,)."""
    found, start = [], 0
    for batch in batches(test, 512):
        rows = np.arange(len(batch.target)), items[start : start + len(batch.target)]
        start += len(batch.target)
        scores = parts.scores(batch)
        found.append(lifts("id", *(scores[name].double().numpy() for name in QUESTIONS["id"]), rows))
    return np.concatenate(found)


def _agreement(parts: Parts, dataset: Dataset, split: SessionSplit, found) -> dict[str, float]:
    answer = session_answers(read_truth(dataset.folder), split.test)["id"]
    # cause_agreement's numbers: 0 by ID, 1 by modality, 2 neither; of the latter the posterior says nothing.
    causes = np.where(answer.truth < 0, 2, 1 - answer.truth)
    posterior = np.stack([answer.bayes, 1 - answer.bayes], 1)
    effect, measures = id_effect(parts, split.test, split.test.target), {}
    for variant in VARIANTS:
        given = reasons(found, variant, effect)
        if given.weight.any():
            agreed = cause_agreement(given.weight, causes, posterior)
            measures |= {f"{variant}_auc": agreed.auc, f"{variant}_informedness": agreed.informedness}
            measures |= {"bayes_auc": agreed.ceiling.auc, "bayes_informedness": agreed.ceiling.informedness}
    return measures
