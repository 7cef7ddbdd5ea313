"""Reasons of a model on the tiny shop: the measures are there, and a template chosen by the truth agrees with it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from disentrec import models
from disentrec.data.bazaar import BazaarParameters, read_truth, write_bazaar
from disentrec.data.protocol import Protocol
from disentrec.data.sessions import batches
from disentrec.errors import DisentrecError
from disentrec.evaluation.reasons import VARIANTS
from disentrec.study.analysis import analyse
from disentrec.study.analysis.answers import session_answers
from disentrec.study.analysis.parts import parts_of
from disentrec.study.analysis.reasons import id_effect
from disentrec.study.runner import catalogue
from disentrec.training import task_of


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    dataset = write_bazaar(tmp_path_factory.mktemp("shop") / "shop", BazaarParameters.preset("tiny", images=False))
    return dataset, task_of("session", dataset, Protocol()).split


def test_every_variant_is_measured(shop):
    dataset, split = shop
    model = models.build("two-towers", {"dim": 8}, catalogue(dataset, split), 0)
    found = analyse(model, dataset, split, "reasons").measures
    for variant in VARIANTS:
        assert {f"{variant}_{name}" for name in ("cooccurrence", "grounded", "fidelity", "wins")} <= set(found)
    # The same sets are looked at: who is in none has the feature template whatever is cited.
    assert found["count_cooccurrence"] == found["latest_cooccurrence"] == found["lift_cooccurrence"]
    assert found["count_informedness"] == found["latest_informedness"] == found["lift_informedness"]
    assert found["model_cooccurrence"] <= found["count_cooccurrence"]
    assert found["features_cooccurrence"] == found["last_cooccurrence"] == 0
    assert "features_auc" not in found and "last_auc" not in found
    answer = session_answers(read_truth(dataset.folder), split.test)["id"]
    assert found["bayes_auc"] > 0.5 and (answer.truth >= 0).any()


def test_the_effect_is_that_of_the_item_asked_for(shop):
    dataset, split = shop
    model = models.build("two-towers", {"dim": 8}, catalogue(dataset, split), 0).eval()
    parts, items = parts_of(model), np.arange(len(split.test)) % split.n_items
    with torch.no_grad():
        found = id_effect(parts, split.test, items)
    (batch,) = batches(split.test, len(split.test))
    scores = [parts.scores(batch)[name].detach().double().numpy() for name in ("id", "modality")]
    z = [(one - one.mean(1, keepdims=True)) / one.std(1, keepdims=True) for one in scores]
    rows = np.arange(len(items)), items
    assert np.allclose(found, z[0][rows] - z[1][rows], atol=1e-6)


def test_a_model_of_one_part_is_not_asked(shop):
    dataset, split = shop
    model = models.build("narm", {"dim": 8, "hidden": 8}, catalogue(dataset, split), 0)
    with pytest.raises(DisentrecError, match="an ID and a modality part"):
        analyse(model, dataset, split, "reasons")
