"""The query parameters of a search, in one table for parsing and for the API document. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from laion.knn.ann_index import Vectors
from laion.knn.filters import LICENCES, Filters
from laion.knn.searcher import SearchParams

#: Limits on the results of one response, and on paging.
MAX_RESULTS = 1000
MAX_OFFSET = 5000
#: Characters of a text, far above what any CLIP model reads, and of a URL.
MAX_TEXT = 1000
MAX_URL = 4096

FORMATS = ("json", "parquet")

#: Names of the parameters of which a search takes exactly one.
QUERY_NAMES = ("text", "image_url", "id")


class BadRequest(ValueError):
    """The request is invalid; the message states the reason."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One query parameter.

    Attributes:
        kind: its JSON type: string, integer or boolean.
        low, high: limits of an integer's value, or of a string's length.
    """

    name: str
    kind: str
    text: str
    default: Any = None
    low: int | None = None
    high: int | None = None
    choices: tuple[str, ...] = ()

    def read(self, value: str) -> Any:
        """Parse and check a value. Raises BadRequest."""
        if self.kind == "integer":
            return self._integer(value)
        if self.kind == "boolean":
            if value not in ("true", "false"):
                raise BadRequest(f"{self.name} must be true or false, got {_short(value)}")
            return value == "true"
        if self.choices and value not in self.choices:
            raise BadRequest(
                f"{self.name} must be one of {', '.join(self.choices)}, got {_short(value)}"
            )
        if self.high is not None and len(value) > self.high:
            raise BadRequest(f"{self.name} must have at most {self.high} characters")
        if self.low is not None and len(value.strip()) < self.low:
            raise BadRequest(f"{self.name} must not be empty")
        return value

    def _integer(self, value: str) -> int:
        # int() also takes spaces, underscores and digits of other scripts.
        plain = value.isascii() and value.removeprefix("-").isdigit() and len(value) < 20
        if not plain:
            raise BadRequest(f"{self.name} must be a whole number, got {_short(value)}")
        number = int(value)
        if self.low is not None and number < self.low:
            raise BadRequest(f"{self.name} must be at least {self.low}, got {number}")
        if self.high is not None and number > self.high:
            raise BadRequest(f"{self.name} must be at most {self.high}, got {number}")
        return number

    def document(self) -> dict[str, Any]:
        """Return its OpenAPI parameter object."""
        schema: dict[str, Any] = {"type": self.kind}
        if self.kind == "integer":
            schema |= {"minimum": self.low, "maximum": self.high}
        elif self.kind == "string" and self.choices:
            schema["enum"] = list(self.choices)
        elif self.kind == "string":
            # At least one character that is not white space.
            schema |= {"minLength": 1, "maxLength": self.high, "pattern": r"\S"}
        if self.default is not None:
            schema["default"] = self.default
        schema = {key: value for key, value in schema.items() if value is not None}
        return {"name": self.name, "in": "query", "description": self.text, "schema": schema}


QUERY_PARAMETERS = (
    Parameter("text", "string", "Search by this text.", low=1, high=MAX_TEXT),
    Parameter(
        "image_url", "string",
        "Search by the image at this public http or https URL.",
        low=1, high=MAX_URL,
    ),
    Parameter("id", "integer", "Search by this row of the index.",
              low=0, high=2**53 - 1),
)  # fmt: skip

RESULT_PARAMETERS = (
    Parameter("index", "string", "Search the images or the texts.",
              default="image", choices=("image", "text")),
    Parameter("k", "integer", "Number of results.", default=20, low=1, high=MAX_RESULTS),
    Parameter("offset", "integer", "Results to skip.",
              default=0, low=0, high=MAX_OFFSET),
    Parameter("safe", "boolean", "Only rows whose NSFW tag is UNLIKELY.", default=True),
    Parameter("min_size", "integer", "Least length of the shorter side, in pixels.",
              default=0, low=0, high=100_000),
    Parameter("license", "string",
              "What the licence permits: cc for any Creative Commons licence; commercial use; "
              "derivatives; free for both.",
              default="any", choices=tuple(LICENCES)),
    Parameter("deduplicate", "boolean", "Show only the best of near-duplicates.", default=False),
    Parameter("format", "string",
              "json, or parquet: a table of URL and TEXT that img2ds can download.",
              default="json", choices=FORMATS),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """A parsed request. One of the first three or `vector` is set; none with an uploaded image.

    Attributes:
        format: `json`, `parquet`, or `knn` for that of clip-retrieval.
        vector: the unit vector to search by.
        shown: with `knn`, results that get metadata.
    """

    text: str | None
    image_url: str | None
    id: int | None
    params: SearchParams
    format: str
    vector: Vectors | None = None
    shown: int = 0


def read_parameters(given: Sequence[tuple[str, str]], upload: bool) -> SearchRequest:
    """Parse query parameters.

    Args:
        upload: whether the body has the image to search by, so that no parameter names a query.

    Raises:
        BadRequest: an unknown or repeated name, an invalid value, or not exactly one query.
    """
    known = {
        p.name: p
        for p in (RESULT_PARAMETERS if upload else (*QUERY_PARAMETERS, *RESULT_PARAMETERS))
    }
    values: dict[str, Any] = {p.name: p.default for p in known.values()}
    seen: set[str] = set()
    for name, value in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
            raise BadRequest(f"unknown parameter {_short(name)}; {hint}")
        if name in seen:
            raise BadRequest(f"{name} is given twice")
        seen.add(name)
        values[name] = known[name].read(value)
    if not upload:
        _check_one_query(values)
    filters = Filters(values["safe"], values["min_size"], values["license"])
    params = SearchParams(
        values["index"], values["k"], values["offset"], filters, values["deduplicate"]
    )
    return SearchRequest(
        values.get("text"), values.get("image_url"), values.get("id"), params, values["format"]
    )


def _check_one_query(values: Mapping[str, Any]) -> None:
    given = [name for name in QUERY_NAMES if values[name] is not None]
    if len(given) != 1:
        got = f"got {' and '.join(given)}" if given else "got none"
        raise BadRequest(f"give one of {', '.join(QUERY_NAMES)}; {got}")


def _short(value: str) -> str:
    return repr(value if len(value) <= 60 else value[:57] + "...")
