"""The secret that signs cursors, on the fake and on SSM."""

import pytest

from chalicelib.aws.parameters import SecretParameter
from tests.contract.conftest import Edges, unique
from tests.fakes import FakeSecret


@pytest.fixture
def two(side: str, request: pytest.FixtureRequest) -> tuple[SecretParameter, SecretParameter]:
    """The same parameter, seen from two processes."""
    if side == "fake":
        parameters: dict[str, str] = {}
        return FakeSecret(parameters), FakeSecret(parameters)
    edges: Edges = request.getfixturevalue("edges")
    name = f"/contract/{unique('secret')}"
    ssm = edges.clients.ssm
    return SecretParameter(ssm=ssm, name=name), SecretParameter(ssm=ssm, name=name)


def test_a_secret_is_made_once_and_kept(two: tuple[SecretParameter, SecretParameter]) -> None:
    first, second = two
    secret = first.value()
    assert len(secret) >= 16
    assert second.value() == secret
    assert first.value() == secret


def test_two_that_meet_at_the_first_use_agree(edges: Edges) -> None:
    name = f"/contract/{unique('secret')}"
    ssm = edges.clients.ssm
    slow, quick = (SecretParameter(ssm=ssm, name=name) for _ in range(2))
    values: list[str] = []

    def overtake(**_: object) -> None:
        # Between the slow one's failed read and its write, the quick one makes the secret.
        ssm.meta.events.unregister("before-call.ssm.PutParameter", overtake)
        values.append(quick.value())

    ssm.meta.events.register("before-call.ssm.PutParameter", overtake)
    assert slow.value() == quick.value()
    assert values == [quick.value()]


def test_the_secret_is_kept_encrypted(edges: Edges) -> None:
    name = f"/contract/{unique('secret')}"
    secret = SecretParameter(ssm=edges.clients.ssm, name=name).value()
    stored = edges.admin("ssm").get_parameter(Name=name, WithDecryption=False)["Parameter"]
    assert stored["Type"] == "SecureString"
    assert secret not in stored["Value"] or stored["Value"].startswith("kms:")


def test_every_parameter_has_a_secret_of_its_own(edges: Edges) -> None:
    secrets = {
        SecretParameter(ssm=edges.clients.ssm, name=f"/contract/{unique('s')}").value()
        for _ in range(3)
    }
    assert len(secrets) == 3
