"""Flags: img2dataset's names and defaults, every kind of value, and one line for what is wrong."""

from __future__ import annotations

import dataclasses
import math
from enum import Enum
from pathlib import Path
from typing import Any

import pytest

from img2ds.config.image import FIRST_IMAGE_FORMATS
from img2ds.config.options import (
    FLAGS,
    GROUPS,
    IMAGE_FORMATS,
    ImageOptions,
    InputOptions,
    NetworkOptions,
    Options,
    OutputOptions,
    RunOptions,
)
from img2ds.core.failure import UsageError

#: The contract's flags and defaults; those of img2dataset first.
DEFAULTS: dict[str, Any] = {
    "input_format": None, "url_col": "url", "caption_col": None, "save_additional_columns": (),
    "bbox_col": None, "output_folder": "images", "output_format": "files", "image_size": 256,
    "resize_mode": "border", "resize_only_if_bigger": False,
    "upscale_interpolation": "lanczos", "downscale_interpolation": "area", "encode_format": "jpg",
    "skip_reencode": False, "disable_all_reencoding": False, "min_image_size": 0,
    "max_image_area": math.inf, "max_aspect_ratio": math.inf, "number_sample_per_shard": 10_000,
    "oom_shard_count": 5, "thread_count": 256, "timeout": 10, "retries": 0, "extract_exif": True,
    "compute_hash": "sha256", "verify_hash": (), "distributor": "multiprocessing",
    "subjob_size": 1000, "incremental_mode": "incremental", "max_shard_retry": 1,
    "user_agent_token": None,
    "disallowed_header_directives": ("noai", "noimageai", "noindex", "noimageindex"),
    "ignore_ssl_certificate": False, "enable_wandb": False, "wandb_project": "img2dataset",
    "max_time": 60, "max_image_bytes": 50_000_000, "min_image_bytes": 0,
    "max_decoded_pixels": 89_478_484, "max_decode_memory": 512_000_000, "max_redirects": 5,
    "user_agent": None, "headers": {},
    "dns_servers": (), "connect_to": (), "ca_bundle": None, "allow_private_addresses": False,
    "fetcher": "trio", "max_rows": None, "dry_run": False, "max_runtime": None,
}  # fmt: skip


def options(**flags: Any) -> Options:
    return Options.from_flags({"url_list": "urls.txt", "output_format": "webdataset", **flags})


def values(made: Options) -> dict[str, Any]:
    return {
        field.name: getattr(group, field.name)
        for group in (getattr(made, name) for name in GROUPS)
        for field in dataclasses.fields(group)
    }


def refusal(**flags: Any) -> str:
    with pytest.raises(UsageError) as caught:
        options(**flags)
    words = str(caught.value)
    assert "\n" not in words
    assert "Traceback" not in words
    return words


def test_defaults_are_the_contracts() -> None:
    made = values(options())
    del made["output_format"]  # given above
    for name, value in DEFAULTS.items():
        if name != "output_format":
            assert made[name] == value, name
    assert FLAGS["output_format"].default == "files"
    assert FLAGS["output_format"].default == OutputOptions().output_format


@pytest.mark.parametrize(("name", "quality"), [("jpg", 95), ("webp", 95), ("png", 6)])
def test_quality_depends_on_the_format(name: str, quality: int) -> None:
    assert options(encode_format=name).image.quality == quality
    assert options(encode_format=name, encode_quality=5).image.quality == 5


def test_flags_are_the_fields_of_the_groups() -> None:
    assert set(FLAGS) == set(values(options()))
    for name in ("processes_count", "per_host_concurrency", "memory_budget", "encode_quality"):
        assert name in FLAGS
    for field in FLAGS.values():
        assert field.metadata["help"]


def test_groups_are_frozen() -> None:
    made = options()
    for group in (made, *(getattr(made, name) for name in GROUPS)):
        name = dataclasses.fields(group)[0].name
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(group, name, 1)


def test_dashes_are_underscores() -> None:
    made = Options.from_flags(
        {"url-list": "a", "output-format": "dummy", "image-size": 64, "resize_mode": "no"}
    )
    assert (made.input.url_list, made.image.image_size, made.image.resize_mode) == ("a", 64, "no")


def test_concurrency_is_thread_count() -> None:
    assert options(concurrency=7).network.thread_count == 7
    assert "thread_count is given twice" in refusal(concurrency=7, thread_count=7)
    with pytest.raises(UsageError, match="image_size is given twice"):
        Options.from_flags({"url_list": "a", "image_size": 1, "image-size": 1})


