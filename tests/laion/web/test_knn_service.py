"""clip-retrieval's API: its client's requests find what the own API finds, under its guards."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from starlette.testclient import TestClient

from laion.knn.options import IndexOptions
from laion.knn.query_embedder import QueryEmbedder
from laion.knn.query_url import query_network
from laion.knn.searcher import Searcher
from laion.knn.stage import run
from laion.web import answer as answer_module
from laion.web.app import AppLimits, build_app
from laion.web.decoder_pool import DecoderPool
from laion.web.decoder_process import DecodeLimits
from laion.web.query_vectors import QueryVectors
from laion.web.service import Service, open_shard_images
from tests.laion.web.conftest import MAX_PIXELS, MAX_UPLOAD, Make
from tests.laion.web.shape_dataset import PARTS, ROWS, ShapeSet
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
    assert by_image[0]["id"] == 20
    assert by_image[1]["id"] == by_row["results"][0]["id"]


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


@pytest.fixture(scope="module")
def files_client(
    shapes: ShapeSet, embedder: QueryEmbedder, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TestClient]:
    """A client of an index of files, as clip-retrieval embeds them: paths and no URLs.

    The first ten images are in the folder, which was moved; row 1 points out of it.
    """
    folder = tmp_path_factory.mktemp("files")
    images = folder / "moved/images"
    images.mkdir(parents=True)
    for number in range(10):
        (images / f"{number}.jpg").write_bytes(shapes.bodies[number])
    (folder / "secret.jpg").write_bytes(shapes.bodies[1])
    paths = [f"/elsewhere/images/{number}.jpg" for number in range(PARTS * ROWS)]
    paths[1] = str(folder / "secret.jpg")
    embeddings = folder / "embeddings"
    shutil.copytree(shapes.embeddings, embeddings)
    for part in range(PARTS):
        rows = slice(part * ROWS, (part + 1) * ROWS)
        table = {"image_path": paths[rows], "caption": shapes.rows["caption"][rows]}
        pq.write_table(pa.table(table), embeddings / f"metadata/metadata_{part}.parquet")
    options = IndexOptions(
        input=str(embeddings), output_folder=str(folder / "index"), processes_count=1,
        model=shapes.model[0], pretrained=shapes.model[1],
    )  # fmt: skip
    assert run(options).exit_code == 0
    searcher = Searcher(str(folder / "index"))
    opened = open_shard_images(str(images), searcher, lambda *_: None)
    decoders = DecoderPool(embedder.preprocess, DecodeLimits(MAX_PIXELS, 5.0), processes=1)
    vectors = QueryVectors(embedder, decoders, query_network(MAX_UPLOAD, False))
    with closing(Service(searcher, vectors, opened, embedder.model)) as service:
        app = build_app({"files": service}, AppLimits(MAX_UPLOAD, 0))
        yield TestClient(app, base_url="http://127.0.0.1:1234")


def test_images_of_files_are_shown(files_client: TestClient, shapes: ShapeSet) -> None:
    answer = files_client.post("/metadata", json={"ids": [0, 1, 5, 200]}).json()
    sent = [base64.b64decode(row["metadata"].pop("image", "")) for row in answer]
    assert sent == [shapes.bodies[0], b"", shapes.bodies[5], b""]
    assert [set(row["metadata"]) for row in answer] == [{"caption"}] * 4, "and no path"
    assert files_client.get("/api/picture/5").content == shapes.bodies[5]
    assert files_client.get("/api/picture/1").status_code == 404
    image = base64.b64encode(shapes.bodies[5]).decode()
    found = find(files_client, text=None, image=image, num_images=3, num_result_ids=3)
    assert found[0]["id"] == 5
    assert base64.b64decode(found[0]["image"]) == shapes.bodies[5]


def test_images_of_one_answer_are_limited(
    files_client: TestClient, shapes: ShapeSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = [len(body) for body in shapes.bodies]
    monkeypatch.setattr(answer_module, "IMAGE_BYTES", sizes[2] + sizes[3])
    answer = files_client.post("/metadata", json={"ids": [2, 3, 4, 5]}).json()
    assert ["image" in row["metadata"] for row in answer] == [True, True, False, False]
