"""What a response's headers say of the use of an image: X-Robots-Tag, TDM-Reservation. Pure.

The rule for X-Robots-Tag is img2dataset's: a header may name one user agent before a colon; without
a name it applies to everyone. Directives are compared without regard to case.
"""

from __future__ import annotations

from collections.abc import Collection


def is_disallowed(value: bytes, token: str | None, directives: Collection[str]) -> bool:
    """Return whether one X-Robots-Tag `value` applies to us and has one of `directives`.

    Args:
        token: our user agent token in lower case, None when we have none.
        directives: lower-case names such as `noai`.
    """
    text = value.decode("latin-1").lower()
    name, colon, rest = text.partition(":")
    if colon:
        # `unavailable_after: DATE` is a directive with a value, not a user agent.
        if name.strip() == "unavailable_after":
            return False
        if name.strip() != token:
            return False
        text = rest
    return any(part.strip() in directives for part in text.split(","))


def reserves_tdm(value: bytes) -> bool:
    """Return whether a TDM-Reservation header reserves the rights to text and data mining.

    https://www.w3.org/community/reports/tdmrep/CG-FINAL-tdmrep-20240510/ 5.1: 1 does, 0 does not.
    """
    return any(part.strip() == b"1" for part in value.split(b","))
