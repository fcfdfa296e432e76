"""`--heads aesthetic=FILE,watermark=FILE`: the heads to run, and the columns that they fill."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from img2ds.core.failure import UsageError
from laion.annotate.head import ACTIVATIONS, Head, make_head
from laion.annotate.head_file import read_head_file

#: The columns of LAION-5B for its predictors; any other name is the name of its column.
COLUMNS = {"aesthetic": "aesthetic", "watermark": "pwatermark", "nsfw": "punsafe"}
#: Columns of pairs that a head must not overwrite.
TAKEN = frozenset(
    {
        "key", "url", "caption", "width", "height", "original_width", "original_height",
        "license", "language", "similarity", "nsfw", "text_tokens", "image_tokens",
    }
)  # fmt: skip
SIGMOID = "sigmoid"


@dataclass(frozen=True, slots=True)
class HeadSpec:
    """A head as the user names it; see `make_head` for `activation` and `sigmoid`."""

    column: str
    path: str
    activation: str | None = None
    sigmoid: bool = False

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"--heads {self.path}"

    def load(self) -> Head:
        """Read its file. Raises UsageError."""
        return make_head(
            read_head_file(self.path, self.name), self.name, self.activation, self.sigmoid
        )


def parse_heads(values: Sequence[str]) -> tuple[HeadSpec, ...]:
    """Return the heads of `NAME=FILE[:relu|:linear][:sigmoid]`. Raises UsageError."""
    specs = [_parse(value) for value in values]
    columns = [spec.column for spec in specs]
    if repeated := next((name for name in columns if columns.count(name) > 1), None):
        raise UsageError(f"--heads has two files for the column {repeated}")
    return tuple(specs)


def _parse(value: str) -> HeadSpec:
    name, equals, path = value.partition("=")
    if not equals or not path or not name:
        raise UsageError(f"--heads takes NAME=FILE, such as aesthetic=FILE, got {value!r}")
    column = COLUMNS.get(name, name)
    if not column.isidentifier() or column in TAKEN:
        known = ", ".join(COLUMNS)
        raise UsageError(
            f"--heads {name}=: the name of a head is one of {known}, or that of a new column"
        )
    activation, sigmoid = None, False
    while (end := path.rpartition(":")[2]) in (*ACTIVATIONS, SIGMOID):
        path = path.removesuffix(f":{end}")
        sigmoid |= end == SIGMOID
        activation = end if end in ACTIVATIONS else activation
    return HeadSpec(column, path, activation, sigmoid)
