"""How images are transformed: the flags of one group, a dataclass that validates itself."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from img2ds.config.flags import at_least, flag, positive
from img2ds.core.failure import UsageError
from img2ds.core.naming import ENCODE_FORMATS
from img2ds.core.plugin_object import Plugin

RESIZE_MODES = ("border", "no", "keep_ratio", "keep_ratio_largest", "center_crop")
INTERPOLATIONS = (
    "nearest", "linear", "bilinear", "cubic", "bicubic", "area", "lanczos", "lanczos4",
)  # fmt: skip
#: Formats of originals that can be decoded.
IMAGE_FORMATS = ("jpeg", "png", "webp", "gif", "avif", "bmp", "tiff", "jpeg2000", "pnm")
#: The default of --image_formats when it was these. Manifests have it.
FIRST_IMAGE_FORMATS = IMAGE_FORMATS[:4]
#: The default of --max_decode_memory. Manifests have other values only: it is newer than they are.
MAX_DECODE_MEMORY = 512_000_000
#: Pillow's limit, from which on it warns of decompression bombs.
MAX_DECODED_PIXELS = 89_478_484
HASHES = ("sha256", "md5", "sha512")


@dataclass(frozen=True, slots=True)
class ImageOptions:
    """How each image is transformed."""

    TITLE: ClassVar[str] = "Images"

    image_size: int | tuple[int, ...] | None = flag(
        256, "side?", "size of the result in pixels, see --resize_mode"
    )
    resize_mode: str = flag(
        "border", "choice",
        "border pads to a square, center_crop crops to a square, keep_ratio resizes the shorter "
        "side to --image_size, keep_ratio_largest the longer side, no keeps the size",
        *RESIZE_MODES,
    )  # fmt: skip
    resize_only_if_bigger: bool = flag(
        False, "bool", "resize only images that are larger than --image_size"
    )
    upscale_interpolation: str = flag("lanczos", "choice", "filter for enlarging", *INTERPOLATIONS)
    downscale_interpolation: str = flag("area", "choice", "filter for shrinking", *INTERPOLATIONS)
    encode_format: str = flag("jpg", "choice", "format of the result", *ENCODE_FORMATS)
    encode_quality: int | None = flag(
        None, "int?",
        "0 to 100 for jpg and webp, above 100 for lossless webp (default: 95); compression level "
        "0 to 9 for png (default: 6)",
    )  # fmt: skip
    skip_reencode: bool = flag(
        False, "bool", "keep the original bytes of images already in the target format and size"
    )
    disable_all_reencoding: bool = flag(
        False, "bool", "always keep the original bytes, in any format"
    )
    image_formats: tuple[str, ...] = flag(
        IMAGE_FORMATS, "list", f"formats of originals to keep: any of {', '.join(IMAGE_FORMATS)}"
    )
    min_image_size: int = flag(
        0, "int", "drop images whose shorter side is less than this, in pixels"
    )
    max_image_area: float = flag(math.inf, "float", "drop images with more pixels than this")
    max_aspect_ratio: float = flag(
        math.inf, "float", "drop images whose longer side exceeds this many times the shorter side"
    )
    max_decoded_pixels: int = flag(
        MAX_DECODED_PIXELS, "int", "never decode an image with more pixels than this"
    )
    max_decode_memory: int = flag(
        MAX_DECODE_MEMORY, "size",
        "bytes that decoding may take in each process, besides the responses",
        identity=False,
    )  # fmt: skip
    max_decode_time: float = flag(
        60.0, "float", "seconds of CPU that decoding and encoding one image may take",
        identity=False,
    )  # fmt: skip
    extract_exif: bool = flag(True, "bool", "keep EXIF data in the metadata")
    compute_hash: str | None = flag(
        "sha256", "choice?", "hash of the original bytes, None for no hash", *HASHES
    )
    compute_pdq: bool = flag(
        False, "bool",
        "write a column pdq: the perceptual hash of images, by which --block_hashes finds copies",
        identity=False,
    )  # fmt: skip
    filter: tuple[Plugin, ...] = flag(
        (), "plugins",
        "plug-ins that decide which images are kept: names, or MODULE:OBJECT", identity=False,
    )  # fmt: skip
    transform: tuple[Plugin, ...] = flag(
        (), "plugins",
        "plug-ins that change the pixels of images before they are encoded", identity=False,
    )  # fmt: skip

    def __post_init__(self) -> None:
        if self.resizes:
            at_least("image_size", self.side, 1)
        unknown = sorted(set(self.image_formats) - set(IMAGE_FORMATS))
        if unknown or not self.image_formats:
            raise UsageError(
                f"--image_formats takes any of {', '.join(IMAGE_FORMATS)}, "
                f"got {repr(unknown[0]) if unknown else 'none'}"
            )
        at_least("min_image_size", self.min_image_size, 0)
        at_least("max_decoded_pixels", self.max_decoded_pixels, 1)
        at_least("max_decode_memory", self.max_decode_memory, 1)
        positive("max_decode_time", self.max_decode_time)
        positive("max_image_area", self.max_image_area)
        at_least("max_aspect_ratio", self.max_aspect_ratio, 1)
        if self.transform and self.disable_all_reencoding:
            raise UsageError(
                "--transform and --disable_all_reencoding exclude each other: "
                "a transformed image has to be encoded again"
            )
        high = {"jpg": 100, "png": 9, "webp": math.inf}[self.encode_format]
        if not 0 <= self.quality <= high:
            least = "at least 0" if high == math.inf else f"0-{high}"
            raise UsageError(
                f"--encode_quality must be {least} for {self.encode_format}, "
                f"got {self.encode_quality}"
            )

    def as_begun(self, recorded: Any) -> ImageOptions:
        """Return the options for a folder whose manifest has `recorded` for the image formats.

        A folder that was begun with the first default keeps it, unless other formats are given:
        all its shards are then of the same formats.
        """
        if self.image_formats is IMAGE_FORMATS and recorded == list(FIRST_IMAGE_FORMATS):
            return replace(self, image_formats=FIRST_IMAGE_FORMATS)
        return self

    @property
    def resizes(self) -> bool:
        """Whether `image_size` is used; where it is not, it can be anything, as in img2dataset."""
        return self.resize_mode != "no" and not self.disable_all_reencoding

    @property
    def side(self) -> int:
        """The size of the result in pixels. Raises UsageError: it is not one number."""
        if not isinstance(self.image_size, int):
            raise UsageError(
                f"--image_size takes a whole number, the side of the result, got {self.image_size}"
            )
        return self.image_size

    @property
    def quality(self) -> int:
        """The quality given, else 95, or compression level 6 for png."""
        if self.encode_quality is not None:
            return self.encode_quality
        return 6 if self.encode_format == "png" else 95
