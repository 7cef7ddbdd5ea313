"""What the shop's truth answers to the questions that are asked of a model's parts, choice by choice."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from disentrec.data.bazaar import CAUSES, PREFERENCES, Oracle, Truth, UserOracle
from disentrec.data.interactions import TopNSplit
from disentrec.data.schema import Dataset
from disentrec.data.sessions import SessionCases
from disentrec.evaluation.identification import centred, standardised

ID, MODALITY = CAUSES.index("id"), CAUSES.index("modality")


class Answer(NamedTuple):
    """What is true of a question in every test case, the best possible guess, and what perfect parts would say."""

    truth: np.ndarray  # (cases,) int8: 1 yes, 0 no, -1 neither
    bayes: np.ndarray  # (cases,) probability of yes, given yes or no
    ideal: np.ndarray  # (cases,) the effect, as of a model, of parts that are the causes themselves


def session_answers(truth: Truth, test: SessionCases) -> dict[str, Answer]:
    """Returns the questions' answers for the target of every test session.

    Perfect parts: the distribution of either cause given the session; the expected logits of price and of looks.
    """
    oracle = Oracle(truth)
    rows = np.arange(len(test)), test.target
    by_cause = [oracle.probabilities(test, CAUSES[cause]) for cause in (ID, MODALITY)]
    return _answers(
        truth, oracle.true_causes(test), truth.session_type[test.session], test.target,
        (oracle.cause_posterior(test), oracle.price_decides(test)),
        (lifts("id", *by_cause, rows), _price_lifts(truth, oracle.type_posterior(test), rows)),
    )  # fmt: skip


def user_answers(truth: Truth, dataset: Dataset, split: TopNSplit) -> dict[str, Answer]:
    """Returns the questions' answers for every test pair; Bayes' rule knows the user's history, as a model does."""
    oracle, test = UserOracle(truth, dataset), split.test
    types, by_cause = oracle.known(split)
    rows = test.users, test.items
    return _answers(
        truth, oracle.true_causes(test), oracle.types[test.users], test.items, oracle.causes(split, test),
        (lifts("id", types @ by_cause[ID], types @ by_cause[MODALITY], rows), _price_lifts(truth, types, rows)),
    )  # fmt: skip


def _answers(truth: Truth, causes, types, items, best, ideal) -> dict[str, Answer]:
    posterior, price = best
    decided, looked = np.isin(causes, (ID, MODALITY)), causes == MODALITY
    of_id = posterior[:, ID] / np.maximum(posterior[:, ID] + posterior[:, MODALITY], 1e-12)
    by_price = truth.price_types()[types, items]
    return {
        "id": Answer(np.where(decided, causes == ID, -1).astype(np.int8), of_id, ideal[0]),
        "price": Answer(np.where(looked, by_price, -1).astype(np.int8), price, ideal[1]),
    }


def lifts(question: str, yes: np.ndarray, no: np.ndarray, rows: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Returns how far two tables of scores lift items out of their rows, the first less the second, (cases,).

    For the ID in standard deviations of each, whose units differ; price and looks are terms of one appeal, and what
    is true of them is which adds more: their own units.
    """
    scaled = standardised if question == "id" else centred
    return scaled(yes)[rows] - scaled(no)[rows]


def _price_lifts(truth: Truth, types: np.ndarray, rows: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    terms, price = truth.preferences(), PREFERENCES.index("price")
    return lifts("price", types @ terms[:, price], types @ np.delete(terms, price, 1).sum(1), rows)
