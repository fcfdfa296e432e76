"""Where a writer puts a file that is not published yet."""

from __future__ import annotations

from collections.abc import Callable

#: Maps the name of a file of the output folder to the local path where it is written aside.
StagingPath = Callable[[str], str]
