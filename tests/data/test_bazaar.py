"""The embedded shop: its story is what is sampled, its oracle is exact, and no model sees its truth."""

from __future__ import annotations

import io
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from scipy.stats import chisquare

from disentrec.data.bazaar import (
    CAUSES,
    BazaarParameters,
    Oracle,
    make_world,
    measure_constants,
    read_truth,
    sample_choices,
    write_bazaar,
)
from disentrec.data.bazaar.choices import _choose
from disentrec.data.bazaar.parameters import POPULARITY_EXPONENT, SESSION_LENGTH_MEAN
from disentrec.data.bazaar.pictures import draw_title
from disentrec.data.bazaar.truth import Truth, brute_force
from disentrec.data.protocol import Protocol
from disentrec.data.schema import read_dataset
from disentrec.data.sequences import Sequences
from disentrec.data.sessions import SessionCases, split_sessions
from disentrec.errors import DisentrecError
from disentrec.evaluation.metrics import per_case


def tiny(**knobs) -> BazaarParameters:
    return BazaarParameters.preset("tiny", **{"images": False, **knobs})


def small_world(**knobs):
    """Twelve items, three types: small enough to enumerate."""
    return make_world(tiny(n_items=12, n_types=3, complements=2, cold_share=0.2, seed=3, **knobs))


def cases_of(prefixes, targets) -> SessionCases:
    return SessionCases(Sequences.from_lists(prefixes), np.asarray(targets), np.arange(len(targets)))


def oracle_of(world, in_test, types) -> Oracle:
    nothing = np.zeros(0)
    return Oracle(Truth(world, nothing, nothing, np.asarray(types), np.asarray(in_test)))


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    return write_bazaar(tmp_path_factory.mktemp("shop") / "bazaar", tiny(images=True, n_sessions=400))


PREFIXES = [[0], [3, 7], [5, 5, 2], [9, 1, 4, 0]]


@pytest.mark.parametrize("in_test", [False, True])
@pytest.mark.parametrize("knobs", [{}, {"pi_id": 1.0, "pi_modality": 0.0, "pi_popularity": 0.0}, {"repeat_rate": 0.0}])
def test_oracle_agrees_with_enumeration(in_test, knobs):
    world = small_world(**knobs)
    oracle = oracle_of(world, [in_test] * len(PREFIXES), [1] * len(PREFIXES))
    cases = cases_of(PREFIXES, [0] * len(PREFIXES))
    posterior = np.empty((len(PREFIXES), 3))
    expected = np.empty((len(PREFIXES), 12))
    for row, prefix in enumerate(PREFIXES):
        by_type = np.array([brute_force(world, prefix, in_test, k) for k in range(3)])
        path = [[brute_force(world, prefix[:t], in_test, k)[x] for t, x in enumerate(prefix)] for k in range(3)]
        weight = world.type_prior * np.prod(path, axis=1)
        posterior[row] = weight / weight.sum() if weight.sum() > 0 else np.nan
        expected[row] = posterior[row] @ by_type
    possible = np.isfinite(posterior).all(1)
    assert possible.sum() >= 1
    cases = cases.take(np.flatnonzero(possible))
    assert np.abs(oracle.type_posterior(cases) - posterior[possible]).max() < 1e-10
    found = oracle.probabilities(cases)
    assert np.abs(found - expected[possible]).max() < 1e-10
    assert np.abs(found.sum(1) - 1).max() < 1e-12
    known = oracle.probabilities(cases, "type")
    wanted = [brute_force(world, PREFIXES[row], in_test, 1) for row in np.flatnonzero(possible)]
    assert np.abs(known - wanted).max() < 1e-10


def test_choices_follow_the_probabilities():
    world = small_world()
    prefix, k, n = [3, 7], 2, 20_000
    items = np.tile(np.asarray(prefix, dtype=np.int32), (n, 1))
    picked, _ = _choose(world, np.random.default_rng(1), items, np.full(n, k), np.zeros(n, dtype=bool))
    expected = n * brute_force(world, prefix, False, k)
    seen = np.bincount(picked, minlength=12)
    assert seen[expected == 0].sum() == 0
    assert chisquare(seen[expected > 0], expected[expected > 0]).pvalue > 0.01


def test_cause_posterior_is_a_probability_and_beats_the_prior(shop):
    split = split_sessions(shop, Protocol())
    oracle = Oracle(read_truth(shop.folder))
    posterior = oracle.cause_posterior(split.test)
    causes = oracle.true_causes(split.test)
    assert np.abs(posterior.sum(1) - 1).max() < 1e-12
    right = (posterior.argmax(1) == causes).mean()
    assert right > np.bincount(causes).max() / len(causes) + 0.2
    repeats = causes == CAUSES.index("repeat")
    assert (posterior[repeats, CAUSES.index("repeat")] == 1).all()


def test_optimum_is_above_every_partial_oracle(shop):
    split = split_sessions(shop, Protocol())
    everything = SessionCases(
        Sequences.concatenate([split.train.prefix, split.test.prefix]),
        np.concatenate([split.train.target, split.test.target]),
        np.concatenate([split.train.session, split.test.session]),
    )
    oracle = Oracle(read_truth(shop.folder))
    scores = {
        name: per_case(oracle.ceiling_ranks(everything, name), "mrr@20").mean()
        for name in ("all", "id", "modality", "popularity", "type")
    }
    assert scores["type"] >= scores["all"] > max(scores["id"], scores["modality"]) > scores["popularity"]


