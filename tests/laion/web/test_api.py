"""The API: responses, errors, and their agreement with the OpenAPI document."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.testclient import TestClient

from img2ds.image.encode import make_encoder
from laion.clip.shapes import COLOURS, SHAPES
from laion.web.openapi import openapi_document
from tests.laion.web.conftest import MAX_UPLOAD, Make
from tests.laion.web.shape_dataset import HOSTILE, ShapeSet
from tests.server.sample_web import BackgroundWeb


def ask(client: TestClient, **query: Any) -> list[dict[str, Any]]:
    answer = client.get("/api/search", params=query)
    assert answer.status_code == 200, answer.text
    results: list[dict[str, Any]] = answer.json()["results"]
    return results


def test_texts_find_what_they_say(client: TestClient, shapes: ShapeSet) -> None:
    """Over all colours and shapes: at most ten of each, as many as exist."""
    shares = []
    for colour in COLOURS:
        for shape in SHAPES:
            there = sum((p.colour, p.shape) == (colour, shape) for p in shapes.images)
            results = ask(client, text=f"a {colour} {shape}", k=min(10, there), safe="false")
            right = [shapes.images[r["id"]] for r in results]
            shares.append(sum((p.colour, p.shape) == (colour, shape) for p in right) / len(results))
    assert np.mean(shares) >= 0.8
    assert min(shares) > 0


def test_a_response_has_every_field_of_the_document(client: TestClient, shapes: ShapeSet) -> None:
    answer = client.get("/api/search", params={"text": "a red circle", "k": 3}).json()
    assert set(answer) == {"results", "next_offset", "safe", "took_ms"}
    assert (len(answer["results"]), answer["next_offset"], answer["safe"]) == (3, 3, True)
    first = answer["results"][0]
    row = first["id"]
    assert first == {
        "id": row,
        "url": shapes.rows["url"][row],
        "text": shapes.rows["caption"][row],
        "similarity": first["similarity"],
        "width": shapes.rows["original_width"][row],
        "height": shapes.rows["original_height"][row],
        "license": shapes.rows["license"][row],
        "nsfw": "UNLIKELY",
        "picture": f"/api/picture/{row}",
    }
    assert 0 < first["similarity"] < 1


def test_a_row_an_upload_and_a_url_of_one_image_find_the_same(
    make_client: Make, client: TestClient, shapes: ShapeSet
) -> None:
    by_row = [20, *(r["id"] for r in ask(client, id=20, k=5))]
    upload = client.post("/api/search?k=5", files={"image": ("x.jpg", shapes.bodies[20])})
    assert [r["id"] for r in upload.json()["results"]][:3] == by_row[:3]
    with BackgroundWeb([shapes.bodies[20]]) as address:
        near = make_client(connect_to=(f"::{address}",), allow_private=True)
        found = ask(near, image_url="http://pictures.example/photo/0.jpeg", k=5)
    assert [r["id"] for r in found][:3] == by_row[:3]


def test_a_search_by_a_row_leaves_the_row_out(client: TestClient) -> None:
    every = [r["id"] for r in ask(client, id=0, k=320, safe="false")]
    assert sorted(every) == list(range(1, 320))
    assert 0 not in [r["id"] for r in ask(client, id=0, index="text", k=320, safe="false")]
    first, second = (ask(client, id=0, k=10, offset=n, safe="false") for n in (0, 10))
    assert [r["id"] for r in first + second] == every[:20]


def test_a_text_changes_what_an_image_finds(client: TestClient, shapes: ShapeSet) -> None:
    """A colour beside the image of a shape finds the shape in this colour."""
    shares = []
    for row in range(40, 60):
        image = shapes.images[row]
        colour = next(c for c in COLOURS if c != image.colour)
        wanted = (colour, image.shape)
        found = [
            shapes.images[r["id"]] for r in ask(client, id=row, text=colour, k=4, safe="false")
        ]
        shares.append(np.mean([(p.colour, p.shape) == wanted for p in found]))
    assert np.mean(shares) > 0.75


def test_an_upload_and_a_text_are_combined(client: TestClient, shapes: ShapeSet) -> None:
    image = {"image": ("x.jpg", shapes.bodies[40])}
    both = client.post("/api/search?text=yellow&k=5&safe=false", files=image).json()["results"]
    assert both[0]["id"] != 40
    by_row = ask(client, id=40, text="yellow", k=5, safe="false")
    assert [r["id"] for r in both if r["id"] != 40][:3] == [r["id"] for r in by_row][:3]
    alone = client.post("/api/search?text=yellow&image_weight=10&k=1&safe=false", files=image)
    assert alone.json()["results"][0]["id"] == 40


def test_a_negative_text_is_avoided(client: TestClient, shapes: ShapeSet) -> None:
    for colour in list(COLOURS)[:4]:
        plain = ask(client, text="a star", k=15, safe="false")
        found = ask(client, text="a star", negative_text=colour, k=15, safe="false")
        colours = [[shapes.images[r["id"]].colour for r in results] for results in (plain, found)]
        assert colours[1].count(colour) == 0
        assert {shapes.images[r["id"]].shape for r in found[:5]} == {"star"}


def test_parts_that_cancel_out_are_refused(client: TestClient) -> None:
    query: dict[str, Any] = {"text": "a star", "negative_text": "a star", "negative_weight": 1}
    answer = client.get("/api/search", params=query)
    assert answer.status_code == 400
    assert "cancel out" in answer.json()["error"]
    assert client.get("/api/search?id=3&image_weight=0").status_code == 400


def test_results_below_a_similarity_are_left_out(client: TestClient) -> None:
    every = ask(client, text="a blue star", k=320, safe="false")
    least = every[30]["similarity"]
    answer = client.get(
        "/api/search", params={"text": "a blue star", "min_similarity": least - 1e-4, "k": 1000}
    ).json()
    assert answer["next_offset"] is None
    assert 0 < len(answer["results"]) <= 31
    assert all(r["similarity"] >= least - 1e-3 for r in answer["results"])
    assert ask(client, text="a blue star", min_similarity=1) == []


def test_a_row_is_what_a_search_says_of_it(client: TestClient) -> None:
    (found,) = ask(client, text="a red circle", k=1)
    row = client.get(f"/api/row/{found['id']}").json()
    assert row == {k: v for k, v in found.items() if k != "similarity"}
    for path, status in (("320", 404), ("9" * 19, 404), ("x", 400), ("-1", 400)):
        assert client.get(f"/api/row/{path}").status_code == status


def test_examples_are_short_captions_of_safe_rows(client: TestClient, shapes: ShapeSet) -> None:
    examples = client.get("/api/examples").json()
    safe = {c for c, t in zip(shapes.rows["caption"], shapes.rows["nsfw"], strict=True)
            if t == "UNLIKELY"}  # fmt: skip
    assert len(examples["texts"]) == 6
    assert set(examples["texts"]) <= safe
    assert len(examples["results"]) == 12
    assert {r["nsfw"] for r in examples["results"]} == {"UNLIKELY"}
    again = ask(client, text=examples["texts"][0], k=12)
    assert [r["id"] for r in again] == [r["id"] for r in examples["results"]]


def test_safe_mode_is_on_unless_it_is_turned_off(client: TestClient) -> None:
    assert {r["nsfw"] for r in ask(client, text="a star", k=320)} == {"UNLIKELY"}
    every = ask(client, text="a star", k=320, safe="false")
    assert {r["nsfw"] for r in every} == {"UNLIKELY", "UNSURE", "NSFW"}
    assert len(every) == 320


def test_filters_and_pages(client: TestClient) -> None:
    first = ask(client, text="blue", k=15, license="commercial", min_size=200)
    assert len(first) == 15
    for result in first:
        assert result["license"].endswith("/by/4.0/")
        assert min(result["width"], result["height"]) >= 200
    second = ask(client, text="blue", k=15, offset=15, license="commercial", min_size=200)
    assert not {r["id"] for r in first} & {r["id"] for r in second}
    assert first[-1]["similarity"] >= second[0]["similarity"]


def test_results_as_parquet_feed_img2ds(client: TestClient, shapes: ShapeSet) -> None:
    query: dict[str, Any] = {"text": "a green square", "k": 12}
    answer = client.get("/api/search", params={**query, "format": "parquet"})
    assert answer.headers["content-type"] == "application/vnd.apache.parquet"
    assert answer.headers["content-disposition"] == 'attachment; filename="results.parquet"'
    table = pq.read_table(io.BytesIO(answer.content))
    assert table.column_names == [
        "SAMPLE_ID", "URL", "TEXT", "HEIGHT", "WIDTH", "LICENSE", "NSFW", "similarity",
    ]  # fmt: skip
    shown = ask(client, **query)
    assert table["URL"].to_pylist() == [r["url"] for r in shown]
    assert table["TEXT"].to_pylist() == [r["text"] for r in shown]


def test_images_are_read_from_the_shards(client: TestClient, shapes: ShapeSet) -> None:
    for row in (0, 7, 319):
        answer = client.get(f"/api/picture/{row}")
        assert answer.content == shapes.bodies[row]
        assert answer.headers["content-type"] == "image/jpeg"
        assert "sandbox" in answer.headers["content-security-policy"]
    for row in (1, 320, 10**19):
        assert client.get(f"/api/picture/{row}").status_code in (400, 404)
    assert client.get("/api/picture/..%2f..%2fetc%2fpasswd").status_code == 404
    assert client.get("/api/picture/-1").status_code == 400


def test_captions_are_in_the_json_and_not_in_the_html(client: TestClient) -> None:
    answer = client.get("/api/row/0")
    assert answer.json()["text"] == HOSTILE
    assert answer.headers["content-type"] == "application/json"
    assert "owned" not in client.get("/?id=0").text


def test_health(client: TestClient) -> None:
    assert client.get("/api/health").json() == {
        "status": "ok",
        "rows": 320,
        "indices": ["image", "text"],
        "model": "tiny.json",
        "tagged": True,
    }


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        ("", 400, "give at least one of text, image_url, id"),
        ("text=a&id=320", 404, "there is no row 320"),
        ("text=a&min_similarity=2", 400, "min_similarity must be at most 1, got 2.0"),
        ("text=", 400, "must not be empty"),
        ("text=%20%20", 400, "must not be empty"),
        ("text=" + "x" * 1001, 400, "at most 1000 characters"),
        ("id=320", 404, "there is no row 320"),
        ("id=-1", 400, "at least 0"),
        ("id=1.5", 400, "whole number"),
        ("id=%D9%A1", 400, "whole number"),
        ("id=99999999999999999999999", 400, "whole number"),
        ("text=a&k=0", 400, "k must be at least 1"),
        ("text=a&k=1001", 400, "k must be at most 1000"),
        ("text=a&offset=5001", 400, "offset must be at most 5000"),
        ("text=a&safe=maybe", 400, "safe must be true or false"),
        ("text=a&index=audio", 400, "index must be one of image, text"),
        ("text=a&licence=cc", 400, "did you mean license?"),
        ("text=a&text=b", 400, "text is given twice"),
        ("text=a&format=csv", 400, "format must be one of json, parquet"),
        ("image_url=ftp://x.example/a.jpg", 400, "unsupported_scheme"),
        ("image_url=nonsense", 400, "image_url: "),
        ("image_url=http://127.0.0.1/a.jpg", 400, "blocked_address"),
        ("image_url=http://[::1]/a.jpg", 400, "blocked_address"),
        ("image_url=http://169.254.169.254/latest/meta-data/", 400, "blocked_address"),
        ("image_url=http://2130706433/a.jpg", 400, "blocked_address"),
    ],
)
def test_wrong_queries_get_a_4xx_with_the_reason(
    make_client: Make, query: str, status: int, words: str
) -> None:
    direct = make_client(connect_to=())
    answer = direct.get(f"/api/search?{query}")
    assert answer.status_code == status
    assert words in answer.json()["error"]
    reason = answer.json().get("reason")
    assert (words == reason) == ("image_url=" in query and words != "image_url: ")


def test_a_redirect_to_a_private_address_is_not_followed(
    make_client: Make, shapes: ShapeSet
) -> None:
    """Addresses are checked at every hop; only the first one is redirected to the test server."""
    with BackgroundWeb([shapes.bodies[0]]) as address:
        near = make_client(connect_to=(f"public.example:80:{address}",))
        answer = near.get("/api/search", params={"image_url": "http://public.example/photo/0.jpeg"})
    assert answer.status_code == 400
    assert "blocked_address" in answer.json()["error"]


def noisy(width: int, height: int, kind: str = "jpg") -> bytes:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return bytes(make_encoder(kind, 95 if kind == "jpg" else 6)(pixels))


def test_uploads_are_capped_in_bytes_and_pixels(client: TestClient) -> None:
    large = client.post("/api/search", files={"image": ("x.jpg", b"\xff" * (MAX_UPLOAD + 1))})
    assert large.status_code == 413
    endless = client.post("/api/search", files={"image": ("x.jpg", b"\xff" * (20 * MAX_UPLOAD))})
    assert endless.status_code == 413
    flat = make_encoder("png", 9)(np.zeros((1001, 1000, 3), np.uint8))
    bomb = client.post("/api/search", files={"image": ("x.png", bytes(flat))})
    assert bomb.status_code == 400
    assert "1000 x 1001 pixels" in bomb.json()["error"]


def test_a_body_without_a_length_is_capped_as_it_arrives(client: TestClient) -> None:
    sent = 0

    def chunks() -> Any:
        nonlocal sent
        yield b'--b\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\n'
        for _ in range(100):
            sent += 100_000
            yield b"\xff" * 100_000

    answer = client.post(
        "/api/search",
        content=chunks(),
        headers={"Content-Type": "multipart/form-data; boundary=b"},
    )
    assert answer.status_code == 413


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"image": ("x.txt", b"hello")}, "not an image"),
        ({"image": ("x.jpg", b"")}, "not an image"),
        ({"picture": ("x.jpg", b"x")}, "one field, image"),
        ({"image": (None, b"x")}, "one field, image"),
        ({"image": ("x.jpg", noisy(64, 64)[:900])}, "image: "),
        ({"image": ("x.png", noisy(64, 64, "png")[:5000])}, "image: "),
    ],
)
def test_wrong_uploads(client: TestClient, files: dict[str, Any], words: str) -> None:
    answer = client.post("/api/search", files=files)
    assert answer.status_code == 400
    assert words in answer.json()["error"]
    is_file = isinstance(files.get("image"), tuple) and files["image"][0] is not None
    assert ("reason" in answer.json()) == is_file


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("application/json", b"{}", 415),
        ("multipart/form-data", b"x", 400),
        ("multipart/form-data; boundary=b", b"--b\r\nnonsense", 400),
        ("multipart/form-data; boundary=b", b"--b--\r\n", 400),
        ("multipart/form-data; boundary=", b"", 400),
        ("multipart/form-data; boundary=b; charset=nonsense",
         b'--b\r\nContent-Disposition: form-data; name="image"\r\n\r\n\xff\r\n--b--\r\n', 400),
    ],
)  # fmt: skip
def test_broken_bodies(client: TestClient, kind: str, body: bytes, status: int) -> None:
    answer = client.post("/api/search", content=body, headers={"Content-Type": kind})
    assert answer.status_code == status
    assert list(answer.json()) == ["error"]


def test_the_document_is_served_and_names_every_route(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    assert document == openapi_document("laion search")
    assert set(document["paths"]) == {
        "/api/search", "/api/picture/{id}", "/api/row/{id}", "/api/examples", "/api/health",
    }  # fmt: skip
    assert set(document["paths"]["/api/search"]) == {"get", "post"}


def test_schemathesis_finds_no_fault(make_client: Make) -> None:
    app = make_client(raise_server_exceptions=False).app
    schema = schemathesis.openapi.from_dict(openapi_document("laion search"))
    schema.app = app
    checks = (
        not_a_server_error, status_code_conformance, content_type_conformance,
        response_schema_conformance,
    )  # fmt: skip
    tried = 0
    for result in schema.get_all_operations():
        assert isinstance(result, Ok)
        operation = result.ok()
        has_input = operation.path_parameters or operation.query or operation.body
        for mode in (GenerationMode("positive"), GenerationMode("negative")):
            if mode.is_negative and not has_input:
                continue  # there is no invalid request
            strategy = operation.as_strategy(generation_mode=mode)

            @seed(400)
            @settings(
                max_examples=25, deadline=None, database=None, phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )  # fmt: skip
            def check(case: Any) -> None:
                nonlocal tried
                tried += 1
                response = case.call(base_url="http://127.0.0.1:1234")
                case.validate_response(response, checks=checks)

            given(strategy)(check)()
    assert tried > 100
