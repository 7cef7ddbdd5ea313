"""All measurements by one command, each in a process of its own:

    python -m benchmarks                                  # list them
    python -m benchmarks stages large                     # run two of them
    python -m benchmarks dimo_speed -- --peer PATH        # with its own options

Each writes benchmarks/results/NAME.json, which the book's page on costs reads.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
#: Modules the others import: nothing to run.
SHARED = ("__main__", "common", "counting", "mmrec")


def programs() -> dict[str, str]:
    """Returns the first line of every benchmark's docstring by its name."""
    found = (path for path in sorted(HERE.glob("*.py")) if path.stem not in SHARED)
    return {path.stem: ast.get_docstring(ast.parse(path.read_text())).splitlines()[0] for path in found}


def main(arguments: list[str]) -> int:
    """Runs the named benchmarks one after another and returns the first status that is not 0."""
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    names, options = arguments[:cut], arguments[cut + 1 :]
    known = programs()
    if not names or set(names) - set(known):
        print("\n".join(f"{name:16} {title}" for name, title in known.items()))
        return int(bool(names))
    for name in names:
        status = subprocess.run([sys.executable, HERE / f"{name}.py", *options]).returncode
        if status:
            return status
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
