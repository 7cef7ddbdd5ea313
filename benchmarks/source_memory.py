"""How much memory does reading a file of reviews take, and does it grow with the file?

    python benchmarks/source_memory.py                # 2,000 MB and, to compare, 250 MB; about two minutes
    python benchmarks/source_memory.py --mb 400 100

Generates gzipped files of the 2018 format (1 KB a review; every sixth a new reviewer, every thirtieth a new item; no
real data), reads each in a process of its own as `disentrec data amazon-2018` does, and keeps the peak of that
process. The peak holds Python with numpy, pandas and pyarrow, the distinct ids and 20 bytes a review.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

from common import write

from disentrec.study.runner import environment

BUDGET_MB = 1000
CHILD = """
import json, sys, time
from pathlib import Path
from disentrec.data.sources.amazon_files import read_reviews
from disentrec.data.sources.lines import Tally
def peak():
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) / 1024
before, started = peak(), time.perf_counter()
reviews = read_reviews(Path(sys.argv[1]), Tally())
seconds = time.perf_counter() - started
found = {"reviews": len(reviews.user), "users": len(reviews.user_rank), "items": len(reviews.asins)}
print(json.dumps(found | {"seconds": round(seconds, 1), "imports_mb": round(before), "peak_mb": round(peak())}))
"""


def main() -> None:
    """Measures, prints and writes one record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mb", type=int, nargs="*", default=[2000, 250], help="sizes, unpacked")
    options = parser.parse_args()
    record = {"environment": environment(1, "cpu"), "budget_mb": BUDGET_MB, "files": []}
    for size in options.mb:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "reviews.json.gz"
            unpacked, started = write_reviews(path, size), time.perf_counter()
            done = subprocess.run([sys.executable, "-c", CHILD, path], capture_output=True, text=True, check=True)
            found = {"unpacked_mb": round(unpacked / 1e6), "gzipped_mb": round(path.stat().st_size / 1e6)}
            found |= json.loads(done.stdout)
            found |= {"mb_per_s": round(unpacked / 1e6 / found["seconds"], 1)}
            found |= {
                "process_s": round(time.perf_counter() - started, 1),
                "below_budget": found["peak_mb"] < BUDGET_MB,
            }
        record["files"].append(found)
    write("source_memory", record)


def write_reviews(path: Path, megabytes: int) -> int:
    """Writes reviews until they are `megabytes` unpacked, and returns their bytes."""
    words = " ".join(f"word{n * 7919 % 1000}" for n in range(105))
    packer, size, row = zlib.compressobj(1, zlib.DEFLATED, 31), 0, 0
    with path.open("wb") as file:
        while size < megabytes * 1_000_000:
            lines = []
            for row in range(row, row + 10_000):  # noqa: B020
                user, item = row // 6, row * 31 % (row // 30 + 1)
                lines.append(
                    f'{{"overall": {row % 5 + 1}.0, "verified": true, "reviewTime": "05 13, 2017", "reviewerID":'
                    f' "A{user:013d}", "asin": "B{item:09d}", "style": {{"Color:": " Red"}}, "reviewerName": "N{user}",'
                    f' "reviewText": "{words}", "summary": "Five stars", "unixReviewTime": {1_400_000_000 + row}}}\n'
                )
            row += 1
            block = "".join(lines).encode()
            size += len(block)
            file.write(packer.compress(block))
        file.write(packer.flush())
    return size


if __name__ == "__main__":
    main()
