"""Multilingual CLIP and SigLIP 2, small and with random weights: scored as open_clip does it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from img2ds.storage import OutputFolder
from laion import cli
from laion.provenance import read_model
from tests.laion.clip.shape_shards import Pair, shape_pairs, write_shard

open_clip = pytest.importorskip("open_clip")
torch = pytest.importorskip("torch")
pytest.importorskip("transformers", reason="needs pip install 'img2ds[transformers]'")

from tests.laion.clip.text_models import KINDS, write_model  # noqa: E402

CAPTIONS = [
    "a red circle", "ein roter Kreis, mit Umlauten: äöü", "赤い丸の写真です", "красный круг",
    "un cercle rouge" + " et encore" * 60,
]  # fmt: skip


@pytest.fixture(scope="module", params=list(KINDS))
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The files of a model."""
    return write_model(request.param, tmp_path_factory.mktemp("models") / request.param)


@pytest.fixture(scope="module")
def pairs() -> list[Pair]:
    """Pairs whose captions are in five scripts and languages."""
    found = shape_pairs(0, len(CAPTIONS), "png")
    for pair, caption in zip(found, CAPTIONS, strict=True):
        pair.caption = pair.fields["caption"] = caption
    return found


def score(model: tuple[str, str], pairs: list[Pair], place: Path, *more: str) -> Path:
    (place / "shards").mkdir()
    write_shard(place / "shards/00000.tar", pairs)
    code = cli.run(
        ["score", "--input", f"{place}/shards", "--output_folder", f"{place}/scored",
         "--model", model[0], "--pretrained", model[1], "--devices", "cpu", *more]
    )  # fmt: skip
    assert code == 0
    return place / "scored"


def embeddings(folder: Path, kind: str) -> np.ndarray:
    rows: np.ndarray = np.load(folder / f"{kind}/{kind}_00000.npy").astype(np.float32)
    return rows


def oracle(model: tuple[str, str], pairs: list[Pair]) -> tuple[Any, Any]:
    """What open_clip itself makes of the pairs: unit rows."""
    from PIL import Image

    name = Path(model[0]).stem
    open_clip.add_model_config(model[0])
    module, _, transform = open_clip.create_model_and_transforms(
        name, model[1], pretrained_text=False
    )
    module.eval()
    images = torch.stack([transform(Image.open(io.BytesIO(pair.body or b""))) for pair in pairs])
    tokens = open_clip.get_tokenizer(name)([pair.caption for pair in pairs])
    with torch.inference_mode():
        image = module.encode_image(images, normalize=True).numpy()
        return image, module.encode_text(tokens, normalize=True).numpy()


def test_scores_are_those_of_open_clip(
    model: tuple[str, str], pairs: list[Pair], tmp_path: Path
) -> None:
    scored = score(model, pairs, tmp_path, "--preprocess", "open_clip", "--token_counts")
    image, text = oracle(model, pairs)
    np.testing.assert_allclose(embeddings(scored, "img_emb"), image, atol=2e-3)
    np.testing.assert_allclose(embeddings(scored, "text_emb"), text, atol=2e-3)
    table = pq.read_table(scored / "metadata/metadata_00000.parquet")
    assert table["caption"].to_pylist() == CAPTIONS
    similarity = table["similarity"].to_numpy()
    np.testing.assert_allclose(similarity, (image * text).sum(axis=1), atol=1e-4)
    assert len({round(float(value), 4) for value in similarity}) == len(CAPTIONS)
    counts = table["text_tokens"].to_pylist()
    assert counts[0] < counts[1] < counts[-1], "without padding"
    assert counts[-1] in (64, 77), "cut at the context length"
    patches = {"multilingual": 4, "siglip2": 100}[Path(model[0]).stem]
    assert table["image_tokens"].to_pylist() == [patches] * len(CAPTIONS)
    assert read_model(OutputFolder.open(str(scored))).model == model[0]


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_is_close(
    precision: str, model: tuple[str, str], pairs: list[Pair], tmp_path: Path
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "half").mkdir()
    full = score(model, pairs, tmp_path / "full", "--precision", "fp32")
    half = score(model, pairs, tmp_path / "half", "--precision", precision)
    for kind in ("img_emb", "text_emb"):
        one, other = embeddings(full, kind), embeddings(half, kind)
        assert (one * other).sum(axis=1).min() > 0.995
        assert np.abs(one - other).max() > 0, "it was computed otherwise"


def test_the_best_share_is_kept_whatever_the_cosines_are(
    model: tuple[str, str], pairs: list[Pair], tmp_path: Path
) -> None:
    scored = score(model, pairs, tmp_path)
    out = tmp_path / "best"
    command = ["filter", "--input", str(scored), "--output_folder", str(out)]
    assert cli.run([*command, "--keep_top", "0.4"]) == 0
    before = pq.read_table(scored / "metadata/metadata_00000.parquet")["similarity"].to_pylist()
    kept = pq.read_table(out / "metadata/metadata_00000.parquet")["similarity"].to_pylist()
    assert sorted(kept) == sorted(before)[-2:]
