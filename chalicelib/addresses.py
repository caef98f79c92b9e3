"""E-mail addresses: which ones mail is sent to, and what stands for one where it need not be known.

Pure. Stricter than RFC 5321, 4.1.2: no quoted local parts, no comments, no literal IP addresses,
ASCII alone (an internationalised domain in its ``xn--`` form), one address. Nothing that passes can
end a header, and a test holds that email-validator, a library of 4 MB with its own dependencies,
would take all of it too.
"""

import hashlib
import re

from chalicelib.errors import AddressRejected

# RFC 5321, 4.5.3.1: a path of 256 characters with its angle brackets; a local part of 64.
MAX_ADDRESS = 254
_MAX_LOCAL_PART = 64

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
# Two hyphens in the third place mark an encoding, and there is one (RFC 5891, 4.2.3.1).
_LABEL = r"(?!(?![Xx][Nn])..--)[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
# All top-level domains begin and end with a letter (RFC 1123, 2.1, keeps numbers out).
_TOP = r"[A-Za-z](?:[A-Za-z0-9-]{0,61}[A-Za-z])"
_ADDRESS = re.compile(rf"(?P<local>{_ATOM}(?:\.{_ATOM})*)@(?:{_LABEL}\.)+{_TOP}")


def checked(text: str) -> str:
    """The address, if mail may be sent to it.

    Raises:
        AddressRejected: It is no address, or one that is not supported.
    """
    found = _ADDRESS.fullmatch(text)
    if found is None or len(text) > MAX_ADDRESS or len(found["local"]) > _MAX_LOCAL_PART:
        raise AddressRejected
    return text


def address_hash(address: str) -> str:
    """What stands for an address in rows, links and logs.

    A plain SHA-256, not one with a secret: a suppression has to outlive every change of secrets. It
    hides an address from whoever reads along, not from whoever already has a list of addresses.
    Case does not count: hardly a mail server in use tells ``A@x`` from ``a@x``, and a suppression
    must not be got round by writing it another way.
    """
    return hashlib.sha256(address.strip().lower().encode()).hexdigest()


def parcel_hash(tracking_id: str) -> str:
    """What stands for a parcel in links, whatever its id looks like and however long it is."""
    return hashlib.sha256(tracking_id.encode()).hexdigest()
