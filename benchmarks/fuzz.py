"""Do readers of files withstand a million wrong ones? Mutated inputs for every target of tests/fuzz.

    python benchmarks/fuzz.py                                          # a million inputs by structure; hours
    python benchmarks/fuzz.py --engine atheris                         # a million guided by coverage, and a record
    python benchmarks/fuzz.py --engine atheris --target setting --inputs 60000

`hypothesis` mutates right files by their structure, new ones in every run. `atheris` (pip install disentrec[fuzz])
mutates bytes, each target in a process of its own, and keeps what reaches new code of this package; with all targets it
writes benchmarks/results/fuzz.json. A target ends at the first input that ends in anything but a value or a
DisentrecError, takes ten seconds or four gigabytes; that input, kept in _build/fuzz, belongs into
tests/fuzz/test_found.py. Targets that were done stay done until the code changes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
INPUTS = 1_000_000
#: Where inputs that a target did not withstand are kept, and what the others showed.
KEPT = ROOT / "_build" / "fuzz"
#: What the readers are in; only the code of these guides the mutations.
GUIDES = ["disentrec.data", "disentrec.encode", "disentrec.reading", "disentrec.report.parameters", "disentrec.study"]
#: Of the inputs of a target, those after which its memory is that of all later ones, if nothing is kept.
WARM = 0.5


def main() -> int:
    """Runs one engine and returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engine", choices=("hypothesis", "atheris"), default="hypothesis")
    parser.add_argument("--times", type=int, default=100, help="hypothesis: how many times the inputs of the tests")
    parser.add_argument("--target", help="atheris: one name of tests/fuzz/targets.py")
    parser.add_argument("--inputs", type=int, default=INPUTS, help="atheris: of all targets together")
    parser.add_argument("--jobs", type=int, default=2, help="atheris: targets at a time")
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    if options.engine == "hypothesis":
        command = [sys.executable, "-m", "pytest", "-q", "tests/fuzz"]
        return subprocess.run(command, cwd=ROOT, env=os.environ | {"DISENTREC_FUZZ": str(options.times)}).returncode
    return guided(options.target, options.inputs) if options.target else campaign(options.inputs, options.jobs)


def campaign(inputs: int, jobs: int) -> int:
    """Gives every target its share of the inputs; writes one record when all of them withstood theirs."""
    from common import write

    from disentrec.report.book import hash_trees
    from disentrec.study.runner import environment
    from tests.fuzz.targets import TARGETS

    share = -(-inputs // len(TARGETS))
    code = hash_trees([ROOT / "src", ROOT / "tests" / "fuzz", Path(__file__)])
    KEPT.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(jobs) as pool:
        found = dict(zip(TARGETS, pool.map(partial(_apart, share, code), TARGETS), strict=True))
    withstood = {name: entry for name, entry in found.items() if entry}
    if len(withstood) == len(found):
        total = sum(entry["inputs"] for entry in withstood.values())
        write("fuzz", {"environment": environment(1, "cpu"), "inputs": total, "targets": withstood})
    return int(len(withstood) < len(found))


def _apart(inputs: int, code: str, name: str) -> dict | None:
    """Returns what a target showed in a process of its own, or None where it failed; the same is not done twice."""
    from disentrec.data.drafts import write_atomically

    kept = KEPT / f"{hashlib.sha256(f'{name} {inputs} {code}'.encode()).hexdigest()[:16]}.json"
    if kept.exists():
        return json.loads(kept.read_text())
    command = [sys.executable, __file__, "--engine", "atheris", "--target", name, "--inputs", str(inputs)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    said = run.stdout.splitlines()
    if run.returncode or not said:
        print(f"{name} ended with {run.returncode}:\n{run.stderr[-5000:]}", file=sys.stderr, flush=True)
        return None
    write_atomically(kept, lambda file: file.write(said[-1].encode()))
    print(f"{name}: {said[-1]}", flush=True)
    return json.loads(said[-1])


def guided(name: str, inputs: int) -> int:
    """Mutates the bytes of one target, guided by the coverage of the package; prints what it did as a line of JSON."""
    import atheris

    with atheris.instrument_imports(include=GUIDES):
        from tests.fuzz.targets import TARGETS
    if name not in TARGETS:
        print(f"no target {name!r}; there are: {', '.join(TARGETS)}", file=sys.stderr)
        return 2
    KEPT.mkdir(parents=True, exist_ok=True)
    target = TARGETS[name]
    with tempfile.TemporaryDirectory() as place:
        folder, corpus = Path(place) / "folder", Path(place) / "corpus"
        folder.mkdir()
        corpus.mkdir()
        (corpus / "right").write_bytes(target.right())
        target.prepare(folder)
        target.run(target.right(), folder)  # what a reader imports on its first file is no part of that file's time
        found = {"inputs": 0, "accepted": 0}
        started = time.perf_counter()

        def read(content: bytes) -> None:
            found["accepted"] += target.run(content, folder)
            found["inputs"] += 1
            if found["inputs"] == round(WARM * inputs):
                found["warm_mb"] = _resident_mb()
            if found["inputs"] == inputs:
                found["end_mb"], found["seconds"] = _resident_mb(), round(time.perf_counter() - started, 1)
                print(json.dumps(found), flush=True)
                # The clock that watches for hangs would end this process while it ends itself.
                signal.setitimer(signal.ITIMER_REAL, 0)

        # Memory is what is used: an allocation that the system refuses is an error of ours like any other.
        limits = ["-timeout=10", "-rss_limit_mb=4096", "-malloc_limit_mb=0", "-max_len=65536"]
        limits += [f"-seed={random.Random(name).getrandbits(31)}", f"-artifact_prefix={KEPT}/"]
        atheris.Setup([sys.argv[0], str(corpus), f"-atheris_runs={inputs + 2}", *limits], read)
        atheris.Fuzz()
    return 0


def _resident_mb() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 2**20


if __name__ == "__main__":
    sys.exit(main())
