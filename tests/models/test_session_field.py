"""The nine session models of the field: what makes each of them itself, on cases known by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from disentrec import models
from disentrec.data.sequences import Sequences
from disentrec.errors import DisentrecError
from disentrec.models.atten_mixer import last_means
from disentrec.models.bert4rec import append
from disentrec.models.cohhn import joins
from disentrec.models.cotrec import item_graph
from disentrec.models.dhcn import contrast, line_convolution, line_graph
from disentrec.models.layers import Hypergraph
from disentrec.models.lessr import in_edges, shortcut_graph
from disentrec.models.msgifsr import joined, units_of
from disentrec.models.sasrec import next_items
from disentrec.models.sr_gnn import node_numbers, session_nodes
from disentrec.models.unisrec import balanced, whiten
from tests.models.worlds import batch_of, catalogue, random_sessions

N = 12
WORLD = catalogue(random_sessions(N, 60), N, features=16)


def build(name, world=WORLD, **settings):
    return models.build(name, {"dim": 8} | settings, world, seed=0).eval()


def scores(model, *prefixes):
    with torch.no_grad():
        return model(batch_of(list(prefixes), [0] * len(prefixes)))


# ------------------------------------------------------------------- shared layers


@pytest.mark.parametrize("sessions", [[[0, 1, 1], [1, 2]], [[0, 1, 1], [1, 2], [0, 1], [0, 2, 1], [2, 0]]])
def test_hypergraph_is_the_mean_of_the_means_of_an_items_sessions(sessions):
    """Both forms: multiplied out, and kept as two factors."""
    n, x = 4, torch.arange(8.0).view(4, 2)
    means = torch.stack([x[sorted(set(session))].mean(0) for session in sessions])
    expected = torch.zeros(n, 2)
    for item in range(3):  # item 3 is in no session
        expected[item] = means[[item in session for session in sessions]].mean(0)
    assert torch.allclose(Hypergraph(Sequences.from_lists(sessions), n)(x), expected)


def test_hypergraph_is_multiplied_out_only_where_that_is_smaller():
    many = Hypergraph(Sequences.from_lists([[0, 1]] * 20), 2)
    wide = Hypergraph(Sequences.from_lists([list(range(30))]), 30)
    assert (len(many.parts), len(wide.parts)) == (1, 2)


# ------------------------------------------------------------------------- SASRec


def test_sasrec_a_later_item_moves_no_earlier_state():
    model = build("sasrec")
    with torch.no_grad():
        one, two = (model.states(batch_of([[1, 2, last]], [0])) for last in (3, 4))
    assert torch.equal(one[:2], two[:2]) and not torch.allclose(one[2], two[2], atol=1e-3)


def test_sasrec_every_position_predicts_the_next_item():
    batch = batch_of([[1, 2, 3], [4]], [5, 6])
    assert next_items(batch)[batch.mask].tolist() == [2, 3, 5, 6]
    model = build("sasrec")
    each = [
        torch.nn.functional.cross_entropy(model.states(batch)[place] @ model.table.T, torch.tensor(following))
        for place, following in ((0, 2), (1, 3), (2, 5), (3, 6))
    ]
    assert model.losses(batch)["ce"].item() == pytest.approx(torch.stack(each).mean().item(), abs=1e-5)
    model.config = replace(model.config, every_position=False)
    assert model.losses(batch)["ce"].item() == pytest.approx((each[2] + each[3]).item() / 2, abs=1e-5)


# ----------------------------------------------------------------------- BERT4Rec


def test_bert4rec_appends_the_mask_after_the_last_item():
    batch = batch_of([[1, 2, 3], [4]], [0, 0])
    mask = torch.tensor([99, 99])
    assert append(batch.items, batch.length, mask).tolist() == [[2, 3, 4, 99], [5, 99, 0, 0]]


def test_bert4rec_masks_the_last_item_only_or_some_items_but_never_none_and_never_padding():
    full = torch.tensor([[1, 2, 3, 4], [5, 6, 0, 0]] * 500)
    last = torch.tensor([3, 1] * 500)
    only = build("bert4rec", last_only=1.0).draw_masks(full, last)
    assert only.nonzero()[:, 1].tolist() == last.tolist()
    torch.manual_seed(0)
    cloze = build("bert4rec", last_only=0.0, mask_share=0.5).draw_masks(full, last)
    assert cloze.any(1).all() and not (cloze & (full == 0)).any()
    # A first item of two is masked half the time; a last one too, and for the quarter that drew nothing.
    assert cloze[1::2, 0].float().mean().item() == pytest.approx(0.5, abs=0.08)
    assert cloze[1::2, 1].float().mean().item() == pytest.approx(0.75, abs=0.08)


def test_bert4rec_looks_both_ways_and_not_at_what_is_masked():
    model = build("bert4rec")
    with torch.no_grad():
        one, two = (model.states(torch.tensor([2, last]), model.encoder.plan([2])) for last in (3, 4))
    assert not torch.allclose(one[0], two[0], atol=1e-3)
    batch = batch_of([[1]], [2])
    model.draw_masks = lambda full, last: torch.tensor([[False, True]])
    expected = torch.nn.functional.cross_entropy(model(batch), batch.target)
    assert model.losses(batch)["ce"].item() == pytest.approx(expected.item(), abs=1e-6)


# -------------------------------------------------------------------------- LESSR


def test_lessr_edges_arrive_in_order_and_shortcuts_join_all_earlier_items():
    batch = batch_of([[4, 5, 4, 6, 4], [2]], [0, 0])  # nodes of the first session: 4, 5, 6 = 0, 1, 2
    nodes, node_of = session_nodes(batch.items)
    walk = in_edges(node_of, batch.mask, nodes > 0)
    pairs = [sorted(zip(target.tolist(), source.tolist(), strict=True)) for source, target in walk]
    assert pairs == [[(0, 1), (1, 0), (2, 0)], [(0, 2)]]  # (to, from): item 4 hears 5 first, then 6
    shortcuts = shortcut_graph(node_of, batch.mask, node_numbers(nodes > 0), 4)
    heard = {(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (2, 0), (2, 1), (2, 2), (3, 3)}  # (to, from)
    assert set(zip(shortcuts.rows.tolist(), shortcuts.columns.tolist(), strict=True)) == heard  # 6 comes before no 5


def test_lessr_feels_the_order_of_a_nodes_edges():
    """Both sessions have the same nodes, edges and last item: a graph without order cannot tell them apart."""
    one, two = [1, 2, 1, 3, 1], [1, 3, 1, 2, 1]
    found = scores(build("lessr", layers=1), one, two)
    assert not torch.allclose(found[0], found[1], atol=1e-4)


# ------------------------------------------------------------------ DHCN and COTREC


def test_line_graph_is_intersection_over_union_plus_a_loop():
    graph = line_graph(batch_of([[0, 1, 1], [1, 2], [3]], [0] * 3).items, 5)
    third = 1 / 3
    expected = [[2 / (2 + third), third / (2 + third), 0], [third / (2 + third), 2 / (2 + third), 0], [0, 0, 1]]
    assert torch.allclose(graph, torch.tensor(expected))
    x = torch.tensor([[3.0], [1.0], [5.0]])
    assert torch.allclose(line_convolution(x, graph, 1), (x + graph @ x) / 2)


def test_contrast_is_low_where_both_views_agree():
    torch.manual_seed(0)
    x = 3 * torch.randn(64, 8)
    assert contrast(x, x) < contrast(x, x.roll(1, 0)) - 1


@pytest.mark.parametrize("name", ["dhcn", "cotrec"])
def test_contrast_takes_part_by_its_weight_and_in_training_only(name):
    batch = batch_of([[1, 2, 3], [2, 4], [5]], [0, 1, 2])
    gradients = {}
    for weight in (0.0, 0.5, 1.0):
        model = build(name, weight_contrast=weight)
        torch.manual_seed(0)
        terms = model.losses(batch)
        assert set(terms) == ({"ce", "contrast"} if weight else {"ce"})
        sum(terms.values()).backward()
        gradients[weight] = model.table.grad
    one, two = gradients[0.5] - gradients[0.0], gradients[1.0] - gradients[0.0]
    assert one.abs().max() > 1e-4 and torch.allclose(2 * one, two, atol=1e-5)


def test_dhcn_averages_the_convolutions():
    model = build("dhcn", layers=2)
    with torch.no_grad():
        first = model.hypergraph(model.table)
        expected = (model.table + first + model.hypergraph(first)) / 3
        assert torch.allclose(model.encode_items(), expected)


def test_cotrec_item_graph_counts_steps_both_ways():
    graph = item_graph(Sequences.from_lists([[0, 1, 2], [1, 0], [3, 3]]), 5).toarray()
    assert np.allclose(graph[0], [1 / 3, 2 / 3, 0, 0, 0])  # itself, and item 1 twice
    assert np.allclose(graph[1], [2 / 4, 1 / 4, 1 / 4, 0, 0])
    assert graph[3].tolist() == [0, 0, 0, 1, 0] and graph[4].tolist() == [0, 0, 0, 0, 1]  # no step from 2 to 1


def test_cotrec_mines_the_best_and_draws_from_the_next():
    model = build("cotrec", mined=2, candidates=0.5)
    positives, negatives = model.mine(torch.arange(N, dtype=torch.float)[None].expand(200, -1))
    assert [sorted(row) for row in positives.tolist()] == [[10, 11]] * 200
    assert set(negatives.flatten().tolist()) == {6, 7, 8, 9}


# -------------------------------------------------------- MSGIFSR and Atten-Mixer


def test_msgifsr_units_are_what_was_chosen_in_a_row():
    batch = batch_of([[1, 2, 3, 1, 2], [4, 5]], [0, 0])
    pairs = units_of(batch, 2)
    assert pairs.ends[0].tolist() == [False, True, True, True, True] and pairs.count.tolist() == [3, 1]
    node = pairs.node[0].tolist()
    assert node[1] == node[4] and len(set(node[1:])) == 3  # 12 = 12, 23, 31
    assert pairs.last.tolist() == [node[1], 3] and pairs.session.tolist() == [0, 0, 0, 1]
    triples = units_of(batch, 3)
    assert triples.count.tolist() == [3, 1]  # the short session is one unit of its own
    assert triples.ends[1].tolist() == [False, True, False, False, False]
    # The single item 1 stands before the pair 23, item 2 before 31, item 3 before 12.
    source, target = joined(units_of(batch, 1), pairs, 2)
    assert (source.tolist(), target.tolist()) == ([0, 1, 2], node[2:])


def test_msgifsr_longer_units_see_what_stands_in_a_row():
    """The two sessions have the same single items, steps and last item; only their triples differ."""
    one, two = [1, 2, 3, 2, 1, 2, 4], [1, 2, 1, 2, 3, 2, 4]
    short, long = (scores(build("msgifsr", levels=levels), one, two) for levels in (1, 3))
    assert torch.allclose(short[0], short[1], atol=1e-5)
    assert not torch.allclose(long[0], long[1], atol=1e-4)


@pytest.mark.parametrize("settings", [{}, {"repeat": False}, {"levels": 1}])
def test_msgifsr_scores_are_log_probabilities_and_the_loss_is_theirs(settings):
    model = build("msgifsr", **settings)
    batch = batch_of([[1, 2, 1], [3]], [2, 7])  # one target inside its session, one outside
    found = model(batch)
    assert torch.allclose(found.exp().sum(1), torch.ones(2), atol=1e-5)
    assert model.losses(batch)["ce"].item() == pytest.approx(-(found[0, 2] + found[1, 7]).item() / 2, abs=1e-5)


def test_atten_mixer_queries_are_means_of_the_last_items():
    rows = torch.tensor([[1.0], [2.0], [6.0], [5.0]])
    assert last_means(rows, batch_of([[0, 1, 2], [3]], [0, 0]), 3)[..., 0].tolist() == [[6, 4, 3], [5, 5, 5]]


def test_atten_mixer_the_last_item_decides_alone_only_at_one_level():
    """Order before the last item is felt as far as the queries reach."""
    one, two = [1, 2, 3, 4], [2, 1, 3, 4]  # differ in what the last three are, not in the last two
    for levels, felt in ((2, False), (3, True)):
        found = scores(build("atten-mixer", levels=levels, heads=2), one, two)
        assert torch.allclose(found[0], found[1], atol=1e-5) != felt


def test_atten_mixer_pools_from_the_mean_to_the_maximum():
    # One session of two positions, two queries, one head; and a session of one position.
    maps = torch.tensor([[[0.8], [0.4]], [[0.2], [0.6]], [[1.0], [1.0]]])
    batch = batch_of([[0, 1], [2]], [0, 0])
    found = build("atten-mixer", heads=2, power=1.0).mix(maps, batch)
    assert torch.allclose(found, torch.tensor([0.6, 0.4, 1.0]))
    found = build("atten-mixer", heads=2, power=64.0).mix(maps, batch)
    assert torch.allclose(found, torch.tensor([0.8 / 1.4, 0.6 / 1.4, 1.0]), atol=1e-2)


# ------------------------------------------------------------------------ UniSRec


def test_unisrec_cannot_tell_items_of_equal_features_apart():
    features = WORLD.features["text"].copy()
    features[5] = features[2]
    model = build("unisrec", replace(WORLD, features={"text": features}))
    found = scores(model, [1, 2], [1, 5])
    assert torch.equal(found[:, 2], found[:, 5]) and torch.allclose(found[0], found[1])
    assert not torch.allclose(found[:, 2], found[:, 3], atol=1e-3)


def test_unisrec_whitened_features_are_uncorrelated_and_constant_ones_fall_out():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(200, 3)) @ rng.normal(size=(3, 5)) + 7  # five columns, three directions
    found = whiten(balanced(features), 300)
    assert found.shape == (200, 3) and np.allclose(found.T @ found / 200, np.eye(3), atol=1e-5)
    assert np.allclose(whiten(balanced(features), 2), found[:, :2], atol=1e-6)


def test_unisrec_needs_a_feature():
    with pytest.raises(DisentrecError, match=r"none of the features \['text', 'image'\].*unisrec.*reads IDs"):
        build("unisrec", catalogue([[0, 1]], 2, features=None))


# -------------------------------------------------------------------------- CoHHN


def test_cohhn_hears_levels_and_categories_as_often_as_they_are_chosen():
    world = catalogue([[0, 1, 0], [2, 0]], 4)
    codes = {"price": np.array([1, 1, 2, 2]), "category": np.array([0, 1, 1, 0])}
    found = joins(world, codes, {"item": 4, "price": 3, "category": 2})
    assert np.allclose(found["price item"].toarray(), [[0, 0, 0, 0], [3 / 4, 1 / 4, 0, 0], [0, 0, 1, 0]])
    assert np.allclose(found["price category"].toarray(), [[0, 0], [3 / 4, 1 / 4], [0, 1]])
    assert found["item price"].toarray().tolist() == [[0, 1, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1]]


def test_cohhn_an_items_price_moves_its_score():
    world = replace(WORLD, categories=None, prices=np.linspace(1, 12, N))
    dearer = replace(world, prices=np.where(np.arange(N) == 3, 12.0, world.prices))
    one, two = (scores(build("cohhn", each, heads=2, price_binning="linear"), [1, 2])[0] for each in (world, dearer))
    assert abs(one[3] - two[3]) > 1e-4
    _, prices = build("cohhn", dearer, heads=2, price_binning="linear").encode_items()
    assert torch.equal(prices[3], prices[11]) and not torch.allclose(prices[3], prices[2], atol=1e-3)


@pytest.mark.parametrize("missing", [("prices",), ("categories",), ("prices", "categories")])
def test_cohhn_without_prices_or_categories_leaves_the_channel_out(missing):
    world = replace(WORLD, **dict.fromkeys(missing))
    model = build("cohhn", world, heads=2)
    assert torch.isfinite(scores(model, [1, 2])).all()
    assert model.has_prices == ("prices" not in missing)
    channels = {"price": "prices", "category": "categories"}
    assert set(model.tables) == {"item"} | {kind for kind, source in channels.items() if source not in missing}
    sum(model.losses(batch_of(random_sessions(N, 40), [1] * 40)).values()).backward()
    silent = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert [name for name in silent if not name.endswith("attention.key.bias")] == []
