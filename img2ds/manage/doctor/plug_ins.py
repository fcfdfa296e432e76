"""Which plug-ins are installed, and whether they can be imported."""

from __future__ import annotations

from collections.abc import Iterator

from img2ds.config.options import FLAGS
from img2ds.core.failure import UsageError
from img2ds.core.plugins import GROUPS, installed, load
from img2ds.manage.doctor.finding import Finding, Level


def plug_ins() -> Iterator[Finding]:
    """Check every installed plug-in."""
    for flag in GROUPS:
        for name, entry in sorted(installed(flag).items()):
            made = "" if entry.dist is None else f" of {entry.dist.name} {entry.dist.version}"
            text = f"--{flag} {name}{made} ({entry.value})"
            if name in FLAGS[flag].metadata["choices"]:
                yield Finding(
                    "plug-in", Level.NOTE, f"{text} is never used: img2ds has a {name} of its own",
                    "give the plug-in another name",
                )  # fmt: skip
                continue
            try:
                load(flag, name)
            except UsageError as error:
                yield Finding("plug-in", Level.BAD, text, str(error))
            else:
                yield Finding("plug-in", Level.OK, text)
