"""The flags of `img2ds.download` and `img2ds.stream` as types, for checkers.

Written by scripts/write_keywords.py from the flags themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Literal, TypedDict

from img2ds.config.network import NetworkOptions
from img2ds.core.hooks import Filter, NamedFormat, OpensLists, Transform
from img2ds.core.plugins import PluginName


class StreamKeywords(TypedDict, total=False):
    """The flags of a stream; `img2ds --help` explains them."""

    input_format: (
        Literal[
            "txt",
            "csv",
            "tsv",
            "json",
            "jsonl",
            "parquet",
            "txt.gz",
            "csv.gz",
            "tsv.gz",
            "json.gz",
            "jsonl.gz",
        ]
        | PluginName
        | OpensLists
        | None
    )
    url_col: str | PathLike[str] | int
    caption_col: str | PathLike[str] | int | None
    save_additional_columns: Sequence[str] | str | None
    verify_hash: Sequence[str] | str | None
    bbox_col: str | PathLike[str] | int | None
    config: str | PathLike[str] | int | None
    max_rows: int | None
    image_size: int | tuple[int, int] | None
    resize_mode: Literal["border", "no", "keep_ratio", "keep_ratio_largest", "center_crop"]
    resize_only_if_bigger: bool
    upscale_interpolation: Literal[
        "nearest", "linear", "bilinear", "cubic", "bicubic", "area", "lanczos", "lanczos4"
    ]
    downscale_interpolation: Literal[
        "nearest", "linear", "bilinear", "cubic", "bicubic", "area", "lanczos", "lanczos4"
    ]
    encode_format: Literal["jpg", "png", "webp"]
    encode_quality: int | None
    skip_reencode: bool
    disable_all_reencoding: bool
    image_formats: Sequence[str] | str | None
    min_image_size: int
    max_image_area: float
    max_aspect_ratio: float
    max_decoded_pixels: int
    max_decode_memory: int | str
    max_decode_time: float
    extract_exif: bool
    compute_hash: Literal["sha256", "md5", "sha512"] | None
    compute_pdq: bool
    filter: (
        Filter | Callable[[], Filter] | str | Sequence[Filter | Callable[[], Filter] | str] | None
    )
    transform: (
        Transform
        | Callable[[], Transform]
        | str
        | Sequence[Transform | Callable[[], Transform] | str]
        | None
    )
    thread_count: int
    concurrency: int
    timeout: float
    max_time: float
    max_outage: float
    retries: int
    max_redirects: int
    max_image_bytes: int | str
    min_image_bytes: int | str
    per_host_concurrency: int
    per_host_rate: float
    user_agent: str | PathLike[str] | int | None
    user_agent_token: str | PathLike[str] | int | None
    disallowed_header_directives: Sequence[str] | str | None
    respect_robots: bool
    respect_tdm: bool
    block_urls: Sequence[str] | str | None
    block_hosts: Sequence[str] | str | None
    block_hashes: Sequence[str] | str | None
    headers: Mapping[str, str]
    ignore_ssl_certificate: bool
    ca_bundle: str | PathLike[str] | int | None
    dns_servers: Sequence[str] | str | None
    resolver: Literal["stub", "unbound"]
    connect_to: Sequence[str] | str | None
    proxy: str | PathLike[str] | int
    allow_private_addresses: bool
    fetcher: Literal["trio", "asks"] | PluginName | Callable[[NetworkOptions], object]
    processes_count: int | None
    memory_budget: int | str
    max_shard_retry: int


class DownloadKeywords(StreamKeywords, total=False):
    """The flags of a download; `img2ds --help` explains them."""

    output_folder: str | PathLike[str] | int
    output_format: (
        Literal["files", "webdataset", "parquet", "tfrecord", "mds", "litdata", "dummy"]
        | PluginName
        | NamedFormat
    )
    number_sample_per_shard: int
    oom_shard_count: int
    incremental_mode: Literal["incremental", "overwrite", "extend"]
    tmp_dir: str | PathLike[str] | int | None
    force: bool
    sizes_json: bool
    distributor: Literal["multiprocessing", "pyspark", "ray"]
    subjob_size: int
    max_runtime: float | None
    min_success: float
    grace_seconds: float
    dry_run: bool
    quiet: bool
    report: str | PathLike[str] | int | None
    metrics_port: int | None
    enable_wandb: bool
    wandb_project: str | PathLike[str] | int
    rank: str | PathLike[str] | int | None
    world_size: str | PathLike[str] | int | None
