"""Small catalogues for tests of models."""

from __future__ import annotations

import numpy as np
import torch

from disentrec.data.sequences import Sequences
from disentrec.data.sessions import SessionBatch, SessionCases, cases_of
from disentrec.models import Catalogue


def catalogue(sessions: list[list[int]], n_items: int, *, graph=None, features: int | None = 8) -> Catalogue:
    """Returns a catalogue of these sessions with seeded random text features (none if `features` is None)."""
    rng = np.random.default_rng(0)
    found = {} if features is None else {"text": rng.standard_normal((n_items, features)).astype(np.float32)}
    lists = Sequences.from_lists(sessions)
    return Catalogue(n_items, lists, lists if graph is None else Sequences.from_lists(graph), found)


def random_sessions(n_items: int = 30, n: int = 200, seed: int = 0) -> list[list[int]]:
    """Returns sessions of 2 to 6 random items."""
    rng = np.random.default_rng(seed)
    return [rng.integers(n_items, size=rng.integers(2, 7)).tolist() for _ in range(n)]


def batch_of(prefixes: list[list[int]], targets: list[int]) -> SessionBatch:
    """Returns a padded batch of 0-based prefixes."""
    lists = Sequences.from_lists(prefixes)
    return SessionBatch(
        torch.from_numpy(lists.padded()),
        torch.from_numpy(lists.lengths),
        torch.tensor(targets, dtype=torch.int64),
    )


def all_cases(sessions: list[list[int]]) -> SessionCases:
    """Returns the last item of every session as its target."""
    return cases_of(Sequences.from_lists(sessions), np.arange(len(sessions)), max_length=20)
