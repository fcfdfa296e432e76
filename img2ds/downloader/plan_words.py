"""What a run is about to do, in a line: for the start of a run, and for `--dry_run`."""

from __future__ import annotations

from img2ds.config.options import Options
from img2ds.core.rank import Rank
from img2ds.downloader.planner import Input
from img2ds.engine.cores import usable_cores
from img2ds.report.units import counted


def describe_plan(
    source: Input, options: Options, rank: Rank, committed: int, size: tuple[int, int] | None
) -> str:
    """Say what is read, how much of it is done, how it is downloaded, and where to.

    Args:
        committed: shards of this rank that are committed.
        size: rows and shards of the input; None where that is not known.
    """
    names = [file.path.rpartition("/")[2] or file.path for file in source.files]
    if source.is_stdin:
        names = ["standard input"]
    what = names[0] if len(names) == 1 else f"{len(names):,} files, {names[0]} to {names[-1]}"
    facts = [source.input_format]
    if size is not None:
        facts += [counted(size[0], "row"), counted(size[1], "shard")]
    elif source.size:
        facts.append(f"{source.size:,} bytes")
    if not rank.alone:
        facts.append(_share(rank, None if size is None else size[1]))
    if committed:
        facts.append(f"{counted(committed, 'shard')} committed")
    return (
        f"{what} ({', '.join(facts)}); {_processes(options)} x {options.network.thread_count} "
        f"requests in flight; {options.output.output_format} into {options.output.output_folder}"
    )


def _processes(options: Options) -> str:
    if options.run.processes_count is not None:
        return counted(options.run.processes_count, "process")
    if options.run.distributor == "multiprocessing":
        return counted(usable_cores(), "process")
    return f"the cores of the {options.run.distributor} cluster"


def _share(rank: Rank, shards: int | None) -> str:
    """Say what a rank makes: `rank 1 of 3 makes 12 of them`."""
    if shards is None:
        return f"{rank.words} makes one in {rank.world_size} of them"
    return f"{rank.words} makes {rank.share(range(shards)):,} of them"