def test_a_single_cause_is_the_only_one_at_work():
    world = make_world(tiny(pi_id=1.0, pi_modality=0.0, pi_popularity=0.0, repeat_rate=0.0))
    choices = sample_choices(world)
    first = choices.sessions.positions == 0
    assert (choices.cause[first] == CAUSES.index("popularity")).all()
    assert (choices.cause[~first] == CAUSES.index("id")).mean() > 0.95
    rows = np.flatnonzero((choices.cause == CAUSES.index("id")) & (choices.sessions.positions == 1))
    graph = world.shop.complements.toarray()
    before, item = choices.sessions.values[rows - 1], choices.sessions.values[rows]
    assert (graph[before, item] > 0).all()


def test_similar_items_go_together_as_rho_grows():
    shared = {}
    for rho in (0.0, 1.0):
        shop = make_world(tiny(n_items=400, rho=rho)).shop
        rows, columns = shop.complements.nonzero()
        shared[rho] = (shop.attributes[rows] == shop.attributes[columns]).mean()
    pairs = np.random.default_rng(0).integers(400, size=(2, 20_000))
    chance = (shop.attributes[pairs[0]] == shop.attributes[pairs[1]]).mean()
    assert abs(shared[0.0] - chance) < 0.03 and shared[1.0] > chance + 0.25


def test_both_price_behaviours_do_what_they_say():
    world = make_world(tiny(n_items=600, taste=(0.0,) * 5))
    price, leaf = world.shop.log_price, world.shop.attributes[:, 0]
    for k, by_range in enumerate(world.range_types):
        share = world.appeal[k] / world.appeal[k].sum()
        centre = share @ price
        if by_range:
            assert np.sqrt(share @ (price - centre) ** 2) < 1.2 * world.parameters.price_width
        else:
            biggest = np.flatnonzero(leaf == np.bincount(leaf).argmax())
            cheapest = biggest[price[biggest].argmin()]
            assert world.appeal[k, cheapest] == pytest.approx(world.appeal[k, biggest].max())


def test_cold_items_appear_in_test_only(shop):
    truth = read_truth(shop.folder)
    sessions = shop.session_lists()
    cold = truth.world.shop.cold[sessions.values]
    assert not cold[~truth.in_test[sessions.rows]].any() and cold[truth.in_test[sessions.rows]].any()
    assert (shop.sessions["split"].to_numpy() == "test").tolist() == truth.in_test.tolist()


def test_popularity_is_zipf():
    world = make_world(tiny(n_items=1000))
    weights = np.sort(world.shop.popularity)[::-1]
    slope = np.polyfit(np.log(np.arange(1, 1001)), np.log(weights), 1)[0]
    assert slope == pytest.approx(-POPULARITY_EXPONENT)


def test_same_parameters_same_bytes(tmp_path):
    one, two = (write_bazaar(tmp_path / name, tiny(n_sessions=60)) for name in ("one", "two"))
    other = write_bazaar(tmp_path / "other", tiny(n_sessions=60, seed=1))
    assert one.fingerprint == two.fingerprint != other.fingerprint
    truths = [(tmp_path / name / "truth" / "truth.npz").read_bytes() for name in ("one", "two")]
    assert truths[0] == truths[1]


def test_the_reader_of_models_cannot_see_the_truth(shop, tmp_path):
    """The same data set with its truth destroyed, or gone, reads the same: nothing of it was opened."""
    folder = tmp_path / "bazaar"
    shutil.copytree(shop.folder, folder)
    for file in (folder / "truth").iterdir():
        file.write_bytes(b"\x00garbage")
    assert read_dataset(folder).fingerprint == shop.fingerprint
    shutil.rmtree(folder / "truth")
    blind = read_dataset(folder)
    assert blind.session_lists().values.tolist() == shop.session_lists().values.tolist()
    columns = {name for frame in (blind.items, blind.sessions, blind.interactions) for name in frame.columns}
    assert columns.isdisjoint({"cause", "type", "user_type", "popularity", "cold", "colour", "material"})
    with pytest.raises(DisentrecError, match="no truth is known"):
        read_truth(folder)


def test_pictures_are_small_pngs_and_differ_by_what_they_show(shop):
    pictures = [picture for picture in shop.images() if picture is not None]
    assert 0.85 < len(pictures) / shop.n_items < 1
    assert {Image.open(io.BytesIO(picture)).size for picture in pictures} == {(96, 96)}
    red, blue = draw_title("Lumo new red plain mug"), draw_title("Lumo new blue plain mug")
    assert red == draw_title("Lumo new red plain mug") != blue
    middle = [np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))[50, 42].astype(int) for png in (red, blue)]
    assert middle[0][0] > middle[0][2] + 50 and middle[1][2] > middle[1][0] + 50


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: BazaarParameters.preset("huge"), r"unknown scale 'huge'.*demo, large, tiny"),
        (lambda: BazaarParameters.preset("tiny", pi_ids=1), r"unknown knob 'pi_ids'.*pi_id,"),
        (lambda: BazaarParameters(pi_id=0.9), "sum to 1"),
        (lambda: BazaarParameters(n_items=10), "12 items or more"),
    ],
)
def test_wrong_parameters_are_refused(make, message):
    with pytest.raises(DisentrecError, match=message):
        make()


def test_constants_are_those_of_real_sessions(shared):
    sessions = pq.read_table(shared / "data" / "sessions_grocery" / "train.parquet", columns=["session"])
    lengths = np.asarray([len(row) for row in sessions["session"].to_pylist()]) + 1
    lines = pq.read_table(shared / "data" / "online_retail" / "interactions.parquet", columns=["item"])
    mean, exponent = measure_constants(lengths, np.bincount(lines["item"].to_numpy()))
    assert mean == pytest.approx(SESSION_LENGTH_MEAN, abs=0.005)
    assert exponent == pytest.approx(POPULARITY_EXPONENT, abs=0.005)
