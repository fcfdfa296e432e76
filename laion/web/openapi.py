"""The OpenAPI document of the API; its parameters are those that `parameters` reads."""

from __future__ import annotations

from typing import Any

import img2ds
from laion.web.parameters import QUERY_PARAMETERS, RESULT_PARAMETERS

_NULLABLE_TEXT = {"type": ["string", "null"]}
_NULLABLE_NUMBER = {"type": ["integer", "null"]}

_RESULT: dict[str, Any] = {
    "type": "object",
    "description": "One row of the index.",
    "required": [
        "id", "url", "text", "similarity", "width", "height", "license", "nsfw", "picture",
    ],
    "additionalProperties": False,
    "properties": {
        "id": {"type": "integer", "description": "Number of the row, to search by it."},
        "url": _NULLABLE_TEXT,
        "text": {**_NULLABLE_TEXT, "description": "Caption, as found on the web."},
        "similarity": {"type": "number", "description": "Cosine of the query and the row."},
        "width": {**_NULLABLE_NUMBER, "description": "Width of the original image in pixels."},
        "height": _NULLABLE_NUMBER,
        "license": {**_NULLABLE_TEXT, "description": "?, empty, or a Creative Commons URL."},
        "nsfw": {**_NULLABLE_TEXT, "description": "UNLIKELY, UNSURE or NSFW."},
        "picture": {
            **_NULLABLE_TEXT,
            "description": "Path of the image on this server; null if it is not stored here.",
        },
    },
}  # fmt: skip

_ROW = {
    **_RESULT,
    "required": [name for name in _RESULT["required"] if name != "similarity"],
    "properties": {k: v for k, v in _RESULT["properties"].items() if k != "similarity"},
}

_EXAMPLES = {
    "type": "object",
    "required": ["texts", "results"],
    "additionalProperties": False,
    "properties": {
        "texts": {"type": "array", "items": {"type": "string"}, "description": "Queries to try."},
        "results": {
            "type": "array",
            "items": {"$ref": "#/components/schemas/Result"},
            "description": "Results of the first of them.",
        },
    },
}

_ANSWER = {
    "type": "object",
    "required": ["results", "next_offset", "safe", "took_ms"],
    "additionalProperties": False,
    "properties": {
        "results": {"type": "array", "items": {"$ref": "#/components/schemas/Result"}},
        "next_offset": {
            **_NULLABLE_NUMBER,
            "description": "Offset of the next page; null on the last page.",
        },
        "safe": {
            "type": "boolean",
            "description": "Whether unsafe rows were left out: safe was true and rows have tags.",
        },
        "took_ms": {"type": "number", "description": "Duration of the search in milliseconds."},
    },
}

_HEALTH = {
    "type": "object",
    "required": ["status", "rows", "indices", "model", "tagged"],
    "additionalProperties": False,
    "properties": {
        "status": {"const": "ok"},
        "rows": {"type": "integer"},
        "indices": {"type": "array", "items": {"enum": ["image", "text"]}},
        "model": _NULLABLE_TEXT,
        "tagged": {"type": "boolean", "description": "Whether rows have NSFW tags."},
    },
}

_ERROR = {
    "type": "object",
    "required": ["error"],
    "additionalProperties": False,
    "properties": {
        "error": {"type": "string", "description": "What is wrong, and what to change."},
        "reason": {
            "type": "string",
            "description": "Why an image to search by cannot be used, such as dns_not_found: "
            "one of the failure reasons of img2ds.",
        },
    },
}


def _json(schema: str, description: str) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return {"description": description, "content": content}


_ERRORS = {
    "400": _json("Error", "The request is invalid; the message gives the reason."),
    "403": _json("Error", "The request came from a page of another site."),
    "429": _json("Error", "Too many searches; wait for the seconds in Retry-After."),
    "503": _json("Error", "The server is busy; wait for the seconds in Retry-After."),
}
_NOT_FOUND = {"404": _json("Error", "There is no such row, or its image is not stored here.")}

_ROW_ID = {
    "name": "id",
    "in": "path",
    "required": True,
    "description": "Number of the row.",
    "schema": {"type": "integer", "minimum": 0, "maximum": 2**53 - 1},
}

_FOUND = _json("Answer", "Rows, most similar first.")
_FOUND["content"]["application/vnd.apache.parquet"] = {
    "schema": {"type": "string", "contentMediaType": "application/vnd.apache.parquet"}
}


def openapi_document(title: str) -> dict[str, Any]:
    """Build the document, OpenAPI 3.1."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": title,
            "version": img2ds.__version__,
            "description": "Search an image-text dataset by its CLIP embeddings.",
        },
        "paths": {
            "/api/search": _search_path(),
            "/api/picture/{id}": {
                "get": {
                    "operationId": "picture",
                    "summary": "Get the image of a row, if the server has its shard.",
                    "parameters": [_ROW_ID],
                    "responses": {
                        "200": {
                            "description": "JPEG, PNG, WebP or GIF.",
                            "content": {"image/*": {}},
                        },
                        **_ERRORS,
                        **_NOT_FOUND,
                    },
                }
            },
            "/api/row/{id}": {
                "get": {
                    "operationId": "row",
                    "summary": "Get the metadata of a row.",
                    "parameters": [_ROW_ID],
                    "responses": {"200": _json("Row", "The row."), **_ERRORS, **_NOT_FOUND},
                }
            },
            "/api/examples": {
                "get": {
                    "operationId": "examples",
                    "summary": "Get example queries, with results of the first.",
                    "responses": {"200": _json("Examples", "May be empty."), **_ERRORS},
                }
            },
            "/api/health": {
                "get": {
                    "operationId": "health",
                    "summary": "Describe what is served.",
                    "responses": {"200": _json("Health", "The server is running."), **_ERRORS},
                }
            },
        },
        "components": {
            "schemas": {
                "Result": _RESULT,
                "Row": _ROW,
                "Answer": _ANSWER,
                "Examples": _EXAMPLES,
                "Health": _HEALTH,
                "Error": _ERROR,
            }
        },
    }


def _search_path() -> dict[str, Any]:
    return {
        "get": {
            "operationId": "search",
            "summary": "Search by a text, the image at a URL, a row, or several of them.",
            "description": "Give at least one of text, image_url and id. Each part of the query "
            "is embedded and normalized; the search is by the direction of text + image_weight × "
            "images - negative_weight × negative_text.",
            "parameters": [p.document() for p in (*QUERY_PARAMETERS, *RESULT_PARAMETERS)],
            "responses": {"200": _FOUND, **_ERRORS, **_NOT_FOUND},
        },
        "post": {
            "operationId": "searchByUpload",
            "summary": "Search by an uploaded image, alone or with the other parts of a query.",
            "parameters": [p.document() for p in (*QUERY_PARAMETERS, *RESULT_PARAMETERS)],
            "requestBody": {
                "required": True,
                "content": {"multipart/form-data": {"schema": _upload()}},
            },
            "responses": {
                "200": _FOUND,
                **_ERRORS,
                **_NOT_FOUND,
                "408": _json("Error", "The upload took too long."),
                "413": _json("Error", "The image is larger than --max_upload_bytes."),
                "415": _json("Error", "The body is not multipart/form-data."),
            },
        },
    }


def _upload() -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["image"],
        "additionalProperties": False,
        "properties": {
            "image": {"type": "string", "contentMediaType": "image/*", "format": "binary"}
        },
    }
