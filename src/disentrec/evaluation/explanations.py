"""Why was this recommended? DIMO's two templates, and measures of whether such an answer is worth having.

If the recommended item is in the co-occurrence set of the session, the answer names the item it was chosen
with; else it names what the item shares with the closest item of the session (papers/dimo.yaml; no code for
it is released). The measures: coverage, fidelity by deletion, and agreement with the cause where it is known.
Texts hold titles as the data brings them; whoever prints them escapes them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from disentrec.data.sequences import Sequences
from disentrec.data.sessions import SessionBatch, SessionCases, batches
from disentrec.errors import DisentrecError
from disentrec.evaluation.ranking import rank_of_target
from disentrec.models.cooccurrence import top_neighbours

#: Three letters or more.
WORD = re.compile(r"[^\W\d_]{3,}")
TEMPLATES = ("cooccurrence", "feature")
#: Title words that two items share without being alike.
STOP_WORDS = frozenset({"and", "count", "for", "from", "pack", "per", "set", "size", "the", "with"})


@dataclass(frozen=True)
class Explanation:
    """One answer. evidence: "item" (0-based, of the session), and "count" or "shared" and "repeat"."""

    template: str
    text: str
    evidence: dict[str, Any]

    @property
    def grounded(self) -> bool:
        """True when the text names something that can be checked."""
        return any(self.evidence.get(name) for name in ("count", "shared", "repeat"))


@dataclass(frozen=True)
class ItemFacts:
    """What of the items can be put into words; row = item."""

    titles: list[str]
    brands: list[str]
    paths: list[tuple[str, ...]]
    words: list[frozenset[str]]

    @classmethod
    def of(cls, items: pd.DataFrame) -> ItemFacts:
        """Returns the facts of a data set's item table; columns it lacks are empty, titles then numbers."""
        texts = {
            name: items[name].astype(object).where(items[name].notna(), "").astype(str).tolist()
            if name in items
            else [""] * len(items)
            for name in ("title", "brand", "category")
        }
        return cls(
            titles=[title or f"item {row}" for row, title in enumerate(texts["title"])],
            brands=texts["brand"],
            paths=[tuple(filter(None, path.split("|"))) for path in texts["category"]],
            words=[frozenset(WORD.findall(title.lower())) - STOP_WORDS for title in texts["title"]],
        )

    def shared(self, one: int, other: int) -> tuple[float, dict[str, Any]]:
        """Returns how close two items are, 0 to 3, and what they share: brand, category, title words."""
        common = []
        for a, b in zip(self.paths[one], self.paths[other], strict=False):
            if a != b:
                break
            common.append(a)
        words = self.words[one] & self.words[other]
        brand = self.brands[one] if self.brands[one] == self.brands[other] else ""
        closeness = len(common) / max(len(self.paths[one]), len(self.paths[other]), 1)
        closeness += bool(brand) + len(words) / max(len(self.words[one] | self.words[other]), 1)
        found = {"brand": brand, "category": tuple(common), "words": tuple(sorted(words))}
        return closeness, {name: value for name, value in found.items() if value}


def strongest(counts: sp.csr_matrix, lists: int) -> sp.csr_matrix:
    """Returns the counts of the `lists` most frequent neighbours of every item: DIMO's co-occurrence set."""
    positives, weights = top_neighbours(counts, lists)
    rows, columns = np.nonzero(weights)
    return sp.csr_matrix((weights[rows, columns], (rows, positives[rows, columns])), shape=counts.shape)


def cite(prefixes: Sequences, recommended: np.ndarray, counts: sp.csr_matrix) -> tuple[np.ndarray, np.ndarray]:
    """Returns position and count of the session item chosen most often with the recommendation.

    Both (cases,). counts: (n_items, n_items); the row of an item is its co-occurrence set. Position -1 and
    count 0 where the recommendation is in no set of the session; of equal counts the later item. Sessions are
    not empty.
    """
    if not (prefixes.lengths > 0).all():
        raise DisentrecError("an empty session has nothing to cite")
    weights = np.asarray(sp.csr_matrix(counts)[prefixes.values, recommended[prefixes.rows]]).ravel()
    best = _best(prefixes, weights)
    return np.where(weights[best] > 0, prefixes.positions[best], -1), weights[best]


