"""Parts against the truth: planted parts are found, swapped ones are not, and the parts of a model are its score."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from disentrec import models
from disentrec.data.bazaar import BazaarParameters, Oracle, UserOracle, read_truth, write_bazaar
from disentrec.data.bazaar.truth import brute_force
from disentrec.data.bazaar.users import early_causes, early_choices
from disentrec.data.protocol import Protocol
from disentrec.errors import DisentrecError
from disentrec.evaluation.identification import identification
from disentrec.study.analysis import analyse
from disentrec.study.analysis.answers import session_answers, user_answers
from disentrec.study.analysis.parts import QUESTIONS, Parts, parts_of
from disentrec.study.analysis.truth import goes_with, item_factors, of_items, session_effects
from disentrec.study.runner import catalogue, user_catalogue
from disentrec.study.spec import RunSpec
from disentrec.training import task_of
from tests.models import worlds
from tests.models.user_worlds import user_catalogue as user_world

N = 30


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """The tiny shop, its truth, and its split into sessions."""
    dataset = write_bazaar(tmp_path_factory.mktemp("shop") / "shop", BazaarParameters.preset("tiny", images=False))
    return dataset, read_truth(dataset.folder), task_of("session", dataset, Protocol()).split


def planted(test, answers, n_items: int, turned: bool = False) -> Parts:
    """Parts that are the truth: the target is lifted by the part that made the choice, and by it alone."""
    done = 0

    def scores(batch):
        nonlocal done
        truth = torch.from_numpy(answers["id"].truth[done : done + len(batch.target)])
        done += len(batch.target)
        lifted = [torch.nn.functional.one_hot(batch.target, n_items) * (truth == side)[:, None] for side in (1, 0)]
        return dict(zip(QUESTIONS["id"], lifted[::-1] if turned else lifted, strict=True))

    return Parts({name: torch.zeros(n_items, 1) for name in QUESTIONS["id"]}, scores)


@pytest.mark.parametrize("turned, auc", [(False, 1.0), (True, 0.0)])
def test_parts_that_are_the_truth_have_auc_one_and_swapped_ones_zero(shop, turned, auc):
    dataset, truth, split = shop
    answers = session_answers(truth, split.test)
    effect = session_effects(planted(split.test, answers, dataset.n_items, turned), split.test)["id"]
    rows = answers["id"].truth >= 0
    assert identification(effect[rows], answers["id"].truth[rows] == 1)["auc"] == auc


def test_perfect_parts_come_close_to_bayes_rule(shop):
    dataset, truth, split = shop
    users = task_of("top-n", dataset, Protocol(split="time")).split
    for answers in (session_answers(truth, split.test), user_answers(truth, dataset, users)):
        for answer in answers.values():
            rows = answer.truth >= 0
            found = identification(answer.ideal[rows], answer.truth[rows] == 1, answer.bayes[rows])
            if "auc" in found:  # the few choices for the price may all be of one kind
                assert found["bayes_auc"] > 0.85 and 0.75 < found["auc"] < found["bayes_auc"] + 0.02


def test_answers_are_the_generators_own(shop):
    _, truth, split = shop
    answers = session_answers(truth, split.test)
    causes = Oracle(truth).true_causes(split.test)
    assert ((answers["id"].truth == 1) == (causes == 0)).all() and ((answers["id"].truth == 0) == (causes == 1)).all()
    assert ((answers["price"].truth >= 0) == (causes == 1)).all()
    for answer in answers.values():
        assert (answer.bayes >= 0).all() and (answer.bayes <= 1 + 1e-12).all()


def test_the_price_decides_as_often_as_enumeration_says(tmp_path):
    knobs = {"pi_id": 0.0, "pi_modality": 1.0, "pi_popularity": 0.0, "repeat_rate": 0.0, "images": False}
    dataset = write_bazaar(tmp_path / "shop", BazaarParameters.preset("tiny", n_sessions=80, **knobs))
    truth, split = read_truth(dataset.folder), task_of("session", dataset, Protocol()).split
    oracle, test = Oracle(truth), split.test
    found, types = oracle.price_decides(test), oracle.type_posterior(test)
    terms = truth.preferences()
    for case in range(len(test)):
        target, in_test = test.target[case], bool(truth.in_test[test.session[case]])
        own = [
            brute_force(truth.world, test.prefix[case].tolist(), in_test, k)[target] for k in range(len(types[case]))
        ]
        weights = types[case] * own
        dear = terms[:, 5, target] > terms[:, :5, target].sum(1)
        assert found[case] == pytest.approx((weights * dear).sum() / weights.sum(), abs=1e-9)


@pytest.mark.parametrize("absent, place", [("pi_id", 0), ("pi_modality", 1), ("pi_popularity", 2)])
def test_early_choices_have_the_causes_there_are(absent, place):
    from disentrec.data.bazaar import make_world

    shares = {"pi_id": 0.5, "pi_modality": 0.5, "pi_popularity": 0.5, absent: 0.0}
    world = make_world(BazaarParameters.preset("tiny", **shares))
    parts = early_causes(world, False)
    assert (parts[place] == 0).all() and all(parts[k].sum() > 0 for k in range(3) if k != place)
    assert np.allclose(parts.sum(0), early_choices(world, False), atol=1e-15)


def test_causes_of_pairs_are_those_of_their_first_choice(shop):
    dataset, truth, _ = shop
    split = task_of("top-n", dataset, Protocol(split="time")).split
    oracle = UserOracle(truth, dataset)
    found = oracle.first_choices(split.test)
    assert (oracle.lists.values[found] == split.test.items).all()
    assert (oracle.user[oracle.lists.rows[found]] == split.test.users).all()
    assert not (oracle.true_causes(split.test) == 3).any()
    for pair in range(0, len(split.test), 7):
        own = oracle.lists.rows[(oracle.lists.values == split.test.items[pair])]
        own = own[oracle.user[own] == split.test.users[pair]]
        assert oracle.time[oracle.lists.rows[found[pair]]] == oracle.time[own].min()
    posterior, price = oracle.causes(split, split.test)
    assert np.allclose(posterior.sum(1), 1) and ((price >= 0) & (price <= 1)).all()


@pytest.mark.parametrize(
    "name, settings",
    [
        ("two-towers", {}),
        ("dimo", {"heads": 2}),
        ("mmsbr", {"heads": 2, "rounds": 1, "price_term": "subtract"}),
        ("mmsbr", {"heads": 2, "rounds": 1, "price_term": "closeness"}),
    ],
)
def test_the_parts_of_session_models_add_up_to_the_score(name, settings):
    world = worlds.catalogue(worlds.random_sessions(N), N, names=("text", "image"))
    model = models.build(name, {"dim": 8, **settings}, world, 0).eval()
    batch = worlds.batch_of([[3], [1, 2, 2, 5]], [0, 4])
    with torch.no_grad():
        parts = parts_of(model)
        scores = parts.scores(batch)
        assert torch.allclose(sum(scores.values()), model(batch), atol=1e-5)
    assert set(scores) == set(parts.items) and len(parts.questions()) == 1


@pytest.mark.parametrize("name, settings", [("vbpr", {}), ("idsf", {}), ("idsf", {"fusion": "head"})])
def test_the_parts_of_models_of_users_add_up_to_the_score(name, settings):
    model = models.build(name, {"dim": 8, **settings}, user_world(), 0).eval()
    users = torch.tensor([3, 0, 39])
    with torch.no_grad():
        parts = parts_of(model).scores(users)
        assert torch.allclose(parts["id"] + parts["modality"], model(users), atol=1e-6)


@pytest.mark.parametrize("user_attention", [True, False])
def test_the_parts_of_addrl_add_up_before_and_after_softplus(user_attention):
    model = models.build("addrl", {"chunk": 4, "user_attention": user_attention}, user_world(), 0).eval()
    users = torch.tensor([3, 0, 39])
    with torch.no_grad():
        found = parts_of(model)
        parts, items = found.scores(users), model.encode()
        whole = sum(items.products(own, k, slice(0, model.n_items)) for k, own in enumerate(model._own(users)))
        assert torch.allclose(parts["id"] + parts["modality"], whole, atol=1e-5)
        assert torch.allclose(parts["price"] + parts["looks"], model(users), atol=1e-5)
    assert found.questions() == ["id", "price"]


@pytest.mark.parametrize("name", models.available("session"))
def test_a_session_model_has_both_parts_of_a_question_or_none(name):
    model = models.build(name, {}, worlds.catalogue(worlds.random_sessions(N), N), 0).eval()
    with torch.no_grad():
        parts = parts_of(model)
    assert sorted(parts.items) == sorted({side for name in parts.questions() for side in QUESTIONS[name]})
    assert bool(parts.items) == (name in ("dimo", "mmsbr", "two-towers"))


def test_goes_with_is_one_for_rows_of_pairs_and_zero_for_their_opposites():
    import scipy.sparse as sp

    table = np.repeat(np.eye(5), 2, axis=0)  # items 2k and 2k + 1 go together
    together = sp.csr_matrix(np.kron(np.eye(5), 1 - np.eye(2)))
    assert goes_with(table, together, np.arange(10)) == 1
    apart = sp.csr_matrix(1 - np.kron(np.eye(5), np.ones((2, 2))))
    assert goes_with(table, apart, np.arange(10)) == 0


def test_planted_factors_are_in_their_part_and_independent_parts_pass_the_null(shop):
    _, truth, _ = shop
    n = len(truth.world.shop.cold)
    rows = np.arange(n)
    rng = np.random.default_rng(0)
    known = np.concatenate([np.eye(codes.max() + 1)[codes] for codes in item_factors(truth).values()], 1)
    tables = {"id": rng.standard_normal((n, 8)), "modality": known}
    found, arrays = of_items(tables, truth, rows, ["id"])
    assert found["linear_modality_price"] > 0.95 and found["linear_id_price"] < 0.2
    assert found["kernel_modality_price"] > 0.5 > found["kernel_id_price"]
    assert found["id_hsic_p"] > 0.05 and abs(found["id_cka"]) < 0.1 and found["id_informativeness"] > 0.8
    assert arrays["part_id"].shape == (min(200, n), 8)
    same, _ = of_items({"id": known, "modality": known}, truth, rows, ["id"])
    assert same["id_hsic_p"] < 0.01 and same["id_cka"] == pytest.approx(1) and same["id_sap"] < 0.1


@pytest.mark.parametrize("name, kind", [("two-towers", "session"), ("vbpr", "top-n"), ("narm", "session")])
def test_an_analysis_holds_what_the_page_reads(shop, name, kind):
    dataset, _, _ = shop
    split = task_of(kind, dataset, Protocol(split="time") if kind == "top-n" else Protocol()).split
    known = (catalogue if kind == "session" else user_catalogue)(dataset, split)
    model = models.build(name, {"dim": 8}, known, 0)
    found = analyse(model, dataset, split, "truth")
    if name == "narm":
        assert found.measures == {"parts": 0.0} and not found.arrays
        return
    cases = len(split.test)
    assert all(found.arrays[f"id_{what}"].shape == (cases,) for what in ("effect", "truth", "bayes"))
    assert {"id_auc", "id_ece", "id_skill", "id_bayes_auc", "id_cka", "id_hsic_p", "goes_with_id"} <= set(
        found.measures
    )
    assert all(np.isfinite(value) for value in found.measures.values())
    assert found.measures == analyse(model, dataset, split, "truth").measures
    with pytest.raises(DisentrecError, match="unknown question 'lies'"):
        analyse(model, dataset, split, "lies")


def test_without_a_truth_nothing_is_asked(shop):
    dataset, _, split = shop
    model = models.build("two-towers", {"dim": 8}, catalogue(dataset, split), 0)
    with pytest.raises(DisentrecError, match="no truth is known"):
        analyse(model, replace(dataset, folder=dataset.folder / "elsewhere"), split, "truth")


def test_an_analysis_of_another_kind_is_another_run_and_the_old_one_keeps_its_name():
    specs = [RunSpec("dimo", "shop", "f" * 64, analyse=kind) for kind in (False, True, "truth")]
    assert [spec.canonical().get("analyse") for spec in specs] == [None, True, "truth"]
    assert len({spec.hash for spec in specs}) == 3
    assert all(RunSpec.from_json(spec.to_json()).hash == spec.hash for spec in specs)
