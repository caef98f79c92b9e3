"""The stage that all paths are walked in, made once."""

import pytest

from tests.privilege.trial import Stage


@pytest.fixture(scope="session")
def stage() -> Stage:
    return Stage()
