"""The status of a dataset as a page for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from img2ds.report.summary import table
from img2ds.report.units import counted, share, size

if TYPE_CHECKING:
    from img2ds.manage.status import SegmentStatus, Status

#: Numbers, or names, that are listed before "and so many more".
LISTED = 8
#: Options that the page shows.
_SHOWN = ("image_size", "resize_mode", "encode_format", "encode_quality", "number_sample_per_shard")


def page(status: Status) -> str:
    """What `img2ds status` prints."""
    lines = [f"{status.folder}: {_verdict(status)}"]
    made = f"  {status.output_format}"
    if status.options:
        shown = [name for name in _SHOWN if name in status.options]
        made += "".join(f", {name} {status.options[name]}" for name in shown)
    lines.append(made)
    if status.by_img2dataset:
        lines.append(f"  {counted(status.by_img2dataset, 'shard')} written by img2dataset")
    lines.append(f"  {counted(status.files, 'file')} of shards, {size(status.size)}")
    lines.append("")
    lines += [_segment(segment) for segment in status.segments]
    if status.making:
        lines.append(f"  being written now: {numbers(status.making)}")
    if status.partial:
        lines.append(f"  partial: {numbers(status.partial)}")
    if status.leftovers:
        lines.append(f"  not finished: {numbers(status.leftovers)}")
    for number, why in list(status.damaged.items())[:LISTED]:
        lines.append(f"  the commit marker of shard {number} is damaged: {why}")
    if status.sizes_json is not None:
        lines.append(f"  {status.sizes_json}")
    if status.rows:
        lines += ["", table(status.tally)]
    if status.tried_again:
        lines.append(
            f"{counted(status.tried_again, 'row')} retried; each counts with its latest outcome"
        )
    if status.lost:
        lines.append(f"{counted(status.lost, 'row')} lost by img2dataset are not counted above")
    lines += ["", *_advice(status)]
    return "\n".join(lines).rstrip()


def _verdict(status: Status) -> str:
    total: int | None = 0
    for segment in status.segments:
        if segment.shard_count is None:
            total = None
        elif total is not None:
            total += segment.shard_count
    if status.complete:
        return f"complete, {counted(status.committed, 'shard')}"
    of = f"{status.committed:,} of {counted(total, 'shard')}" if total else (
        f"{counted(status.committed, 'shard')}; the total is not known yet"
    )  # fmt: skip
    return f"incomplete, {of}"


def _segment(segment: SegmentStatus) -> str:
    line = f"  from shard {segment.first_shard} on: {segment.input}; {segment.committed:,}"
    if segment.shard_count is None:
        line += " committed, more to come: the input was not read to its end"
    else:
        line += f" of {counted(segment.shard_count, 'shard')} committed"
    if segment.missing:
        line += f", missing: {numbers(segment.missing)}"
    if segment.retry_of is not None and segment.rows:
        good = segment.tally.successes
        line += (
            f"; {good:,} of {counted(segment.rows, 'row')} downloaded ({share(good, segment.rows)})"
        )
    return line


def _advice(status: Status) -> list[str]:
    lines = []
    if status.holder is not None:
        lines.append(f"in use by {status.holder}")
    if status.sizes_json is not None:
        lines.append(
            f"to rewrite sizes.json: img2ds status --output_folder {status.folder} --sizes_json"
        )
    if status.damaged:
        lines.append(f"to repair it: img2ds verify --output_folder {status.folder} --repair")
    elif status.leftovers or not status.complete:
        unfinished = [s for s in status.segments if not s.complete]
        if unfinished and all(s.retry_of is not None for s in unfinished):
            lines.append(f"to resume: img2ds retry --output_folder {status.folder}")
        elif status.holder is None:
            lines.append("to resume: rerun the command that made it, with the same flags")
    elif status.transient:
        lines.append(
            f"{counted(status.transient, 'row')} failed for a transient reason: "
            f"img2ds retry --output_folder {status.folder}"
        )
    return lines


def numbers(found: Sequence[int]) -> str:
    """`3, 7-9, 12 and 40 more`: as ranges, the first few of them."""
    ranges: list[list[int]] = []
    for number in found:
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    words = [str(a) if a == b else f"{a}-{b}" for a, b in ranges[:LISTED]]
    rest = sum(b - a + 1 for a, b in ranges[LISTED:])
    return ", ".join(words) + (f" and {rest:,} more" if rest else "")
