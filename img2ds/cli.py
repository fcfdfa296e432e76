"""The command line: `img2ds --url_list ... --output_folder ...`.

Every mistake in a command is reported in one line, with exit code 2, before any work starts.
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import img2ds
from img2ds.config import completion
from img2ds.config.command_line import read_arguments
from img2ds.config.config_file import with_config
from img2ds.config.help import HELP, help_lines, wrapped
from img2ds.config.input import INPUT_FORMATS
from img2ds.config.options import COMMAND, GROUPS, Options
from img2ds.core.console_script import run_script
from img2ds.core.failure import UsageError
from img2ds.core.naming import OUTPUT_FORMATS
from img2ds.core.native import describe
from img2ds.core.numpy_threads import ONE_THREAD
from img2ds.core.pandas_import import keep_pandas_out
from img2ds.manage import commands
from img2ds.manage.commands import COMMANDS, summary_lines


def main() -> None:
    """Entry point of the console script."""
    os.environ.update({**ONE_THREAD, **os.environ})  # before numpy is imported
    run_script("img2ds", run)


def run(arguments: Sequence[str]) -> int:
    """Run a command and return its exit code.

    0 is done, 1 incomplete, 2 a usage error, 3 too few successes, and 130 interrupted.
    """
    try:
        if arguments and arguments[0] in COMMANDS:
            return commands.run(arguments)
        if arguments and arguments[0] == "completion":
            print(completion.run("img2ds", {"": COMMAND, **commands.all_flags()}, arguments[1:]))
            return 0
        # As a value, `help` is the name of a column.
        if any(argument in HELP and argument != "help" for argument in arguments[1:]) or (
            arguments and arguments[0] in HELP
        ):
            print(help_page())
            return 0
        if list(arguments) in (["--version"], ["version"]):
            print(version())
            return 0
        options = Options.from_flags(with_config(COMMAND, read_flags(arguments)))
        if _has_own_formats(options):
            keep_pandas_out()
        # Its imports take a second, which a typing mistake need not wait for.
        from img2ds.downloader import job

        report = job.run(options)
    except UsageError as error:
        print(f"img2ds: error: {error}", file=sys.stderr)
        return 2
    text = "" if options.run.dry_run else job.describe(report)
    if text:
        print(text, file=sys.stderr if report.quiet else sys.stdout)
    return report.exit_code


def _has_own_formats(options: Options) -> bool:
    """Return whether no plug-in reads or writes: one may give pyarrow what pandas has read."""
    return (
        options.input.plain_format in (None, *INPUT_FORMATS)
        and options.output.output_format in OUTPUT_FORMATS
    )


def read_flags(arguments: Sequence[str]) -> dict[str, Any]:
    """Return the flags by name with their values as typed.

    Raises:
        UsageError: an argument is not a flag, or a flag has no value.
    """
    if not arguments:
        raise UsageError(
            "--url_list is required: img2ds --url_list urls.txt --output_folder images "
            "(img2ds --help lists all flags)"
        )
    return read_arguments(COMMAND, arguments, _check_position)


def _check_position(name: str, value: str) -> None:
    """Raise UsageError if a value by position looks like a mistyped command or part of a glob."""
    if name == "url_list":
        near = difflib.get_close_matches(value, COMMANDS, n=1)
        if near and not os.path.exists(value):
            raise UsageError(f"there is no file or folder {value}; did you mean img2ds {near[0]}?")
    elif os.path.isfile(value) and not value.isdigit():
        folder, file = os.path.split(value)
        pattern = os.path.join(folder, "*" + os.path.splitext(file)[1])
        raise UsageError(
            f"{value!r} is a file, where --{name} was expected: quote a glob, so that the shell "
            f"does not expand it: --url_list '{pattern}'"
        )
    elif name == "image_size" and (value[:1].isalpha() or "/" in value):
        raise UsageError(
            f"--image_size takes a whole number, got {value!r}; by position the output folder "
            f"comes third: img2ds LIST 256 {value}"
        )


def version() -> str:
    """Return the version and the compiled extensions in use."""
    from img2ds.image.native import loaded

    return f"img2ds {img2ds.__version__} ({describe(loaded())})"


def help_page() -> str:
    """Return all flags by subject, with their defaults."""
    lines = [
        "img2ds: turn a list of image URLs into a training dataset",
        "",
        "  img2ds --url_list urls.txt --output_folder images",
        "  img2ds urls.txt 256 images",
        "  img2ds --url_list laion/ --input_format parquet --url_col URL \\",
        "         --caption_col TEXT --output_folder images --output_format webdataset",
        "",
        *wrapped("Other commands (img2ds COMMAND --help lists the flags of a command):"),
        "",
        *summary_lines(),
        "",
        *wrapped(
            "Run the same command again to resume. --a-b is the same as --a_b. Flags of "
            "img2dataset can be given by position, in its order, and by one letter where only one "
            "begins with it. Exit codes: 0 all shards are written, 1 some are missing, 2 usage "
            "error, 3 too few rows succeeded (--min_success), 130 interrupted."
        ),
    ]
    for group in GROUPS.values():
        lines += ["", f"{group.TITLE}:"]
        lines += help_lines(COMMAND, (f.name for f in fields(group)))
    return "\n".join(lines)
