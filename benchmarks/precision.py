"""What does a lower precision change, and what does it save? Whole runs in each, seed by seed.

    python -m benchmarks precision
    python -m benchmarks precision -- --device cuda --models dimo mmsbr --seeds 5

Runs differ in what layers multiply in while they train, `--precision` of `disentrec study`, and in nothing else;
rankings are in float32. A difference is that of the selection metric on test, in points, run by run of the same seed,
beside the spread that seeds have in float32. Masks and negatives are drawn alike: all of it comes from rounding.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import numpy as np
import torch
from common import as_worker, write

from disentrec.data.schema import read_dataset
from disentrec.devices import check_device
from disentrec.study.datasets import dataset_folder
from disentrec.study.runner import environment, run
from disentrec.study.spec import RunSpec
from disentrec.study.store import Store
from disentrec.study.study import selection_metric
from disentrec.training import Training

MODELS = ("dimo", "sasrec", "narm", "lightgcn", "addrl")


def main() -> None:
    """Measures, prints and writes one record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="*", default=MODELS, metavar="NAME")
    parser.add_argument("--data", default="bazaar-demo", help="a data set of the study, or a dataset folder")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--shared-machine", action="store_true", help="say so in the record: others were computing")
    options = parser.parse_args()
    as_worker(1)
    torch.set_num_threads(1)
    check_device(options.device)
    folder = dataset_folder(options.data)
    fingerprint = read_dataset(folder).fingerprint
    precisions = ("float32", "bf16") if options.device == "cpu" else ("float32", "tf32", "bf16")
    found = {}
    for name in options.models:
        metric = selection_metric(name)
        scores, seconds = {}, {}
        for precision in precisions:
            with tempfile.TemporaryDirectory() as scratch:
                store = Store(Path(scratch))
                specs = [
                    RunSpec(name, folder.name, fingerprint, training=Training(), seed=seed, budget="own")
                    for seed in range(1, options.seeds + 1)
                ]
                runs = [run(spec, folder, store, device=options.device, precision=precision) for spec in specs]
                scores[precision] = [100 * record.metric(metric) for record in runs]
                seconds[precision] = float(np.median([record.content["timing"]["epoch_s"] for record in runs]))
        found[name] = {"metric": metric, "spread": _round(np.std(scores["float32"], ddof=1))} | {
            precision: {
                "epoch_s": round(seconds[precision], 3), "points": _round(np.mean(own)),
                "difference": _round(np.mean(gaps := np.subtract(own, scores["float32"]))),
                "largest": _round(np.abs(gaps).max()),
                "standard_error": _round(np.std(gaps, ddof=1) / len(gaps) ** 0.5),
            }
            for precision, own in scores.items()
        }  # fmt: skip
        print(name, found[name], flush=True)
    record = {
        "data": folder.name, "environment": environment(1, options.device), "seeds": options.seeds,
        "shared_machine": options.shared_machine, "load_average": round(os.getloadavg()[0], 1), "models": found,
    }  # fmt: skip
    write("precision", record)


def _round(value: float) -> float:
    return round(float(value), 3)


if __name__ == "__main__":
    main()
