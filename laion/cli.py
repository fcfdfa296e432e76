"""The command line of laion: `laion COMMAND --flag VALUE ...`, one command a stage.

Every mistake in a command is reported in one line, with exit code 2, before any work starts.
"""

from __future__ import annotations

import contextlib
import difflib
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import img2ds
from img2ds.config import completion
from img2ds.config.command import Result
from img2ds.config.command_line import read_arguments
from img2ds.config.flags import Flags
from img2ds.config.help import HELP, help_lines, summary_lines, wrapped
from img2ds.core.console_script import run_script
from img2ds.core.failure import UsageError
from img2ds.core.native import describe
from img2ds.core.pandas_import import keep_pandas_out
from laion.commands import COMMANDS
from laion.help_examples import EXAMPLES


def main() -> None:
    """Entry point of the console script."""
    run_script("laion", run)


def run(arguments: Sequence[str]) -> int:
    """Run a command and return its exit code.

    0 is done, 1 incomplete, 2 a usage error, and 130 interrupted.
    """
    name = arguments[0] if arguments else "--help"
    if name in HELP:
        print(help_page())
        return 0
    if list(arguments) in (["--version"], ["version"]):
        print(version())
        return 0
    try:
        if name == "completion":
            print(completion.run("laion", _all_flags(), arguments[1:]))
            return 0
        if name not in COMMANDS:
            near = difflib.get_close_matches(name, COMMANDS, n=1)
            hint = f"did you mean {near[0]}?" if near else "laion --help lists the commands"
            raise UsageError(f"unknown command {name!r}; {hint}")
        command = COMMANDS[name]
        options = command.load_options()
        flags = _flags(name, options)
        if any(argument in HELP for argument in arguments[1:]):
            title = wrapped(f"laion {name}: {command.summary}")
            example = f"  laion {name} {EXAMPLES[name]}" if name in EXAMPLES else ""
            print("\n".join([*title, "", example, "", *help_lines(flags, flags.fields)]))
            return 0
        values = flags.read(read_arguments(flags, arguments[1:]))
        work = command.load_run()
        chosen = options(**values)
        keep_pandas_out()
        result: Result = work(chosen)
    except UsageError as error:
        print(f"laion: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # while shards are made, the stage itself handles it
        print("laion: interrupted. Run the same command again to resume.", file=sys.stderr)
        return 130
    if result.text:
        print(result.text)
    return result.exit_code


def _flags(name: str, options: Any) -> Flags:
    flags = Flags.of(f"laion {name}", options)
    return replace(
        flags,
        aliases=getattr(options, "ALIASES", {}),
        positions=getattr(options, "POSITIONS", ()),
    )


def _all_flags() -> dict[str, Flags]:
    """Return the flags of the commands whose packages are installed."""
    found = {"": Flags("laion", {}, {})}
    for name, command in COMMANDS.items():
        with contextlib.suppress(UsageError):
            found[name] = _flags(name, command.load_options())
    return found


def version() -> str:
    """Return the version and the compiled extensions in use."""
    from img2ds.image import native as image
    from laion.dedup import native as dedup
    from laion.wat import native as wat

    names = [*image.loaded(), *dedup.loaded(), *wat.loaded()]
    return f"laion {img2ds.__version__} ({describe(names)})"


def help_page() -> str:
    """Return all commands, a line each."""
    lines = [
        *wrapped(
            "laion: rebuild the LAION-400M pipeline, from Common Crawl to a searchable dataset"
        ),
        "",
    ]
    summaries = {name: command.summary for name, command in COMMANDS.items()}
    lines += summary_lines("laion", {**summaries, "completion": completion.SUMMARY})
    lines += [
        "",
        *wrapped(
            "laion COMMAND --help lists the flags of a command. Run the same command again to "
            "resume. Exit codes: 0 done, 1 some shards are missing, 2 usage error, "
            "130 interrupted."
        ),
    ]
    return "\n".join(lines)
