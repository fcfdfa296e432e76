"""Images for weights in a file are prepared as their tag says; users are asked where it counts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("open_clip")

from img2ds.core.failure import UsageError
from laion.clip.weights_file import describe_weights

OPENAI = {"mean": (0.48, 0.45, 0.4), "std": (0.26, 0.26, 0.27), "interpolation": "bicubic",
          "resize_mode": "shortest"}  # fmt: skip
HALF = {**OPENAI, "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
TAGS: dict[str, Any] = {
    "openai": {**OPENAI, "url": "https://a.example/x/ViT-L-14.pt", "hf_hub": "timm/l14.openai/",
               "quick_gelu": True},
    "laion2b": {**HALF, "url": "", "hf_hub": "laion/L-14-laion2b/"},
}  # fmt: skip


def mean(path: Path, tag: str | None = None, tags: Any = TAGS) -> Any:
    return describe_weights("ViT-L-14", str(path), tag, tags).preprocess.get("mean")


def test_tags_that_differ_ask_for_a_choice(tmp_path: Path) -> None:
    path = tmp_path / "mine.pt"
    with pytest.raises(UsageError, match=r"--pretrained_tag \(tags: openai, laion2b\)"):
        mean(path)
    assert mean(path, "laion2b") == [0.5, 0.5, 0.5]
    with pytest.raises(UsageError, match="laion is not a tag of ViT-L-14"):
        mean(path, "laion")


def test_one_way_of_all_tags_is_taken(tmp_path: Path) -> None:
    assert mean(tmp_path / "mine.pt", tags={"webli": HALF, "webli2": HALF}) == [0.5, 0.5, 0.5]
    assert mean(tmp_path / "mine.pt", tags={}) is None


def test_what_lies_beside_the_file_tells(tmp_path: Path) -> None:
    (tmp_path / "open_clip_config.json").write_text(
        json.dumps({"preprocess_cfg": {"mean": [0, 0, 0], "std": [1, 1, 1], "size": 224}})
    )
    found = describe_weights("ViT-L-14", str(tmp_path / "w.pt"), None, TAGS)
    assert found.preprocess == {"mean": [0, 0, 0], "std": [1, 1, 1]}
    assert mean(tmp_path / "w.pt", "openai") == list(OPENAI["mean"]), "the user knows better"
    (tmp_path / "open_clip_config.json").write_text("no JSON")
    with pytest.raises(UsageError):
        mean(tmp_path / "w.pt")


def test_the_name_of_a_download_tells(tmp_path: Path) -> None:
    found = describe_weights("ViT-L-14", str(tmp_path / "ViT-L-14.pt"), None, TAGS)
    assert found.quick_gelu
    hub = tmp_path / "models--laion--L-14-laion2b" / "snapshots" / "1" / "model.safetensors"
    assert mean(hub) == [0.5, 0.5, 0.5]


def test_every_model_of_the_registry_but_three_needs_no_choice() -> None:
    import open_clip

    asked = []
    for model in sorted({model for model, _ in open_clip.list_pretrained()}):
        names = open_clip.list_pretrained_tags_by_model(model)
        tags = {tag: open_clip.get_pretrained_cfg(model, tag) for tag in names}
        try:
            found = describe_weights(model, "/w/mine.pt", None, tags)
        except UsageError:
            asked.append(model)
            continue
        assert {tuple(entry["mean"]) for entry in tags.values()} == {
            tuple(found.preprocess["mean"])
        }
    assert asked == ["ViT-H-14", "ViT-H-14-quickgelu", "ViT-L-14"]
