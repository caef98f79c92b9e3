"""Who sends a request: nothing that a client can choose."""

from typing import Any

import pytest

from chalicelib.api.callers import caller_of

ROLE = "arn:aws:sts::123456789012:assumed-role/courier"


@pytest.mark.parametrize(
    ("identity", "caller"),
    [
        ({"sourceIp": "203.0.113.7"}, "address 203.0.113.7"),
        ({"apiKeyId": "abc123", "sourceIp": "203.0.113.7"}, "key abc123"),
        (
            {"userArn": "arn:aws:iam::123456789012:user/ann", "apiKeyId": "abc123"},
            "principal arn:aws:iam::123456789012:user/ann",
        ),
        ({"userArn": None, "apiKeyId": None, "sourceIp": "203.0.113.7"}, "address 203.0.113.7"),
        ({}, "address unknown"),
        ({"sourceIp": "no address"}, "address unknown"),
    ],
)
def test_a_principal_comes_before_a_key_and_a_key_before_an_address(
    identity: dict[str, Any], caller: str
) -> None:
    assert caller_of({"identity": identity}) == caller


@pytest.mark.parametrize("context", [{}, {"identity": None}])
def test_without_an_identity_all_are_one(context: dict[str, Any]) -> None:
    assert caller_of(context) == "address unknown"


def test_another_session_of_a_role_is_no_other_caller() -> None:
    """Whoever may assume a role names its sessions freely."""
    one, other = (
        caller_of({"identity": {"userArn": f"{ROLE}/{session}"}}) for session in ("a", "b")
    )
    assert one == other == f"principal {ROLE}"


def test_another_address_of_the_same_network_of_ipv6_is_no_other_caller() -> None:
    def of(address: str) -> str:
        return caller_of({"identity": {"sourceIp": address}})

    assert of("2001:db8:1:2::3") == of("2001:db8:1:2:ffff::4") == "address 2001:db8:1:2::/64"
    assert of("2001:db8:1:3::3") != of("2001:db8:1:2::3")
    assert of("::ffff:203.0.113.7") == of("203.0.113.7")
