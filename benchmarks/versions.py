"""Do two versions of the package give the same results? Runs of equal specs in two stores, pair by pair.

    python -m benchmarks versions -- --before STORE --after STORE

Models without parameters must agree to the last digit. Others may differ as runs of two seeds do: rounding grows while
a model is trained, and another version may draw its masks otherwise. So the differences stand beside the spread that
seeds have within a version; if nothing but chance is at work, they are sqrt(2) times as large and their mean is zero.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
from common import write

from disentrec import models
from disentrec.study.store import RunRecord, Store
from disentrec.study.study import selection_metric


def main() -> None:
    """Compares, prints and writes one record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", type=Path, required=True, help="a store of the earlier version")
    parser.add_argument("--after", type=Path, required=True, help="a store with the same runs by the later one")
    options = parser.parse_args()
    before, after = Store(options.before), Store(options.after)
    pairs = [(old, new) for new in after.records() if (old := before.get(new.spec)) is not None]
    learned = [(old, new) for old, new in pairs if new.content["n_parameters"]]
    others = [(old, new) for old, new in pairs if not new.content["n_parameters"]]
    record = {
        "before": _versions(old for old, _ in pairs), "after": _versions(new for _, new in pairs),
        "data": sorted({new.spec.dataset for _, new in pairs}), "pairs": len(pairs),
        "without_parameters": len(others), "of_these_equal": sum(_points(old) == _points(new) for old, new in others),
        "tasks": {
            task: _compared([pair for pair in learned if models.get(pair[1].spec.model).task == task])
            for task in sorted({models.get(new.spec.model).task for _, new in learned})
        },
    }  # fmt: skip
    write("versions", record)


def _compared(pairs: list[tuple[RunRecord, RunRecord]]) -> dict:
    """Returns the differences of the pairs in points of the selection metric on test, after minus before."""
    gaps = np.array([_points(new) - _points(old) for old, new in pairs])
    families = defaultdict(list)
    for old, _ in pairs:
        content = old.spec.canonical() | {"seed": None}
        families[json.dumps(content, sort_keys=True)].append(_points(old))
    spreads = [np.var(own, ddof=1) for own in families.values() if len(own) > 1]
    seconds = [np.median([pair[side].content["timing"]["train_s"] for pair in pairs]) for side in (0, 1)]
    whole = [sum(pair[side].content["timing"]["total_s"] for pair in pairs) for side in (0, 1)]
    return {
        "metric": selection_metric(pairs[0][0].spec.model), "runs": len(pairs),
        "models": len({old.spec.model for old, _ in pairs}),
        "mean": round(float(gaps.mean()), 3), "standard_error": round(float(gaps.std(ddof=1) / len(gaps) ** 0.5), 3),
        "spread": round(float(gaps.std(ddof=1)), 3), "spread_of_seeds": round(float(np.mean(spreads) ** 0.5), 3),
        "median_train_s": [round(float(value), 1) for value in seconds],
        "total_s": [round(float(value)) for value in whole],
    }  # fmt: skip


def _points(record: RunRecord) -> float:
    return 100 * record.metric(selection_metric(record.spec.model))


def _versions(records) -> list[str]:
    return sorted({record.content["environment"]["disentrec"] for record in records})


if __name__ == "__main__":
    main()
