"""How long does AD-DRL take to rank all items for all users, and how long with the released program's operations?

    python benchmarks/addrl_ranking.py
    python benchmarks/addrl_ranking.py --peer PATH/TO/AD-DRL

Same numbers on both sides: Baby's size (19,445 users, 7,050 items), rows of 128 in four chunks, text and image of 1024,
random. The released evaluation takes 20 users at a time; for each twenty it projects all texts and images again, lays
out every pair of a user and an item, and normalises and attends every pair's chunks. Some twenties are timed, in turn
with ours so that both meet the same machine, and multiplied. Without `--peer`, a checkout of SDLZY/AD-DRL at commit
e622b08, those operations are this file's own, from the specification. Ours is the whole ranking, timed in full, with
what it computes once per test pass. Masking and metrics are on neither side.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from common import copy_ceiling, load_peer, product_ceiling, write
from torch import Tensor

from disentrec import models
from disentrec.data.interactions import Pairs
from disentrec.models.addrl import ADDRL, ADDRLConfig
from disentrec.models.attributes import Attribute
from disentrec.models.base import UserCatalogue
from disentrec.study.runner import environment

N_USERS, N_ITEMS, WIDTH, CHUNK, K = 19_445, 7_050, 1024, 32, 4
THEIR_USERS, OUR_USERS = 20, 256


def main() -> None:
    """Measures, prints and writes one record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", type=Path, help="a checkout of the released code")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5, help="full rankings and twenties of users that are timed")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    shop = _catalogue()
    model = _model(shop, released=True)
    released = _peer(options.peer, model, shop) if options.peer else lambda users: released_scores(model, shop, users)
    with torch.no_grad():
        rounds = [
            (_seconds(lambda: _rank(model)), _seconds(lambda number=number: released(_users(number, THEIR_USERS))))
            for number in range(options.rounds + 1)
        ]
        ours, chunk = (statistics.median(seconds) for seconds in zip(*rounds[1:], strict=True))
        attending = _model(shop, released=False)
        attended = _seconds(lambda: _rank(attending))
        theirs, own = released(_users(0, THEIR_USERS)), model(_users(0, THEIR_USERS))
        gemm, copy = product_ceiling(512, CHUNK, N_ITEMS, F.linear), copy_ceiling()
    full = chunk * -(-N_USERS // THEIR_USERS)
    flops = 2.0 * N_USERS * N_ITEMS * K * CHUNK
    write(
        "addrl_ranking",
        {
            "data": "synthetic",
            "n_users": N_USERS,
            "n_items": N_ITEMS,
            "environment": environment(options.threads, "cpu"),
            "ceilings": {"gemm_gflops": round(gemm / 1e9, 1), "copy_gbytes_per_s": round(copy / 1e9, 1)},
            "full_ranking": {
                "seconds": round(ours, 2),
                "gflop_of_products": round(flops / 1e9, 1),
                "products_s_at_ceiling": round(flops / gemm, 2),
                "with_user_in_attention_s": round(attended, 2),
            },
            "released": {
                "operations": "commit e622b08" if options.peer else "this file's, from the specification",
                "seconds_per_20_users": round(chunk, 2),
                "seconds": round(full),
                "note": f"the median of {options.rounds} times the number of twenties",
            },
            "ratio": round(full / ours, 1),
            "ratio_with_user_in_attention": round(full / attended, 1),
            "same_numbers": {
                "max_abs_difference": float(f"{(theirs - own).abs().max():.1e}"),
                "equal_top_20": float((theirs.topk(20).indices == own.topk(20).indices).float().mean()),
            },
        },
    )


def released_scores(model: ADDRL, shop: UserCatalogue, users: Tensor) -> Tensor:
    """Returns the scores of all items, (users, n_items), pair by pair as the released inference computes them."""
    items = model.table[N_USERS:]
    views = [items]
    for name in model.features:  # the raw features, once more for every twenty
        layer = model.project[name]
        views.append(F.linear(F.normalize(torch.tensor(shop.features[name])), layer.weight, layer.bias))
    count = len(users)
    pairs = [view.repeat(count, 1).split(CHUNK, 1) for view in views]  # rows of every user's every item
    of_users = model.table[users].repeat_interleave(N_ITEMS, 0).split(CHUNK, 1)
    scores = 0
    for k in range(K):
        chunks = [view[k] for view in pairs]
        weights = model.attend(F.normalize(sum(chunks))).softmax(1).softmax(1)
        fused = sum(weights[:, m, None] * F.normalize(chunk) for m, chunk in enumerate(chunks))
        scores = scores + F.softplus((F.normalize(of_users[k]) * fused).sum(1))
    return scores.view(count, N_ITEMS)


def _rank(model: ADDRL) -> None:
    """Scores all items for all users, with what is done once for all of them."""
    encoded = model.encode()
    for number in range(-(-N_USERS // OUR_USERS)):
        model(_users(number, OUR_USERS), encoded)


def _seconds(step: Callable[[], object]) -> float:
    started = time.perf_counter()
    step()
    return time.perf_counter() - started


def _users(number: int, size: int) -> Tensor:
    return torch.arange(number * size, min((number + 1) * size, N_USERS))


def _catalogue() -> UserCatalogue:
    rng = np.random.default_rng(0)
    features = {name: rng.standard_normal((N_ITEMS, WIDTH)).astype(np.float32) for name in ("text", "image")}
    pairs = Pairs.of(N_USERS, N_ITEMS, np.arange(N_USERS), rng.integers(N_ITEMS, size=N_USERS))
    return UserCatalogue(pairs, features)


def _model(shop: UserCatalogue, *, released: bool) -> ADDRL:
    torch.manual_seed(0)
    settings = {"chunk": CHUNK, "factors": K}
    config = ADDRLConfig.released(**settings) if released else ADDRLConfig(**settings)
    labels = {name: Attribute(np.zeros(N_ITEMS, np.int64), 5) for name in ("price", "popularity", "brand")}
    return models.get("addrl")(config, shop, labels).eval()


def _peer(checkout: Path, model: ADDRL, shop: UserCatalogue) -> Callable[[Tensor], Tensor]:
    """Returns the released inference with our parameters; its files are read from the user's checkout."""
    program = load_peer(checkout)
    peer = program.ADDRL(N_USERS, N_ITEMS, n_factors=K, embed_dim=K * CHUNK, dataset_name="Baby").eval()
    layers = {
        "textual_mlp_2": model.project["text"],
        "visual_mlp_2": model.project["image"],
        "modality_attention_net1": model.attend,
    }
    with torch.no_grad():
        peer.user_embedding.weight.copy_(model.table[:N_USERS])
        peer.item_embedding.weight.copy_(model.table[N_USERS:])
        for name, layer in layers.items():
            getattr(peer, name).load_state_dict(layer.state_dict())
    items = np.arange(N_ITEMS)

    def scores(users: Tensor) -> Tensor:
        given = (torch.tensor(array) for array in (items, shop.features["text"], shop.features["image"]))
        return peer(users, *given)[0]

    return scores


if __name__ == "__main__":
    main()
