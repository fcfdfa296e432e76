"""clip-retrieval's client against a real `laion serve` with two indices."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.laion.clip.trained_model import trained_once
from tests.readers.clip_retrieval_modules import clip_retrieval_module
from tests.server.sample_web import BackgroundWeb


@pytest.fixture(scope="module")
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Any]]:
    """The address of the server, and what it serves as `first` and as `second`."""
    clip_retrieval_module("clip_client")
    for name in ("open_clip", "faiss", "uvicorn", "requests"):
        pytest.importorskip(name)
    from tests.laion.web.browser import serving
    from tests.laion.web.shape_dataset import make_shapes

    cache: Any = request.config.cache
    model = trained_once(tmp_path_factory.mktemp("tiny"), cache and cache.mkdir("tiny_clip"))
    shapes = make_shapes(tmp_path_factory.mktemp("shapes"), model)
    indices = Path(f"first={shapes.index},second={shapes.index}")
    with serving(indices, "--allow_private_addresses") as address:
        yield address, shapes


def test_the_client_finds_texts_images_and_embeddings(
    served: tuple[str, Any], tmp_path: Path
) -> None:
    address, shapes = served
    module = clip_retrieval_module("clip_client")
    client = module.ClipClient(
        url=f"{address}/knn-service", indice_name="second", num_images=5, deduplicate=False
    )
    found = client.query(text="a red star")
    assert len(found) == 5
    assert all({"id", "url", "caption", "similarity"} <= set(row) for row in found)
    assert sum("red" in row["caption"] and "star" in row["caption"] for row in found) >= 3
    (tmp_path / "image.jpg").write_bytes(shapes.bodies[20])
    loose = module.ClipClient(
        url=f"{address}/knn-service", indice_name="first", num_images=3, deduplicate=False,
        use_safety_model=False,
    )  # fmt: skip
    assert loose.query(image=str(tmp_path / "image.jpg"))[0]["id"] == 20
    with BackgroundWeb([shapes.bodies[20]]) as web:
        assert loose.query(image=f"http://{web}/photo/0.jpg")[0]["id"] == 20
    texts = module.ClipClient(
        url=f"{address}/knn-service", indice_name="first", modality=module.Modality.TEXT
    )
    assert {"red", "star"} <= set(texts.query(text="a red star")[0]["caption"].split())
    import numpy as np

    vector = np.load(sorted((shapes.index / "img_emb").glob("*.npy"))[0])[20]
    assert loose.query(embedding_input=vector.astype(float).tolist())[0]["id"] == 20


def test_indices_and_metrics(served: tuple[str, Any]) -> None:
    import requests

    address, shapes = served
    assert requests.get(f"{address}/indices-list", timeout=10).json() == ["first", "second"]
    answer = requests.post(f"{address}/metadata", json={"ids": [20], "indice_name": "first"},
                           timeout=10).json()  # fmt: skip
    assert answer[0]["metadata"]["url"] == shapes.rows["url"][20]
    parser: Any = pytest.importorskip("prometheus_client.parser")
    page = requests.get(f"{address}/metrics", timeout=10).text
    names = {family.name for family in parser.text_string_to_metric_families(page)}
    assert {"index_rows", "full_knn_request_time", "knn_index_time"} <= names