def explain(
    prefix_items: Sequence[int], recommended: int, counts: sp.csr_matrix, items: pd.DataFrame | ItemFacts
) -> Explanation:
    """Returns the explanation of one recommendation. counts: all co-occurrences, or `strongest` of them."""
    return explain_all(Sequences.from_lists([prefix_items]), np.asarray([recommended]), counts, items)[0]


def explain_all(
    prefixes: Sequences, recommended: np.ndarray, counts: sp.csr_matrix, items: pd.DataFrame | ItemFacts
) -> list[Explanation]:
    """Returns one explanation per case; see `explain`. recommended: (cases,) 0-based."""
    facts = items if isinstance(items, ItemFacts) else ItemFacts.of(items)
    positions, found = cite(prefixes, recommended, counts)
    return [
        _by_cooccurrence(int(prefixes[row][position]), int(item), int(count), facts)
        if position >= 0
        else _by_features(prefixes[row].tolist(), int(item), facts)
        for row, (item, position, count) in enumerate(zip(recommended, positions, found, strict=True))
    ]


def _by_cooccurrence(cited: int, item: int, count: int, facts: ItemFacts) -> Explanation:
    often = "once" if count == 1 else f"{count} times"
    text = f"“{facts.titles[item]}” was chosen together with “{facts.titles[cited]}” of this session {often}."
    return Explanation("cooccurrence", text, {"item": cited, "count": count})


def _by_features(prefix: list[int], item: int, facts: ItemFacts) -> Explanation:
    title = f"“{facts.titles[item]}”"
    if item in prefix:
        shared = facts.shared(item, item)[1]
        text = f"{title} is in this session already."
        return Explanation("feature", text, {"item": item, "shared": shared, "repeat": True})
    # The closest item; of equally close ones the later.
    found = [facts.shared(other, item) for other in prefix]
    place = max(range(len(prefix)), key=lambda place: (found[place][0], place))
    shared, cited = found[place][1], prefix[place]
    phrases = {
        "brand": lambda brand: f"the brand {brand}",
        "category": lambda path: f"the category {' > '.join(path)}",
        "words": lambda words: f"the words {', '.join(words)}",
    }
    named = "; ".join(phrases[name](value) for name, value in shared.items())
    text = f"{title} resembles “{facts.titles[cited]}” of this session: {named}."
    if not named:
        text = f"{title} resembles this session in content, but shares no attribute that has a name."
    return Explanation("feature", text, {"item": cited, "shared": shared})


def coverage(explanations: Sequence[Explanation]) -> dict[str, float]:
    """Returns the share of each template, and of the "grounded": those that name something to be checked."""
    shares = {name: float(np.mean([one.template == name for one in explanations])) for name in TEMPLATES}
    return shares | {"grounded": float(np.mean([one.grounded for one in explanations]))}


@dataclass(frozen=True)
class Fidelity:
    """What deleting the cited item does to the recommendation's ln(rank), beyond deleting another item."""

    #: Mean of ln(rank without the cited item) - ln(rank without another); above 0: the cited matters more.
    effect: float
    #: Share of cases in which the rank falls more, ties by half; .5 is chance.
    wins: float
    #: The effect where neither item was the session's last, which many models weigh most; NaN without any.
    effect_inner: float
    per_case: np.ndarray  # (usable cases,)
    rows: np.ndarray  # (usable cases,) into the cases given


