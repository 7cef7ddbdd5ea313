"""The multimodal user models: what every one keeps, and what makes each one itself, against plain formulas."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from disentrec import models
from disentrec.data.interactions import Pairs
from disentrec.errors import DisentrecError
from disentrec.models.base import PairBatch, UserCatalogue
from disentrec.models.dmrl import neighbour_correlation
from disentrec.models.edges import Edges
from disentrec.models.freedom import thin
from disentrec.models.modalities import by_degree, nearest, similar_items

USERS, ITEMS = 40, 30
NAMES = ("bm3", "dmrl", "freedom", "grcn", "lattice", "mmgcn", "slmrec", "vbpr")
SMALL = {"dim": 8}


def world(n_users=USERS, n_items=ITEMS, pairs=200, features=("text", "image"), seed=0):
    """A catalogue of random pairs; the last two items have no features."""
    rng = np.random.default_rng(seed)
    train = Pairs.of(n_users, n_items, rng.integers(n_users, size=pairs), rng.integers(n_items, size=pairs))
    tables = {}
    for width, name in enumerate(features, 5):
        tables[name] = rng.normal(size=(n_items, width)).astype(np.float32)
        tables[name][-2:] = 0
    return UserCatalogue(train, tables)


def planted(groups=4, n_users=60, n_items=48, seed=0):
    """Users who choose the items of their own group, which is all that features tell; and what they have not chosen."""
    rng = np.random.default_rng(seed)
    pairs = [(u, i) for u in range(n_users) for i in range(n_items) if u % groups == i % groups]
    held = rng.permutation(len(pairs)) < len(pairs) // 3
    users, items = np.array(pairs).T
    features = {
        name: (np.eye(groups)[np.arange(n_items) % groups] + 0.1 * rng.normal(size=(n_items, groups))).astype(
            np.float32
        )
        for name in ("text", "image")
    }
    train, test = (Pairs.of(n_users, n_items, users[part], items[part]) for part in (~held, held))
    return UserCatalogue(train, features), test


def batch_of(catalogue, rows=slice(None), negatives=2, seed=0):
    rng = np.random.default_rng(seed)
    users, items = catalogue.train.users[rows], catalogue.train.items[rows]
    drawn = rng.integers(catalogue.n_items, size=(len(users), negatives))
    return PairBatch(*map(torch.from_numpy, (users, items, drawn)))


def built(name, catalogue=None, seed=0, **settings):
    return models.build(name, SMALL | settings, catalogue or world(), seed)


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


# What every model keeps.


def test_scores(name):
    model = built(name).eval()
    users = torch.tensor([3, 0, 3, 39])
    with torch.no_grad():
        scores = model(users)
        assert scores.shape == (4, ITEMS) and torch.isfinite(scores).all()
        assert torch.equal(scores, model(users, model.encode()))
        assert torch.allclose(scores[1:2], model(users[1:2]), atol=1e-6)  # whoever else is asked about
        assert torch.equal(scores[0], scores[2])


@pytest.mark.parametrize("features", [("text",), ("image",), ("image", "text")])
def test_any_features_will_do_but_none(name, features):
    model = built(name, world(features=features))
    model.begin_epoch(0)
    assert torch.isfinite(sum(model.losses(batch_of(world())).values()))
    assert torch.isfinite(model(torch.arange(5))).all()
    with pytest.raises(DisentrecError, match=rf"none of the features .*text.*model {name}"):
        built(name, world(features=()))


def test_features_that_are_not_asked_for_change_nothing(name):
    one, two = (built(name, catalogue, features=("text",)).eval() for catalogue in (world(), world(features=("text",))))
    with torch.no_grad():
        assert torch.equal(one(torch.arange(USERS)), two(torch.arange(USERS)))


def test_gradient_reaches_every_parameter(name):
    model = built(name).train()
    model.begin_epoch(0)
    sum(model.losses(batch_of(world())).values()).backward()
    silent = {
        key
        for key, parameter in model.named_parameters()
        if parameter.grad is None or not parameter.grad.abs().sum() > 0
    }
    assert silent == set()


def test_same_seed_same_bytes(name):
    def trained():
        model = built(name, seed=1).train()
        optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
        for epoch in range(2):
            model.begin_epoch(epoch)
            optimiser.zero_grad()
            sum(model.losses(batch_of(world())).values()).backward()
            optimiser.step()
        return model.eval()(torch.arange(USERS)).detach()

    assert torch.equal(trained(), trained())


def test_it_learns_what_users_like(name):
    catalogue, test = planted()
    model = built(name, catalogue, dim=16)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    fixed = batch_of(catalogue)
    before = sum(model.losses(fixed).values()).item()
    for epoch in range(15):
        model.train()
        model.begin_epoch(epoch)
        order = np.random.default_rng(epoch).permutation(len(catalogue.train))
        for rows in np.array_split(order, 8):
            optimiser.zero_grad()
            sum(model.losses(batch_of(catalogue, rows, seed=epoch)).values()).backward()
            optimiser.step()
    assert sum(model.losses(fixed).values()).item() < before
    with torch.no_grad():
        scores = model.eval()(torch.arange(catalogue.n_users))
    scores[torch.from_numpy(catalogue.train.users), torch.from_numpy(catalogue.train.items)] = -torch.inf
    users, items = torch.from_numpy(test.users), torch.from_numpy(test.items)
    # A model that has learnt nothing beats half of them.
    beaten = (scores[users] < scores[users, items][:, None]).float().mean()
    assert beaten > 0.9


# What they share.


def dense(edges, values):
    found = torch.zeros(edges.shape, dtype=values.dtype)
    return found.index_put((edges.rows, edges.columns), values, accumulate=True)


@pytest.fixture
def edges():
    rng = np.random.default_rng(0)
    rows = torch.from_numpy(np.sort(rng.integers(6, size=20)))  # some edges twice
    return Edges(rows, torch.from_numpy(rng.integers(5, size=20)), (7, 5))  # row 6 is empty


def test_sums_and_products_along_edges(edges):
    torch.manual_seed(0)
    values = torch.randn(20, dtype=torch.float64, requires_grad=True)
    x, y = (torch.randn(n, 3, dtype=torch.float64, requires_grad=True) for n in (7, 5))
    assert torch.allclose(edges.to_rows(values, y), dense(edges, values) @ y)
    assert torch.allclose(edges.to_columns(values, x), dense(edges, values).T @ x)
    assert torch.allclose(edges.dots(x, y), (x @ y.T)[edges.rows, edges.columns])
    assert torch.autograd.gradcheck(edges.to_rows, (values, y))
    assert torch.autograd.gradcheck(edges.to_columns, (values, x))
    assert torch.autograd.gradcheck(edges.dots, (x, y))


def test_softmax_along_edges(edges):
    logits = torch.randn(20, dtype=torch.float64, requires_grad=True)
    for by_column, places in ((False, edges.rows), (True, edges.columns)):
        found = edges.softmax(logits, by_column=by_column)
        for place in places.unique():
            assert torch.allclose(found[places == place], logits[places == place].softmax(0))
    assert torch.autograd.gradcheck(edges.softmax, (logits,))


def plain_neighbours(x, known, k):
    """The pairs of `nearest`, from the full matrix of cosines."""
    x = np.asarray(x, np.float64)
    unit = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-300)
    cosines = unit @ unit.T
    cosines[:, ~known] = -np.inf
    return [(i, j) for i in np.flatnonzero(known) for j in np.sort(np.argsort(-cosines[i])[:k]) if known[j]]


@pytest.mark.parametrize("held", [1, 60, 2**24])
def test_nearest_in_blocks_of_any_size(monkeypatch, held):
    monkeypatch.setattr("disentrec.models.modalities.HELD", held)
    x = world().features["text"].copy()
    x[4] = 0
    rows, columns = nearest(torch.from_numpy(x), torch.from_numpy(x.any(1)), 5)
    assert list(zip(rows.tolist(), columns.tolist(), strict=True)) == plain_neighbours(x, x.any(1), 5)


def test_items_without_a_feature_are_nobodys_neighbours():
    x = torch.tensor([[1.0, 0], [0, 0], [1, 0.1], [-1, 0], [0, 0]])
    rows, columns = nearest(x, x.any(1), 10)  # more than there are
    assert rows.tolist() == [0, 0, 0, 2, 2, 2, 3, 3, 3] and columns.tolist() == [0, 2, 3] * 3
    graph = similar_items(x, 2, weighted=False).toarray()
    assert (graph[[1, 4]] == 0).all() and (graph[:, [1, 4]] == 0).all()
    assert similar_items(torch.zeros(3, 2), 2, weighted=True).nnz == 0


@pytest.mark.parametrize("weighted", [False, True])
def test_similar_items_are_normalised_by_their_degree(weighted):
    x = world().features["image"]
    found = similar_items(torch.from_numpy(x), 12, weighted=weighted).toarray()
    assert np.allclose(found, plain_similar(x, 12, weighted), atol=1e-6)


def test_degree_counts_the_rows_own_values():
    rows, columns = torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1])
    found = by_degree(rows, columns, torch.tensor([1.0, 3, 4]), 3)
    assert found.tolist() == pytest.approx([1 / 4, 3 / 4, 4 / 4])


# What makes each model itself.


def test_vbpr_scores():
    catalogue = world()
    model = built("vbpr", catalogue)
    content = torch.from_numpy(np.concatenate([catalogue.features["text"], catalogue.features["image"]], 1))
    ids, looks = model.users.split(8, 1)
    expected = ids @ model.items.T + looks @ (content @ model.embed.weight.T + model.embed.bias).T
    assert torch.allclose(model(torch.arange(USERS)), expected, atol=1e-6)
    batch = batch_of(catalogue)
    own, other = (expected[batch.users, items] for items in (batch.positives, batch.negatives[:, 0]))
    assert torch.allclose(model.losses(batch)["bpr"], -F.logsigmoid(own - other).mean(), atol=1e-6)


def plain_graph(train, mean=False):
    """The normalised graph of users and items, (n, n) float64: by both degrees, or by the row's alone."""
    graph = np.zeros((train.n_users + train.n_items,) * 2)
    graph[train.users, train.n_users + train.items] = 1
    graph += graph.T
    degree = np.maximum(graph.sum(1), 1)
    return torch.from_numpy(graph / degree[:, None] if mean else graph / np.sqrt(degree[:, None] * degree))


