"""Ranking every case of a model: once encoded, in evaluation mode, the same whatever the batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from disentrec.data.sequences import Sequences
from disentrec.data.sessions import SessionCases
from disentrec.errors import DisentrecError
from disentrec.evaluation.ranking import rank_cases
from disentrec.models.base import SessionModel

N_ITEMS = 7


class Dotted(SessionModel):
    """Scores an item by its closeness to the number of the session's first item."""

    n_items = N_ITEMS

    def __init__(self):
        nn.Module.__init__(self)
        self.dropout = nn.Dropout(0.9)
        self.encoded = 0

    def encode_items(self):
        self.encoded += 1
        return torch.arange(N_ITEMS, dtype=torch.float32)

    def forward(self, batch, encoded=None):
        return self.dropout(1 / (1 + (encoded - batch.items[:, :1] + 1).abs()))


@pytest.fixture
def cases():
    prefix = Sequences.from_lists([[0, 3], [6], [3, 1, 2]])
    return SessionCases(prefix, np.array([1, 6, 4]), np.arange(3))


@pytest.mark.parametrize("batch_size", [1, 2, 512])
def test_ranks_by_hand_in_batches_of_any_size(cases, batch_size):
    model = Dotted()
    ranks = rank_cases(model, cases, batch_size)
    # 0: 1 is second; 6: itself; 3: 2 and 4 are equally close, places 2 and 3.
    assert ranks.tolist() == [2.0, 1.0, 2.5] and ranks.dtype == np.float32
    assert model.encoded == 1


@pytest.mark.parametrize("training", [True, False])
def test_a_model_is_scored_without_dropout_and_left_in_its_mode(cases, training):
    model = Dotted().train(training)
    rank_cases(model, cases)
    assert model.training is training


def test_a_model_that_fails_is_left_in_its_mode_and_the_case_is_named(cases):
    class Broken(Dotted):
        def forward(self, batch, encoded=None):
            return super().forward(batch, encoded).masked_fill(batch.items[:, :1] == 4, torch.nan)

    model = Broken().train()
    with pytest.raises(DisentrecError, match="row 2 "):
        rank_cases(model, cases, batch_size=2)
    assert model.training


def test_no_cases_no_ranks(cases):
    assert rank_cases(Dotted(), cases.take(np.empty(0, dtype=np.int64))).shape == (0,)
