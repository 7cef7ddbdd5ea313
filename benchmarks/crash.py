"""What does a kill at a random moment cost?

    python benchmarks/crash.py                # 200 kills, about half an hour
    python benchmarks/crash.py --kills 20

Kills -9 a grid, a data set, a download, an encoding and a chapter at random moments, starts the same again, and after
every kill asks: are the processes gone, is every file with a name whole, is what was finished untouched? In the end,
is everything byte for byte what an uninterrupted start makes? tests/study/test_crash.py does a dozen of it.

A child that has imported everything waits to be told what to do and forks, so that kills meet the work itself.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

TOKEN = "DISENTREC_CRASH"
#: What of a record may differ between two runs of one spec.
VARIES = ("timing", "environment", "commit")
#: papermill's own copy, which it rewrites after each cell and nothing reads.
SCRATCH = "_build/notebooks"
#: Seconds that processes have to end once their parent is killed.
PATIENCE = 30.0
PAYLOAD = random.Random(0).randbytes(400_000)

# ------------------------------------------------------------------- the victims


def grid(folder: Path, jobs: int = 1) -> None:
    """Runs a few cheap models on the tiny shop, checkpoints after every epoch."""
    from disentrec.data.schema import read_dataset
    from disentrec.study import RunSpec, Store
    from disentrec.study.grid import run_grid
    from disentrec.training import Training

    shop = read_dataset(folder.parent / "bazaar-tiny")
    common = {"dataset": shop.name, "fingerprint": shop.fingerprint, "training": Training(epochs=3, batch_size=64)}
    specs = [
        RunSpec(model=model, settings=settings, seed=seed, **common)
        for model, settings, seed in (
            ("sr-gnn", {"dim": 8}, 1),
            ("bpr", {"dim": 8}, 1),
            ("bpr", {"dim": 8}, 2),
            ("pop", {}, 1),
        )
    ]
    run_grid(specs, Folder(shop.folder), Store(folder), jobs=jobs, checkpoint=0)


def grid_of_two(folder: Path) -> None:
    """Runs the same over two workers."""
    grid(folder, jobs=2)


class Folder:
    """The folder of the one data set there is; a class, because workers are sent it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, name: str) -> Path:
        return self.folder


def data(folder: Path) -> None:
    """Generates the shop, over an older one if it is there."""
    from disentrec.data.bazaar import BazaarParameters, write_bazaar

    write_bazaar(folder / "shop", BazaarParameters.preset("tiny", n_sessions=200), overwrite=True)


def download(folder: Path) -> None:
    """Fetches a file from a slow server on this machine."""
    from disentrec.data.sources.download import fetch

    fetch(f"http://127.0.0.1:{os.environ['CRASH_PORT']}/raw.bin", folder)


def encode(folder: Path) -> None:
    """Encodes in chunks, as the transformers do, and writes the feature."""
    import numpy as np

    from disentrec.encode.chunks import in_chunks
    from disentrec.encode.store import write_feature

    def compute(rows: np.ndarray) -> np.ndarray:
        time.sleep(0.004)
        return np.random.default_rng(rows).normal(size=(len(rows), 64))

    work = folder / "encoded" / ".slow.work"
    values = in_chunks((600, 64), np.arange(600), compute, size=10, work=work, key="key")
    write_feature(folder, "slow", values, {"encoder": "slow"})
    shutil.rmtree(work, ignore_errors=True)


def book(folder: Path) -> None:
    """Executes a chapter with a figure."""
    import nbformat

    from disentrec.report.book import execute_book
    from disentrec.report.notebooks import KERNEL

    if not (folder / "book" / "chapters.yml").exists():
        source = [
            'title = "Kill"',
            "from pathlib import Path\nfrom disentrec.report.figures import figure, myst_figure",
            "drawing, (axes,) = figure()\n_ = axes.plot(range(20000))",
            '_ = myst_figure(drawing, "kill", "A line.", "A line", folder=Path("../_generated").resolve())',
            "print(title)",
        ]
        cells = [nbformat.v4.new_code_cell(text, id=f"cell-{number}") for number, text in enumerate(source)]
        cells[0].metadata["tags"] = ["parameters"]
        notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": KERNEL})
        for place in ("notebooks", "book", "results/records"):
            (folder / place).mkdir(parents=True, exist_ok=True)
        (folder / "pyproject.toml").write_text("")
        (folder / "notebooks" / "kill.ipynb").write_text(nbformat.writes(notebook))
        (folder / "book" / "chapters.yml").write_text("kill:\n  kill: {title: Killed}\n")
    execute_book(folder, only=["kill"])