def plain_similar(x, k, weighted=False, known=None):
    known = x.any(1) if known is None else known
    x = x.astype(np.float64)
    pairs = tuple(np.array(plain_neighbours(x, known, k)).T)
    unit = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-300)
    graph = np.zeros((len(x), len(x)))
    graph[pairs] = np.maximum((unit @ unit.T)[pairs], 0) if weighted else 1
    degree = graph.sum(1) + (graph.sum(1) == 0)
    return torch.from_numpy(graph / np.sqrt(degree[:, None] * degree))


def scored(table, n_users=USERS):
    return table[:n_users] @ table[n_users:].T


def test_freedom_against_dense_graphs():
    catalogue = world()
    model = built("freedom", catalogue, neighbours=4, item_layers=2).double()
    similar = 0.9 * plain_similar(catalogue.features["text"], 4) + 0.1 * plain_similar(catalogue.features["image"], 4)
    graph, x = plain_graph(catalogue.train), model.table
    table = (x + graph @ x + graph @ graph @ x) / 3
    table = torch.cat([table[:USERS], table[USERS:] + similar @ similar @ x[USERS:]])
    assert torch.allclose(model(torch.arange(USERS)), scored(table), atol=1e-6)
    # Before the first epoch has drawn, all edges train; the features have a BPR of their own.
    batch = batch_of(catalogue)
    terms = model.double().losses(batch)
    own, other = (scored(table)[batch.users, items] for items in (batch.positives, batch.negatives[:, 0]))
    assert torch.allclose(terms["bpr"], -F.logsigmoid(own - other).mean(), atol=1e-6)


