"""Do readers of files withstand a million wrong ones? Mutated inputs for every target of tests/fuzz.

    python benchmarks/fuzz.py                                          # a million inputs; hours
    python benchmarks/fuzz.py --times 10                               # a tenth of it
    python benchmarks/fuzz.py --engine atheris --target setting --seconds 60

`hypothesis` mutates right files by their structure, new ones in every run. `atheris` (pip install disentrec[fuzz])
mutates bytes of one target and keeps what reaches new code of this package. Both stop at the first input that ends in
anything but a value or a DisentrecError and print it; it then belongs into tests/fuzz/test_found.py.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    """Runs one engine and returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engine", choices=("hypothesis", "atheris"), default="hypothesis")
    parser.add_argument("--times", type=int, default=100, help="hypothesis: how many times the inputs of the tests")
    parser.add_argument("--target", help="atheris: a name of tests/fuzz/targets.py")
    parser.add_argument("--seconds", type=int, default=60, help="atheris")
    options = parser.parse_args()
    if options.engine == "atheris":
        return guided(options.target, options.seconds)
    command = [sys.executable, "-m", "pytest", "-q", "tests/fuzz"]
    return subprocess.run(command, cwd=ROOT, env=os.environ | {"DISENTREC_FUZZ": str(options.times)}).returncode


def guided(name: str, seconds: int) -> int:
    """Mutates the bytes of one target, guided by the coverage of the package, under limits of time and memory."""
    import atheris

    sys.path.insert(0, str(ROOT))
    with atheris.instrument_imports(include=["disentrec.data", "disentrec.reading", "disentrec.report.parameters"]):
        from tests.fuzz.targets import TARGETS
    target = TARGETS[name]
    with tempfile.TemporaryDirectory() as place:
        folder, corpus = Path(place) / "folder", Path(place) / "corpus"
        folder.mkdir()
        corpus.mkdir()
        (corpus / "right").write_bytes(target.right())
        target.prepare(folder)
        limits = [f"-max_total_time={seconds}", "-timeout=10", "-rss_limit_mb=4096", "-max_len=65536"]
        atheris.Setup([sys.argv[0], str(corpus), *limits], lambda content: target.run(content, folder) and None)
        atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
