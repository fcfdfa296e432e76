"""Numbers for people: shares, counts of things, durations."""

from __future__ import annotations


def share(part: int, whole: int) -> str:
    """Return a share in percent: `92.1 %`."""
    return f"{100 * part / whole:.1f} %" if whole else "- %"


def counted(number: int, noun: str) -> str:
    """Return a number and its noun: `1 shard`, `12,000 shards`, `2 processes`."""
    plural = f"{noun}es" if noun.endswith("s") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"


def duration(seconds: float) -> str:
    """Return a duration in words: `4 s`, `3 min`, `2 h 10 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def clock(seconds: float) -> str:
    """Return a duration as a clock shows it: `0:07`, `12:34`, `3:04:05`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def effort(seconds: float) -> str:
    """Return a short time with three digits, in the unit that fits: `29.3 µs`, `1.52 ms`, `4 s`."""
    for size, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if seconds >= size or unit == "µs":
            break
    digits = f"{seconds / size:,.0f}" if seconds / size >= 100 else f"{seconds / size:.3g}"
    return f"{digits} {unit}"