VICTIMS = {work.__name__: work for work in (grid, grid_of_two, data, download, encode, book)}

# ------------------------------------------------------------------ the executioner


def zygote() -> None:
    """Imports everything once; then forks a process for every line of work, kills it in time, says how it ended."""
    import papermill  # noqa: F401
    import pooch  # noqa: F401
    import requests  # noqa: F401

    import disentrec.data.bazaar
    import disentrec.report.book
    import disentrec.report.figures  # noqa: F401
    from disentrec import models

    models.available()
    print("ready", flush=True)
    for line in sys.stdin:
        name, folder, token, after = json.loads(line)
        child = os.fork()
        if child == 0:
            os.environ[TOKEN] = token
            status = 1
            try:
                VICTIMS[name](Path(folder))
                status = 0
            finally:
                os._exit(status)
        due, (ended, status) = time.perf_counter() + (after or 0), (0, 0)
        while after is not None and not ended and time.perf_counter() < due:
            time.sleep(0.001)
            ended, status = os.waitpid(child, os.WNOHANG)
        if after is not None and not ended:
            os.kill(child, signal.SIGKILL)  # nobody waited for it yet: the number is still its own
        print(status if ended else os.waitpid(child, 0)[1], flush=True)


class Executioner:
    """Starts a victim, and kills it if told when."""

    def __init__(self, port: int) -> None:
        variables = {**os.environ, "CRASH_PORT": str(port), "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--zygote"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=variables,
        )  # fmt: skip
        self.process.stdout.readline()

    def start(self, name: str, folder: Path, after: float | None = None) -> tuple[bool, float]:
        """Returns whether the work ended by itself, and the seconds until no process of it was left."""
        token = uuid.uuid4().hex
        self.process.stdin.write(json.dumps([name, str(folder), token, after]) + "\n")
        self.process.stdin.flush()
        status, started = int(self.process.stdout.readline()), time.perf_counter()
        if status not in (0, signal.SIGKILL):
            raise AssertionError(f"{name} failed after a kill, see above")
        while left := descendants(token):
            if time.perf_counter() - started > PATIENCE:
                raise AssertionError(f"{name}: {len(left)} processes outlive their parent by {PATIENCE} s")
            time.sleep(0.02)
        return status == 0, time.perf_counter() - started

    def close(self) -> None:
        """Ends the child."""
        self.process.stdin.close()
        self.process.wait(timeout=30)
        self.process.stdout.close()


