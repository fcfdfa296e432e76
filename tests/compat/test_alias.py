"""The package `img2dataset` of `compat/`: what scripts import of it, on top of img2ds."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Iterator
from email.message import Message
from pathlib import Path
from shutil import copytree
from typing import Any

import cv2
import numpy as np
import pytest
import trio

import img2ds
from img2ds import cli
from img2ds.core.sample import Body
from tests.contract.fetcher_setups import World, world
from tests.run_on_virtual_clock import loopback_only
from tests.server.encodings import jpeg, png
from tests.server.good_image import good_image
from tests.server.photos import photo

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _alias(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Makes the package importable, in place of an installed img2dataset."""

    def forget() -> None:
        for name in [name for name in sys.modules if name.partition(".")[0] == "img2dataset"]:
            del sys.modules[name]

    forget()
    monkeypatch.syspath_prepend(ROOT / "compat")
    yield
    forget()


def decoded(data: Body | None) -> np.ndarray[Any, Any]:
    assert data is not None
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    return pixels


def test_the_function_and_the_command_are_ours() -> None:
    import img2dataset
    import img2dataset.main

    assert img2dataset.download is img2ds.download
    assert img2dataset.main is cli.main
    assert sys.modules["img2dataset.main"].download is img2ds.download


def test_it_is_installed_only_when_asked_for() -> None:
    text = (ROOT / "setup.py").read_text()
    assert 'include=["img2ds", "img2ds.*", "laion", "laion.*"]' in text
    assert '"img2dataset = ' not in text


def test_it_can_be_installed(tmp_path: Path) -> None:
    pytest.importorskip("setuptools", minversion="70.1")  # builds wheels by itself
    source = copytree(ROOT / "compat", tmp_path / "compat")
    target = tmp_path / "site"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps",
         "--no-build-isolation", "--disable-pip-version-check", f"--target={target}", str(source)],
        check=True,
    )  # fmt: skip
    assert (target / "img2dataset" / "py.typed").exists()
    code = "import img2dataset; img2dataset.main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "--version"], text=True, check=True, capture_output=True,
        env={"PYTHONPATH": f"{target}:{ROOT}"},
    )  # fmt: skip
    assert done.stdout.startswith(f"img2ds {img2ds.__version__}")
    (metadata,) = target.glob("*.dist-info/METADATA")
    assert "\nName: img2dataset\nVersion: 1.47.0+img2ds\n" in metadata.read_text()
    assert "Requires-Dist" not in metadata.read_text()


def test_without_img2ds_it_says_what_to_install(tmp_path: Path) -> None:
    copytree(ROOT / "compat" / "img2dataset", tmp_path / "img2dataset")
    done = subprocess.run(
        [sys.executable, "-S", "-c", "import img2dataset"], text=True, check=False,
        stderr=subprocess.PIPE, cwd=tmp_path, env={},
    )  # fmt: skip
    assert done.stderr.splitlines()[-1] == (
        "ModuleNotFoundError: this img2dataset needs img2ds: run `pip install .` in its repository"
    )


@pytest.mark.parametrize("size", [(200, 90), (90, 200), (64, 64)])
@pytest.mark.parametrize("bigger", [False, True])
@pytest.mark.parametrize("kind", [("jpg", 0), ("jpg", 95), ("webp", 95), ("webp", 101), ("png", 9)])
@pytest.mark.parametrize(
    "mode", ["no", "border", "keep_ratio", "keep_ratio_largest", "center_crop"]
)
def test_resizer(mode: str, kind: tuple[str, int], bigger: bool, size: tuple[int, int]) -> None:
    from img2dataset.resizer import ResizeMode, Resizer

    resizer = Resizer(100, ResizeMode[mode], bigger, encode_format=kind[0], encode_quality=kind[1])
    data, width, height, *original, error = resizer(io.BytesIO(png(photo(1, *size))))
    assert error is None
    assert decoded(data).shape == (height, width, 3)
    assert original == [*size]


def test_resizer_keeps_lossless_webp_exact() -> None:
    from img2dataset.resizer import Resizer

    original = png(photo(1, 30, 20))
    resizer = Resizer((1, 1), "no", False, encode_format="webp", encode_quality=101)
    assert np.array_equal(decoded(resizer(io.BytesIO(original))[0]), decoded(original))
    lossy = Resizer((1, 1), "no", False, encode_format="webp", encode_quality=100)
    assert not np.array_equal(decoded(lossy(io.BytesIO(original))[0]), decoded(original))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"min_image_size": 30}, "image too small"),
        ({"max_image_area": 700}, "image area too large"),
        ({"max_aspect_ratio": 1.5}, "aspect ratio too large"),
    ],
)
def test_resizer_filters(flags: dict[str, Any], message: str) -> None:
    from img2dataset.resizer import Resizer

    resizer = Resizer(256, "no", True, **flags)
    assert resizer(io.BytesIO(jpeg(photo(1, 40, 20)))) == (None, None, None, None, None, message)


