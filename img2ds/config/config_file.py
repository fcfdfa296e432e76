"""`--config FILE`: flags of a run in a YAML file; those given otherwise count more.

url_list: urls.parquet
output_folder: images
output_format: webdataset
save_additional_columns: [NSFW, similarity]
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from img2ds.config.flags import Flags
from img2ds.core.failure import UsageError


def with_config(command: Flags, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the given flags, and those of the file that `config` names, by name.

    Raises:
        UsageError: the file cannot be read, or has something else than flags.
    """
    flags = {command.name(name): value for name, value in given.items()}
    path = flags.pop("config", None)
    if path is None or len(flags) + 1 < len(given):  # a flag given twice is told later
        return dict(given)
    return {**_read(command, os.fspath(path)), **flags}


def _read(command: Flags, path: str) -> dict[str, Any]:
    import yaml  # takes 20 ms, and most runs have no file

    try:
        with open(path, encoding="utf-8") as file:
            found = yaml.safe_load(file)
    except OSError as error:
        words = (error.strerror or str(error)).lower()
        raise UsageError(f"--config: cannot read {path}: {words}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or "not a text in UTF-8"
        raise UsageError(f"--config: {path} is not YAML{where}: {problem}") from None
    if not isinstance(found, dict):
        raise UsageError(f"--config: {path} has no flags: write one on each line, NAME: VALUE")
    flags: dict[str, Any] = {}
    for typed, value in found.items():
        name = command.name(str(typed))
        if name == "config":
            raise UsageError(f"--config: {path} cannot name another file with config")
        if name not in command.fields:
            raise UsageError(f"--config: {path}: {command.unknown(str(typed))}")
        if name in flags:
            raise UsageError(f"--config: {path} has {name} twice")
        flags[name] = value
    return flags