def test_freedom_trains_on_the_epochs_edges_and_ranks_on_all():
    model = built("freedom")
    batch, users = batch_of(world()), torch.arange(USERS)
    whole, ranked = model.losses(batch)["bpr"], model(users)
    torch.manual_seed(0)
    model.begin_epoch(0)
    first = model.losses(batch)["bpr"]
    model.begin_epoch(1)
    assert len({whole.item(), first.item(), model.losses(batch)["bpr"].item()}) == 3
    assert torch.equal(model(users), ranked)


def test_freedom_keeps_the_stated_share_of_edges():
    train = world(pairs=400).train
    for dropout in (0.0, 0.25, 0.8):
        kept = thin(train, dropout)
        assert len(kept) == int(len(train) * (1 - dropout)) and train.contains(kept.users, kept.items).all()
        assert len(np.unique(kept.keys)) == len(kept) and (np.diff(kept.keys) > 0).all()


def test_freedom_thins_popular_nodes_first_and_equal_ones_equally():
    """Where all edges weigh the same, a node keeps its share of edges on average; else popular ones keep less."""
    torch.manual_seed(0)
    users, items = np.divmod(np.arange(36), 6)
    complete = Pairs.of(6, 6, users, items)
    count = sum(np.bincount(thin(complete, 0.5).users, minlength=6) for _ in range(2000))
    assert np.allclose(count / 2000, 3, atol=0.1)  # a user's six edges: the error of the mean is 0.02
    # A single draw is of one edge: in proportion to 1 / sqrt(d_u d_i), here of two users with items 0, 1 and 0.
    pairs = Pairs.of(2, 2, np.array([0, 0, 1]), np.array([0, 1, 0]))
    drawn = np.array([thin(pairs, 2 / 3 - 1e-9).keys[0] for _ in range(6000)])
    weights = 1 / np.sqrt([2 * 2, 2 * 1, 1 * 2])
    assert np.allclose(np.bincount(drawn, minlength=3) / 6000, weights / weights.sum(), atol=0.03)