@pytest.mark.parametrize(
    ("given", "near"),
    [
        ("image_sise", "image_size"), ("urllist", "url_list"), ("thread-cont", "thread_count"),
        ("concurency", "concurrency"), ("output_formats", "output_format"),
        ("--timeouts", "timeout"),
    ],
)  # fmt: skip
def test_an_unknown_flag_names_the_nearest(given: str, near: str) -> None:
    assert refusal(**{given: 1}).endswith(f"did you mean --{near}?")


def test_a_flag_like_no_other_names_the_help() -> None:
    assert refusal(xyzzy=1) == "unknown flag --xyzzy; img2ds --help lists the flags"


def test_url_list_is_required() -> None:
    for flags in ({}, {"url_list": ""}):
        with pytest.raises(UsageError, match="--url_list is required"):
            Options.from_flags({**flags, "output_format": "dummy"})


class Mode(Enum):
    NO = "no"


class Size(Enum):
    """As img2dataset's ResizeMode."""

    border = 3


@pytest.mark.parametrize(
    ("name", "given", "value"),
    [
        ("image_size", "512", 512), ("image_size", 512.0, 512), ("image_size", " 512 ", 512),
        ("timeout", 5, 5.0), ("timeout", "2.5", 2.5), ("max_image_area", "inf", math.inf),
        ("max_aspect_ratio", 3, 3.0),
        ("extract_exif", "False", False), ("extract_exif", "true", True), ("dry_run", 1, True),
        ("dry_run", "no", False), ("skip_reencode", True, True),
        ("compute_hash", None, None), ("compute_hash", "None", None),
        ("compute_hash", "md5", "md5"),
        ("caption_col", "none", None), ("caption_col", "TEXT", "TEXT"), ("caption_col", 7, "7"),
        ("output_folder", Path("/data/out"), "/data/out"), ("output_folder", 2024, "2024"),
        ("max_rows", "None", None), ("max_rows", "10", 10),
        ("processes_count", None, None), ("encode_quality", "80", 80),
        ("save_additional_columns", ["a", "b"], ("a", "b")),
        ("save_additional_columns", ("a",), ("a",)),
        ("save_additional_columns", "a,b", ("a", "b")),
        ("save_additional_columns", "a", ("a",)),
        ("save_additional_columns", '["a", "b"]', ("a", "b")),
        ("save_additional_columns", "[a,b]", ("a", "b")),
        ("save_additional_columns", "['a', 'b c']", ("a", "b c")),
        ("save_additional_columns", '("ab")', ("ab",)),
        ("save_additional_columns", "", ()), ("save_additional_columns", "[]", ()),
        ("save_additional_columns", None, ()), ("save_additional_columns", "None", ()),
        ("disallowed_header_directives", None, ("noai", "noimageai", "noindex", "noimageindex")),
        ("disallowed_header_directives", "None", ("noai", "noimageai", "noindex", "noimageindex")),
        ("image_formats", None, IMAGE_FORMATS),
        ("upscale_interpolation", "BICUBIC", "bicubic"), ("encode_format", "JPG", "jpg"),
        ("downscale_interpolation", "bilinear", "bilinear"), ("resize_mode", Size.border, "border"),
        ("encode_quality", 0, 0),
        ("disallowed_header_directives", "[]", ()), ("disallowed_header_directives", [], ()),
        ("verify_hash", '["md5", "md5"]', ("md5", "md5")),
        ("headers", '{"Referer": "https://example.org/"}', {"Referer": "https://example.org/"}),
        ("headers", {"X-Number": 5}, {"X-Number": "5"}),
        ("max_image_bytes", "20MB", 20_000_000), ("max_image_bytes", "1.5GiB", 3 << 29),
        ("max_image_bytes", "512kib", 512 << 10), ("max_image_bytes", 1000, 1000),
        ("max_image_bytes", " 7 b ", 7), ("memory_budget", "1g", 10**9),
        ("resize_mode", "keep_ratio", "keep_ratio"), ("resize_mode", Mode.NO, "no"),
        ("connect_to", "a:80:127.0.0.1:8080", ("a:80:127.0.0.1:8080",)),
        ("connect_to", "*:::1:80", ("*:::1:80",)),
        ("dns_servers", "127.0.0.1:53", ("127.0.0.1:53",)),
    ],
)  # fmt: skip
def test_values_are_read_as_their_kind(name: str, given: Any, value: Any) -> None:
    read = values(options(**{name: given}))[name]
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("image_size", "big"), ("image_size", 2.5), ("image_size", True), ("image_size", None),
        ("image_size", math.inf), ("image_size", "1e999"), ("image_size", [1]),
        ("image_size", "1, 2"), ("max_rows", "some"),
        ("timeout", "soon"), ("timeout", math.nan), ("timeout", True), ("timeout", None),
        ("extract_exif", "maybe"), ("extract_exif", 2), ("extract_exif", None),
        ("url_col", True), ("url_col", ["a"]), ("url_col", None), ("caption_col", {"a": 1}),
        ("save_additional_columns", 5), ("save_additional_columns", {"a": "b"}),
        ("save_additional_columns", True),
        ("headers", "Referer: x"), ("headers", "[1]"), ("headers", ["a"]), ("headers", "{"),
        ("max_image_bytes", "5 parsecs"), ("max_image_bytes", "MB"), ("max_image_bytes", "1.2.3MB"),
        ("max_image_bytes", "-5"), ("max_image_bytes", None),
    ],
)  # fmt: skip
def test_values_of_another_kind_are_refused_by_name(name: str, given: Any) -> None:
    assert refusal(**{name: given}).startswith(f"--{name} takes ")


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("resize_mode", "centre_crop", "did you mean center_crop?"),
        ("encode_format", "jpeg", "did you mean jpg?"),
        ("compute_hash", "crc32", "sha256, md5, sha512"),
        ("incremental_mode", "7", "incremental, overwrite, extend"),
        ("fetcher", "aiohttp", "trio, asks"),
        ("output_format", "webdatset", "did you mean webdataset?"),
        ("input_format", "xml", "parquet"),
    ],
)
def test_choices_that_there_are_not(name: str, given: str, words: str) -> None:
    refused = refusal(**{name: given})
    assert refused.startswith(f"--{name} is one of ")
    assert words in refused


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("image_size", 0), ("min_image_size", -1), ("max_decoded_pixels", 0),
        ("max_decode_memory", 0),
        ("max_image_area", 0), ("max_aspect_ratio", 0.5), ("encode_quality", -1),
        ("encode_quality", 101), ("thread_count", 0), ("retries", -1), ("max_redirects", -1),
        ("per_host_concurrency", -1), ("per_host_rate", -1), ("per_host_rate", float("nan")),
        ("max_image_bytes", 0), ("timeout", 0), ("timeout", -1),
        ("max_time", 0), ("processes_count", 0), ("memory_budget", 0), ("subjob_size", 0),
        ("max_shard_retry", -1), ("max_runtime", 0), ("number_sample_per_shard", 0),
        ("oom_shard_count", 0), ("oom_shard_count", 21), ("max_rows", 0), ("output_folder", ""),
        ("verify_hash", "md5"), ("save_additional_columns", "[a"),
        ("verify_hash", '["a", "crc32"]'), ("verify_hash", "a,md5,b"),
        ("ca_bundle", "/no/such/file.pem"), ("headers", {"Two words": "x"}),
        ("headers", {"X": "a\r\nEvil: b"}), ("user_agent", "a\nb"), ("user_agent_token", "a\0"),
        ("connect_to", "example.org"), ("connect_to", ["a:1:b"]),
    ],
)  # fmt: skip
def test_values_out_of_range_are_refused_by_name(name: str, given: Any) -> None:
    assert f"--{name}" in refusal(**{name: given})