def test_resizer_messages() -> None:
    from img2dataset.resizer import Resizer

    resizer = Resizer(256, "border", False)
    image = good_image()
    for body in (b"<html>", image[: len(image) // 3]):
        assert resizer(io.BytesIO(body))[-1] == "Image decoding error"
    assert resizer(io.BytesIO(image), [[0, 0, 1, 1]])[-1] == "blurrer not defined"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"resize_mode": "stretch"}, "resize_mode"),
        ({"encode_format": "gif"}, "encode_format"),
        ({"encode_format": "png"}, "encode_quality"),
        ({"upscale_interpolation": "best"}, "upscale_interpolation"),
        ({"blurrer": lambda img, bbox_list: img}, "blurrer"),
    ],
)
def test_wrong_arguments_of_resizer(arguments: dict[str, Any], words: str) -> None:
    from img2dataset.resizer import Resizer

    needed: dict[str, Any] = {"image_size": 8, "resize_mode": "no", "resize_only_if_bigger": False}
    with pytest.raises(ValueError, match=words):
        Resizer(**needed | arguments)


def test_boxes_are_blurred() -> None:
    from img2dataset.blurrer import BoundingBoxBlurrer
    from img2dataset.resizer import Resizer

    image = np.random.default_rng(1).integers(0, 256, (80, 80, 3), np.uint8)
    before = image.copy()
    blurred = BoundingBoxBlurrer()(image, np.array([[0.0, 0.0, 0.25, 0.25]]))
    assert np.array_equal(image, before)
    assert np.array_equal(blurred[40:, 40:], image[40:, 40:])
    assert blurred[5:15, 5:15].std() < image[5:15, 5:15].std() / 4
    assert np.array_equal(BoundingBoxBlurrer()(image, []), image)
    resizer = Resizer(8, "no", False, encode_format="png", encode_quality=1,
                      blurrer=BoundingBoxBlurrer())  # fmt: skip
    body = io.BytesIO(png(image))
    assert np.array_equal(decoded(resizer(body, [])[0])[..., ::-1], image)
    through = decoded(resizer(body, [[0.0, 0.0, 0.25, 0.25]])[0])[..., ::-1]
    assert np.array_equal(through, blurred)
    assert str(resizer(body, [[0.5, 0.5, 0.1, 0.1]])[-1]).startswith("a box")


def fetched(path: str, *arguments: Any) -> tuple[Any, World]:
    """What `download_image_with_retry` returns for a path of the web server, and that."""
    from img2dataset.downloader import download_image_with_retry

    async def main() -> tuple[Any, World]:
        async with world("trio") as there:
            row = ("key", f"{there.http.origin}{path}")
            return await trio.to_thread.run_sync(
                download_image_with_retry, row, 30, *arguments
            ), there

    with loopback_only():
        return trio.run(main)


def test_one_url_is_downloaded() -> None:
    (key, stream, error), _ = fetched("/good.jpg", 0, None, None)
    assert (key, error) == ("key", None)
    assert stream.read() == good_image()


def test_one_url_is_retried() -> None:
    (_, stream, _), there = fetched("/fails-then-works", 2, None, None)
    assert stream.read() == good_image()
    assert there.http.requests == 3
    downloaded, there = fetched("/404", 2, None, None)
    assert downloaded == ("key", None, "HTTP Error 404: Not Found")
    assert there.http.requests == 3


def test_directives_forbid_images() -> None:
    said = "Use of image disallowed by X-Robots-Tag directive"
    assert fetched("/robots-noai", 0, None, ["noai"])[0] == ("key", None, said)
    assert fetched("/robots-noai", 0, None, None)[0][2] is None


def test_headers_that_forbid() -> None:
    from img2dataset.downloader import is_disallowed

    headers = Message()
    assert not is_disallowed(headers, None, {"noai"})
    headers["X-Robots-Tag"] = "all"
    headers["X-Robots-Tag"] = "me: noai"
    assert is_disallowed(headers, "me", {"noai"})
    assert not is_disallowed(headers, None, {"noai"})


def test_keys() -> None:
    from img2dataset.downloader import compute_key

    assert compute_key(7, 3, 4, 5) == "000030007"
