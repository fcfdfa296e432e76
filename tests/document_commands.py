"""The commands that documents show: lines of code blocks that begin with `img2ds` or `laion`."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
#: Documents whose commands users copy.
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
#: Words after which another command, or a file for the output, comes.
_ENDS = {"|", "||", "&&", ";", "&", ">", ">>", "2>", "2>&1", "<"}
#: Words before a command that run it.
_RUNNERS = {"srun", "exec", "time", "$"}


@dataclass(frozen=True, slots=True)
class ShownCommand:
    """A command as its document has it; `words` begin with the program."""

    document: Path
    words: tuple[str, ...]

    @property
    def name(self) -> str:
        """For the output of tests."""
        return f"{self.document.stem}: {' '.join(self.words)[:70]}"


def shown_commands() -> list[ShownCommand]:
    """Return every command of `img2ds` and `laion` in a code block, once for each document."""
    found = {
        ShownCommand(document, words): None
        for document in DOCUMENTS
        for line in _code_lines(document.read_text())
        for words in _commands(line)
    }
    return list(found)


def _code_lines(text: str) -> Iterator[str]:
    """Yield the lines of code blocks, those that go on after a backslash as one."""
    fenced = False
    waiting = ""
    for line in text.splitlines():
        if line.lstrip().startswith("```"):
            fenced = not fenced
            continue
        if not fenced and not line.startswith("    "):
            continue
        line = waiting + line.strip()
        waiting = ""
        if line.endswith("\\"):
            waiting = line[:-1]
        else:
            yield line


def _commands(line: str) -> Iterator[tuple[str, ...]]:
    """Yield the commands of a line of a shell."""
    if not re.search(r"\b(img2ds|laion) ", line):
        return
    try:
        words = shlex.split(line, comments=True)
    except ValueError:  # a line of another language
        return
    while words:
        end = next((place for place, word in enumerate(words) if word in _ENDS), len(words))
        command, words = words[:end], words[end + 1 :]
        while command and (command[0] in _RUNNERS or re.fullmatch(r"\w+=\S*", command[0])):
            command.pop(0)
        if len(command) > 1 and command[0] in ("img2ds", "laion"):
            yield tuple(command)
