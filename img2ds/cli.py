"""The command line: `img2ds --url_list ... --output_folder ...`.

Everything wrong with a command is said in one line, with exit code 2, before any work starts.
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import img2ds
from img2ds.config.command_line import HELP, help_lines, read_arguments
from img2ds.config.options import COMMAND, GROUPS, Options
from img2ds.core.failure import UsageError
from img2ds.manage import commands
from img2ds.manage.commands import COMMANDS, summary_lines

#: Words that stand for other jobs than making a data set.
SUBCOMMANDS = tuple(COMMANDS)


def main() -> None:
    """Entry point of the console script."""
    open_standard_streams()
    try:
        code = run(sys.argv[1:])
        sys.stdout.flush()
    except KeyboardInterrupt:  # before or after the shards, when there is nothing to finish
        print("img2ds: stopped; rerun the same command to resume", file=sys.stderr)
        code = 130
    except BrokenPipeError:  # nobody reads what is printed; Python would say so at its exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        code = 1
    sys.exit(code)


def open_standard_streams() -> None:
    """Give a process that was started without them (by a daemon, `2>&-`) streams to nowhere.

    The next files opened would take their descriptors, and what libraries print.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) < 3:
        pass
    os.close(descriptor)
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(descriptor, "w", closefd=False))  # noqa: SIM115


def run(arguments: Sequence[str]) -> int:
    """Do what the arguments say; the exit code: 0 done, 1 incomplete, 2 wrong use, 130 stopped."""
    try:
        if arguments and arguments[0] in SUBCOMMANDS:
            return commands.run(arguments)
        # As a value, `help` is the name of a column.
        if any(argument in HELP and argument != "help" for argument in arguments[1:]) or (
            arguments and arguments[0] in HELP
        ):
            print(help_page())
            return 0
        if list(arguments) in (["--version"], ["version"]):
            print(f"img2ds {img2ds.__version__}")
            return 0
        options = Options.from_flags(read_flags(arguments))
        from img2ds.downloader import (
            job,  # its imports take a second that a typing mistake need not wait for
        )

        report = job.run(options)
    except UsageError as error:
        print(f"img2ds: {error}", file=sys.stderr)
        return 2
    if not options.run.dry_run:
        print(job.describe(report))
    return report.exit_code


def read_flags(arguments: Sequence[str]) -> dict[str, Any]:
    """Flag names and their values as typed.

    Raises:
        UsageError: something is no flag, or a flag lacks its value.
    """
    if not arguments:
        raise UsageError(
            "--url_list is required: img2ds --url_list urls.txt --output_folder images "
            "(img2ds --help lists all flags)"
        )
    stray = "{0!r} is no flag: a list of URLs is given as --url_list {0}"
    if near := difflib.get_close_matches(arguments[0], COMMANDS, n=1):
        stray += f", and there is a command {near[0]}"
    return read_arguments(COMMAND, arguments, stray)


def help_page() -> str:
    """All flags, grouped by subject, with their defaults."""
    lines = [
        "img2ds: turn a list of image URLs into a training dataset",
        "",
        "  img2ds --url_list urls.txt --output_folder images",
        "  img2ds --url_list laion/ --input_format parquet --url_col URL --caption_col TEXT \\",
        "         --output_folder laion-images --output_format webdataset",
        "",
        "and with a data set that is there (img2ds COMMAND --help lists a command's flags):",
        "",
        *summary_lines(),
        "",
        "Running a command again goes on where it stopped. --a-b is the same as --a_b.",
        "Exit codes: 0 all shards are committed, 1 some are not, 2 wrong use, 130 stopped by hand.",
    ]
    for group in GROUPS.values():
        lines += ["", f"{group.TITLE}:"]
        lines += help_lines(COMMAND, (f.name for f in fields(group)))
    return "\n".join(lines)
