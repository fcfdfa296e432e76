"""`img2ds.download`: a download with the flags of the command line as keyword arguments."""

from __future__ import annotations

import inspect
from dataclasses import MISSING
from typing import Any

from img2ds.config.flags import default_of
from img2ds.config.options import FLAGS, Options
from img2ds.config.positions import POSITIONS
from img2ds.core.failure import UsageError
from img2ds.downloader import job


def download(*values: Any, **flags: Any) -> job.Report:
    """Turn a list of image URLs into a dataset; `img2ds --help` explains every flag.

    Blocks until the run is done. Worker processes do not import the main module: no
    `if __name__ == "__main__"` is needed, and notebooks work.

    Args:
        *values: flags by position, in the order of img2dataset's parameters. The first is
            `url_list`: a file, a folder, a glob, an fsspec URL, or `-` for standard input.
        **flags: flags by name, as Python values or as typed.

    Returns:
        The result of the run; `report.exit_code` is 0 if every shard is committed,
        and 3 if they are and too few rows succeeded (`min_success`).

    Raises:
        UsageError: the options or the input cannot work; nothing was downloaded.
    """
    if len(values) > len(POSITIONS):
        raise UsageError(f"{len(values)} values by position, but only {len(POSITIONS)} flags")
    placed = dict(zip(POSITIONS, values, strict=False))
    for name in placed:
        if name in flags:
            raise UsageError(f"--{name} is given twice")
    return job.run(Options.from_flags({**placed, **flags}))


def _signature() -> inspect.Signature:
    parameters = []
    for name in (*POSITIONS, *(name for name in FLAGS if name not in POSITIONS)):
        default = default_of(FLAGS[name])
        parameters.append(
            inspect.Parameter(
                name,
                inspect.Parameter.POSITIONAL_OR_KEYWORD
                if name in POSITIONS
                else inspect.Parameter.KEYWORD_ONLY,
                default=inspect.Parameter.empty if default is MISSING else default,
            )
        )
    return inspect.Signature(parameters, return_annotation=job.Report)


download.__signature__ = _signature()  # type: ignore[attr-defined]
