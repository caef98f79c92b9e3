"""The stage that all paths are walked in."""

import pytest

from tests.privilege.trial import Stage, the_stage


@pytest.fixture(scope="session")
def stage() -> Stage:
    return the_stage()