@torch.no_grad()
def fidelity_by_deletion(
    score: Callable[[SessionBatch], Tensor],
    prefixes: Sequences,
    recommended: np.ndarray,
    cited: np.ndarray,
    *,
    seed: int = 0,
    batch_size: int = 512,
) -> Fidelity:
    """Returns whether the cited item matters more to the recommendation than another item of the session.

    score: batch -> (batch, n_items); cited: (cases,) positions as from `cite`. All occurrences of an item are
    deleted; the other item is drawn with `seed`. Cases without a citation or with a single distinct item are
    left out; without any other case DisentrecError is raised.
    """
    cited_item = prefixes.values[prefixes.offsets[:-1] + np.maximum(cited, 0)]
    differs = prefixes.values != cited_item[prefixes.rows]
    rows = np.flatnonzero((np.bincount(prefixes.rows[differs], minlength=len(prefixes)) > 0) & (cited >= 0))
    if not len(rows):
        raise DisentrecError(
            "no case has a cited item and another one", how="Use longer sessions or the feature template"
        )
    chosen, target, cited_item = prefixes.take(rows), np.asarray(recommended)[rows], cited_item[rows]
    luck = np.random.default_rng(seed).random(len(chosen.values))
    other_item = chosen.values[_best(chosen, np.where(chosen.values != cited_item[chosen.rows], luck, -1.0))]
    after = [np.log(_ranks(score, _without(chosen, item), target, batch_size)) for item in (cited_item, other_item)]
    change = after[0] - after[1]
    last = chosen.values[chosen.offsets[1:] - 1]
    inner = change[(cited_item != last) & (other_item != last)]
    return Fidelity(
        effect=float(change.mean()),
        wins=float((change > 0).mean() + (change == 0).mean() / 2),
        effect_inner=float(inner.mean()) if len(inner) else float("nan"),
        per_case=change,
        rows=rows,
    )


@dataclass(frozen=True)
class CauseAgreement:
    """How well a guess names the true cause; informedness = recall less false alarms, 0 = chance."""

    precision: float
    recall: float
    informedness: float
    auc: float
    base_rate: float
    n_cases: int
    ceiling: CauseAgreement | None = None  # of Bayes' own guess


def cause_agreement(
    guess: np.ndarray,
    causes: np.ndarray,
    posterior: np.ndarray | None = None,
    *,
    positive: int = 0,
    negative: int = 1,
) -> CauseAgreement:
    """Returns the agreement of a flag or score with "the cause was `positive`", among both causes' choices.

    guess: (cases,) bool, or a number that is above 0 for `positive`; causes: (cases,) numbers of the true
    causes (the shop's: 0 id, 1 modality, then popularity and repeat, which neither side can claim);
    posterior: (cases, causes), P(cause | session, choice), for the ceiling. A template is such a guess where
    the recommendation was chosen.
    """
    kept = np.isin(causes, (positive, negative))
    truth, score = causes[kept] == positive, np.asarray(guess, dtype=np.float64)[kept]
    if truth.all() or not truth.any():
        raise DisentrecError("one of the causes never occurs", how="Use a shop in which both have a share")
    called = score > 0
    ceiling = None
    if posterior is not None:
        best = posterior[:, positive].astype(np.float64) - posterior[:, negative]
        ceiling = cause_agreement(best, causes, positive=positive, negative=negative)
    return CauseAgreement(
        precision=float(truth[called].mean()) if called.any() else float("nan"),
        recall=float(called[truth].mean()),
        informedness=float(called[truth].mean() - called[~truth].mean()),
        auc=float(roc_auc_score(truth, score)),
        base_rate=float(truth.mean()),
        n_cases=len(truth),
        ceiling=ceiling,
    )


def _best(sequences: Sequences, key: np.ndarray) -> np.ndarray:
    """Returns the place in `values` of each row's highest key, of equal ones the later. No row is empty."""
    return np.lexsort((sequences.positions, key, sequences.rows))[sequences.offsets[1:] - 1]


def _without(sequences: Sequences, item: np.ndarray) -> Sequences:
    """Returns every row without its item. item: (rows,)."""
    keep = sequences.values != item[sequences.rows]
    lengths = np.bincount(sequences.rows[keep], minlength=len(sequences))
    return Sequences(sequences.values[keep], np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))


def _ranks(score, prefixes: Sequences, target: np.ndarray, batch_size: int) -> np.ndarray:
    cases = SessionCases(prefixes, target.astype(np.int64), np.arange(len(target)))
    ranks = [rank_of_target(score(batch), batch.target) for batch in batches(cases, batch_size)]
    return torch.cat(ranks).double().numpy()
