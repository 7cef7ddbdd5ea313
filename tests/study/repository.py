"""A copy of the package and its notebooks in a place of its own, and commands run there as a reader runs them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from disentrec.paths import BOOK, NOTEBOOKS, PACKAGE


class Repository:
    """A folder with src/ and notebooks/, in which nothing is installed: PYTHONPATH points at it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        left_out = shutil.ignore_patterns("__pycache__")
        shutil.copytree(PACKAGE, root / "src" / "disentrec", ignore=left_out)
        shutil.copytree(NOTEBOOKS, root / "notebooks", ignore=left_out)

    @property
    def papers(self) -> Path:
        """The folder of the papers' YAML."""
        return self.root / "src" / "disentrec" / "papers"

    def shorten(self) -> None:
        """One configuration, two seeds, two epochs: enough to see every row of a table of the demo budget."""
        path = self.papers / "sessions.yaml"
        text = path.read_text()
        long = "    tuning: 4\n    seeds: {main: 5, other: 3}\n    training: {epochs: 10, "
        assert text.count(long) == 1
        short = "    tuning: 1\n    seeds: {main: 2, other: 1}\n    training: {epochs: 2, "
        path.write_text(text.replace(long, short))

    def run(self, command: str) -> str:
        """Runs one line of shell text in the folder and returns what it prints; a failure fails the test."""
        python = f'"{sys.executable}" -m disentrec.cli'
        line = re.sub(r"^disentrec\b", python, command)
        environment = {**os.environ, "PYTHONPATH": str(self.root / "src"), "DISENTREC_DATA": str(self.root / "data")}
        done = subprocess.run(line, shell=True, cwd=self.root, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout


def commands_of(page: str) -> list[str]:
    """Returns the lines of the one bash block of a page of the book, continued ones joined."""
    text = (BOOK / page).read_text(encoding="utf-8")
    (block,) = re.findall(r"^```bash\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    return block.replace("\\\n", "").strip().splitlines()


def caption(page: str, title: str) -> str:
    """Returns the code block under a caption."""
    text = (BOOK / page).read_text(encoding="utf-8")
    found = re.findall(rf"^```\{{code-block\}} \w+\n:caption: {re.escape(title)}\n(.*?)^```$", text, re.M | re.S)
    assert len(found) == 1, title
    return found[0]
