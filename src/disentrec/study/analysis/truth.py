"""Is it disentangled? The parts of a model against what the embedded shop knows of every choice and every item.

Nothing here is the paper's own measure of itself: causes and factors are the generator's.
"""

from __future__ import annotations

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score

from disentrec.data.bazaar import Truth, read_truth
from disentrec.data.bazaar.shop import ATTRIBUTES
from disentrec.data.interactions import Pairs, TopNSplit
from disentrec.data.schema import Dataset
from disentrec.data.sessions import SessionCases, SessionSplit, batches
from disentrec.errors import DisentrecError
from disentrec.evaluation.disentanglement import hsic_test, linear_cka, probe
from disentrec.evaluation.factors import chunk_factors
from disentrec.evaluation.identification import identification
from disentrec.evaluation.semantics import unit_rows
from disentrec.models.base import SessionModel, TopNModel
from disentrec.study.analysis.answers import lifts, session_answers, user_answers
from disentrec.study.analysis.base import SAMPLE, Analysis
from disentrec.study.analysis.parts import QUESTIONS, Parts, parts_of

#: Users scored at a time: AD-DRL's attention is a number per user, item, modality and chunk.
USERS = 32
#: Levels of price and popularity among the factors.
LEVELS = 4
#: Items and principal coordinates that are kept of every part, to compare it over seeds.
KEPT, COORDINATES = 200, 16


@torch.no_grad()
def analyse_truth(model: SessionModel | TopNModel, dataset: Dataset, split: SessionSplit | TopNSplit) -> Analysis:
    """Returns what the parts of a model know of causes and factors; nothing of a model without parts.

    Measures: `<question>_*` of `identification` for every question that the parts answer, `<question>_ideal_*` the same
    of parts that are the causes themselves; `linear_<part>_<factor>`
    and `kernel_<part>_<factor>`, probes; `goes_with_<part>`, see there; `<question>_sap`, `_mig`, `_dci_*` and
    `_informativeness` of `chunk_factors`, `<question>_cka`, `_hsic` and `_hsic_p` of both its parts.

    Arrays: `<question>_effect`, `_truth` and `_bayes` of every test case, and `part_<part>`, (KEPT, COORDINATES at
    most), principal coordinates of some items, the same items for every seed.
    """
    if not (dataset.folder / "truth").is_dir():
        raise DisentrecError(
            "no truth is known of this data set", where=dataset.folder, how="Ask this on the embedded shop alone"
        )
    truth, parts = read_truth(dataset.folder), parts_of(model)
    if not parts.questions():
        return Analysis({"parts": 0.0})
    if isinstance(split, TopNSplit):
        asked, effects = user_answers(truth, dataset, split), user_effects(parts, split.test)
    else:
        asked, effects = session_answers(truth, split.test), session_effects(parts, split.test)
    measures, arrays = {"parts": float(len(parts.items))}, {}
    for name, effect in effects.items():
        answer = asked[name]
        rows = answer.truth >= 0
        found = identification(effect[rows], answer.truth[rows] == 1, answer.bayes[rows])
        # The same measure of parts that are the causes: what keeps a model from this is not the measure.
        ideal = identification(answer.ideal[rows], answer.truth[rows] == 1)
        found |= {f"ideal_{key}": ideal[key] for key in ("auc", "skill", "ece", "informedness") if key in ideal}
        measures |= {f"{name}_{key}": value for key, value in found.items()}
        arrays |= {
            f"{name}_effect": effect.astype(np.float32),
            f"{name}_truth": answer.truth,
            f"{name}_bayes": answer.bayes.astype(np.float16),
        }
    sold = np.flatnonzero(~truth.world.shop.cold)
    tables = {name: table.double().numpy() for name, table in parts.items.items()}
    found, kept = of_items(tables, truth, sold, parts.questions())
    return Analysis(measures | found, arrays | kept)


# ------------------------------------------------------------------ choices


