"""Query parameters: defaults, limits at their borders, and what is given to the search."""

from __future__ import annotations

from typing import Any

import pytest

from laion.knn.filters import Filters
from laion.knn.searcher import SearchParams
from laion.web.parameters import (
    MAX_OFFSET,
    MAX_RESULTS,
    MAX_TEXT,
    MAX_URL,
    QUERY_PARAMETERS,
    RESULT_PARAMETERS,
    BadRequest,
    Query,
    read_parameters,
)


def read(**given: Any) -> Any:
    """Read the parameters `given`; `upload` is not one of them."""
    upload = given.pop("upload", False)
    return read_parameters(list(given.items()), upload)


def test_defaults() -> None:
    request = read(text="a star")
    assert request.query == Query("a star", None, None, None, 1.0, 0.5)
    assert request.params == SearchParams("image", 20, 0, Filters(True, 0, "any"), False)
    assert request.format == "json"


def test_every_parameter_reaches_the_search() -> None:
    request = read(
        id="7", index="text", k="3", offset="9", safe="false", min_size="64", license="cc",
        deduplicate="true", format="parquet", text="a", image_url="http://a.example/",
        negative_text="b", image_weight="0.25", negative_weight="1e-1", min_similarity="-0.5",
    )  # fmt: skip
    assert request.query == Query("a", "http://a.example/", 7, "b", 0.25, 0.1)
    filters = Filters(False, 64, "cc")
    assert request.params == SearchParams("text", 3, 9, filters, True, -0.5, excluded=7)
    assert request.format == "parquet"


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [("k", 1, MAX_RESULTS), ("offset", 0, MAX_OFFSET), ("min_size", 0, 100_000),
     ("id", 0, 2**53 - 1)],
)  # fmt: skip
def test_numbers_up_to_their_limits(name: str, least: int, most: int) -> None:
    query = {} if name == "id" else {"text": "x"}
    for value in (least, most):
        read(**query, **{name: str(value)})
    for value in (least - 1, most + 1):
        with pytest.raises(BadRequest, match=f"^{name} must be at "):
            read(**query, **{name: str(value)})


@pytest.mark.parametrize(("name", "most"), [("text", MAX_TEXT), ("image_url", MAX_URL)])
def test_texts_up_to_their_limits(name: str, most: int) -> None:
    for length in (1, most):
        read(**{name: "x" * length})
    with pytest.raises(BadRequest, match=f"{name} must have at most {most} characters"):
        read(**{name: "x" * (most + 1)})
    with pytest.raises(BadRequest, match=f"{name} must not be empty"):
        read(**{name: " "})


def test_an_upload_is_a_query_alone_or_with_others() -> None:
    assert read(upload=True, k="2").params.k == 2
    assert read(upload=True, text="x", negative_text="y").query == Query("x", negative_text="y")


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [("image_weight", 0, 10), ("negative_weight", 0, 10), ("min_similarity", -1, 1)],
)
def test_decimal_numbers_up_to_their_limits(name: str, least: int, most: int) -> None:
    for value in (least, most):
        read(text="x", **{name: f"{value}.0"})
    for text in (f"{least - 0.01}", f"{most + 0.01}", "1e400"):
        with pytest.raises(BadRequest, match=f"^{name} must be at "):
            read(text="x", **{name: text})
    for text in ("nan", "inf", "", " 1", "1_0", "١", "0x1", ".5", "1."):
        with pytest.raises(BadRequest, match=f"^{name} must be a number"):
            read(text="x", **{name: text})


def test_a_long_value_is_shortened_in_the_message() -> None:
    with pytest.raises(BadRequest) as caught:
        read(text="x", k="9" * 200)
    assert str(caught.value) == f"k must be a whole number, got '{'9' * 57}...'"
    with pytest.raises(BadRequest, match=f"got '{'9' * 60}'"):
        read(text="x", k="9" * 60)
    with pytest.raises(BadRequest, match=rf"got '{'9' * 57}\.\.\.'"):
        read(text="x", k="9" * 61)


def test_the_document_has_the_limits() -> None:
    schemas = {p.name: p.document()["schema"] for p in (*QUERY_PARAMETERS, *RESULT_PARAMETERS)}
    assert schemas["k"] == {"type": "integer", "minimum": 1, "maximum": 1000, "default": 20}
    assert schemas["text"] == {
        "type": "string", "minLength": 1, "maxLength": 1000, "pattern": r"\S",
    }  # fmt: skip
    assert schemas["index"] == {"type": "string", "enum": ["image", "text"], "default": "image"}
    assert schemas["safe"] == {"type": "boolean", "default": True}


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ([], "give at least one of text, image_url, id"),
        ([("negative_text", "a")], "give at least one of text, image_url, id"),
        ([("text", "a"), ("k", "1"), ("k", "1")], "k is given twice"),
        ([("text", "a"), ("kk", "1")], "unknown parameter 'kk'; did you mean k?"),
        ([("id", "9" * 20)], "id must be a whole number"),
        ([("id", "٣")], "id must be a whole number"),
    ],
)
def test_wrong_queries(query: list[tuple[str, str]], words: str) -> None:
    with pytest.raises(BadRequest) as caught:
        read_parameters(query, upload=False)
    assert words in str(caught.value)