def test_bm3_scores_and_losses():
    catalogue = world()
    model = built("bm3", catalogue, dropout=0.0).double()
    graph, x = plain_graph(catalogue.train), model.table
    table = (x + graph @ x) / 2
    table = torch.cat([table[:USERS], table[USERS:] + x[USERS:]])
    guess = table @ model.predict.weight.T + model.predict.bias
    assert torch.allclose(model(torch.arange(USERS)), scored(guess), atol=1e-6)
    batch = batch_of(catalogue)
    u, i = batch.users, USERS + batch.positives
    terms = model.losses(batch)

    def missed(one, two):
        return 1 - F.cosine_similarity(one, two).mean()

    assert torch.allclose(terms["reconstruction"], missed(guess[u], table[i]) + missed(guess[i], table[u]), atol=1e-6)
    expected = 0
    for name, embed in zip(("text", "image"), model.maps, strict=True):
        content = torch.from_numpy(catalogue.features[name]).double() @ embed.weight.T + embed.bias
        content = content[batch.positives]
        own = content @ model.predict.weight.T + model.predict.bias
        expected += missed(own, table[i]) + missed(own, content)
    assert torch.allclose(terms["content"], 2 * expected, atol=1e-6)


@pytest.mark.parametrize("name, settings", [("bm3", {"dropout": 0.0}), ("slmrec", {})])
def test_no_negatives_are_used(name, settings):
    model = built(name, **settings)
    one, two = (model.losses(batch_of(world(), seed=seed)) for seed in (0, 1))
    assert not torch.equal(batch_of(world(), seed=0).negatives, batch_of(world(), seed=1).negatives)
    assert all(torch.equal(one[term], two[term]) for term in one)


def test_bm3_drops_out_what_is_predicted_in_training_only():
    model, batch = built("bm3", dropout=0.5), batch_of(world())
    losses = {model.train(training).losses(batch)["content"].item() for training in (True, True, False, False)}
    assert len(losses) == 3