@pytest.mark.parametrize("size", [(1024, 768), [8, 8], "(1024, 1024)", None, 0, -1])
def test_a_size_that_is_not_used_can_be_anything(size: Any) -> None:
    for unused in ({"resize_mode": "no"}, {"disable_all_reencoding": True}):
        made = options(image_size=size, **unused)
        options(**unused, image_size=made.shard_identity()["image_size"])  # as from a manifest
    assert refusal(image_size=size).startswith("--image_size ")


def test_above_100_webp_is_lossless() -> None:
    assert options(encode_format="webp", encode_quality=10**12).image.quality == 10**12
    assert "at least 0 for webp" in refusal(encode_format="webp", encode_quality=-1)


def test_png_has_levels_not_qualities() -> None:
    assert options(encode_format="png", encode_quality=0).image.quality == 0
    assert "0-9 for png" in refusal(encode_format="png", encode_quality=95)


def test_the_format_need_not_be_given() -> None:
    assert Options.from_flags({"url_list": "a"}).output.output_format == "files"


@pytest.mark.parametrize("column", ["key", "status", "reason", "width", "sha256", "exif"])
def test_columns_of_our_own_cannot_be_saved(column: str) -> None:
    assert repr(column) in refusal(save_additional_columns=[column])


@pytest.mark.parametrize("output_format", ["parquet", "tfrecord"])
def test_the_column_of_images_cannot_be_saved(output_format: str) -> None:
    chosen = {"output_format": output_format, "encode_format": "png"}
    assert "'png'" in refusal(**chosen, save_additional_columns="png")
    options(**chosen, save_additional_columns="jpg,txt")
    if output_format == "tfrecord":
        assert "'txt'" in refusal(**chosen, save_additional_columns="txt", caption_col="TEXT")
    options(save_additional_columns="jpg,txt", caption_col="TEXT")  # webdataset