def descendants(token: str) -> list[int]:
    """Returns the processes that were started with the token in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"{TOKEN}={token}".encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:  # ended meanwhile, or not ours
            continue
    return found


# ----------------------------------------------------------------------- the inquest


def contents(folder: Path) -> dict[str, bytes]:
    """Returns every named file, read as what it is; a half one raises. Records lose what varies."""
    found = {}
    for path in sorted(folder.rglob("*")):
        place = path.relative_to(folder).as_posix()
        if path.is_file() and not place.startswith(SCRATCH) and not any(p.startswith(".") for p in place.split("/")):
            found[place] = read(path)
    return found


def read(path: Path) -> bytes:
    """Returns the bytes of a file after parsing them."""
    import numpy as np
    import pyarrow.parquet as pq
    from safetensors.numpy import load

    content = path.read_bytes()
    match path.suffix:
        case ".json" | ".ipynb":
            parsed = json.loads(content)
            if isinstance(parsed, dict) and "spec" in parsed:
                kept = {name: value for name, value in parsed.items() if name not in VARIES}
                return json.dumps(kept, sort_keys=True).encode()
        case ".npz":
            with np.load(io.BytesIO(content), allow_pickle=False) as archive:
                assert all(archive[name] is not None for name in archive.files)
        case ".npy":
            np.load(io.BytesIO(content), allow_pickle=False)
        case ".parquet":
            pq.read_table(io.BytesIO(content))
        case ".safetensors":
            load(content)
        case ".svg":
            assert content.rstrip().endswith(b"</svg>"), path
        case ".bin":
            assert content == PAYLOAD, path
    return content


def finished(folder: Path) -> dict[Path, int]:
    """Returns what must not be touched again: records with the time they were written."""
    return {path: path.stat().st_mtime_ns for path in folder.glob("records/*/*/*.json")}


def leftovers(folder: Path) -> list[str]:
    """Returns what a finished work may not leave: parts, claims, checkpoints."""
    places = (path.relative_to(folder).as_posix() for path in folder.rglob("*"))
    return [place for place in places if place.endswith((".part", ".old", ".lock", ".work", ".safetensors"))]


def harass(executioner: Executioner, name: str, folder: Path, kills: int, rng: random.Random) -> dict:
    """Returns what `kills` kills of one work showed; raises AssertionError where one did harm."""
    started = time.perf_counter()
    executioner.start(name, folder / name / "whole")
    seconds = time.perf_counter() - started
    expected = contents(folder / name / "whole")
    found, slowest, begun = Counter(), 0.0, 0
    place = folder / name / "0"
    while found["kills"] < kills:
        before = finished(place)
        # Half of the kills come late: the beginning of a grid over workers is imports.
        moment = rng.uniform(rng.choice([0, 2 / 3]) * seconds, seconds)
        fresh, started_at = not place.exists(), time.perf_counter()
        ended, gone = executioner.start(name, place, moment)
        if ended and fresh:  # the first start was a cold one
            seconds = min(seconds, time.perf_counter() - started_at)
        slowest = max(slowest, gone)
        contents(place)  # raises where a file is half
        after = finished(place)
        assert before.items() <= after.items(), f"{name}: a finished run was lost or done again"
        found["kills"] += not ended
        found["kills that left a part behind"] += bool(leftovers(place)) and not ended
        found["kills with runs finished before"] += bool(before) and not ended
        if ended or rng.random() < 0.2:
            if not ended:
                executioner.start(name, place)
            check_end(name, place, expected)
            begun, found["completions"] = begun + 1, found["completions"] + 1
            place = folder / name / str(begun)
    if place.exists():
        executioner.start(name, place)
        check_end(name, place, expected)
        found["completions"] += 1
    found["seconds"] = round(time.perf_counter() - started)
    return {**found, "uninterrupted_s": round(seconds, 2), "slowest_end_of_processes_s": round(slowest, 2)}


def check_end(name: str, place: Path, expected: dict[str, bytes]) -> None:
    """Raises unless the files are those of an uninterrupted start, and no others."""
    found = contents(place)
    different = sorted(key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key))
    assert not different, f"{name}: {different} differ from an uninterrupted start"
    assert not leftovers(place), f"{name}: {leftovers(place)} stay behind"


class Slow(BaseHTTPRequestHandler):
    """Sends the payload in pieces, with pauses."""

    def do_GET(self) -> None:
        """Answers any address with the payload."""
        self.send_response(200)
        self.send_header("Content-Length", str(len(PAYLOAD)))
        self.end_headers()
        try:
            for start in range(0, len(PAYLOAD), 20_000):
                self.wfile.write(PAYLOAD[start : start + 20_000])
                time.sleep(0.01)
        except OSError:  # the client was killed
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Says nothing."""


def campaign(shares: dict[str, int], folder: Path, seed: int) -> dict[str, dict]:
    """Returns what every work showed under so many kills; the tiny shop is made once."""
    from disentrec.data.bazaar import BazaarParameters, write_bazaar

    for name in ("grid", "grid_of_two"):
        if shares.get(name):
            write_bazaar(folder / name / "bazaar-tiny", BazaarParameters.preset("tiny", images=False, n_sessions=300))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    executioner, rng = Executioner(server.server_port), random.Random(seed)
    try:
        return {name: harass(executioner, name, folder, kills, rng) for name, kills in shares.items()}
    finally:
        executioner.close()
        server.shutdown()
        server.server_close()


def main() -> None:
    """Kills, asks, and writes one record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--zygote", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.zygote:
        zygote()
        return
    from common import write

    from disentrec.study.runner import environment

    weights = {"grid": 0.3, "grid_of_two": 0.2, "data": 0.1, "download": 0.15, "encode": 0.15, "book": 0.1}
    shares = {name: max(1, round(options.kills * weight)) for name, weight in weights.items()}
    with tempfile.TemporaryDirectory() as folder:
        found = campaign(shares, Path(folder), options.seed)
    kills = sum(entry["kills"] for entry in found.values())
    write("crash", {"environment": environment(1, "cpu"), "seed": options.seed, "kills": kills, "works": found})


if __name__ == "__main__":
    main()
