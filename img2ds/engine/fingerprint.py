"""What identifies an input in a manifest: its format, and its files with sizes, rows and schemas.

Two inputs are the same when their fingerprints are equal. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class FileFingerprint:
    """One file of an input: its name, and whatever else of it is known, as JSON values."""

    name: str
    size: int | None
    digest: str | None = None
    rows: int | None = None
    schema: dict[str, Any] | None = None


def fingerprint(
    kind: str, files: Iterable[FileFingerprint], max_rows: int | None = None, **more: Any
) -> dict[str, Any]:
    """Return the fingerprint of an input.

    Args:
        kind: the format of its files.
        max_rows: rows of it that are used, None for all.
        more: what else identifies it, as JSON values.
    """
    return {
        "format": kind,
        "max_rows": max_rows,
        "files": [asdict(file) for file in files],
        **more,
    }


def difference(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> str:
    """Describe the values that differ; `prefix` stands before their names."""
    changes = [
        f"{prefix}{name} {new.get(name)!r}, there {old.get(name)!r}"
        for name in {**old, **new}
        if old.get(name) != new.get(name)
    ]
    return "; ".join(changes)


def input_difference(old: dict[str, Any], new: dict[str, Any]) -> str:
    """Describe in a few words how two fingerprints differ."""
    if old["format"] != new["format"] or old["max_rows"] != new["max_rows"]:
        own = ("format", "max_rows")
        return difference({k: old[k] for k in own}, {k: new[k] for k in own})
    before = {file["name"]: file for file in old["files"]}
    after = {file["name"]: file for file in new["files"]}
    for name, file in after.items():
        if name not in before:
            return f"{name} is new" if set(before) & set(after) else f"there {min(before)}"
        if file != before[name]:
            for what in ("size", "rows", "schema"):
                if file[what] != before[name][what]:
                    return f"{what} of {name} {file[what]}, there {before[name][what]}"
            return f"the content of {name} changed"
    for name in before:
        if name not in after:
            return f"{name} is missing"
    rest = [key for key in {**old, **new} if key != "files"]
    return difference({k: old.get(k) for k in rest}, {k: new.get(k) for k in rest})
