"""What img2dataset says of a failed row: scripts group rows by it. Pure.

Its messages are its own lines, and those of Python's urllib, http.client, socket and ssl, which
fetch for it.
"""

from __future__ import annotations

import errno
import os

DISALLOWED = "Use of image disallowed by X-Robots-Tag directive"
HASH_MISMATCH = "hash mismatch"
NOT_DECODED = "Image decoding error"

NO_RESPONSE = "Remote end closed connection without response"
READ_TIMED_OUT, TLS_READ_TIMED_OUT = "timed out", "The read operation timed out"

#: Longest reason phrase kept, in characters: it is the server's.
MAX_PHRASE = 100


def http_error(status: int, phrase: str) -> str:
    """Return the message for a response that is not an image, with the server's own phrase."""
    return f"HTTP Error {status}: {phrase}"


def redirect_loop(status: int, phrase: str) -> str:
    """Return the message, of three lines, for a redirect too many."""
    return http_error(
        status,
        "The HTTP server returned a redirect error that would lead to an infinite loop.\n"
        f"The last 30x error message was:\n{phrase}",
    )


def read_phrase(raw: bytes) -> str:
    """Return the reason phrase of a status line as text that can be printed."""
    text = raw.decode("latin-1").strip()[:MAX_PHRASE]
    return text if text.isprintable() else "".join(filter(str.isprintable, text))


def not_connected(cause: object) -> str:
    """Return the message for a request that could not be sent."""
    return f"<urlopen error {cause}>"


def system_error(code: int) -> str:
    """Return how Python shows an error of the operating system."""
    return f"[Errno {code}] {os.strerror(code)}"


def incomplete(received: int, missing: int | None = None) -> str:
    """Return the message for a body that ends early; `missing` bytes, None if unknown."""
    more = "" if missing is None else f", {missing} more expected"
    return f"IncompleteRead({received} bytes read{more})"


CONNECT_TIMED_OUT = not_connected("timed out")
RESET = system_error(errno.ECONNRESET)
#: getaddrinfo's errors have their own numbers.
UNKNOWN_HOST = not_connected("[Errno -2] Name or service not known")
NO_NAME_SERVER = not_connected("[Errno -3] Temporary failure in name resolution")
