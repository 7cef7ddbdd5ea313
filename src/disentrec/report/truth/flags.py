"""DIMO's flags, effects and templates against the cause that the embedded shop knows of every choice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.metrics import roc_auc_score

from disentrec.data.bazaar import CAUSES

ID, MODALITY = CAUSES.index("id"), CAUSES.index("modality")


@dataclass(frozen=True)
class Agreement:
    """How well a guess "ID or not" matches the true cause, over choices made by ID or by modality."""

    precision: float
    recall: float
    #: Recall less the share of modality choices called ID: 0 is chance, 1 is perfect (Youden's J).
    informedness: float
    auc: float


def decided(facts: dict[str, np.ndarray]) -> np.ndarray:
    """Returns the test cases whose target was chosen by ID or by modality, (cases,) bool."""
    return np.isin(facts["cause"], (ID, MODALITY))


def agreement(score: np.ndarray, facts: dict[str, np.ndarray], threshold: float = 0.0) -> Agreement:
    """Returns the agreement of `score > threshold` with "chosen by ID". score: (cases,), higher = more ID."""
    rows = decided(facts)
    truth, score = facts["cause"][rows] == ID, score[rows]
    guess = score > threshold
    recall = float(guess[truth].mean())
    return Agreement(
        precision=float(truth[guess].mean()) if guess.any() else float("nan"),
        recall=recall,
        informedness=recall - float(guess[~truth].mean()),
        auc=float(roc_auc_score(truth, score)),
    )


def best_possible(facts: dict[str, np.ndarray]) -> Agreement:
    """Returns the agreement of Bayes' own guess: P(id | session, choice) against P(modality | session, choice)."""
    posterior = facts["cause_posterior"].astype(np.float64)
    return agreement(posterior[:, ID] - posterior[:, MODALITY], facts)


def informedness_interval(
    score: np.ndarray, facts: dict[str, np.ndarray], share: float, *, reps: int = 2000, seed: int = 0
) -> tuple[float, float, float]:
    """Returns informedness less `share` of the best possible one, with a 95 % bootstrap interval over cases."""
    rows = np.flatnonzero(decided(facts))
    truth = facts["cause"][rows] == ID
    posterior = facts["cause_posterior"][rows].astype(np.float64)
    guesses = score[rows] > 0, posterior[:, ID] > posterior[:, MODALITY]
    rng = np.random.default_rng(seed)
    draws = np.empty(reps)
    for number in range(reps):
        chosen = rng.integers(len(rows), size=len(rows))
        own, best = (_informedness(guess[chosen], truth[chosen]) for guess in guesses)
        draws[number] = own - share * best
    own, best = (_informedness(guess, truth) for guess in guesses)
    low, high = np.quantile(draws, [0.025, 0.975])
    return own - share * best, float(low), float(high)


def _informedness(guess: np.ndarray, truth: np.ndarray) -> float:
    return float(guess[truth].mean() - guess[~truth].mean())