def test_bm3_stops_the_gradient_at_what_is_predicted():
    """The gradient is that of the losses with the targets held as numbers."""
    catalogue = world()
    model = built("bm3", catalogue, dropout=0.0, content=0.0, regularisation=0.0, layers=0)
    batch = batch_of(catalogue)
    sum(model.losses(batch).values()).backward()
    x = model.table.detach().clone().requires_grad_()
    table = torch.cat([x[:USERS], 2 * x[USERS:]])
    guess = F.linear(table, model.predict.weight.detach(), model.predict.bias.detach())
    u, i = batch.users, USERS + batch.positives
    target = table.detach()
    loss = -F.cosine_similarity(guess[u], target[i]).mean() - F.cosine_similarity(guess[i], target[u]).mean()
    loss.backward()
    assert torch.allclose(model.table.grad, x.grad, atol=1e-7)


def test_mmgcn_against_its_equations():
    catalogue = world()
    model = built("mmgcn", catalogue).double()
    mean = plain_graph(catalogue.train, mean=True)
    total = 0
    for number, name in enumerate(("text", "image")):
        content = model.maps[number](torch.from_numpy(catalogue.features[name]).double())
        x = F.normalize(torch.cat([model.preferences[number], content]))
        for round_ in model.rounds[number]:
            h = F.leaky_relu(mean @ (x @ round_.near.weight.T))
            own = F.leaky_relu(x @ round_.own.weight.T + round_.own.bias) + model.ids
            x = F.leaky_relu(torch.cat([h, own], 1) @ round_.join.weight.T + round_.join.bias)
        total = total + x / 2
    assert torch.allclose(model(torch.arange(USERS)), scored(total), atol=1e-6)
    # In training the last round is computed for the batch alone.
    batch = batch_of(catalogue)
    own, other = (scored(total)[batch.users, items] for items in (batch.positives, batch.negatives[:, 0]))
    assert torch.allclose(model.losses(batch)["bpr"], -F.logsigmoid(own - other).mean(), atol=1e-6)


def test_lattice_against_dense_graphs():
    catalogue = world()
    model = built("lattice", catalogue, neighbours=12, item_layers=2).double()
    with torch.no_grad():
        model.shares.copy_(torch.tensor([0.3, -0.4]))
    shares = model.shares.detach().softmax(0)
    mixed = 0
    for number, name in enumerate(("text", "image")):
        x = catalogue.features[name]
        mapped = model.maps[number](torch.from_numpy(x).double()).detach().numpy()
        learned = plain_similar(mapped, 12, weighted=True, known=x.any(1))
        mixed = mixed + shares[number] * (0.9 * plain_similar(x, 12, weighted=True) + 0.1 * learned)
    graph, x = plain_graph(catalogue.train), model.table
    table = (x + graph @ x + graph @ graph @ x) / 3
    table = torch.cat([table[:USERS], table[USERS:] + F.normalize(mixed @ mixed @ x[USERS:])])
    assert torch.allclose(model(torch.arange(USERS)), scored(table), atol=1e-6)


def test_lattice_learns_its_graph_through_the_kept_neighbours():
    """The gradient of the features' maps is that of a dense graph whose other entries are zero."""
    catalogue = world()
    model = built("lattice", catalogue, neighbours=5, frozen=0.5, features=("text",)).double()
    weights = torch.randn(ITEMS, 8, dtype=torch.float64)
    x = model.table[USERS:].detach()
    (model._similar(x, model.learned) * weights).sum().backward()
    features, embed = torch.from_numpy(catalogue.features["text"]).double(), model.maps[0]
    weight, bias = (part.detach().clone().requires_grad_() for part in (embed.weight, embed.bias))
    unit = F.normalize(features @ weight.T + bias)
    kept = torch.zeros(ITEMS, ITEMS, dtype=torch.float64)
    kept[model.learned[0].rows, model.learned[0].columns] = 1
    graph = (unit @ unit.T).relu() * kept
    degree = graph.sum(1) + (graph.sum(1) == 0)
    graph = graph / (degree[:, None] * degree).sqrt()
    (0.5 * (graph @ x) * weights).sum().backward()
    assert torch.allclose(embed.weight.grad, weight.grad, atol=1e-9)
    assert torch.allclose(embed.bias.grad, bias.grad, atol=1e-9)


