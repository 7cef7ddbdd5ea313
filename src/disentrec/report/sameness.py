"""How nearly a run comes out the same elsewhere: other threads and processors, other versions of the package."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from disentrec.report.across.costs_figures import label
from disentrec.report.across.cross import labels
from disentrec.report.endurance import NOT_MEASURED, measurement
from disentrec.report.tables import dataset_title, metric_title, signed
from disentrec.study.store import Store

#: The ways of benchmarks/processors.py, as a sentence goes on after "trained again".
WAYS = {
    "again": "as they were",
    "two threads": "with two threads",
    "four threads": "with four threads",
    "AVX2": "with the instructions of an older processor (AVX2)",
}
#: So many models are named, more are counted.
NAMED = 6


def processors_text(measured: Path) -> str:
    """Returns how many models come out the same in every way that was tried, and how far the others are off."""
    record = measurement(measured, "processors")
    if not record:
        return NOT_MEASURED.format("processors.py")
    models, where = record["models"], record["environment"]
    said = []
    for way, words in WAYS.items():
        other = {name: abs(found[way]["points"]) for name, found in models.items() if not found[way]["same"]}
        if not other:
            said.append(f"Trained again {words}, all have the same bytes.")
            continue
        moved = {name: points for name, points in other.items() if points >= 0.01}
        named = labels([label(name) for name in moved]) if len(moved) <= NAMED else f"{len(moved)}"
        far = f"that moves the selection metric of {named} by {max(moved.values()):.2f} points at most" if moved else ""
        far = far or "no selection metric moves by a hundredth of a point"
        said.append(
            f"Trained again {words}, {len(models) - len(other)} have the same bytes; the other {len(other)} differ"
            f" in last digits, and {far}."
        )
    begin = (
        f"An epoch of all {len(models)} models on {dataset_title(record['data'])} and a ranking of the test part, with"
        f" one thread and all instructions of {where['cpu']}:"
    )
    return "\n".join([begin, "", *(f"- {sentence}" for sentence in said)]) + "\n"


def versions_text(store: Store, measured: Path) -> str:
    """Returns which versions of the package made the records, and what two of them were found to give."""
    counts = Counter(record.content["environment"]["disentrec"] for record in store.records())
    made = labels([f"{count:,} were made by version {version}" for version, count in sorted(counts.items())])
    said = [f"Of the published records, {made}."] if counts else []
    found = measurement(measured, "versions")
    if not found:
        return " ".join([*said, "Two versions were not compared yet: `python -m benchmarks versions`."]) + "\n"
    before, after = (labels([f"{version}" for version in found[side]]) for side in ("before", "after"))
    where = "; ".join(dataset_title(name) for name in found["data"])
    equal, alike = found["of_these_equal"], found["without_parameters"]
    same = "All" if equal == alike else f"{equal} of the"
    said.append(
        f"{found['pairs']} runs ({where}) were made by {before} and made again by {after}. {same} {alike} of models"
        " without parameters agree to the last digit."
    )
    for task in found["tasks"].values():
        chance = 2**0.5 * task["spread_of_seeds"]
        first, then = task["total_s"]
        said.append(
            f"The other {task['runs']}, of {task['models']} models, differ by {signed(task['mean'] / 100)}"
            f" ± {task['standard_error']:.2f} points of {metric_title(task['metric'])} on average, with a standard"
            f" deviation of {task['spread']:.2f}; two runs that differ in nothing but their seed do by {chance:.2f}."
            f" They took {first / 3600:.1f} hours of one core before and {then / 3600:.1f} after."
        )
    return " ".join(said) + "\n"
