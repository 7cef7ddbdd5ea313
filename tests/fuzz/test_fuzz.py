"""Whatever is in a file, its reader returns or raises DisentrecError: about ten thousand inputs, the same in every run.

DISENTREC_FUZZ=100 pytest tests/fuzz          a million inputs, other ones each time
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.mutations import mutated
from tests.fuzz.targets import TARGETS

TIMES = int(os.environ.get("DISENTREC_FUZZ", "1"))


def many(inputs: int) -> settings:
    """Returns the profile: in continuous integration the same inputs each time, in the long one ever new ones."""
    return settings(
        max_examples=inputs * TIMES,
        derandomize=TIMES == 1,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


@pytest.mark.parametrize("name", TARGETS)
def test_right_files_are_read(name, tmp_path):
    folder = tmp_path / "right"
    folder.mkdir()
    target = TARGETS[name]
    target.prepare(folder)
    assert target.run(target.right(), folder)


@pytest.mark.parametrize("name", TARGETS)
def test_wrong_files_end_in_an_error_of_ours(name, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    target = TARGETS[name]
    target.prepare(folder)

    @many(target.inputs)
    @given(st.data())
    def read(data: st.DataObject) -> None:
        content = data.draw(strategy)
        target.run(content, folder)
        assert sorted(path.name for path in tmp_path.iterdir()) in (["folder"], ["folder", "folder-out"])

    strategy = mutated(target)
    read()
