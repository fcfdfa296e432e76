"""The X-Robots-Tag rule: whether a header forbids the use of an image. Pure.

The rule is img2dataset's: a header may name one user agent before a colon; without a name it
applies to everyone. Directives are compared without regard to case.
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
