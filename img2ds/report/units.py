"""Numbers for people: shares, counts of things, durations."""

from __future__ import annotations


def share(part: int, whole: int) -> str:
    """Return a share in percent: `92.1 %`."""
    return f"{100 * part / whole:.1f} %" if whole else "- %"


def percent(fraction: float) -> str:
    """Return a fraction in percent with three digits, small ones too: `99.6 %`, `0.0125 %`."""
    if not fraction:
        return "0 %"
    value = 100 * fraction
    return f"{value:.3g} %" if value >= 1e-4 else "less than 0.0001 %"


def counted(number: int, noun: str) -> str:
    """Return a number and its noun: `1 shard`, `12,000 shards`, `2 processes`."""
    plural = f"{noun}es" if noun.endswith("s") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"


def duration(seconds: float) -> str:
    """Return a duration in words: `2.2 s`, `45 s`, `3 min`, `2 h 10 min`."""
    if seconds < 9.95:
        return f"{round(seconds, 1):g} s"
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
    return f"{three_digits(seconds / size)} {unit}"


def size(count: float) -> str:
    """Return a number of bytes with three digits: `312 kB`, `6.18 MB`, `1.25 TB`."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{three_digits(count)} {unit}"
        count /= 1000
    return f"{three_digits(count)} TB"


def three_digits(number: float) -> str:
    """Return a number with three digits, and all before the point: `0.42`, `31.2`, `1,234`."""
    if not number:
        return "0"
    digits = 2 if number < 9.995 else 1
    return f"{number:,.0f}" if number >= 99.95 else f"{number:.{digits}f}"
