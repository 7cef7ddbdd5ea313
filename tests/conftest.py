"""What every test shares: one thread, no progress bars, and the reference material where it is at hand."""

from __future__ import annotations

import os

os.environ |= {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1", "PYTHONHASHSEED": "0", "MPLBACKEND": "Agg"}

from pathlib import Path

import disentrec  # noqa: F401  (before NumPy: it says how NumPy multiplies)

# isort: split
import pytest
import torch

torch.set_num_threads(1)

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference data beside the project; tests that need it skip where it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not (folder / "data").is_dir():
        pytest.skip("the reference data folder ../shared is not here: it holds data that may not be published")
    return folder


@pytest.fixture(scope="session")
def golden() -> Path:
    """The folder of reference numbers computed by the authors' released code."""
    return GOLDEN
