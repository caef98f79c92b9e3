"""Who sends a request, as far as API Gateway has made sure of it."""

import ipaddress
from collections.abc import Mapping
from typing import Any

# Whoever has one address of IPv6 has as a rule all of its network.
_IPV6_NETWORK_BITS = 64


def caller_of(context: Mapping[str, Any]) -> str:
    """The caller of a request: a principal of IAM, else an API key, else an address.

    Nothing that a client can choose freely: no header such as `X-Forwarded-For`, and of a role no
    name of a session. An API key is named by its id, which is no secret.

    Args:
        context: API Gateway's context of the request.
    """
    identity = context.get("identity") or {}
    if arn := identity.get("userArn"):
        return f"principal {_without_session(str(arn))}"
    if key_id := identity.get("apiKeyId"):
        return f"key {key_id}"
    return f"address {_network(str(identity.get('sourceIp') or ''))}"


def _without_session(arn: str) -> str:
    # arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION
    if ":assumed-role/" in arn:
        return arn.rpartition("/")[0]
    return arn


def _network(text: str) -> str:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        # Those of whom nothing is known share one quota.
        return "unknown"
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((int(address), _IPV6_NETWORK_BITS), strict=False))
    return str(address)
