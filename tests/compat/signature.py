"""img2dataset's signature: as it is recorded here, and as an installed img2dataset has it."""

from __future__ import annotations

import ast
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: `python -m tests.compat.signature MAIN_PY VERSION` writes it.
RECORDED = Path(__file__).parent / "signature.json"


@dataclass(frozen=True)
class Parameter:
    """A parameter of `img2dataset.download`; required ones have no default."""

    name: str
    kind: str
    required: bool
    default: Any


def recorded() -> tuple[str, list[Parameter], list[str]]:
    """Return the recorded version, its parameters, and those that were added since."""
    document = json.loads(RECORDED.read_text())
    parameters = [
        Parameter(p["name"], p["kind"], "default" not in p, _value(p.get("default")))
        for p in document["parameters"]
    ]
    return document["version"], parameters, document["added_since"]


def installed(main: Path) -> list[Parameter]:
    """Return the parameters of `download` in img2dataset's `main.py`, which is not imported."""
    module = ast.parse(main.read_text())
    function = next(
        n for n in module.body if isinstance(n, ast.FunctionDef) and n.name == "download"
    )
    given = function.args
    assert not given.posonlyargs + given.kwonlyargs
    first = len(given.args) - len(given.defaults)
    found = []
    for place, argument in enumerate(given.args):
        required = place < first
        default = None if required else _evaluated(given.defaults[place - first])
        assert argument.annotation is not None
        found.append(Parameter(argument.arg, ast.unparse(argument.annotation), required, default))
    return found


def _evaluated(node: ast.expr) -> Any:
    return math.inf if ast.unparse(node) == "float('inf')" else ast.literal_eval(node)


def _value(recorded: Any) -> Any:
    return math.inf if recorded == "inf" else recorded


def _write(main: Path, version: str, added_since: list[str]) -> None:
    entries = []
    for parameter in installed(main):
        entry = {"name": parameter.name, "kind": parameter.kind}
        if not parameter.required:
            entry["default"] = "inf" if parameter.default == math.inf else parameter.default
        entries.append(json.dumps(entry))
    lines = ",\n  ".join(entries)
    RECORDED.write_text(
        f'{{"version": "{version}", "added_since": {json.dumps(added_since)}, '
        f'"parameters": [\n  {lines}\n]}}\n'
    )


if __name__ == "__main__":
    import sys

    _write(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
