"""The flags that can be given by position and by one letter: img2dataset's, in its order."""

from __future__ import annotations

#: The parameters of `img2dataset.download` as of 1.47.0, then what its repository has added since.
POSITIONS = (
    "url_list", "image_size", "output_folder", "processes_count", "resize_mode",
    "resize_only_if_bigger", "upscale_interpolation", "downscale_interpolation", "encode_quality",
    "encode_format", "skip_reencode", "output_format", "input_format", "url_col", "caption_col",
    "bbox_col", "thread_count", "number_sample_per_shard", "extract_exif",
    "save_additional_columns", "timeout", "enable_wandb", "wandb_project", "oom_shard_count",
    "compute_hash", "verify_hash", "distributor", "subjob_size", "retries",
    "disable_all_reencoding", "min_image_size", "max_image_area", "max_aspect_ratio",
    "incremental_mode", "max_shard_retry", "user_agent_token", "disallowed_header_directives",
    "ignore_ssl_certificate",
)  # fmt: skip