def test_lattice_renews_its_neighbours_each_epoch():
    model = built("lattice", neighbours=5)
    before = model.learned[0].columns.clone()
    with torch.no_grad():
        model.maps[0].weight.normal_()
    assert torch.equal(model.learned[0].columns, before)
    model.begin_epoch(1)
    assert not torch.equal(model.learned[0].columns, before)


def test_grcn_against_its_equations():
    catalogue = world()
    model = built("grcn", catalogue, rounds=2).double()
    with torch.no_grad():
        model.confidence.normal_()
    has = torch.zeros(USERS, ITEMS, dtype=torch.float64)
    has[catalogue.train.users, catalogue.train.items] = 1

    def attention(p, f, axis):
        weights = (p @ f.T).exp() * has
        return weights / (weights.sum(axis, keepdim=True) + (weights.sum(axis, keepdim=True) == 0))

    to_users, to_items, content = [], [], []
    for number, name in enumerate(("text", "image")):
        f = F.normalize(F.leaky_relu(model.maps[number](torch.from_numpy(catalogue.features[name]).double())))
        p = F.normalize(model.preferences[number])
        for _ in range(2):
            p = F.normalize(p + attention(p, f, 1) @ f)
        by_user, by_item = attention(p, f, 1), attention(p, f, 0).T
        content.append(torch.cat([p + by_user @ f, f + by_item @ p]))
        to_users.append(by_user * model.confidence[USERS:, number])
        to_items.append(by_item * model.confidence[:USERS, number])
    to_users, to_items = (torch.stack(part).amax(0).relu() for part in (to_users, to_items))
    assert ((to_users == 0) & (has > 0)).any()  # some edges are pruned
    x = F.normalize(model.ids)
    graph = torch.zeros(USERS + ITEMS, USERS + ITEMS, dtype=torch.float64)
    graph[:USERS, USERS:], graph[USERS:, :USERS] = to_users, to_items
    table = torch.cat([x + graph @ x + graph @ graph @ x, *content], 1)
    assert torch.allclose(model(torch.arange(USERS)), scored(table), atol=1e-6)


def test_slmrec_against_dense_graphs():
    catalogue = world()
    model = built("slmrec", catalogue).double()  # three rounds
    graph = plain_graph(catalogue.train)
    tables, parts = [model.items], []
    for name, embed in zip(("image", "text"), model.maps, strict=True):
        tables.append(embed(F.normalize(torch.from_numpy(catalogue.features[name]).double())))
    for table in tables:
        x = torch.cat([model.users, table])
        parts.append((x + graph @ x + graph @ graph @ x + graph @ graph @ graph @ x) / 4)
    parts = torch.cat(parts, 1)
    users, items = model.join_users(parts[:USERS]), model.join_items(parts[USERS:])
    assert torch.allclose(model(torch.arange(USERS)), users @ items.T, atol=1e-6)

    def found(x, y):
        logits = x @ y.T / 0.2
        return (torch.logsumexp(logits, 1) - logits.diag()).mean()

    batch = batch_of(catalogue)
    terms = model.losses(batch)
    u, i = F.normalize(users)[batch.users], F.normalize(items)[batch.positives]
    assert torch.allclose(terms["softmax"], found(u, i), atol=1e-6)
    ids, image, text = parts[USERS + batch.positives].chunk(3, 1)
    fine = model.before[0](ids)
    task = found(fine, model.itself[0](image)) + found(model.before[1](fine), model.itself[1](text))
    assert torch.allclose(terms["task"], 0.1 * task, atol=1e-6)


