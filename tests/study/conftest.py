"""What most tests of runs share: a small shop and the spec of a run that takes a second."""

from __future__ import annotations

import pytest

from disentrec.data.bazaar import BazaarParameters, write_bazaar
from disentrec.study import RunSpec
from disentrec.training import Training


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """300 sessions of the smallest shop, anew for each file of tests."""
    parameters = BazaarParameters.preset("tiny", images=False, n_sessions=300)
    return write_bazaar(tmp_path_factory.mktemp("data") / "shop", parameters)


@pytest.fixture
def spec(shop):
    """The spec of a run on that shop."""
    return RunSpec(
        model="bpr", dataset=shop.name, fingerprint=shop.fingerprint, settings={"dim": 4},
        training=Training(epochs=2, batch_size=64),
    )  # fmt: skip
