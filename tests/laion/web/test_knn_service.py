"""clip-retrieval's API: its client's requests find what the own API finds, under its guards."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.laion.web.conftest import MAX_UPLOAD, Make
from tests.laion.web.shape_dataset import ShapeSet
from tests.laion.web.test_knn_request import CLIENT


def find(client: TestClient, **changes: Any) -> list[dict[str, Any]]:
    request = {**CLIENT, "indice_name": None, "deduplicate": False, "use_safety_model": False}
    answer = client.post("/knn-service", json={**request, **changes})
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()
    return found


def test_texts_images_and_embeddings_find_the_same(client: TestClient, shapes: ShapeSet) -> None:
    own = client.get("/api/search", params={"text": "a red star", "k": 5, "safe": "false"}).json()
    found = find(client, text="a red star", num_images=5, num_result_ids=5)
    assert [row["id"] for row in found] == [row["id"] for row in own["results"]]
    first = found[0]
    assert first["url"] == shapes.rows["url"][first["id"]]
    assert first["caption"] == shapes.rows["caption"][first["id"]]
    assert set(first) == {"url", "caption", "NSFW", "id", "similarity"}
    image = base64.b64encode(shapes.bodies[20]).decode()
    by_image = find(client, text=None, image=image, num_images=3, num_result_ids=3)
    by_row = client.get("/api/search", params={"id": 20, "k": 3, "safe": "false"}).json()
    assert by_image[0]["id"] == by_row["results"][0]["id"] == 20


def test_further_results_have_ids_alone(client: TestClient) -> None:
    found = find(client, text="a star", num_images=2, num_result_ids=6)
    assert [len(row) for row in found] == [5, 5, 2, 2, 2, 2]
    ids = [row["id"] for row in found[2:]]
    answer = client.post("/metadata", json={"ids": ids, "indice_name": None}).json()
    assert [row["id"] for row in answer] == ids
    assert all({"url", "caption"} <= set(row["metadata"]) for row in answer)
    assert client.post("/metadata", json={"ids": []}).json() == []


def test_unsafe_rows_are_left_out_when_asked_for(client: TestClient) -> None:
    every = find(client, text="a star", num_images=1000, num_result_ids=1000)
    safe = find(client, text="a star", num_images=1000, num_result_ids=1000, use_safety_model=True)
    assert len(safe) < len(every)
    assert {row["NSFW"] for row in safe} == {"UNLIKELY"}


def test_indices_and_metrics(client: TestClient) -> None:
    (name,) = client.get("/indices-list").json()
    assert find(client, indice_name=name)
    page = client.get("/metrics")
    assert page.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = page.text.splitlines()
    assert f'index_rows{{indice_name="{name}"}} ' in page.text
    counts = [line for line in lines if line.startswith("full_knn_request_time_count ")]
    assert float(counts[0].split()[1]) >= 1
    assert 'full_knn_request_time_bucket{le="+Inf"}' in page.text


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"text": "x", "indice_name": "other"}, 400, "there is no index of this indice_name"),
        ({"text": "x", "use_mclip": True}, 400, "no multilingual model"),
        ({"embedding_input": [1.0, 2.0]}, 400, "embedding_input must have"),
        ({"image": base64.b64encode(b"<html>").decode()}, 400, "image: "),
        ({"image": base64.b64encode(bytes(MAX_UPLOAD + 1)).decode()}, 413, "the image has more"),
        ({"image_url": "http://127.0.0.1/x.jpg"}, 400, "image_url: "),
        ({"image": "A" * (3 * MAX_UPLOAD)}, 413, "the body has more than"),
    ],
)  # fmt: skip
def test_wrong_requests(client: TestClient, body: Any, status: int, words: str) -> None:
    answer = client.post("/knn-service", json=body)
    assert (answer.status_code, words in answer.json()["error"]) == (status, True), answer.text


def test_the_guards_are_those_of_the_page(make_client: Make) -> None:
    client = make_client(rate_limit=2)
    foreign = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"}
    for path in ("/knn-service", "/metadata"):
        assert client.post(path, json=CLIENT, headers=foreign).status_code == 403
        rebound = {"Host": "attacker.example"}
        assert client.post(path, json=CLIENT, headers=rebound).status_code == 400
    body = {**CLIENT, "indice_name": None}
    codes = [client.post("/knn-service", json=body).status_code for _ in range(4)]
    assert codes[0] == 200
    assert codes[-1] == 429, "a search of this API counts as one of the other"
    assert client.post("/metadata", json={"ids": [10**9]}).status_code in (404, 429)
    assert client.get("/knn-service").status_code in (405, 429)
