"""The retry rule: whether and when a failed URL is retried. Pure except for the random part."""

from __future__ import annotations

from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from random import Random

from img2ds.core.failure import Failure, Retryability, retryability

#: Seconds before the first further attempt; doubles with each one.
BASE_DELAY = 0.5
#: Longest pause in seconds. A server that names a longer Retry-After is not waited for.
MAX_DELAY = 30.0


def retry_delay(failure: Failure, attempts: int, retries: int, random: Random) -> float | None:
    """Return the seconds before attempt number `attempts + 1`, None when there will be none.

    Exponential with full jitter, so that the rows of one overloaded host do not come back
    together; a Retry-After (RFC 9110 10.2.3) is a lower bound.
    """
    if attempts > retries or retryability(failure.reason) is not Retryability.TRANSIENT:
        return None
    if failure.retry_after is not None and failure.retry_after > MAX_DELAY:
        return None
    ceiling: float = min(MAX_DELAY, BASE_DELAY * 2**attempts)
    return max(random.uniform(BASE_DELAY, ceiling), failure.retry_after or 0.0)


def parse_retry_after(value: bytes, date: bytes | None = None) -> float | None:
    """Return the seconds of a Retry-After header (RFC 9110 10.2.3), None where it has none.

    Args:
        date: the response's Date. The form with a time counts from there: clocks differ.
    """
    text = value.strip()
    if text.isdigit():
        return float(text) if len(text) < 10 else None
    until, now = _parse_date(text), _parse_date(date)
    return max((until - now).total_seconds(), 0.0) if until and now else None


def _parse_date(value: bytes | None) -> datetime | None:
    """Parse a date in any of the forms of RFC 9110 5.6.7, all of which mean UTC."""
    try:
        date = parsedate_to_datetime(value.decode()) if value else None
    except ValueError:  # a UnicodeDecodeError is one
        return None
    return date.replace(tzinfo=timezone.utc) if date else None
