"""The parameters of a search: one table that requests are read by and the API document shows.

Pure.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from laion.knn.filters import LICENCES, Filters
from laion.knn.searcher import SearchParams

#: Results of one answer, and how far one can page.
MOST_RESULTS = 1000
MOST_OFFSET = 5000
#: Characters of a text, far above what any CLIP reads, and of a URL.
MOST_TEXT = 1000
MOST_URL = 4096

FORMATS = ("json", "parquet")

#: What a question may be; exactly one is asked.
QUERY_NAMES = ("text", "image_url", "id")


class BadRequest(ValueError):
    """The request cannot be answered; the message says what to change."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One query parameter: a string, integer or boolean, with its JSON schema's limits."""

    name: str
    kind: str
    text: str
    default: Any = None
    low: int | None = None
    high: int | None = None
    choices: tuple[str, ...] = ()

    def read(self, value: str) -> Any:
        """Raises BadRequest."""
        if self.kind == "integer":
            return self._integer(value)
        if self.kind == "boolean":
            if value not in ("true", "false"):
                raise BadRequest(f"{self.name} is true or false, not {_short(value)}")
            return value == "true"
        if self.choices and value not in self.choices:
            raise BadRequest(
                f"{self.name} is one of {', '.join(self.choices)}, not {_short(value)}"
            )
        if self.high is not None and len(value) > self.high:
            raise BadRequest(f"{self.name} is at most {self.high} characters long")
        if self.low is not None and len(value.strip()) < self.low:
            raise BadRequest(f"{self.name} must not be empty")
        return value

    def _integer(self, value: str) -> int:
        # int() would take blanks, underscores and digits of other scripts.
        plain = value.isascii() and value.removeprefix("-").isdigit() and len(value) < 20
        if not plain:
            raise BadRequest(f"{self.name} is a whole number, not {_short(value)}")
        number = int(value)
        if self.low is not None and number < self.low:
            raise BadRequest(f"{self.name} is at least {self.low}, not {number}")
        if self.high is not None and number > self.high:
            raise BadRequest(f"{self.name} is at most {self.high}, not {number}")
        return number

    def document(self) -> dict[str, Any]:
        """Its OpenAPI parameter object."""
        schema: dict[str, Any] = {"type": self.kind}
        if self.kind == "integer":
            schema |= {"minimum": self.low, "maximum": self.high}
        elif self.kind == "string" and self.choices:
            schema["enum"] = list(self.choices)
        elif self.kind == "string":
            # At least one character that is no blank.
            schema |= {"minLength": 1, "maxLength": self.high, "pattern": r"\S"}
        if self.default is not None:
            schema["default"] = self.default
        schema = {key: value for key, value in schema.items() if value is not None}
        return {"name": self.name, "in": "query", "description": self.text, "schema": schema}


QUERY_PARAMETERS = (
    Parameter("text", "string", "Find what this text says.", low=1, high=MOST_TEXT),
    Parameter(
        "image_url", "string",
        "Find what looks like the picture at this public http or https address.",
        low=1, high=MOST_URL,
    ),
    Parameter("id", "integer", "Find what looks like this row of the index.",
              low=0, high=2**53 - 1),
)  # fmt: skip

RESULT_PARAMETERS = (
    Parameter("index", "string", "Search among the pictures or among the texts.",
              default="image", choices=("image", "text")),
    Parameter("k", "integer", "Results to give.", default=20, low=1, high=MOST_RESULTS),
    Parameter("offset", "integer", "Results to leave out before the first one.",
              default=0, low=0, high=MOST_OFFSET),
    Parameter("safe", "boolean", "Only rows whose NSFW tag is UNLIKELY.", default=True),
    Parameter("min_size", "integer", "Pixels that the shorter side has at least.",
              default=0, low=0, high=100_000),
    Parameter("license", "string",
              "What the licence permits: cc for any of Creative Commons, of these commercial use, "
              "derivatives, or free for both.",
              default="any", choices=tuple(LICENCES)),
    Parameter("deduplicate", "boolean", "Of near-duplicates only the best one.", default=False),
    Parameter("format", "string",
              "json, or parquet: a table with URL and TEXT that img2ds downloads.",
              default="json", choices=FORMATS),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """A request as it was read. Of the first three one is set, none for an uploaded picture."""

    text: str | None
    image_url: str | None
    id: int | None
    wanted: SearchParams
    format: str


def read_parameters(given: Sequence[tuple[str, str]], upload: bool) -> SearchRequest:
    """What a query asks for.

    Args:
        upload: whether a picture comes in the body, so that the query holds no question.

    Raises:
        BadRequest: an unknown or repeated name, a value out of range, none or two questions.
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
            hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(known)}"
            raise BadRequest(f"unknown parameter {_short(name)}; {hint}")
        if name in seen:
            raise BadRequest(f"{name} is given twice")
        seen.add(name)
        values[name] = known[name].read(value)
    if not upload:
        _check_one_question(values)
    filters = Filters(values["safe"], values["min_size"], values["license"])
    wanted = SearchParams(
        values["index"], values["k"], values["offset"], filters, values["deduplicate"]
    )
    return SearchRequest(
        values.get("text"), values.get("image_url"), values.get("id"), wanted, values["format"]
    )


def _check_one_question(values: Mapping[str, Any]) -> None:
    given = [name for name in QUERY_NAMES if values[name] is not None]
    if len(given) != 1:
        got = f"got {' and '.join(given)}" if given else "got none"
        raise BadRequest(f"give one of {', '.join(QUERY_NAMES)}; {got}")


def _short(value: str) -> str:
    return repr(value if len(value) <= 60 else value[:57] + "...")
