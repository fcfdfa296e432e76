"""What console scripts have in common: standard streams, encodings, and how they end."""

from __future__ import annotations

import gc
import io
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

#: New objects between two searches for cycles. Imports make a hundred thousand, none of them
#: garbage: with Python's 700, starting takes a tenth more CPU.
GC_OBJECTS = 20_000


def run_script(name: str, run: Callable[[Sequence[str]], int]) -> NoReturn:
    """Run a command line and exit with its code.

    Args:
        name: of the program, for messages.
        run: from the arguments to the exit code.
    """
    use_utf8()
    gc.set_threshold(GC_OBJECTS)
    open_standard_streams()
    print_any_text()
    try:
        code = run(sys.argv[1:])
        sys.stdout.flush()
    except KeyboardInterrupt:  # before or after the shards, when there is nothing to finish
        print(f"{name}: interrupted. Run the same command again to resume.", file=sys.stderr)
        code = 130
    except BrokenPipeError:  # the reader closed the pipe; Python would report it at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        code = 1
    sys.exit(code)


def use_utf8() -> None:
    """Restart Python in its UTF-8 mode (PEP 540) where the locale has another encoding.

    Arrow and OpenCV take the names of files as UTF-8, Python as the locale has them: the two would
    be different files. Arguments and output are bytes to the terminal either way.
    """
    if not sys.flags.utf8_mode and sys.getfilesystemencoding() != "utf-8":
        arguments = [sys.executable, "-X", "utf8", *sys.orig_argv[1:]]
        os.execv(sys.executable, arguments)


def open_standard_streams() -> None:
    """Open the standard streams that this process was started without (by a daemon, `2>&-`).

    Otherwise the next files to be opened take their descriptors, and what libraries print.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) < 3:
        pass
    os.close(descriptor)
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(descriptor, "w", closefd=False))  # noqa: SIM115


def print_any_text() -> None:
    """Let standard output take every text, whatever encoding a locale or PYTHONIOENCODING chose.

    A name that is not valid UTF-8 (PEP 383) is printed as its own bytes; characters that another
    encoding does not have are escaped, as on standard error.
    """
    stream = sys.stdout
    if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
        utf8 = stream.encoding.lower().replace("_", "-") == "utf-8"
        stream.reconfigure(errors="surrogateescape" if utf8 else "backslashreplace")
