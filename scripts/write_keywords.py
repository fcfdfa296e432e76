"""Write `img2ds/config/keywords.py`: the flags as types, for checkers of `img2ds.download`.

Run it after a flag changes; `tests/config/test_keywords.py` compares.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from dataclasses import Field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from img2ds.config.options import COMMAND, FLAGS  # noqa: E402
from img2ds.config.stream import STREAM_FLAGS  # noqa: E402

FILE = ROOT / "img2ds/config/keywords.py"

_TYPES = {
    "str": "str | PathLike[str] | int",
    "int": "int",
    "float": "float",
    "bool": "bool",
    "list": "Sequence[str] | str | None",
    "mapping": "Mapping[str, str]",
    "size": "int | str",
    "side": "int | tuple[int, int]",
}

#: What can be passed instead of a plug-in's name.
_OBJECTS = {
    "output_format": "NamedFormat",
    "input_format": "OpensLists",
    "fetcher": "Callable[[NetworkOptions], object]",
}

_HEAD = '''"""The flags of `img2ds.download` and `img2ds.stream` as types, for checkers.

Written by scripts/write_keywords.py from the flags themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Literal, TypedDict

from img2ds.config.network import NetworkOptions
from img2ds.core.hooks import Filter, NamedFormat, OpensLists, Transform
from img2ds.core.plugins import PluginName


'''


def keywords() -> str:
    """Return the text of the module."""
    shared = [FLAGS[name] for name in STREAM_FLAGS]
    others = [spec for name, spec in FLAGS.items() if name not in STREAM_FLAGS]
    text = (
        _HEAD
        + _class("StreamKeywords(TypedDict, total=False)", "of a stream", shared)
        + "\n\n"
        + _class("DownloadKeywords(StreamKeywords, total=False)", "of a download", others)
    )
    formatted = subprocess.run(
        [sys.executable, "-m", "ruff", "format", "-", "--stdin-filename", str(FILE)],
        input=text, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return formatted.stdout


def _class(head: str, whose: str, specs: Iterable[Field[Any]]) -> str:
    lines = [f"class {head}:", f'    """The flags {whose}; `img2ds --help` explains them."""', ""]
    aliases = {flag: alias for alias, flag in COMMAND.aliases.items()}
    for spec in specs:
        if spec.name == "url_list":  # the first parameter
            continue
        names = filter(None, (spec.name, aliases.get(spec.name)))
        lines.extend(f"    {name}: {_type(spec)}" for name in names)
    return "\n".join(lines) + "\n"


def _type(spec: Field[Any]) -> str:
    kind: str = spec.metadata["kind"]
    plain = kind.removesuffix("?")
    if plain == "choice":
        words = ", ".join(f'"{choice}"' for choice in spec.metadata["choices"])
        text = f"Literal[{words}]"
        if spec.metadata["plugins"]:
            text += f" | PluginName | {_OBJECTS[spec.name]}"
    elif plain == "plugins":
        function = spec.name.title()
        one = f"{function} | Callable[[], {function}] | str"
        text = f"{one} | Sequence[{one}] | None"
    else:
        text = _TYPES[plain]
    return f"{text} | None" if kind.endswith("?") else text


if __name__ == "__main__":
    FILE.write_text(keywords())
