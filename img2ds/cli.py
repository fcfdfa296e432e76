"""The command line: `img2ds --url_list ... --output_folder ...`.

Everything wrong with a command is said in one line, with exit code 2, before any work starts.
fire runs a function before it complains of a flag it does not know, so names are checked first.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import MISSING, Field
from typing import Any

import fire
from fire.decorators import SetParseFn

import img2ds
from img2ds.options import ALIASES, FLAGS, GROUPS, Options, unknown_flag
from img2ds.outcome import UsageError

#: Words that stand for other jobs than making a data set.
SUBCOMMANDS = ("retry", "verify", "status", "reshard")
_HELP = ("--help", "-h", "help")
_HELP_COLUMN = 34
_HELP_WIDTH = 100


def main() -> None:
    """Entry point of the console script."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Do what the arguments say; the exit code: 0 done, 1 incomplete, 2 wrong use, 130 stopped."""
    try:
        if any(argument in _HELP for argument in arguments):
            print(help_page())
            return 0
        if list(arguments) in (["--version"], ["version"]):
            print(f"img2ds {img2ds.__version__}")
            return 0
        options = Options.from_flags(read_flags(arguments))
        from img2ds import job  # its imports take a second that a typing mistake need not wait for

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
    _check_names(arguments)
    found: dict[str, Any] = {}

    def collect(**flags: Any) -> None:
        found.update(flags)

    SetParseFn(str)(collect)  # values are read by the flag's kind, not by how they look

    # fire takes a lone - for a separator of calls; here it is standard input.
    fire.Fire(collect, command=[*arguments, "--", "--separator=\0"], name="img2ds")
    for name, value in found.items():
        if value in ("True", "False"):
            found[name] = value == "True"
    return found


def _check_names(arguments: Sequence[str]) -> None:
    """What fire would only complain of afterwards, or take for something else."""
    if not arguments:
        raise UsageError(
            "--url_list is required: img2ds --url_list urls.txt --output_folder images "
            "--output_format webdataset (img2ds --help lists all flags)"
        )
    if arguments[0] in SUBCOMMANDS:
        raise UsageError(f"img2ds {arguments[0]} is not built yet in this version of img2ds")
    seen = set()
    waiting: str | None = None  # a flag that the next argument may be the value of
    for argument in arguments:
        if not argument.startswith("--") or argument == "--":
            if waiting is None:
                raise UsageError(
                    f"{argument!r} is no flag: a list of URLs is given as --url_list {argument}"
                    if not argument.startswith("-")
                    else unknown_flag(argument)
                )
            waiting = None
            continue
        _check_value_given(waiting)
        typed, equals, _ = argument[2:].partition("=")
        name = typed.replace("-", "_")
        name = ALIASES.get(name, name)
        switched_off = name.removeprefix("no")
        if name not in FLAGS and not equals and _is_bool(switched_off):
            name = switched_off
            waiting = None
        elif name not in FLAGS:
            raise UsageError(unknown_flag(typed))
        else:
            waiting = None if equals else name
        if name in seen:
            raise UsageError(f"--{name} is given twice")
        seen.add(name)
    _check_value_given(waiting)


def _is_bool(name: str) -> bool:
    return name in FLAGS and FLAGS[name].metadata["kind"] == "bool"


def _check_value_given(name: str | None) -> None:
    if name is not None and not _is_bool(name):
        raise UsageError(f"--{name} needs a value: --{name} VALUE")


def help_page() -> str:
    """All flags, grouped by subject, with their defaults."""
    lines = [
        "img2ds: turn a list of image URLs into a training dataset",
        "",
        "  img2ds --url_list urls.txt --output_folder images --output_format webdataset",
        "  img2ds --url_list laion/ --input_format parquet --url_col URL --caption_col TEXT \\",
        "         --output_folder laion-images --output_format webdataset",
        "",
        "Running a command again goes on where it stopped. --a-b is the same as --a_b.",
        "Exit codes: 0 all shards are committed, 1 some are not, 2 wrong use, 130 stopped by hand.",
    ]
    for group in GROUPS.values():
        lines += ["", f"{group.TITLE}:"]
        for name, spec in FLAGS.items():
            if name in group.__dataclass_fields__:
                lines += _flag_lines(name, spec)
    return "\n".join(lines)


def _flag_lines(name: str, spec: Field[Any]) -> list[str]:
    if spec.default is not MISSING:
        default = spec.default
    elif spec.default_factory is not MISSING:
        default = spec.default_factory()
    else:
        default = None
    shown = "required" if spec.default is spec.default_factory else _shown(default)
    aliases = "".join(f", --{alias}" for alias, meant in ALIASES.items() if meant == name)
    text: str = spec.metadata["help"]
    if spec.metadata["choices"]:
        text += f" [{'|'.join(spec.metadata['choices'])}]"
    head = f"  --{name}{aliases} ({shown})"
    lines = []
    words = text.split()
    line = head.ljust(_HELP_COLUMN)
    if len(head) >= _HELP_COLUMN:
        lines.append(head)
        line = " " * _HELP_COLUMN
    empty = True
    for word in words:
        if not empty and len(line) + 1 + len(word) > _HELP_WIDTH:
            lines.append(line)
            line, empty = " " * _HELP_COLUMN, True
        line += word if empty else f" {word}"
        empty = False
    return [*lines, line]


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return " ".join(value) or "none"
    if isinstance(value, dict):
        return "none"
    return str(value)