@pytest.mark.parametrize("layers", [0, 1, 2])
def test_slmrec_walks_as_often_as_it_is_told(layers):
    catalogue = world()
    model = built("slmrec", catalogue, layers=layers).double()
    x = total = torch.cat([model.users, model.items])
    for _ in range(layers):
        x = plain_graph(catalogue.train) @ x
        total = total + x
    users, items = model._propagated()
    assert torch.allclose(torch.cat([users, items])[:, :8], total / (layers + 1), atol=1e-6)


def plain_distance_correlation(x, y):
    """dCor of Szekely et al. (2007), Definitions 3 to 5, in loops."""

    def centred(x):
        a = np.array([[np.linalg.norm(p - q) for q in x] for p in x])
        return a - a.mean(0) - a.mean(1)[:, None] + a.mean()

    a, b = centred(x), centred(y)
    return np.sqrt((a * b).mean() / np.sqrt((a * a).mean() * (b * b).mean()))


def test_distance_correlation_against_its_definition():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 3, 20, 4))
    x[0, 1] = x[0, 0] ** 2 + 0.1 * x[0, 1]  # dependent, without being correlated
    expected = np.mean([plain_distance_correlation(x[m, k], x[m, k + 1]) for m in range(2) for k in range(2)])
    assert neighbour_correlation(torch.from_numpy(x)).item() == pytest.approx(expected, abs=1e-6)
    turned = np.stack([x[0, 0], 3 * x[0, 0][:, [1, 0, 3, 2]] + 1])
    assert neighbour_correlation(torch.from_numpy(turned)).item() == pytest.approx(1, abs=1e-6)
    same = torch.ones(2, 5, 3, requires_grad=True)  # no variance at all
    neighbour_correlation(same).backward()
    assert torch.isfinite(same.grad).all()


def test_dmrl_scores_and_losses():
    """Pair by pair and factor by factor, with the attention's input written out."""
    catalogue = world()
    model = built("dmrl", catalogue, factors=2, hidden=6).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    tables = [model.items]
    for number, name in enumerate(("text", "image")):
        x = F.normalize(torch.from_numpy(catalogue.features[name]).double())
        tables.append(model.maps[number](F.normalize(F.leaky_relu(model.inner[number](x)))))
    first = torch.cat([model.read_user.weight, model.read_item.weight], 1)  # (3, 4 * size)
    expected = torch.zeros(USERS, ITEMS, dtype=torch.float64)
    for user in range(USERS):
        for item in range(ITEMS):
            for k in (slice(0, 4), slice(4, 8)):
                u, parts = model.users[user, k], [table[item, k] for table in tables]
                heard = F.normalize(torch.cat([u, *parts]), dim=0)
                weights = (model.attend.weight @ (first @ heard + model.read_user.bias).tanh()).softmax(0)
                fits = torch.stack([F.softplus(u @ part) for part in parts])
                expected[user, item] = expected[user, item] + weights @ fits
    assert torch.allclose(model(torch.arange(USERS)), expected, atol=1e-9)
    batch = batch_of(catalogue, negatives=3)
    hardest = expected[batch.users[:, None], batch.negatives].amax(1)
    loss = F.softplus(hardest - expected[batch.users, batch.positives]).mean()
    assert torch.allclose(model.losses(batch)["bpr"], loss, atol=1e-9)


def test_dmrl_measures_the_factors_of_users_and_chosen_items():
    catalogue = world()
    model = built("dmrl", catalogue, factors=2, measured=30, correlation=1.0).double()
    batch = batch_of(catalogue)
    rows, _, _ = model._described(torch.arange(ITEMS))
    tables = [model.users[batch.users[:30]], *(row.flatten(1)[batch.positives[:30]] for row in rows)]
    expected = [
        plain_distance_correlation(*table.detach().numpy().reshape(30, 2, 4).swapaxes(0, 1)) for table in tables
    ]
    assert model.losses(batch)["correlation"].item() == pytest.approx(np.mean(expected), abs=1e-4)


def test_dmrl_refuses_factors_that_do_not_fit():
    with pytest.raises(DisentrecError, match=r"rows of 8 cannot be cut into 3 factors.*model dmrl"):
        built("dmrl", factors=3)
