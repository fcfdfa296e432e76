"""The subcommands, as they are typed: `img2ds COMMAND --output_folder DIR ...`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from img2ds.config import completion
from img2ds.config.command import Result, load
from img2ds.config.command_line import read_arguments
from img2ds.config.flags import Flags
from img2ds.config.help import HELP, help_lines, wrapped
from img2ds.config.help import summary_lines as summaries
from img2ds.core.pandas_import import keep_pandas_out


@dataclass(frozen=True, slots=True)
class Command:
    """One command. Its modules, `module:name`, are imported when it is used.

    `options` is a class with `GROUPS`, the dataclasses whose fields are its flags, and
    `from_flags`; `run(options)` does the work and gives a `Result`.
    """

    summary: str
    options: str
    run: str
    exit_codes: str
    example: str = " --output_folder images"


COMMANDS: dict[str, Command] = {
    "status": Command(
        "show what a dataset contains, what is missing, and how to resume",
        "img2ds.manage.options:StatusOptions",
        "img2ds.manage.status:run",
        "0 complete, 1 shards are missing, 2 usage error",
    ),
    "verify": Command(
        "check every shard against its commit marker: files, metadata and images",
        "img2ds.manage.options:VerifyOptions",
        "img2ds.manage.verify:run",
        "0 sound, 1 something is broken, 2 usage error, 130 interrupted",
    ),
    "retry": Command(
        "download rows that failed for a transient reason; results go to new shards",
        "img2ds.manage.options:RetryOptions",
        "img2ds.manage.retry:run",
        "0 all rows were tried, 1 some were not, 2 usage error, 130 interrupted",
    ),
    "reshard": Command(
        "pack the images of a dataset into full shards in another folder",
        "img2ds.manage.options:ReshardOptions",
        "img2ds.manage.reshard:run",
        "0 all shards are written, 1 some are missing, 2 usage error, 130 interrupted",
        " --output_folder images --to packed",
    ),
    "report": Command(
        "write a page about a dataset: outcomes, hosts, samples and throughput, in one HTML file",
        "img2ds.manage.options:ReportOptions",
        "img2ds.manage.report.run:run",
        "0 written, 2 usage error",
        " --output_folder images --html report.html",
    ),
    "doctor": Command(
        "check this machine before a run, and say what to do about it",
        "img2ds.manage.options:DoctorOptions",
        "img2ds.manage.doctor.run:run",
        "0 ready, 1 something has to be mended, 2 usage error",
        " --processes_count 16 --output_folder images",
    ),
}


def run(arguments: Sequence[str]) -> int:
    """Do what `arguments`, a command and its flags, say; the exit code.

    Raises:
        UsageError: an argument is not a flag, or the options cannot work; nothing was done.
    """
    name = arguments[0]
    command = COMMANDS[name]
    options = load(command.options, "all")
    flags = _flags(name, options)
    # As a value, `help` is the name of a folder.
    if arguments[1:2] == ["help"] or any(a in HELP and a != "help" for a in arguments[1:]):
        print(help_page(name, command, flags, options.GROUPS))
        return 0
    values = flags.read(read_arguments(flags, arguments[1:]))
    work = load(command.run, "all")
    chosen = options.from_flags(values)
    keep_pandas_out()
    result: Result = work(chosen)
    if result.text:
        print(result.text)
    return result.exit_code


def all_flags() -> dict[str, Flags]:
    """Return the flags of every command."""
    return {name: _flags(name, load(c.options, "all")) for name, c in COMMANDS.items()}


def _flags(name: str, options: Any) -> Flags:
    flags = Flags.of(f"img2ds {name}", *options.GROUPS)
    return replace(flags, aliases=getattr(options, "ALIASES", {}))


def help_page(name: str, command: Command, flags: Flags, groups: Sequence[type[Any]]) -> str:
    """The flags of one command."""
    lines = [
        *wrapped(f"img2ds {name}: {command.summary}"),
        "",
        f"  img2ds {name}{command.example}",
        "",
        *wrapped(f"Exit codes: {command.exit_codes}."),
    ]
    for group in groups:
        lines += ["", f"{group.TITLE}:"]
        lines += help_lines(flags, Flags.of("", group).fields)
    return "\n".join(lines)


def summary_lines() -> list[str]:
    """All commands and what they do."""
    found = {name: c.summary for name, c in COMMANDS.items()}
    return summaries("img2ds", {**found, "completion": completion.SUMMARY})
