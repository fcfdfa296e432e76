"""The end of a run for people: a table of statuses and reasons, rates, and hints."""

from __future__ import annotations

from img2ds.core.failure import Reason, Status, status_of
from img2ds.report.counters import Counts
from img2ds.report.tally import Tally
from img2ds.report.units import duration, effort, share, size, three_digits

#: Share of all rows above which a reason is worth a hint.
HINT_SHARE = 0.05


def table(tally: Tally) -> str:
    """Return the rows by status and reason, as an aligned table."""
    rows = [("success", tally.successes)]
    statuses = (
        (Status.FAILED_TO_DOWNLOAD, tally.failed_to_download),
        (Status.FAILED_TO_RESIZE, tally.failed_to_resize),
    )
    for status, count in statuses:
        rows.append((status.value, count))
        for reason, times in tally.reasons.most_common():
            if status_of(reason) is status:
                rows.append((f"  {reason}", times))
    rows.append(("total", tally.count))
    return _aligned(rows, tally.count)


def drops_table(counts: Counts, kept: str = "kept") -> str:
    """Return the rows that were kept and those dropped by reason, as an aligned table."""
    rows = [(kept, counts.successes), ("dropped", counts.count - counts.successes)]
    rows += [(f"  {reason}", times) for reason, times in counts.reasons.most_common()]
    rows.append(("total", counts.count))
    return _aligned(rows, counts.count)


def _aligned(rows: list[tuple[str, int]], total: int) -> str:
    width = max(len(name) for name, _ in rows) + 2
    lines = [f"{'':<{width}}{'rows':>13}{'share':>9}"]
    for name, count in rows:
        lines.append(f"{name:<{width}}{count:>13,}{share(count, total):>9}")
    return "\n".join(lines)


def speed(tally: Tally, wall: float, cpu: float, resumed: Counts | None = None) -> str:
    """Return a line of rates. Times are in seconds; `cpu` is the CPU time of all processes.

    Args:
        resumed: rows of the tally that an earlier run had made, which no time was spent on.
    """
    before = resumed or Counts()
    images = max(tally.successes - before.successes, 0)
    received = max(tally.bytes_received - before.bytes_received, 0)
    wall = max(wall, 1e-3)
    facts = [f"{images:,} images in {duration(wall)}: {three_digits(images / wall)} img/s"]
    if images:
        facts[0] += f", {effort(cpu / images)} CPU per image"
    facts.append(f"{size(received)} received ({size(received / wall)}/s)")
    if before.successes:
        kept = min(before.successes, tally.successes)
        facts[-1] += f"; {kept:,} more images were in partial shards"
    else:
        facts[-1] += f", {size(tally.bytes_written)} of images written"
    return "; ".join(facts)


def hints(tally: Tally) -> list[str]:
    """Return what users can do about the reasons that cost many rows; internal errors always."""
    found = []
    for reason in filter(lambda reason: reason.hint, Reason):
        times = tally.reasons.get(reason.value, 0)
        if times > HINT_SHARE * tally.count or (times and reason is Reason.INTERNAL_ERROR):
            found.append(f"{reason.value}: {reason.hint}")
    return found
