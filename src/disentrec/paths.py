"""Every place the study reads or writes, found from this file: nothing depends on the current folder."""

from __future__ import annotations

import os
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
PAPERS = PACKAGE / "papers"
#: The repository: the package is installed in place (`pip install -e .`), because book and records live beside it.
ROOT = PACKAGE.parents[1]
RESULTS = ROOT / "results"
BOOK = ROOT / "book"
GENERATED = BOOK / "_generated"
NOTEBOOKS = ROOT / "notebooks"
#: Dataset folders. Never committed; set DISENTREC_DATA to keep them elsewhere.
DATA = Path(os.environ.get("DISENTREC_DATA", ROOT / "data"))