def test_columns_we_do_not_write_can_be_saved() -> None:
    made = options(save_additional_columns="exif,sha256,url_col", extract_exif=False,
                   compute_hash=None)  # fmt: skip
    assert made.input.save_additional_columns == ("exif", "sha256", "url_col")
    assert "'caption'" in refusal(save_additional_columns="caption", caption_col="TEXT")
    assert "'url'" in refusal(save_additional_columns="url", url_col="URL")


def test_every_needed_column_is_named_once() -> None:
    made = options(
        url_col="URL", caption_col="TEXT", save_additional_columns="TEXT,a", verify_hash="h,md5"
    )
    assert made.input.columns == ["URL", "TEXT", "a", "h"]


def test_only_what_decides_a_shard_is_its_identity() -> None:
    identity = options().shard_identity()
    for same in (
        {"url_list": "b"}, {"output_folder": "b"}, {"thread_count": 3}, {"timeout": 1},
        {"incremental_mode": "extend"}, {"encode_quality": 95}, {"tmp_dir": "staging"},
    ):  # fmt: skip
        assert options(**same).shard_identity() == identity, same
    for other in ({"image_size": 9}, {"caption_col": "c"}, {"number_sample_per_shard": 9},
                  {"encode_quality": 9}, {"compute_hash": None}, {"output_format": "dummy"},
                  {"max_aspect_ratio": 3}, {"save_additional_columns": "a"}):  # fmt: skip
        assert options(**other).shard_identity() != identity, other


def test_identities_are_those_of_earlier_versions() -> None:
    # Manifests hold them, and a resume compares them: a change would refuse every old folder.
    identity = {
        "save_additional_columns": [], "verify_hash": [],
        "output_format": "files", "number_sample_per_shard": 10000, "oom_shard_count": 5,
        "image_size": 256, "resize_mode": "border", "resize_only_if_bigger": False,
        "upscale_interpolation": "lanczos", "downscale_interpolation": "area",
        "encode_format": "jpg", "encode_quality": 95, "skip_reencode": False,
        "disable_all_reencoding": False, "image_formats": list(IMAGE_FORMATS),
        "min_image_size": 0, "max_image_area": "inf", "max_aspect_ratio": "inf",
        "max_decoded_pixels": 89478484, "extract_exif": True, "compute_hash": "sha256",
        "captions": False,
    }  # fmt: skip
    made = Options.from_flags({"url_list": "u"})
    assert made.shard_identity() == identity
    assert list(made.shard_identity()) == list(identity)
    assert Options.from_flags(
        {
            "url_list": "u", "bbox_col": "b", "caption_col": "c", "max_image_area": 100,
            "verify_hash": "a,md5", "save_additional_columns": "a", "compute_hash": None,
            "encode_format": "png", "max_decode_memory": "1GB",
        }
    ).shard_identity() == identity | {
        "save_additional_columns": ["a"], "verify_hash": ["a", "md5"], "encode_format": "png",
        "encode_quality": 6, "max_image_area": 100.0, "compute_hash": None, "captions": True,
        "bbox_col": "b", "max_decode_memory": 10**9,
    }  # fmt: skip


def test_folders_keep_the_formats_that_they_were_begun_with() -> None:
    first = list(FIRST_IMAGE_FORMATS)
    assert first == ["jpeg", "png", "webp", "gif"]
    default = ImageOptions()
    assert default.as_begun(first).image_formats == FIRST_IMAGE_FORMATS
    for recorded in (None, list(IMAGE_FORMATS), ["jpeg"], first[::-1]):
        assert default.as_begun(recorded) is default
    for given in (IMAGE_FORMATS[:1], (*IMAGE_FORMATS[1:], IMAGE_FORMATS[0])):
        assert ImageOptions(image_formats=given).as_begun(first).image_formats == given
    typed = options(image_formats=",".join(IMAGE_FORMATS)).image
    assert typed.as_begun(first) is typed


def test_groups_check_themselves_without_flags() -> None:
    with pytest.raises(UsageError):
        ImageOptions(image_size=0)
    with pytest.raises(UsageError):
        InputOptions("a", max_rows=0)
    with pytest.raises(UsageError):
        NetworkOptions(thread_count=0)
    with pytest.raises(UsageError):
        RunOptions(processes_count=0)
