"""The command line of laion: `laion COMMAND --flag VALUE ...`, one command a stage.

Everything wrong with a command is said in one line, with exit code 2, before any work starts.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Sequence
from dataclasses import replace

import img2ds
from img2ds.config.command_line import HELP, Result, help_lines, read_arguments
from img2ds.config.flags import Flags
from img2ds.core.failure import UsageError
from laion.commands import COMMANDS


def main() -> None:
    """Entry point of the console script."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Do what the arguments say; the exit code: 0 done, 1 incomplete, 2 wrong use, 130 stopped."""
    name = arguments[0] if arguments else "--help"
    if name in HELP:
        print(help_page())
        return 0
    if list(arguments) in (["--version"], ["version"]):
        print(f"laion {img2ds.__version__}")
        return 0
    try:
        if name not in COMMANDS:
            near = difflib.get_close_matches(name, COMMANDS, n=1)
            hint = f"did you mean {near[0]}?" if near else "laion --help lists the commands"
            raise UsageError(f"there is no command {name}; {hint}")
        command = COMMANDS[name]
        options = command.load_options()
        flags = Flags.of(f"laion {name}", options)
        flags = replace(flags, aliases=getattr(options, "ALIASES", {}))
        if any(argument in HELP for argument in arguments[1:]):
            print("\n".join([f"laion {name}: {command.summary}", "", *_help(flags)]))
            return 0
        values = flags.read(read_arguments(flags, arguments[1:]))
        result: Result = command.load_run()(options(**values))
    except UsageError as error:
        print(f"laion: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # while parts are made, the stage itself sees to it
        print("laion: stopped by hand", file=sys.stderr)
        return 130
    if result.text:
        print(result.text)
    return result.exit_code


def _help(flags: Flags) -> list[str]:
    return help_lines(flags, flags.fields)


def help_page() -> str:
    """All commands, a line each."""
    lines = [
        "laion: rebuild the LAION-400M pipeline, from Common Crawl to a searchable data set",
        "",
    ]
    lines += [f"  laion {name:<12} {command.summary}" for name, command in COMMANDS.items()]
    lines += [
        "",
        "laion COMMAND --help lists a command's flags. Running a command again goes on where it",
        "stopped. Exit codes: 0 done, 1 some parts are missing, 2 wrong use, 130 stopped by hand.",
    ]
    return "\n".join(lines)
