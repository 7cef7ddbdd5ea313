"""Does a model know why an item was chosen? Its effect on one side less that on the other, against the true cause."""

from __future__ import annotations

import numpy as np
from scipy.special import expit
from scipy.stats import rankdata
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from disentrec.errors import DisentrecError

BINS = 10
FOLDS = 5


def standardised(scores: np.ndarray) -> np.ndarray:
    """Returns scores in standard deviations of their row, so that two parts of unequal scale compare."""
    spread = scores.std(1, keepdims=True)
    return centred(scores) / np.maximum(spread, 1e-8)


def centred(scores: np.ndarray) -> np.ndarray:
    """Returns scores above the mean of their row: what a part adds to an item beyond what it adds to all."""
    return scores - scores.mean(1, keepdims=True)


def identification(effect: np.ndarray, truth: np.ndarray, bayes: np.ndarray | None = None) -> dict[str, float]:
    """Returns how well an effect tells the true cause.

    effect: (cases,) float, above 0 where the model says yes; truth: (cases,) bool; bayes: (cases,), the best possible
    probability, whose own values are the ceiling (`bayes_*`).

    - `true_share`, `share`: of cases that are of the cause, and that the effect says are;
    - `auc`: a case of the cause has a larger effect than one of the other, .5 by chance;
    - `informedness`: recall less false alarms of the effect's sign, 0 by chance;
    - `ece`: expected calibration error of 1 / (1 + exp(-effect)), which takes the effect at its word;
    - `skill`: share of the constant's Brier score that is saved by probabilities fitted to the effect on other cases.

    Where all cases have one cause, the shares alone are told.
    """
    effect, truth = _checked(effect, truth)
    found = {"cases": float(len(truth)), "true_share": float(truth.mean()), "share": float((effect > 0).mean())}
    if truth.sum() < FOLDS or (~truth).sum() < FOLDS:
        return found
    guess = effect > 0
    found |= {
        "auc": float(roc_auc_score(truth, effect)),
        "informedness": float(guess[truth].mean() - guess[~truth].mean()),
        "ece": calibration_error(expit(effect), truth),
        "skill": brier_skill(fitted(effect, truth), truth),
    }
    if bayes is not None:
        found |= {
            "bayes_auc": float(roc_auc_score(truth, bayes)),
            "bayes_ece": calibration_error(bayes, truth),
            "bayes_skill": brier_skill(bayes, truth),
        }
    return found


def calibration_error(probability: np.ndarray, truth: np.ndarray) -> float:
    """Returns the mean distance of what is said from what happens, over BINS equally filled bins of cases."""
    order = np.argsort(probability, kind="stable")
    # A constant is one bin, not ten of whatever order its cases came in.
    if probability[order[0]] == probability[order[-1]]:
        return float(abs(probability.mean() - truth.mean()))
    gaps = [
        len(part) * abs(probability[part].mean() - truth[part].mean())
        for part in np.array_split(order, BINS)
        if len(part)
    ]
    return float(np.sum(gaps) / len(truth))


def brier_skill(probability: np.ndarray, truth: np.ndarray) -> float:
    """Returns 1 - Brier / Brier of the constant that names the true share: 1 is certainty, 0 knows nothing."""
    return float(1 - brier_score_loss(truth, probability) / truth.astype(float).var())


def fitted(effect: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Returns probabilities from a logistic regression on the effect alone, each fitted on other cases, (cases,)."""
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    return cross_val_predict(LogisticRegression(), effect[:, None], truth, cv=folds, method="predict_proba")[:, 1]


def reliability(probability: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns what is said and what happens in equally filled bins of cases, (bins,) each."""
    happens, said = calibration_curve(truth, probability, n_bins=BINS, strategy="quantile")
    return said, happens


def _checked(effect: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    effect, truth = np.asarray(effect, np.float64), np.asarray(truth, bool)
    if effect.shape != truth.shape or effect.ndim != 1 or not len(effect) or not np.isfinite(effect).all():
        raise DisentrecError("effects and causes of the same cases are compared, all of them finite numbers")
    return effect, truth


def auc_difference(
    effects: np.ndarray, others: np.ndarray, truth: np.ndarray, *, reps: int = 300, seed: int = 0
) -> tuple[float, float, float]:
    """Returns the mean AUC of one model's seeds less that of another's, with a 95 % interval over cases and seeds.

    effects, others: (seeds, cases) each; truth: (cases,) bool. Cases are drawn alike for both, seeds for each.
    """
    effects, others = np.atleast_2d(effects), np.atleast_2d(others)
    rng = np.random.default_rng(seed)

    def gap(cases: np.ndarray, one: np.ndarray, two: np.ndarray) -> float:
        return float(_aucs(one[:, cases], truth[cases]).mean() - _aucs(two[:, cases], truth[cases]).mean())

    draws = []
    for _ in range(reps):
        cases = rng.integers(len(truth), size=len(truth))
        rows = [values[rng.integers(len(values), size=len(values))] for values in (effects, others)]
        draws.append(gap(cases, *rows))
    low, high = np.quantile(draws, [0.025, 0.975])
    return gap(np.arange(len(truth)), effects, others), float(low), float(high)


def _aucs(effects: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Returns the AUC of every row from its ranks, (rows,): hundreds of draws take a second."""
    yes, no = truth.sum(), (~truth).sum()
    return (rankdata(effects, axis=1)[:, truth].sum(1) - yes * (yes + 1) / 2) / (yes * no)
