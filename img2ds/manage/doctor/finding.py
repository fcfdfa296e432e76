"""One line of `img2ds doctor`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Level(Enum):
    """`BAD`: a run fails, or loses rows; `NOTE`: it is slower or lacks something; `OK`: fine."""

    OK = "ok"
    NOTE = "note"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found about one subject.

    Attributes:
        advice: what to do about it; empty if nothing is to be done.
    """

    subject: str
    level: Level
    text: str
    advice: str = ""