def session_effects(parts: Parts, test: SessionCases) -> dict[str, np.ndarray]:
    """Returns, per question, how far the side that says yes lifts the target less how far the other does, (cases,)."""
    found: dict[str, list[np.ndarray]] = {name: [] for name in parts.questions()}
    for batch in batches(test, 512):
        rows = np.arange(len(batch.target)), batch.target.numpy()
        scores = parts.scores(batch)
        for name, values in found.items():
            values.append(lifts(name, *_sides(scores, name), rows))
    return {name: np.concatenate(values) for name, values in found.items()}


def user_effects(parts: Parts, test: Pairs) -> dict[str, np.ndarray]:
    """Returns the same for pairs of users and items, (pairs,)."""
    users = np.unique(test.users)
    found = {name: np.empty(len(test)) for name in parts.questions()}
    for start in range(0, len(users), USERS):
        block = users[start : start + USERS]
        pairs = np.flatnonzero(np.isin(test.users, block))
        rows = np.searchsorted(block, test.users[pairs]), test.items[pairs]
        scores = parts.scores(torch.from_numpy(block.astype(np.int64)))
        for name, values in found.items():
            values[pairs] = lifts(name, *_sides(scores, name), rows)
    return found


def _sides(scores: dict[str, torch.Tensor], question: str) -> list[np.ndarray]:
    return [scores[side].double().numpy() for side in QUESTIONS[question]]


# -------------------------------------------------------------------- items


def of_items(
    tables: dict[str, np.ndarray], truth: Truth, rows: np.ndarray, questions: list[str]
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Returns what the parts know of the items' factors, how they depend on each other, and some of their rows.

    tables: (n_items, dim) each; rows: the items that count.
    """
    factors = {name: codes[rows] for name, codes in item_factors(truth).items()}
    rng = np.random.default_rng(0)
    sample, kept = (np.sort(rng.permutation(rows)[:size]) for size in (SAMPLE, KEPT))
    measures, arrays = {}, {}
    for name, table in tables.items():
        measures[f"goes_with_{name}"] = goes_with(table, truth.world.shop.complements, sample)
        for factor, codes in factors.items():
            measures[f"kernel_{name}_{factor}"] = probe(table[rows], codes, kernel=True)
        size = min(COORDINATES, table.shape[1])
        arrays[f"part_{name}"] = PCA(size, svd_solver="full").fit_transform(table[kept]).astype(np.float16)
    for question in questions:
        sides = QUESTIONS[question]
        one, two = (tables[side] for side in sides)
        matrix, scores = chunk_factors(_beside([one[rows], two[rows]]), factors)
        for (side, factor), value in np.ndenumerate(matrix):
            measures[f"linear_{sides[side]}_{list(factors)[factor]}"] = float(value)
        scores |= {"cka": linear_cka(one[sample], two[sample])}
        scores["hsic"], scores["hsic_p"] = hsic_test(one[sample], two[sample])
        measures |= {f"{question}_{key}": value for key, value in scores.items()}
    return measures, arrays


def item_factors(truth: Truth) -> dict[str, np.ndarray]:
    """Returns what is true of every item, as codes, (n_items,): its attributes, and levels of price and popularity."""
    shop = truth.world.shop
    found = {name: shop.attributes[:, column].astype(np.int64) for column, name in enumerate(ATTRIBUTES)}
    return found | {"price": _levels(shop.log_price), "popularity": _levels(shop.popularity)}


def goes_with(table: np.ndarray, complements, anchors: np.ndarray) -> float:
    """Returns the AUC with which cosines tell the items that go with an anchor from all others; .5 is chance.

    This is what an ID should know and, where going together is independent of looks, content cannot.
    """
    unit = unit_rows(table - table.mean(0))
    cosines, together = unit[anchors] @ unit.T, complements[anchors].toarray() > 0
    others = np.arange(len(table)) != anchors[:, None]
    return float(roc_auc_score(together[others], cosines[others]))


def _levels(values: np.ndarray) -> np.ndarray:
    return np.searchsorted(np.quantile(values, np.linspace(0, 1, LEVELS + 1)[1:-1]), values, side="right")


def _beside(tables: list[np.ndarray]) -> np.ndarray:
    """Returns tables as chunks of one width, (n, tables, width): columns of zeros tell a probe nothing."""
    width = max(table.shape[1] for table in tables)
    return np.stack([np.pad(table, ((0, 0), (0, width - table.shape[1]))) for table in tables], 1)
