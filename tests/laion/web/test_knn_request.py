"""Requests of clip-retrieval's clients: what is taken, ignored and refused."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest

from laion.web.knn_request import (
    MAX_IDS,
    MAX_IMAGES,
    read_knn_request,
    read_metadata_request,
    read_object,
)
from laion.web.parameters import BadRequest

#: What ClipClient sends for a text.
CLIENT = {
    "text": "a cat", "image": None, "image_url": None, "embedding_input": None,
    "deduplicate": True, "use_safety_model": True, "use_violence_detector": True,
    "indice_name": "mine", "use_mclip": False, "aesthetic_score": 9, "aesthetic_weight": 0.5,
    "modality": "image", "num_images": 40, "num_result_ids": 40,
}  # fmt: skip


def test_what_the_client_sends() -> None:
    request = read_knn_request(CLIENT)
    assert (request.text, request.image, request.image_url, request.embedding) == (
        "a cat", None, None, None,
    )  # fmt: skip
    assert (request.modality, request.images, request.ids) == ("image", 40, 40)
    assert (request.indice_name, request.deduplicate, request.safe) == ("mine", True, True)


def test_the_least_and_what_the_page_sends() -> None:
    request = read_knn_request({"text": "x"})
    assert (request.images, request.ids, request.deduplicate, request.safe) == (
        40,
        40,
        False,
        False,
    )
    page = {**CLIENT, "aesthetic_score": "", "aesthetic_weight": "", "num_result_ids": 3000}
    assert read_knn_request(page).ids == 3000


def test_more_results_than_there_may_be() -> None:
    """The page's download asks for them."""
    request = read_knn_request({**CLIENT, "num_images": 10_000, "num_result_ids": 10_000})
    assert (request.images, request.ids) == (MAX_IMAGES, MAX_IDS)


def test_the_first_query_counts() -> None:
    body = base64.b64encode(b"image").decode()
    request = read_knn_request({"text": " ", "image": body, "image_url": "http://x"})
    assert (request.text, request.image, request.image_url) == (None, b"image", None)
    request = read_knn_request({"embedding_input": [3, 4.0]})
    assert request.embedding is not None
    assert np.allclose(request.embedding, [0.6, 0.8])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"text": None}, "give one of"), ({"text": 3}, "text must be a text"),
        ({"text": "x" * 5000}, "at most"), ({"use_mclip": True}, "no multilingual model"),
        ({"modality": "audio"}, "image or text"), ({"num_images": 0}, "num_images"),
        ({"num_images": 1.5}, "from 1 on"), ({"num_result_ids": -1}, "num_result_ids"),
        ({"num_images": True}, "num_images"), ({"deduplicate": "yes"}, "true or false"),
        ({"text": None, "image": "***"}, "base64"), ({"indice_name": []}, "indice_name"),
        ({"text": None, "embedding_input": []}, "zero or infinite"),
        ({"text": None, "embedding_input": [[1.0]]}, "list of numbers"),
        ({"text": None, "embedding_input": [1e308, 1e308]}, "zero or infinite"),
    ],
)  # fmt: skip
def test_wrong_values(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        read_knn_request({**CLIENT, **changes})


def test_requests_for_metadata() -> None:
    assert read_metadata_request({"ids": [5, 2], "indice_name": "a"}) == ([5, 2], "a")
    for ids in (None, "1", [-1], [True], [1.5], [1] * 2000):
        with pytest.raises(BadRequest):
            read_metadata_request({"ids": ids})
    for body in (b"", b"[]", b"{", b"\xff"):
        with pytest.raises(BadRequest, match="the body must be"):
            read_object(body)
