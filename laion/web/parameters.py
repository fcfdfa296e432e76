"""The query parameters of a search, in one table for parsing and for the API document. Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from laion.knn.combined_query import IMAGE_WEIGHT, MAX_WEIGHT, NEGATIVE_WEIGHT
from laion.knn.filters import LICENCES, Filters
from laion.knn.searcher import SearchParams

#: Limits on the results of one response, and on paging.
MAX_RESULTS = 1000
MAX_OFFSET = 5000
#: Characters of a text, far above what any CLIP model reads, and of a URL.
MAX_TEXT = 1000
MAX_URL = 4096

FORMATS = ("json", "parquet")

#: Names of the parameters of which a search takes at least one, unless an image is uploaded.
QUERY_NAMES = ("text", "image_url", "id")

#: float() also takes spaces, underscores, digits of other scripts, and words.
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")


class BadRequest(ValueError):
    """The request is invalid; the message states the reason."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One query parameter.

    Attributes:
        kind: its JSON type: string, integer, number or boolean.
        low, high: limits of a number's value, or of a string's length.
    """

    name: str
    kind: str
    text: str
    default: Any = None
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()

    def read(self, value: str) -> Any:
        """Parse and check a value. Raises BadRequest."""
        if self.kind == "integer":
            return self._integer(value)
        if self.kind == "number":
            if len(value) > 40 or not _NUMBER.fullmatch(value):
                raise BadRequest(f"{self.name} must be a number, got {_short(value)}")
            return self._limited(float(value))
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
        number: int = self._limited(int(value))
        return number

    def _limited(self, number: Any) -> Any:
        if self.low is not None and number < self.low:
            raise BadRequest(f"{self.name} must be at least {self.low}, got {number}")
        if self.high is not None and number > self.high:
            raise BadRequest(f"{self.name} must be at most {self.high}, got {number}")
        return number

    def document(self) -> dict[str, Any]:
        """Return its OpenAPI parameter object."""
        schema: dict[str, Any] = {"type": self.kind}
        if self.kind in ("integer", "number"):
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
    Parameter("id", "integer",
              "Search by the image of this row of the index, or by its text if the index has no "
              "images. The row itself is not among the results.",
              low=0, high=2**53 - 1),
    Parameter("negative_text", "string",
              "Prefer results that are unlike this text. Needs another part of the query.",
              low=1, high=MAX_TEXT),
    Parameter("image_weight", "number",
              "Weight of each image in the query; a text has weight 1.",
              default=IMAGE_WEIGHT, low=0, high=MAX_WEIGHT),
    Parameter("negative_weight", "number",
              "Weight of negative_text.",
              default=NEGATIVE_WEIGHT, low=0, high=MAX_WEIGHT),
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
    Parameter("min_similarity", "number",
              "Least similarity of a result.", low=-1, high=1),
    Parameter("deduplicate", "boolean", "Show only the best of near-duplicates.", default=False),
    Parameter("format", "string",
              "json, or parquet: a table of URL and TEXT that img2ds can download.",
              default="json", choices=FORMATS),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Query:
    """The parts of a query; `laion.knn.combined_query` makes one vector of them.

    Attributes:
        id: a row whose vector is a part.
        image_weight: weight of `image_url`, of `id` and of an uploaded image.
    """

    text: str | None = None
    image_url: str | None = None
    id: int | None = None
    negative_text: str | None = None
    image_weight: float = IMAGE_WEIGHT
    negative_weight: float = NEGATIVE_WEIGHT


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """A parsed request.

    Attributes:
        query: what to search by, besides an uploaded image or a given vector.
        format: `json`, `parquet`, or `knn` for that of clip-retrieval.
        shown: with `knn`, results that get metadata.
    """

    query: Query
    params: SearchParams
    format: str
    shown: int = 0


_PARAMETERS = {p.name: p for p in (*QUERY_PARAMETERS, *RESULT_PARAMETERS)}


def read_parameters(given: Sequence[tuple[str, str]], upload: bool) -> SearchRequest:
    """Parse query parameters.

    Args:
        upload: whether the body has an image to search by, so that no parameter has to.

    Raises:
        BadRequest: an unknown or repeated name, an invalid value, or no query.
    """
    values: dict[str, Any] = {p.name: p.default for p in _PARAMETERS.values()}
    seen: set[str] = set()
    for name, value in given:
        if name not in _PARAMETERS:
            near = difflib.get_close_matches(name, _PARAMETERS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(_PARAMETERS)}"
            raise BadRequest(f"unknown parameter {_short(name)}; {hint}")
        if name in seen:
            raise BadRequest(f"{name} is given twice")
        seen.add(name)
        values[name] = _PARAMETERS[name].read(value)
    if not upload and seen.isdisjoint(QUERY_NAMES):
        raise BadRequest(f"give at least one of {', '.join(QUERY_NAMES)}")
    query = Query(**{p.name: values[p.name] for p in QUERY_PARAMETERS})
    params = SearchParams(
        values["index"],
        values["k"],
        values["offset"],
        Filters(values["safe"], values["min_size"], values["license"]),
        values["deduplicate"],
        values["min_similarity"],
        excluded=values["id"],
    )
    return SearchRequest(query, params, values["format"])


def _short(value: str) -> str:
    return repr(value if len(value) <= 60 else value[:57] + "...")
