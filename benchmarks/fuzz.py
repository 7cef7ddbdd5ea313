"""Do readers of files withstand a million wrong ones? Mutated inputs for every target of tests/fuzz.

    python benchmarks/fuzz.py                                          # a million inputs by structure; hours
    python benchmarks/fuzz.py --engine atheris                         # a million guided by coverage, and a record
    python benchmarks/fuzz.py --engine atheris --target setting --inputs 60000

`hypothesis` mutates right files by their structure, new ones in every run. `atheris` (pip install disentrec[fuzz])
mutates bytes, each target in a process of its own, and keeps what reaches new code of this package; with all targets it
writes benchmarks/results/fuzz.json. Both stop at the first input that ends in anything but a value or a
DisentrecError, takes ten seconds or four gigabytes, and print it; it then belongs into tests/fuzz/test_found.py.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
INPUTS = 1_000_000
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
    """Gives every target its share of the inputs and writes one record; a target that fails ends it."""
    from common import write

    from disentrec.study.runner import environment
    from tests.fuzz.targets import TARGETS

    share = -(-inputs // len(TARGETS))
    with ThreadPoolExecutor(jobs) as pool:
        runs = dict(zip(TARGETS, pool.map(partial(_apart, share), TARGETS), strict=True))
    failed = {name: run for name, run in runs.items() if run.returncode}
    for name, run in failed.items():
        print(f"{name}:\n{run.stderr[-5000:]}", file=sys.stderr)
    if not failed:
        found = {name: json.loads(run.stdout.splitlines()[-1]) for name, run in runs.items()}
        total = sum(entry["inputs"] for entry in found.values())
        write("fuzz", {"environment": environment(1, "cpu"), "inputs": total, "targets": found})
    return int(bool(failed))


def _apart(inputs: int, name: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, __file__, "--engine", "atheris", "--target", name, "--inputs", str(inputs)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def guided(name: str, inputs: int) -> int:
    """Mutates the bytes of one target, guided by the coverage of the package; prints what it did as a line of JSON."""
    import atheris

    with atheris.instrument_imports(include=GUIDES):
        from tests.fuzz.targets import TARGETS
    if name not in TARGETS:
        print(f"no target {name!r}; there are: {', '.join(TARGETS)}", file=sys.stderr)
        return 2
    target = TARGETS[name]
    with tempfile.TemporaryDirectory() as place:
        folder, corpus = Path(place) / "folder", Path(place) / "corpus"
        folder.mkdir()
        corpus.mkdir()
        (corpus / "right").write_bytes(target.right())
        target.prepare(folder)
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

        limits = ["-timeout=10", "-rss_limit_mb=4096", "-max_len=65536", f"-seed={random.Random(name).getrandbits(31)}"]
        atheris.Setup([sys.argv[0], str(corpus), f"-atheris_runs={inputs + 2}", *limits], read)
        atheris.Fuzz()
    return 0


def _resident_mb() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 2**20


if __name__ == "__main__":
    sys.exit(main())
