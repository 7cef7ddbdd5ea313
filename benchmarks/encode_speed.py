"""How fast are texts encoded by MiniLM, and how near to this machine's floor?

    python benchmarks/encode_speed.py                       # one thread
    python benchmarks/encode_speed.py --also 2 10000        # two threads first, where two cores are idle

Titles are 6 to 14 words of the model's own vocabulary. The floor is what the measured product of this machine would
take for the operations counted, over real tokens only: padding is a cost, not work. `in_order` are the same titles in
the order of the catalogue, each batch padded to its longest one, as libraries do that do not sort.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
import torch.nn.functional as F
from common import product_ceiling, write

from disentrec.encode.scaling import GRID, unit_mean_norm
from disentrec.encode.text import MINILM, minilm_folder
from disentrec.encode.transformer import TextSettings, Transformer, encode_texts, load_transformer
from disentrec.study.runner import environment

COUNTS = (2_000, 10_000)  # titles


def main() -> None:
    """Measures, prints and writes one record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--also", type=int, nargs=2, metavar=("THREADS", "TITLES"), help="one run more")
    options = parser.parse_args()
    started = time.perf_counter()
    transformer = load_transformer(minilm_folder())
    record = {
        "encoder": "minilm",
        "weights_sha256": transformer.sha256,
        "environment": environment(1, "cpu"),
        "batch_size": options.batch_size,
        "load_s": round(time.perf_counter() - started, 2),
        "runs": [],
    }
    also = [tuple(options.also)] if options.also else []
    # Several threads come first and alone: they wait for one another, and any other load on a core slows all of them.
    for threads, count in [*also, *((1, count) for count in COUNTS)]:
        torch.set_num_threads(threads)
        found = measure(transformer, titles(transformer, count), options.batch_size)
        record["runs"].append({"threads": threads, **found})
    torch.set_num_threads(1)
    record["in_order"] = in_order(transformer, titles(transformer, COUNTS[0]), options.batch_size)
    record["in_order"]["ratio"] = round(record["in_order"]["seconds"] / record["runs"][len(also)]["seconds"], 2)
    write("encode_speed", record)


def titles(transformer: Transformer, count: int) -> list[str]:
    """Returns titles of 6 to 14 words."""
    words = sorted(word for word in transformer.tokenizer.get_vocab() if word.isascii() and word.isalpha())
    rng = np.random.default_rng(0)
    return [" ".join(rng.choice(words, size)) for size in rng.integers(6, 15, count)]


def measure(transformer: Transformer, texts: list[str], batch_size: int) -> dict:
    """Returns seconds, rows per second and the share of the floor, the faster of two measurements of the product."""
    settings = TextSettings(**MINILM, batch_size=batch_size)
    encode_texts(transformer, texts[:batch_size], settings)  # the first call makes its kernels
    hidden, inner = transformer.model.config.hidden_size, transformer.model.config.intermediate_size
    largest = 14 * batch_size, hidden, inner, F.linear  # product of a layer, at the size of a batch of 14 tokens
    ceilings = [product_ceiling(*largest)]
    started = time.perf_counter()
    encode_texts(transformer, texts, settings)
    seconds = time.perf_counter() - started
    ceilings.append(product_ceiling(*largest))
    operations, tokens = count_operations(transformer, texts)
    ceiling = max(ceilings)
    return {
        "titles": len(texts),
        "tokens": tokens,
        "seconds": round(seconds, 2),
        "rows_per_s": round(len(texts) / seconds, 1),
        "gflop": round(operations / 1e9, 1),
        "gemm_gflops": round(ceiling / 1e9, 1),
        "floor_s": round(operations / ceiling, 2),
        "share_of_floor": round(operations / ceiling / seconds, 3),
    }


def in_order(transformer: Transformer, texts: list[str], batch_size: int) -> dict:
    """Returns the seconds of padded batches in the given order, and how far their vectors are from ours."""
    vectors, started = [], time.perf_counter()
    with torch.inference_mode():
        for start in range(0, len(texts), batch_size):
            tokens = transformer.tokenizer(texts[start : start + batch_size], padding=True, return_tensors="pt")
            states = transformer.model(**tokens).last_hidden_state  # (batch, length, dim)
            mask = tokens["attention_mask"][..., None].float()
            vectors.append(torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=1))
    seconds = time.perf_counter() - started
    ours = encode_texts(transformer, texts, TextSettings(**MINILM, batch_size=batch_size))
    steps = np.abs(unit_mean_norm(torch.cat(vectors).numpy()) - unit_mean_norm(ours)) / GRID
    return {
        "titles": len(texts),
        "seconds": round(seconds, 2),
        "largest_difference_in_grid_steps": int(steps.max()),
        "share_of_values_that_differ": round(float((steps > 0).mean()), 5),
    }


def count_operations(transformer: Transformer, texts: list[str]) -> tuple[float, int]:
    """Returns multiply-adds (twice counted) of the products of all layers over real tokens, and these tokens."""
    config = transformer.model.config
    lengths = np.array([len(ids) for ids in transformer.tokenizer(texts)["input_ids"]], dtype=np.float64)
    d, inner = config.hidden_size, config.intermediate_size
    each = 4 * d * d + 2 * d * inner  # query, key, value, output; two of the feed-forward part
    return 2.0 * config.num_hidden_layers * float((each * lengths + 2 * d * lengths**2).sum()), int(lengths.sum())


if __name__ == "__main__":
    main()
