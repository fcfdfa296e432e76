"""Models by name, by file and from the hub's cache; and one line for all that can be wrong."""

from __future__ import annotations

import json
import shutil
import socket
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from img2ds.core.failure import UsageError
from laion.clip import model as models
from laion.clip.embed import Embedder
from laion.clip.model import ModelSpec, fetch, load
from laion.clip.open_clip_library import new_model, require_open_clip
from laion.clip.tiny_training import CONFIG

torch = pytest.importorskip("torch")
open_clip = pytest.importorskip("open_clip")
constants = pytest.importorskip("huggingface_hub").constants


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A hub that refuses connections, and an empty cache: what a machine without network has."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A small model with random weights, as files."""
    folder = tmp_path_factory.mktemp("untrained")
    (folder / "small.json").write_text(json.dumps(CONFIG))
    torch.save(new_model(CONFIG).state_dict(), folder / "small.pt")
    return str(folder / "small.json"), str(folder / "small.pt")


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(
    "spec",
    [
        ModelSpec("ViT-B-32", "laion400m_e32"),
        ModelSpec("ViT-B/32", "openai"),
        ModelSpec("RN50", "openai"),
        ModelSpec("hf-hub:some/model"),
    ],
    ids=lambda spec: f"{spec.model} {spec.pretrained}",
)
def test_a_missing_network_is_one_line(spec: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is reported at once: no download is attempted."""

    def never(*_: object, **__: object) -> None:
        pytest.fail("a download was tried")

    monkeypatch.setattr(open_clip.pretrained, "hf_hub_download", never)
    with pytest.raises(UsageError) as caught:
        fetch(spec)
    words = str(caught.value)
    assert "\n" not in words
    assert "127.0.0.1 cannot be reached (connection refused)" in words
    assert (spec.pretrained or spec.model) in words


@pytest.mark.usefixtures("no_network")
def test_offline_mode_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UsageError, match="HF_HUB_OFFLINE forbids"):
        fetch(ModelSpec("ViT-B-32", "laion400m_e32"))


def test_a_proxy_is_asked_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    from laion.clip import network

    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    assert network._unreachable("https://hub.invalid/x") is None
    monkeypatch.delenv("https_proxy")


@pytest.mark.usefixtures("no_network")
def test_a_hub_model_in_the_cache_needs_no_network(
    untrained: tuple[str, str], tmp_path: Path
) -> None:
    repository = tmp_path / "cache" / "models--some--small"
    snapshot = repository / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    settings = {"mean": [0.5] * 3, "std": [0.25] * 3, "interpolation": "bilinear"}
    (snapshot / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": CONFIG, "preprocess_cfg": settings})
    )
    shutil.copy(untrained[1], snapshot / "open_clip_pytorch_model.bin")
    spec = fetch(ModelSpec("hf-hub:some/small"))
    loaded = load(spec)
    assert loaded.config.mean == (0.5, 0.5, 0.5)
    assert loaded.config.interpolation == "bilinear"
    own = load(ModelSpec(*untrained))
    assert torch.equal(loaded.module.text_projection, own.module.text_projection)


def test_a_folder_is_a_model(untrained: tuple[str, str], tmp_path: Path) -> None:
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": CONFIG}))
    shutil.copy(untrained[1], tmp_path / "open_clip_pytorch_model.bin")
    loaded = load(fetch(ModelSpec(f"local-dir:{tmp_path}")))
    assert loaded.config.size == (64, 64)


def test_files_are_a_model(untrained: tuple[str, str]) -> None:
    loaded = load(fetch(ModelSpec(*untrained)))
    assert loaded.config.size == (64, 64)
    assert not loaded.module.training
    assert loaded.tokens(["a star", "b"]).shape == (2, CONFIG["text_cfg"]["context_length"])
    assert not any(p.requires_grad for p in loaded.module.parameters())


def test_a_file_wins_over_a_model_of_its_name(untrained: tuple[str, str], tmp_path: Path) -> None:
    """Two files of one name in one process, and one that is called like a registered model."""
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        config = {**CONFIG, "embed_dim": 16 if folder == "one" else 24}
        (tmp_path / folder / "RN50.json").write_text(json.dumps(config))
        torch.save(new_model(config).state_dict(), tmp_path / folder / "w.pt")
    for folder, dim in (("one", 16), ("two", 24), ("one", 16)):
        spec = ModelSpec(str(tmp_path / folder / "RN50.json"), str(tmp_path / folder / "w.pt"))
        assert Embedder(spec, "cpu").dim == dim


def test_weights_of_openais_kind_get_their_activation(monkeypatch: pytest.MonkeyPatch) -> None:
    """`--model ViT-B-32 --pretrained laion400m_e32` is what the field types; those weights were
    trained with QuickGELU.
    """
    seen = {}

    class Stopped(RuntimeError):
        pass

    def create_model(*arguments: object, **options: object) -> None:
        seen.update(options)
        raise Stopped("seen enough")

    monkeypatch.setattr(open_clip, "create_model", create_model)
    monkeypatch.setattr(models, "reach_weights", lambda *_: nullcontext())
    for tag, quick in (("laion400m_e32", True), ("openai", True), ("laion2b_s34b_b79k", False)):
        with pytest.raises(UsageError, match="seen enough"):
            load(ModelSpec("ViT-B-32", tag))
        assert seen["force_quick_gelu"] is quick


@pytest.mark.parametrize(
    ("model", "pretrained", "words"),
    [
        ("ViT-B-31", "openai", "did you mean ViT-B-32"),
        ("ViT-B-32", "laion5b", "or a tag of ViT-B-32 (tags: openai, laion400m_e31"),
        ("ViT-B-32", None, "--pretrained is required"),
        ("nowhere/small.json", "x.pt", "there is no such file"),
        ("local-dir:nowhere", None, "no open_clip_config.json"),
        ("{small}", "nowhere.pt", "--pretrained nowhere.pt is not a file"),
        ("{notes}", "{weights}", "must end in .json"),
        ("{broken}", "{weights}", "cannot be read as JSON"),
        ("{empty}", "{weights}", "it has no vision_cfg, text_cfg"),
        ("{small}", "{small}", "holds no weights"),
        ("RN50", "{weights}", "the weights are another model's"),
    ],
)
def test_wrong_models_are_one_line(
    untrained: tuple[str, str], tmp_path: Path, model: str, pretrained: str | None, words: str
) -> None:
    places = {"small": untrained[0], "weights": untrained[1]}
    for name, text in {
        "notes.txt": json.dumps(CONFIG),
        "broken.json": "{",
        "empty.json": '{"embed_dim": 1}',
    }.items():
        (tmp_path / name).write_text(text)
        places[name.partition(".")[0]] = str(tmp_path / name)
    spec = ModelSpec(model.format(**places), pretrained and pretrained.format(**places))
    with pytest.raises(UsageError) as caught:
        load(fetch(spec))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(find_spec("transformers") is not None, reason="transformers is installed")
def test_models_that_need_transformers_say_so_before_a_download() -> None:
    with pytest.raises(UsageError, match=r"pip install 'img2ds\[transformers\]'"):
        fetch(ModelSpec("ViT-B-16-SigLIP", "webli"))


def test_weights_in_a_file_are_prepared_for_as_their_tag(
    untrained: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The registry's tags of the model count, and what was found goes along with the spec."""
    import open_clip

    entry = {"mean": (0.5, 0.4, 0.3), "std": (0.5, 0.5, 0.5), "interpolation": "bilinear",
             "resize_mode": "squash"}  # fmt: skip
    name = Path(untrained[0]).stem
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, name, {"one": entry, "two": {}})
    with pytest.raises(UsageError, match=r"--pretrained_tag \(tags: one, two\)"):
        fetch(ModelSpec(*untrained))
    spec = fetch(ModelSpec(*untrained, tag="one"))
    monkeypatch.undo()  # elsewhere nothing has to be found again
    config = load(spec).config
    assert (config.mean, config.interpolation, config.resize) == (
        (0.5, 0.4, 0.3), "bilinear", "squash",
    )  # fmt: skip


def test_a_missing_library_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(UsageError, match=r"pip install 'img2ds\[clip\]'"):
        require_open_clip()


def test_texts_that_are_too_long_are_cut(untrained: tuple[str, str]) -> None:
    embedder = Embedder(ModelSpec(*untrained), "cpu")
    rows = embedder.texts(["word " * 500, "", "naïve 日本語 🎨"])
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
