"""Baselines without parameters by hand, the neural ones' graphs by hand, and the leak on real sessions."""

from __future__ import annotations

import math

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from disentrec import models
from disentrec.data.sequences import Sequences
from disentrec.data.sessions import cases_of
from disentrec.evaluation.metrics import metrics_from_ranks
from disentrec.evaluation.ranking import rank_cases
from disentrec.models.base import Catalogue
from disentrec.models.sr_gnn import node_numbers, session_edges, session_nodes
from tests.models.worlds import batch_of, catalogue

SESSIONS = [[0, 1, 2], [0, 1], [3, 3, 0]]  # item 4 never occurs


def scores(name, prefix, **settings):
    model = models.build(name, settings, catalogue(SESSIONS, 5), seed=0)
    return model(batch_of([prefix], [0]))[0].tolist()


def test_pop():
    assert scores("pop", [2]) == [3, 2, 1, 2, 0]


def test_spop():
    found = scores("spop", [2, 1, 2])
    assert [math.floor(score) for score in found] == [0, 1, 2, 0, 0]
    assert sorted(range(5), key=lambda item: -found[item]) == [2, 1, 0, 3, 4]


def test_repeat():
    assert scores("repeat", [2, 1, 2]) == [0, 2, 3, 0, 0]


def test_one_hop():
    # Row 0 of the counts: 1 twice, 2 once, 3 twice (the pair 3, 0 at two positions) -> divided by 5.
    assert scores("one-hop", [0]) == pytest.approx([0, 0.4, 0.2, 0.4, 0], abs=1e-6)
    # Rows of 0 and 1 add up; row 1: 0 twice, 2 once -> divided by 3.
    assert scores("one-hop", [0, 1]) == pytest.approx([2 / 3, 0.4, 0.2 + 1 / 3, 0.4, 0], abs=1e-6)
    repeated = scores("one-hop", [0, 1], repeat=True)
    assert sorted(range(5), key=lambda item: -repeated[item])[:3] == [1, 0, 2]


def test_sknn():
    # Sets {0,1,2}, {0,1}, {0,3}; the query {1} meets the first two with cosine 1/sqrt(3) and 1/sqrt(2).
    near, far = 1 / math.sqrt(2), 1 / math.sqrt(3)
    assert scores("sknn", [1]) == pytest.approx([near + far, near + far, far, 0, 0], abs=1e-6)
    assert scores("sknn", [1], k=1) == pytest.approx([near, near, 0, 0, 0], abs=1e-6)


def test_session_graph_of_sr_gnn():
    items = torch.tensor([[5, 3, 5, 2], [4, 4, 0, 0]])
    nodes, node_of = session_nodes(items)
    assert nodes[0, :3].tolist() == [2, 3, 5] and node_of[0].tolist() == [2, 1, 2, 0]
    assert nodes[1, 0] == 4 and node_of[1, :2].tolist() == [0, 0]
    edges = session_edges(node_numbers(nodes > 0).gather(1, node_of), items > 0, 4)
    # 5 -> 3, 3 -> 5, 5 -> 2 and 4 -> 4; nodes 0, 1, 2 are items 2, 3, 5 of the first session, node 3 is the other's.
    assert list(zip(edges.columns.tolist(), edges.rows.tolist(), strict=True)) == [(2, 0), (2, 1), (1, 2), (3, 3)]


@pytest.fixture(scope="module")
def grocery(shared):
    folder = shared / "data" / "sessions_grocery"
    parts = []
    for part in ("train", "test"):
        table = pq.read_table(folder / f"{part}.parquet").to_pydict()
        rows = zip(table["session"], table["target"], strict=True)
        parts.append(Sequences.from_lists([[item - 1 for item in [*prefix, target]] for prefix, target in rows]))
    return parts


@pytest.mark.parametrize(
    "name, settings, leak, prec, mrr",
    [
        ("pop", {}, False, 12.1, 3.1),
        ("one-hop", {}, False, 34.8, 25.4),
        ("one-hop", {"repeat": True}, False, 53.7, 29.7),
        ("one-hop", {}, True, 70.2, 38.0),
        ("one-hop", {"repeat": True}, True, 83.5, 35.4),
    ],
)
def test_counting_on_real_sessions_and_the_jump_of_d1(grocery, name, settings, leak, prec, mrr):
    """Deviation D1: with test sessions in the graph a scorer without parameters jumps, without them it does not.

    The expected values were computed independently, with other rules for ties and for the order of the session's
    own items, which the MRR of the repeating scorer feels.
    """
    train, test = grocery
    n = int(max(train.values.max(), test.values.max())) + 1
    graph = Sequences.concatenate([train, test]) if leak else train
    model = models.build(name, settings, Catalogue(n, train, graph), seed=0)
    cases = cases_of(test, np.arange(len(test)), max_length=20)
    found = metrics_from_ranks(rank_cases(model, cases))
    assert 100 * found["prec@20"] == pytest.approx(prec, abs=0.5)
    assert 100 * found["mrr@20"] == pytest.approx(mrr, abs=1.5 if settings else 0.5)
