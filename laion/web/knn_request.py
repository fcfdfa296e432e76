"""Requests of clip-retrieval's API: the JSON that its client and its page send. Pure.

Fields that clip-retrieval ignores without the data or the model behind them are ignored: it would
answer as if they were not there.
"""

from __future__ import annotations

import base64
import binascii
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from laion.knn.ann_index import Vectors
from laion.web.parameters import MAX_RESULTS, MAX_TEXT, MAX_URL, BadRequest

#: Results of one answer: with their metadata, and in all. The page's download asks for 10,000.
MAX_IMAGES, MAX_IDS = MAX_RESULTS, 5000
#: What the client asks for if it is not told otherwise.
DEFAULT_IMAGES = 40


@dataclass(frozen=True, slots=True)
class KnnRequest:
    """A request to find rows. One of the first four is set.

    Attributes:
        images, ids: results that get metadata, and results in all; at most MAX_IMAGES, MAX_IDS.
        indice_name: the index; None for the first.
        safe: leave out rows that are not tagged safe, where there are tags.
    """

    text: str | None
    image: bytes | None
    image_url: str | None
    embedding: Vectors | None
    modality: str
    images: int
    ids: int
    indice_name: str | None
    deduplicate: bool
    safe: bool


def read_object(body: bytes) -> dict[str, Any]:
    """Parse the body of a request. Raises BadRequest: it is not a JSON object."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise BadRequest("the body must be JSON") from None
    if not isinstance(document, dict):
        raise BadRequest("the body must be a JSON object")
    return document


def read_knn_request(document: dict[str, Any]) -> KnnRequest:
    """Read a request for `/knn-service`.

    Raises:
        BadRequest: a value is wrong, there is no query, or a model is asked for that is not there.
    """
    if _flag(document, "use_mclip"):
        raise BadRequest("use_mclip: there is no multilingual model; leave it out")
    text, image, url = (_text(document, name) for name in ("text", "image", "image_url"))
    embedding = document.get("embedding_input")
    # The first one counts, as there: its client sends null for the others.
    if text is not None:
        image, url, embedding = None, None, None
    elif image is not None:
        url, embedding = None, None
    elif url is not None:
        embedding = None
    elif embedding is None:
        raise BadRequest("give one of text, image, image_url and embedding_input")
    if text is not None and len(text) > MAX_TEXT:
        raise BadRequest(f"text must have at most {MAX_TEXT} characters")
    if url is not None and len(url) > MAX_URL:
        raise BadRequest(f"image_url must have at most {MAX_URL} characters")
    modality = document.get("modality", "image")
    if modality not in ("image", "text"):
        raise BadRequest("modality must be image or text")
    images = _number(document, "num_images", DEFAULT_IMAGES, MAX_IMAGES)
    return KnnRequest(
        text,
        None if image is None else _decoded(image),
        url,
        None if embedding is None else _vector(embedding),
        modality,
        images,
        _number(document, "num_result_ids", images, MAX_IDS),
        _text(document, "indice_name"),
        _flag(document, "deduplicate"),
        _flag(document, "use_safety_model"),
    )


def read_metadata_request(document: dict[str, Any]) -> tuple[list[int], str | None]:
    """Read the row numbers and the name of the index of a request for `/metadata`.

    Raises:
        BadRequest: a value is wrong.
    """
    ids = document.get("ids")
    if not isinstance(ids, list) or any(type(each) is not int or each < 0 for each in ids):
        raise BadRequest("ids must be a list of whole numbers from 0 on")
    if len(ids) > MAX_IMAGES:
        raise BadRequest(f"ids must have at most {MAX_IMAGES} numbers")
    return ids, _text(document, "indice_name")


def _text(document: dict[str, Any], name: str) -> str | None:
    value = document.get(name)
    if value is not None and not isinstance(value, str):
        raise BadRequest(f"{name} must be a text")
    return value if value and value.strip() else None


def _flag(document: dict[str, Any], name: str) -> bool:
    value = document.get(name)
    if value is not None and not isinstance(value, bool):
        raise BadRequest(f"{name} must be true or false")
    return bool(value)


def _number(document: dict[str, Any], name: str, default: int, most: int) -> int:
    value = document.get(name)
    if value is None:
        return default
    if type(value) is not int or value < 1:
        raise BadRequest(f"{name} must be a whole number from 1 on")
    return min(value, most)


def _decoded(image: str) -> bytes:
    try:
        return base64.b64decode(image, validate=True)
    except (binascii.Error, ValueError):
        raise BadRequest("image must be base64") from None


def _vector(values: Any) -> Vectors:
    """Return the unit vector of a list of numbers."""
    if not isinstance(values, list) or not all(type(v) in (int, float) for v in values):
        raise BadRequest("embedding_input must be a list of numbers")
    vector: Vectors = np.array(values, np.float64)
    with np.errstate(over="ignore"):
        length = float(np.linalg.norm(vector)) if values else 0.0
    if not math.isfinite(length) or not length:
        raise BadRequest("embedding_input must not be zero or infinite")
    unit: Vectors = (vector / length).astype(np.float32)
    return unit
