"""The headers under which pages for people are served."""

import base64
import hashlib
from collections.abc import Mapping
from functools import cache

# What no page of ours does, whatever else it may.
_NEVER = {
    "default-src": "'none'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
}


@cache
def hash_of(text: str) -> str:
    """A script or a stylesheet that stands in a page, as its policy names it."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def page_headers(policy: Mapping[str, str]) -> Mapping[str, str]:
    """The headers of a page.

    Args:
        policy: What it may do, by the directives of Content-Security-Policy.
    """
    directives = {**_NEVER, **policy}
    return {
        "Content-Type": "text/html; charset=utf-8",
        "Content-Security-Policy": "; ".join(
            f"{name} {value}" for name, value in directives.items()
        ),
        "Referrer-Policy": "no-referrer",
    }
